"""Criterion 3: does a learnable parameter set how fast old memory fades?

With what is written silenced, and with what the write gates say held fixed, the new memory is the
old one times its retention. A learnable parameter must move it. A forget gate that depends on the
data counts, also as a slice of a projection shared with other gates: only the elements of a write
gate that drive the write are held fixed. So the coupled (1 - s) M + s W has no decay of its own.
"""

import torch

from ..finding import Finding
from ..gates import Copy, Gate
from ..graph import Replacement
from ..memory import Memory
from ..program import Program, spread
from ..tape import Ref
from ..write_gates import driving_elements, write_gates
from .outer_product import isolated_outer_products

LEAST = 1e-7


def decide(program: Program, memory: Memory, gates: list[Gate]) -> Finding:
    numbers: dict[str, object] = {}
    steps = memory.middle_steps()
    for t in steps:
        found, retention = _decay_parameters(program, memory, gates, t)
        numbers[f"step {t}"] = {"retention": retention, "parameters": found[:4]}
        if found:
            text = f"how much of the old memory survives is set by the parameter `{found[0]}`"
            return Finding(True, text, numbers)
    if not memory.recurrent:
        found = _parallel_decay(program, memory)
        if found:
            numbers["parameters"] = found[:4]
            text = f"the weight of an old write fades as the parameter `{found[0]}` says"
            return Finding(True, text, numbers)
    if not steps:
        return Finding(False, "there is no memory matrix that could fade", numbers)
    return Finding(
        False, "no learnable parameter changes how much of the old memory survives", numbers
    )


def _decay_parameters(
    program: Program, memory: Memory, gates: list[Gate], t: int
) -> tuple[list[str], float]:
    """(names of the learnable parameters that set the retention, the retention at step t)."""
    state, before, write = memory.state[t], memory.state[memory.previous[t]], memory.write(t)
    old = program.base[before]
    old = old + program.noise(old, 0.3 * max(spread(old), 1e-3))
    fixed: dict[Ref, Replacement] = {before: old}
    for r in [*write.births, *write.carried]:
        fixed[r] = torch.zeros_like(program.base[r])
    for gate in write_gates(program, memory, gates, t):
        for copy in gate.copies:
            _hold(fixed, program, copy, driving_elements(program, memory, t, copy))
    new = program.graph.run(fixed, targets=[state])[state]
    retention = float("nan")
    if new.shape == old.shape:
        retention = ((new * old).sum() / (old * old).sum()).item()
        if abs(retention) < 1e-6:
            return [], retention
    found = program.learned_by(state, fixed, LEAST)
    nearest = program.parameters_by_distance(state)
    return sorted(found, key=nearest.index), retention


def _hold(
    fixed: dict[Ref, Replacement], program: Program, copy: Copy, elements: torch.Tensor
) -> None:
    """Holds some elements of a gate's control at their value, and lets the others follow."""
    earlier = fixed.get(copy.control)
    base = program.base[copy.control]

    def held(v: torch.Tensor) -> torch.Tensor:
        v = earlier(v) if callable(earlier) else v
        return torch.where(elements, base, v)

    if not isinstance(earlier, torch.Tensor):
        fixed[copy.control] = held


def _parallel_decay(program: Program, memory: Memory) -> list[str]:
    """The same, for a memory that computes all steps at once: (time, d, d) writes, weighted sums.

    One write is left alone; the weight that it has in later states must depend on a parameter.
    """
    g, length = program.graph, program.length
    for born in isolated_outer_products(program, memory):
        shape = g.shape(born)
        if length not in shape:
            continue
        axis = shape.index(length)
        alone = torch.zeros_like(program.base[born])
        alone.select(axis, 1).copy_(program.noise(alone.select(axis, 1), 1.0))
        run = g.run({born: alone})
        later = [
            r
            for r, v in sorted(run.new.items())
            if r != born
            and r in program.live
            and v.shape == alone.shape
            and v.select(axis, length - 2).abs().max() > 1e-9
            and v.select(axis, 0).abs().max() < 1e-12
        ]
        # where the write enters the sum: the last value in which it still stands alone in time
        last = [
            r
            for r, v in sorted(run.new.items())
            if v.shape == alone.shape
            and v.select(axis, length - 2).abs().max() < 1e-12 < v.abs().max()
        ]
        source = last[-1] if last else born

        def weight(v: torch.Tensor, alone: torch.Tensor = alone, axis: int = axis) -> torch.Tensor:
            """The weight of the write long after, over its weight when it was written."""
            x = alone.select(axis, 1)
            then, now = v.select(axis, 1), v.select(axis, length - 2)
            return (now * x).sum() / (then * x).sum()

        for state in later:
            found = program.learned_by(state, {source: alone}, LEAST, measure=weight)
            if found:
                return found
    return []
