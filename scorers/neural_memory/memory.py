"""Where is the memory? Finds the matrix that is carried along the sequence, and what is written."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from .graph import differs
from .program import Program
from .tape import Ref

SMALLEST = 4  # a smaller axis counts heads or window slots, not memory dimensions
RANK = 1e-7  # singular values below this fraction of the largest are zero


class Matrices:
    """Which values hold matrices, and how to take them out.

    Square matrices (two equal axes, also flattened into one) are what the task asks for. With
    `square=False`, rectangular ones count as well: a memory of slots times values is a matrix.
    With `flat_alone`, those count that are only ever kept flattened.
    """

    def __init__(self, program: Program, square: bool, flat_alone: bool = False):
        self.program, self.square = program, square
        g = program.graph
        self.not_memory = {
            program.length,
            program.batch,
            program.record.setting.model["max_seq_len"],
        }
        flat: set[Ref] = set()
        self.refs: set[Ref] = set()
        for n in g.order:
            for r in g.refs(n):
                if not g.is_float(r) or (r not in program.live and not n.leaf):
                    continue
                shape = g.shape(r)
                if self.axes(shape):
                    self.refs.add(r)
                elif (
                    square and shape and shape[-1] >= 16 and math.isqrt(shape[-1]) ** 2 == shape[-1]
                ):
                    flat.add(r)
        if flat_alone:
            self.refs = flat
        elif square:
            self._join_flattened(flat)

    def _join_flattened(self, flat: set[Ref]) -> None:
        """A flattened value is a matrix where a view leads to or from a square one."""
        g = self.program.graph
        shapes = set()
        for n in g.order:
            for r in g.refs(n):
                for i in n.inputs:
                    joined = (r in flat and i in self.refs) or (i in flat and r in self.refs)
                    if joined and self.program.rearranges(r):
                        shapes.add(g.shape(r if r in flat else i))
        self.refs |= {r for r in flat if g.shape(r) in shapes}
        for n in g.order:  # the storage of a matrix that was written in place
            if n.op == "as_strided_scatter.default" and any(i in self.refs for i in n.inputs):
                self.refs.add(Ref(n.id))

    def axes(self, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """The axes of the matrices in a value of this shape, or None."""
        fits = [i for i, s in enumerate(shape) if s >= SMALLEST and s not in self.not_memory]
        if self.square:
            for j in reversed(fits):
                for i in reversed(fits):
                    if i < j and shape[i] == shape[j]:
                        return i, j
            return None
        return (fits[-2], fits[-1]) if len(fits) >= 2 else None

    def kind(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """What two rectangular values must share to be the same memory."""
        if self.square:
            return ()
        axes = self.axes(shape)
        return tuple(sorted((shape[axes[0]], shape[axes[1]]))) if axes else None

    def of(self, value: torch.Tensor) -> torch.Tensor:
        """All matrices in a value, (n, rows, columns)."""
        axes = self.axes(tuple(value.shape))
        if axes is None:
            d = math.isqrt(value.shape[-1])
            return value.reshape(-1, d, d)
        return value.movedim(axes, (-2, -1)).reshape(-1, value.shape[axes[0]], value.shape[axes[1]])

    def rank(self, value: torch.Tensor) -> int:
        """The largest numerical rank among the matrices in a value."""
        s = torch.linalg.svdvals(self.of(value))
        return int((s > RANK * s.max()).sum(-1).max().item()) if s.max() > 0 else 0


class Write(NamedTuple):
    """The matrices that are born in one step, and those carried into it beside the memory."""

    births: list[Ref]
    carried: list[Ref]


@dataclass
class Memory:
    """The chain of states of the memory matrix.

    Attributes:
        path: the values along the chain, in order.
        steps: how many different last-token positions the path goes through.
        state: M_t by the last token t that it has seen; key -1 is the initial state.
        previous: the step before each step.
    """

    matrices: Matrices
    path: list[Ref] = field(default_factory=list)
    steps: int = 0
    state: dict[int, Ref] = field(default_factory=dict)
    previous: dict[int, int] = field(default_factory=dict)

    @property
    def recurrent(self) -> bool:
        """One step a token; the first and the last may be missing."""
        return self.steps >= self.matrices.program.length - 2

    def middle_steps(self) -> list[int]:
        """The steps to examine: two in the middle, where memory already holds something."""
        middle = self.matrices.program.length // 2
        known = [t for t in self.state if self.previous.get(t) in self.state]
        return sorted(known, key=lambda t: (abs(t - middle), t))[:2]

    def write(self, t: int) -> Write:
        """What step t adds: matrices made from values that are none.

        A matrix carried over from an earlier step (a momentum) is not born in this step.
        """
        program, refs = self.matrices.program, self.matrices.refs
        g, before = program.graph, self.previous.get(t, -1)
        previous = self.state.get(before)
        births: set[Ref] = set()
        carried: set[Ref] = set()
        todo, seen = [self.state[t]], set()
        while todo:
            r = todo.pop()
            if r in seen or r == previous:
                continue
            seen.add(r)
            if program.latest.get(r, -1) <= before:
                if r in program.depends or g.node(r).leaf in ("param", "buffer"):
                    carried.add(r)
                continue
            parents = [
                i for i in g.node(r).inputs if i in refs and (i in program.depends or i == previous)
            ]
            taken_out = g.node(r).base in ("select", "unbind", "slice", "as_strided") and any(
                len(g.shape(i)) > len(g.shape(r)) for i in parents
            )
            if taken_out or not parents:
                births.add(r)
            else:
                todo += parents
        tied = g.descendants([previous]) if previous else frozenset()
        return Write(sorted(births), sorted(r for r in carried if r.node not in tied))


def find_memory(program: Program) -> Memory:
    """The longest chain of live matrices along the sequence; square ones before others."""
    found = _find(program, Matrices(program, square=True))
    if not found.recurrent:
        other = _find(program, Matrices(program, square=False))
        if other.recurrent:
            return other
        flat = _find(program, Matrices(program, square=True, flat_alone=True))
        if flat.recurrent and _grows_by_rank_1(flat):
            return flat
    return found


def _grows_by_rank_1(memory: Memory) -> bool:
    """Whether a flattened value is a matrix: a vector of numbers would have no low rank."""
    base = memory.matrices.program.base
    return any(
        memory.matrices.rank(base[r]) == 1
        for t in memory.middle_steps()
        for r in memory.write(t).births
    )


def _find(program: Program, matrices: Matrices) -> Memory:
    memory = Memory(matrices)
    memory.path, memory.steps = _longest_path(program, matrices)
    if len(memory.path) > 1:
        _name_states(program, memory)
    return memory


def _longest_path(program: Program, matrices: Matrices) -> tuple[list[Ref], int]:
    """The path through matrices whose last token advances most often.

    Ties go to the path that starts at a state with no token in it, then to the one whose values
    are read by something other than the chain.
    """
    g, refs, latest = program.graph, matrices.refs, program.latest
    read = {
        i
        for n in g.order
        if not program.rearranges(Ref(n.id)) and not any(r in refs for r in g.refs(n))
        for i in n.inputs
        if i in refs
    }
    best: dict[Ref, tuple[int, int, int]] = {}
    comes_from: dict[Ref, Ref] = {}
    for n in g.order:
        for r in g.refs(n):
            if r not in refs:
                continue
            now, is_read = latest.get(r, -1), int(r in read)
            for i in n.inputs:
                if i in best and matrices.kind(g.shape(i)) == matrices.kind(g.shape(r)):
                    steps, from_start, reads = best[i]
                    score = (steps + int(now > latest.get(i, -1)), from_start, reads + is_read)
                    if r not in best or score > best[r]:
                        best[r], comes_from[r] = score, i
            if r not in best:
                best[r] = (int(now >= 0), int(now < 0), is_read)
    ends = [r for r in best if r in latest]
    if not ends:
        return [], 0
    end = max(ends, key=lambda r: best[r])
    path = [end]
    while path[-1] in comes_from:
        path.append(comes_from[path[-1]])
    return path[::-1], best[end][0]


def _name_states(program: Program, memory: Memory) -> None:
    """M_t: the last value of a step through which all that comes from M_{t-1} flows on."""
    segments: dict[int, list[Ref]] = {}
    for r in memory.path:
        segments.setdefault(program.latest.get(r, -1), []).append(r)
    order = sorted(segments)
    if -1 in segments:
        memory.state[-1] = segments[-1][0]
        for r in segments[-1]:
            if not program.rearranges(r) and program.graph.node(r).inputs:
                break
            memory.state[-1] = r
    for before, t, after in zip([None, *order], order, [*order[1:], None], strict=False):
        if t == -1:
            continue
        if before is not None:
            memory.previous[t] = before
        real = [r for r in segments[t] if not program.rearranges(r)] or segments[t]
        cut = None
        if before is not None and after is not None and before in memory.state:
            later = set(segments[after])
            cuts = [r for r in real if _cuts(program, memory.state[before], r, later)]
            cut = cuts[-1] if cuts else None
        if cut is None:  # a momentum also flows round M_t: take the last sum
            sums = [r for r in real if program.graph.node(r).base in ("add", "sub")]
            cut = (sums or real)[-1]
        memory.state[t] = cut


def _cuts(program: Program, start: Ref, cut: Ref, later: set[Ref]) -> bool:
    """Whether every way from `start` to `later` leads through `cut`."""
    goal, end = {r.node for r in later}, max(r.node for r in later)
    seen, todo = {start.node, cut.node}, [start.node]
    while todo:
        for i in program.graph.users[todo.pop()]:
            if i in seen or i > end:
                continue
            if i in goal:
                return False
            seen.add(i)
            todo.append(i)
    return True


def carries(program: Program, memory: Memory, t: int) -> bool:
    """Whether M_t changes with M_{t-1}."""
    before = memory.state[memory.previous[t]]
    run = program.graph.run({before: program.noisy(before)}, targets=[memory.state[t]])
    now = run[memory.state[t]]
    return differs(now, program.base[memory.state[t]], 1e-5)
