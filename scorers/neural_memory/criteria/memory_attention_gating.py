"""Criterion 6: is the output a learned interpolation g * attention + (1 - g) * memory?

There must be a gate and a value that is affine in it, which at one extreme follows attention and
ignores memory, and at the other follows memory and ignores attention. Any equal form passes:
either way round, scalar or per channel, a softmax over two, lerp, a clamped parameter. The gate
must have parameters of its own that learn. With all such gates forced, no stream may reach the
logits around them. So x + g * memory, concatenation and independent gates fail.
"""

from dataclasses import dataclass

import torch

from ..finding import Finding
from ..gates import Gate, other_weights
from ..graph import Replacement, differs
from ..memory import Memory
from ..program import Program
from ..streams import attention_outputs, last_before, memory_reads, memory_sources
from ..tape import Ref

MOVES = 1e-7
START = 2  # the first positions may have no memory to blend in

Intervention = dict[Ref, Replacement]


@dataclass(frozen=True)
class Interpolation:
    """A gate with the value that it blends.

    Attributes:
        attention_at: the gate's value at which only the attention stream is left.
    """

    gate: Gate
    blended: Ref
    attention_at: float


def decide(program: Program, memory: Memory, gates: list[Gate], on_write: list[Gate]) -> Finding:
    attention = attention_outputs(program, memory)
    sources = memory_sources(program, memory)
    if not attention:
        return Finding(False, "no attention output reaches the logits")
    if not sources:
        return Finding(False, "no memory stream reaches the logits")
    streams = _Streams(program, memory, attention, sources)
    outputs = {r for g in gates for r in g.outputs}
    candidates = [g for g in gates if g not in on_write]
    candidates += [g for g in other_weights(program) if not outputs.issuperset(g.outputs)]
    found = [i for g in candidates if (i := streams.interpolation(g))]
    numbers: dict[str, object] = {"gates tried": len(candidates), "interpolations": len(found)}
    if not found:
        return Finding(False, streams.nearest_miss, numbers)
    best = found[-1]
    where = program.line(best.blended, *best.gate.outputs, *best.gate.controls)
    if not streams.has_own_parameters(found):
        return Finding(False, f"the gate at {where} has no learnable parameter of its own", numbers)
    memory_passes, attention_passes = streams.bypasses(found)
    numbers |= {"memory bypasses": memory_passes, "attention bypasses": attention_passes}
    if memory_passes or attention_passes:
        who = " and ".join(
            name
            for name, passes in (("memory", memory_passes), ("attention", attention_passes))
            if passes
        )
        text = f"the gate at {where} blends attention and memory, but {who} also reaches the logits"
        return Finding(False, f"{text} around it", numbers)
    text = f"forcing the gate at {where} to {best.attention_at:g} leaves only the attention stream"
    return Finding(True, f"{text}, to {1 - best.attention_at:g} only the memory stream", numbers)


def _miss(where: str, ends: dict[str, list[bool]]) -> str:
    """Why a gate that reaches the logits blends nothing."""
    both = [name for name, felt in ends.items() if all(felt)]
    switched = [name for name, felt in ends.items() if sum(felt) == 1]
    if len(switched) == 1 and both:
        return f"the gate at {where} switches {switched[0]} alone: {both[0]} stays at both ends"
    if len(both) == 2:
        return f"the gate at {where} leaves attention and memory both in at either end"
    return f"the gate at {where} makes no blend g * attention + (1 - g) * memory"


class _Streams:
    """The two streams, each of which can be disturbed while the other holds still."""

    def __init__(self, program: Program, memory: Memory, attention: list[Ref], sources: list[Ref]):
        self.program, self.attention = program, attention
        self.memory_noise: Intervention = {r: program.noisy(r) for r in sources}
        self.reads = memory_reads(program, memory, sources)
        self.nearest_miss = "no gate stands between attention, memory and the logits"

    def _held_reads(self, controls: list[Ref]) -> Intervention:
        moved = self.program.graph.descendants(controls)
        return {r: self.program.base[r] for r in self.reads if r.node not in moved}

    def _attention_noise(self, gate: Gate) -> Intervention:
        outputs = last_before(self.program, self.attention, gate.controls)
        return {r: self.program.noisy(r) for r in outputs}

    def interpolation(self, gate: Gate) -> Interpolation | None:
        program, g = self.program, self.program.graph
        controls = set(gate.controls)
        held, attention_noise = self._held_reads(gate.controls), self._attention_noise(gate)
        if not attention_noise:
            return None
        one, zero, half = (gate.forced(program, v) for v in (1.0, 0.0, 0.5))
        still = g.run({**held, **one})
        if not still.moved(g.logits, MOVES) and not g.run({**held, **zero}).moved(g.logits, MOVES):
            return None  # it acts through the memory alone
        at1, at0 = g.run(one), g.run(zero)
        at_half = g.run(half)
        memory1, memory0 = g.run({**self.memory_noise, **one}), g.run({**self.memory_noise, **zero})
        disturbed = {**held, **attention_noise}
        attention1, attention0 = g.run({**disturbed, **one}), g.run({**disturbed, **zero})
        for r in sorted(at1.new):
            if r in controls or r not in program.live or not g.is_float(r):
                continue
            v1, v0 = at1[r], at0[r]
            if not differs(v1, v0, 1e-9):
                continue
            m1, m0 = differs(memory1[r], v1, MOVES), differs(memory0[r], v0, MOVES)
            a1, a0 = differs(attention1[r], v1, MOVES), differs(attention0[r], v0, MOVES)
            if (m1, a1, m0, a0) == (False, True, True, False):
                attention_at = 1.0
            elif (m1, a1, m0, a0) == (True, False, False, True):
                attention_at = 0.0
            else:
                continue
            affine = not differs(at_half[r], 0.5 * (v1 + v0), MOVES)
            if affine and self._keeps_weights(gate, r, {**held, **attention_noise}):
                return Interpolation(gate, r, attention_at)
        ends = {
            "memory": [
                differs(m[g.logits], v[g.logits], MOVES)
                for m, v in ((memory1, at1), (memory0, at0))
            ],
            "attention": [
                differs(a[g.logits], v[g.logits], MOVES)
                for a, v in ((attention1, at1), (attention0, at0))
            ],
        }
        self.nearest_miss = _miss(program.line(*gate.outputs, *gate.controls), ends)
        return None

    def _keeps_weights(self, gate: Gate, r: Ref, disturbed: Intervention) -> bool:
        """Whether, each element of the gate at a value of its own, both streams share one weight.

        With A and M the blend at the two ends, the weight is (blend - M) / (A - M). It is the
        gate's alone: other streams leave it as it is. Two independent gates have none.
        """
        g, program = self.program.graph, self.program
        one, zero = gate.forced(program, 1.0), gate.forced(program, 0.0)
        apart = gate.forced_apart(program)

        def blend(setting: Intervention) -> tuple[torch.Tensor, torch.Tensor]:
            """(blend - M, A - M)."""
            low = g.run({**setting, **zero})[r]
            return g.run({**setting, **apart})[r] - low, g.run({**setting, **one})[r] - low

        part, whole = blend({})
        for setting in (disturbed, self.memory_noise):
            other_part, other_whole = blend(setting)
            if differs(part * other_whole, other_part * whole, 1e-6):
                return False
        return True

    def has_own_parameters(self, found: list[Interpolation]) -> bool:
        """Whether parameters that act through the gates alone are learned."""
        program = self.program
        controls = [z for i in found for z in i.gate.controls]
        held = {z: program.base[z] for z in controls}
        elsewhere = program.gradients(program.logits, held)
        for z in controls:
            if program.graph.node(z).leaf == "param":
                if program.learnable(program.graph.node(z).name):
                    return True
                continue
            if not program.trains(z):
                continue
            for name, here in program.learned_gradients(z, {}).items():
                rest = elsewhere.get(name, torch.zeros_like(here))
                if bool(((here > 1e-9) & (rest < 1e-12)).any()):
                    return True
        return False

    def bypasses(self, found: list[Interpolation]) -> tuple[bool, bool]:
        """(memory, attention) reaches the logits with all gates set to the other stream."""
        g = self.program.graph
        to_attention: Intervention = {}
        to_memory: Intervention = {}
        noise: Intervention = {}
        for i in found:
            to_attention |= i.gate.forced(self.program, i.attention_at)
            to_memory |= i.gate.forced(self.program, 1 - i.attention_at)
            noise |= self._attention_noise(i.gate)
        held = self._held_reads([z for i in found for z in i.gate.controls])

        def passes(setting: Intervention, disturbance: Intervention) -> bool:
            calm = g.run(setting)[g.logits][:, START:]
            stirred = g.run({**disturbance, **setting})[g.logits][:, START:]
            return differs(stirred, calm, 1e-6)

        return passes(to_attention, self.memory_noise), passes({**held, **to_memory}, noise)
