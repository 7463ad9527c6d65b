"""Criterion 2: is the write gated by how the input differs from what memory predicts?

A sigmoid gate closes the write of a step. Its pre-activation
- reacts to M_{t-1}, through a value read out of it, and to the token with that read held fixed;
- compares the two. In order of strength: a *difference* (moving both alike changes nothing); an
  *extremum* (a norm, a squared error, a cosine: the gate is largest or smallest where the read
  equals the input); a *joint* learned function of both, such as an MLP of their concatenation or
  their dot product, where the read depends on the query;
- is learned: a parameter stands after the comparison.
So a generic sigmoid(Linear(x)), a gate on the norm of M, and an error against something that is
not the memory all fail.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..finding import Finding
from ..gates import Gate
from ..graph import Changed, differs
from ..memory import Memory
from ..program import Program, spread
from ..tape import Node, Ref
from ..write_gates import write_gates

LEVELS = ("joint", "extremum", "difference")
FAR = 1e-4  # the memory must move the gate at least this much as the token does, and conversely
HOPS = 8
CANDIDATES = 6


@dataclass(frozen=True)
class Meeting:
    """An operation where a value read from memory meets one that comes from the token alone."""

    node: Node
    token: Ref
    read: Ref


def decide(program: Program, memory: Memory, gates: list[Gate]) -> Finding:
    why = (
        "no sigmoid gate closes the write to memory"
        if memory.state
        else "there is no memory matrix"
    )
    numbers: dict[str, object] = {}
    for t in memory.middle_steps():
        closing = write_gates(program, memory, gates, t)
        numbers[f"step {t}"] = {"gates on the write": len(closing)}
        for gate in closing:
            control = _control_of_step(program, memory, t, gate)
            where = f"the write gate of {program.line(*gate.outputs, control)}"
            found = _Comparison(program, memory, t, control)
            if found.level:
                numbers["comparison"] = found.level
                text = f"{where} is set by a learned {_WORDS[found.level]} of {found.where}"
                return Finding(
                    True, f"{text}: it closes the write and keeps the old memory", numbers
                )
            why = f"{where} {found.why_not}"
    return Finding(False, why, numbers)


_WORDS = {
    "difference": "function of the difference between the input and the memory's prediction",
    "extremum": "function of the distance between the input and the memory's prediction",
    "joint": "joint function of the input and the memory's prediction",
}


def _control_of_step(program: Program, memory: Memory, t: int, gate: Gate) -> Ref:
    """The gate's last control that acts on the write of step t."""
    upstream = program.graph.ancestors([memory.state[t]])
    return max((r for r in gate.controls if r.node in upstream), default=gate.controls[-1])


class _Comparison:
    """How, if at all, one write gate compares the input with the read."""

    def __init__(self, program: Program, memory: Memory, t: int, control: Ref):
        self.program, self.memory, self.t, self.control = program, memory, t, control
        self.state = memory.state[memory.previous[t]]
        self.level, self.where, self.why_not = "", "", "does not depend on the memory"
        g, z = program.graph, control
        if z.node not in g.descendants([self.state]):
            return
        base = program.base[self.state]
        noise = program.noise(base, max(spread(base), 0.2))
        self.memory_moved = g.run({self.state: base + noise}, targets=[z])
        if z not in self.memory_moved:
            return
        self.why_not = "depends on the memory but compares no prediction with the input"
        for meeting in self._meetings():
            level = self._kind(meeting)
            stronger = level and (not self.level or LEVELS.index(level) > LEVELS.index(self.level))
            if stronger and self._is_balanced(meeting) and self._is_learned(meeting, level):
                self.level, self.where = level, program.line(Ref(meeting.node.id))

    # ---- where the read meets the token
    def _tainted(self, r: Ref) -> bool:
        return self.memory_moved.moved(r, 1e-10)

    def _meetings(self) -> list[Meeting]:
        g, found = self.program.graph, []
        size = self.program.base[self.state].numel()
        for i in sorted(g.ancestors([self.control])):
            n = g.nodes[i]
            reads = [
                r
                for r in n.inputs
                if self._tainted(r)
                and r not in self.memory.matrices.refs
                and self.program.base[r].numel() < size  # not the whole state, flattened
            ]
            if not reads or not any(self._tainted(r) for r in g.refs(n)):
                continue
            for token in n.inputs:
                if not self._tainted(token) and self.t in self.program.depends.get(token, ()):
                    found += [Meeting(n, token, read) for read in reads]
        return found

    def _gate_at(self, values: dict[Ref, torch.Tensor]) -> torch.Tensor:
        z = self.control
        return self.program.graph.run(values, targets=[z])[z]

    # ---- what kind of comparison
    def _kind(self, m: Meeting) -> str:
        if self.program.base[m.token].shape == self.program.base[m.read].shape:
            if self._is_difference(m):
                return "difference"
            if self._has_extremum(m):
                return "extremum"
        return "joint" if self._is_joint(m) else ""

    def _is_difference(self, m: Meeting) -> bool:
        """Moving both alike changes nothing; moving one does. Also a + (-b)."""
        program, out = self.program, Ref(m.node.id)
        a, b = program.base[m.token], program.base[m.read]
        shift = program.noise(a)

        def result(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return program.graph.run({m.token: a, m.read: b}, targets=[out])[out]

        now = result(a, b)
        if not differs(now, result(a + shift, b + shift), 1e-9):
            return differs(now, result(a + shift, b), 1e-6)
        return m.node.base == "add" and (self._is_negated(m.read) or self._is_negated(m.token))

    def _is_negated(self, r: Ref) -> bool:
        n, base = self.program.graph.node(r), self.program.base
        if n.base == "neg":
            return True
        return n.base == "mul" and any(
            base[i].shape == base[r].shape and not differs(base[r], -base[i], 1e-9)
            for i in n.inputs
        )

    def _same_size(self, start: Ref, fits: Callable[[Ref], bool]) -> list[Ref]:
        """`start` and its ancestors of the same shape for which `fits` holds."""
        g, found, frontier = self.program.graph, [start], [start]
        for _ in range(HOPS):
            frontier = [
                i
                for r in frontier
                for i in g.node(r).inputs
                if i not in found
                and not g.node(i).leaf
                and g.shape(i) == g.shape(start)
                and fits(i)
            ]
            found += frontier
        return found[:CANDIDATES]

    def _has_extremum(self, m: Meeting) -> bool:
        """The gate is largest or smallest where the read equals the input."""
        refs = self.memory.matrices.refs
        reads = self._same_size(m.read, lambda r: self._tainted(r) and r not in refs)
        tokens = self._same_size(
            m.token, lambda r: not self._tainted(r) and self.t in self.program.depends.get(r, ())
        )
        return any(
            self.program.graph.shape(a) == self.program.graph.shape(b) and self._extremal(a, b)
            for a in tokens
            for b in reads
        )

    def _extremal(self, token: Ref, read: Ref) -> bool:
        program = self.program
        a = program.base[token]

        def z(b: torch.Tensor) -> torch.Tensor:
            return self._gate_at({token: a, read: b})

        equal = z(a.clone())
        if not torch.isfinite(equal).all() or not differs(z(program.base[read]), equal, 1e-9):
            return False
        near = 0.05 * spread(a) + 1e-6
        signs = torch.stack(
            [torch.sign(z(a + program.noise(a, near)) - equal).flatten() for _ in range(8)]
        )
        one_sided = (signs >= 0).all(0) | (signs <= 0).all(0)
        return bool(signs.abs().sum() > 0) and bool(one_sided.all())

    def _is_joint(self, m: Meeting) -> bool:
        """Both move the gate, and the read depends on what memory is asked."""
        program = self.program
        if not self._asks_memory(m.read):
            return False
        a, b = program.base[m.token], program.base[m.read]
        now = self._gate_at({m.token: a, m.read: b})
        token_moves = self._gate_at({m.token: program.noisy(m.token), m.read: b})
        read_moves = self._gate_at({m.token: a, m.read: program.noisy(m.read)})
        return differs(token_moves, now, 1e-6) and differs(read_moves, now, 1e-6)

    def _other_token(self, fixed: list[Ref], target: Ref) -> Changed:
        """The replay with another token at this step, and some values held as they were."""
        program = self.program
        ids = program.graph.input
        other = program.token_changed[self.t][ids]
        held = {r: program.base[r] for r in fixed}
        return program.graph.run({ids: other, **held}, targets=[target])

    def _asks_memory(self, read: Ref) -> bool:
        run = self._other_token([self.state], read)
        return run.moved(read, 1e-7)

    # ---- and is it a real and a learned one
    def _is_balanced(self, m: Meeting) -> bool:
        """Neither side moves the gate by a negligible amount beside the other."""
        z = self.control
        base = self.program.base[z]
        by_memory = (self.memory_moved[z] - base).abs().max().item()
        by_token = self._other_token([m.read, self.state], z)[z] - base
        far = by_token.abs().max().item()
        if far == 0 or by_memory < FAR * far or far < FAR * by_memory:
            self.why_not = "reacts to the memory or to the token only by a negligible amount"
            return False
        return True

    def _is_learned(self, m: Meeting, level: str) -> bool:
        program = self.program
        fixed = {self.state: program.base[self.state], m.token: program.base[m.token]}
        if level == "joint":
            g, refs = program.graph, self.memory.matrices.refs
            reads = {
                r: program.base[r]
                for i in g.ancestors([m.read])
                for r in g.refs(g.nodes[i])
                if self._tainted(r)
                and r not in refs
                and any(j in refs and self._tainted(j) for j in g.nodes[i].inputs)
            }
            fixed.update(reads)
        else:
            fixed[m.read] = program.base[m.read]
        before = {program.graph.nodes[i].name for i in program.graph.ancestors([m.token])}
        after = set(program.learned_by(self.control, fixed)) - before
        if after and program.trains(self.control):
            return True
        self.why_not = (
            "compares input and prediction, but nothing learned stands after the comparison"
        )
        return False
