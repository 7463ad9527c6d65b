"""Criterion 4: is V ⊗ K^T what is written?

The matrices that are born in a step must have rank 1, both of their directions must move with the
token, and nothing else may be written: with the old memory and these matrices silenced, the new
memory is zero. The delta rule and momentum pass; a projection reshaped to a matrix does not. A sum
of outer products over a chunk of tokens is one product of matrices contracted over time: it passes
here, and fails the recurrent update.
"""

import torch

from ..finding import Finding
from ..memory import RANK, Memory, Write
from ..program import Program
from ..tape import Ref


def decide(program: Program, memory: Memory) -> Finding:
    steps = memory.middle_steps()
    if not steps:
        return _without_chain(program, memory)
    numbers: dict[str, object] = {}
    for t in steps:
        write = memory.write(t)
        good = outer_products(program, memory, t, write)
        numbers[f"step {t}"] = {"matrices born": len(write.births), "outer products": len(good)}
        if good and _is_all_that_is_written(program, memory, t, write, good):
            text = f"{program.line(*good)} writes a rank-1 matrix, and nothing else is written"
            return Finding(True, text, numbers)
    if not memory.recurrent and isolated_outer_products(program, memory):
        return _without_chain(program, memory)
    births = [r for t in steps for r in memory.write(t).births]
    if not births:
        return Finding(False, "no new matrix enters the memory", numbers)
    ranks = [memory.matrices.rank(program.base[r]) for r in births]
    numbers["ranks"] = ranks
    text = f"what {program.line(*births)} writes is not an outer product of two token vectors"
    return Finding(False, f"{text} (rank {max(ranks)})", numbers)


def outer_products(program: Program, memory: Memory, t: int, write: Write) -> list[Ref]:
    """The births of step t that are outer products."""
    return [
        r
        for r in write.births
        if (_has_rank_1(program, memory, r) and _directions_move(program, memory, r))
        or _sums_outer_products(program, r)
    ]


def _has_rank_1(program: Program, memory: Memory, r: Ref) -> bool:
    matrices = memory.matrices.of(program.base[r])
    s = torch.linalg.svdvals(matrices)
    if s.max() < 1e-12:
        return False
    # one memory for the whole batch receives one outer product a row of the batch
    allowed = program.batch if matrices.shape[0] == 1 else 1
    return bool(s.shape[-1] <= allowed or (s[:, allowed] < RANK * s.max()).all())


def _directions_move(program: Program, memory: Memory, r: Ref) -> bool:
    """Whether both singular directions turn with a token, be it of this step or of the last."""
    u1, _, v1 = torch.linalg.svd(memory.matrices.of(program.base[r]), full_matrices=False)
    alike_u = alike_v = 1.0
    for t in sorted(program.depends.get(r, ()))[-2:]:
        changed = memory.matrices.of(program.token_changed[t][r])
        u2, _, v2 = torch.linalg.svd(changed, full_matrices=False)
        alike_u = min(alike_u, (u1[:, :, 0] * u2[:, :, 0]).sum(-1).abs().min().item())
        alike_v = min(alike_v, (v1[:, 0] * v2[:, 0]).sum(-1).abs().min().item())
    return max(alike_u, alike_v) < 1 - 1e-6


def _sums_outer_products(program: Program, r: Ref) -> bool:
    """Whether this is a product of matrices contracted over time, token with the same token."""
    g = program.graph
    n = g.node(r)
    while program.rearranges(Ref(n.id)) and n.inputs:
        n = g.node(n.inputs[0])
    if n.base not in ("bmm", "mm") or not 1 < g.shape(n.inputs[0])[-1] <= program.length:
        return False

    def last_tokens(operand: Ref, axis: int) -> list[int]:
        out = []
        for i in range(g.shape(operand)[axis]):
            base = program.base[operand].select(axis, i)
            moved = [
                t
                for t in range(program.length)
                if not torch.equal(program.token_changed[t][operand].select(axis, i), base)
            ]
            out.append(max(moved, default=-1))
        return out

    left, right = last_tokens(n.inputs[0], -1), last_tokens(n.inputs[-1], -2)
    return bool(left == right == sorted(set(left)) and left[0] >= 0)


def _is_all_that_is_written(
    program: Program, memory: Memory, t: int, write: Write, good: list[Ref]
) -> bool:
    """With the old memory at zero, the new one is made of the outer products alone."""
    state, before = memory.state[t], memory.state[memory.previous[t]]
    empty = {r: torch.zeros_like(program.base[r]) for r in [before, *write.carried]}
    silent = {r: torch.zeros_like(program.base[r]) for r in good}
    written = program.graph.run(empty, targets=[state])[state]
    rest = program.graph.run({**empty, **silent}, targets=[state])[state]
    if not rest.nan_to_num().abs().max().item() < 1e-6 * written.abs().max().item():
        return False
    if memory.matrices.axes(tuple(written.shape)) is None:
        return True
    most = sum(memory.matrices.rank(program.base[r]) for r in good)
    return memory.matrices.rank(written) <= most


def isolated_outer_products(program: Program, memory: Memory) -> list[Ref]:
    """Token-dependent matrices of rank 1 that are made from no matrix, chain or not."""
    refs = memory.matrices.refs
    return [
        r
        for r in sorted(refs)
        if r in program.live
        and r in program.depends
        and not any(i in refs and i in program.depends for i in program.graph.node(r).inputs)
        and memory.matrices.axes(program.graph.shape(r))
        and _has_rank_1(program, memory, r)
        and _directions_move(program, memory, r)
    ]


def _without_chain(program: Program, memory: Memory) -> Finding:
    found = isolated_outer_products(program, memory)
    if found:
        return Finding(True, f"{program.line(*found)} makes outer products, all steps at once")
    return Finding(False, "there is no memory matrix that an outer product could be written to")
