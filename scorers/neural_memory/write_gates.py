"""Which gates decide how much is written to memory?"""

import torch

from .gates import Copy, Gate
from .graph import Replacement, differs
from .memory import Memory, Write
from .program import Program
from .tape import Ref

CLOSED = 0.5  # a gate that still lets more than half of the write through does not close it


def write_gates(program: Program, memory: Memory, gates: list[Gate], t: int) -> list[Gate]:
    """The gates that, forced to one extreme, stop the write of step t and keep the old memory."""
    write = memory.write(t)
    if not write.births:
        return []
    upstream = program.graph.ancestors([memory.state[t]])
    return [
        gate
        for gate in gates
        if any(r.node in upstream for r in gate.outputs)
        and _closes_write(program, memory, t, write, gate)
    ]


def _closes_write(program: Program, memory: Memory, t: int, write: Write, gate: Gate) -> bool:
    g, state, before = program.graph, memory.state[t], memory.state[memory.previous[t]]
    factors = {r: 1 + program.noise(program.base[r], 1.0) for r in write.births}

    def at(value: float) -> tuple[float, torch.Tensor, dict[Ref, Replacement]]:
        """(how much a change of what is written moves M_t, M_t, the intervention)."""
        forced = {before: program.base[before], **gate.forced(program, value)}
        noisy = {r: _times(f) for r, f in factors.items() if r not in forced}
        now = g.run(forced, targets=[state])[state]
        then = g.run({**forced, **noisy}, targets=[state])[state]
        return (now - then).norm().item(), now, forced

    shut, opened = sorted([at(0), at(1)], key=lambda x: x[0])
    if opened[0] < 1e-9 or not shut[0] <= CLOSED * opened[0]:
        return False
    if not differs(shut[1], opened[1], 1e-6):
        return False
    moved = {before: program.base[before] + program.noise(program.base[before])}
    kept = g.run({**shut[2], **moved}, targets=[state])[state]
    return differs(kept, shut[1], 1e-6)


def _times(factor: torch.Tensor) -> Replacement:
    return lambda v: v * factor


def driving_elements(program: Program, memory: Memory, t: int, copy: Copy) -> torch.Tensor:
    """Which elements of a gate's control move what is written when the old memory is empty.

    One projection may give the write gate and the forget gate: the elements that set the write are
    the write gate's own, the others are not.
    """
    state, before = memory.state[t], memory.state[memory.previous[t]]
    control = program.base[copy.control].clone().requires_grad_()
    empty: dict[Ref, Replacement] = {
        r: torch.zeros_like(program.base[r])
        for r in [before, *memory.write(t).carried]
        if r != copy.control
    }
    run = program.graph.run({**empty, copy.control: control}, targets=[state], differentiable=True)
    value = run[state]
    if not value.requires_grad:
        return torch.zeros_like(control, dtype=torch.bool)
    loss = (value * program.noise(value.detach(), 1.0)).sum()
    (grad,) = torch.autograd.grad(loss, [control], allow_unused=True)
    drives = torch.zeros_like(control, dtype=torch.bool) if grad is None else grad.abs() > 1e-12
    return drives if copy.mask is None else drives & copy.mask
