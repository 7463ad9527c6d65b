"""Where do the attention stream and the memory stream come from?"""

from .gates import SOFTMAX
from .memory import Memory
from .program import Program
from .tape import Ref

PRODUCTS = ("bmm", "mm", "matmul", "mv", "dot")


def attention_outputs(program: Program, memory: Memory) -> list[Ref]:
    """The weighted sums of values that follow a softmax outside the memory module."""
    outside = _after_softmax(program, inside_memory=False)
    if outside:
        return outside
    # a memory module may hold the attention too: then the sums that memory does not move
    states = [r for r in memory.state.values() if r in program.depends]
    moved = program.graph.descendants(states) if states else frozenset()
    return [r for r in _after_softmax(program, inside_memory=True) if r.node not in moved]


def _after_softmax(program: Program, inside_memory: bool) -> list[Ref]:
    g, found = program.graph, []
    for n in g.order:
        is_softmax = n.base in SOFTMAX or _is_normalised_exp(program, Ref(n.id))
        if not is_softmax or n.in_memory != inside_memory:
            continue
        pair = (n.shapes[0] or (0,))[-1] == 2  # two weights: a gate, not attention
        reached = {n.id}
        for i in sorted(g.descendants([Ref(n.id)]))[1:]:
            if not any(r.node in reached for r in g.nodes[i].inputs):
                continue
            reached.add(i)
            base = g.nodes[i].base
            if base in PRODUCTS or (base == "sum" and not pair):
                if Ref(i) in program.live:
                    found.append(Ref(i))
                break
            if pair and base == "mul":
                break
    return found


def _is_normalised_exp(program: Program, r: Ref) -> bool:
    """A softmax written by hand: exp(x) over its sum."""
    g = program.graph
    n = g.node(r)
    if n.base != "div" or len(n.inputs) != 2 or not g.shape(r) or g.shape(r)[-1] < 2:
        return False
    v = program.base[r]
    top = g.node(n.inputs[0])
    return top.base in ("exp", "mul", "masked_fill", "where") and bool(
        ((v >= 0).all()) and ((v.sum(-1) - 1).abs() < 1e-6).all()
    )


def last_before(program: Program, outputs: list[Ref], controls: list[Ref]) -> list[Ref]:
    """Of the attention outputs that a gate does not move, those of the last layer."""
    g = program.graph
    moved = g.descendants(controls)
    fixed = [r for r in outputs if r.node not in moved]
    upstream: set[int] = set()
    for r in fixed:
        upstream |= g.ancestors([r]) - {r.node}
    return [r for r in fixed if r.node not in upstream]


def module_boundary(program: Program) -> tuple[list[Ref], list[Ref]]:
    """(what flows into the memory module, what flows out of it): live, token-dependent values."""
    g = program.graph

    def crossing(into: bool) -> list[Ref]:
        return sorted(
            {
                r
                for n in g.order
                if not n.leaf and n.in_memory == into
                for r in n.inputs
                if g.node(r).in_memory != into
                and not g.node(r).leaf
                and r in program.live
                and r in program.depends
            }
        )

    return crossing(True), crossing(False)


def memory_sources(program: Program, memory: Memory) -> list[Ref]:
    """The values that hold the memory: its states, or what leaves the memory module."""
    if memory.recurrent:
        return list(memory.state.values())
    return module_boundary(program)[1]


def memory_reads(program: Program, memory: Memory, sources: list[Ref]) -> list[Ref]:
    """The sources and what is read out of the matrices: fixed, memory has nothing more to say."""
    g = program.graph
    if not memory.recurrent:
        return sources
    moved = g.run({r: program.noisy(r) for r in sources})
    refs = memory.matrices.refs
    reads = {
        r
        for n in g.order
        if any(i in refs and moved.moved(i, 1e-9) for i in n.inputs)
        for r in g.refs(n)
        if r not in refs and moved.moved(r, 1e-9)
    }
    return [*sources, *reads]
