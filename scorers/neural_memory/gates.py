"""Which values are gates? Finds sigmoids, however written, and forces them open or shut."""

import math
from dataclasses import dataclass

import torch

from .graph import relative
from .program import Program
from .tape import Ref

SATURATED = 60.0  # sigmoid(60) is 1 to 64 bits
HOPS = 7  # how far back the input of a hand-written sigmoid is searched
TAKES_APART = (
    "split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "slice", "select", "unbind"
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Gate:
    """A gate, named by the value that sets it.

    Attributes:
        control: the value to force: the pre-activation, or the gate itself where `raw`.
        output: the gate's value.
        mask: the elements of `control` that belong to this gate (None: all), where one sigmoid
            gives several gates.
        pair_axis: for a softmax over two, its axis.
    """

    control: Ref
    output: Ref
    mask: torch.Tensor | None = None
    pair_axis: int | None = None
    raw: bool = False

    def forced(self, base: torch.Tensor, value: float) -> torch.Tensor:
        """The control at which the gate is `value` (between 0 and 1)."""
        if self.raw:
            return torch.full_like(base, value)
        odds = -SATURATED if value == 0 else SATURATED if value == 1 else math.log(value / (1 - value))
        if self.pair_axis is not None:
            control = torch.zeros_like(base)
            control.select(self.pair_axis, 0).fill_(odds)
            return control
        full = torch.full_like(base, odds)
        return full if self.mask is None else torch.where(self.mask, full, base)


def find_gates(program: Program) -> list[Gate]:
    """All live gates whose value is a sigmoid or one half of a softmax over two."""
    g, found = program.graph, []
    for n in g.order:
        output = Ref(n.id)
        if output not in program.live:
            continue
        if n.base == "sigmoid":
            found.append(Gate(n.inputs[0], output))
        elif n.base in ("_softmax", "_safe_softmax", "softmax"):
            axis = n.args[1]
            if isinstance(axis, int) and g.shape(output)[axis] == 2:
                found.append(Gate(n.inputs[0], output, pair_axis=axis))
        else:
            control = _hand_written(program, output)
            if control is not None:
                found.append(Gate(control, output))
    unique: dict[tuple[Ref, int | None], Gate] = {}
    for gate in found:
        unique.setdefault((gate.control, gate.pair_axis), gate)
    whole = list(unique.values())
    return whole + [part for gate in whole for part in _parts(program, gate)]


def _hand_written(program: Program, output: Ref) -> Ref | None:
    """The u for which this value is sigmoid(±u) or sigmoid(±2u), as in 1 / (1 + exp(-u))."""
    g = program.graph
    n = g.node(output)
    if n.leaf or not g.is_float(output) or program.rearranges(output):
        return None
    value = program.base[output]
    if not value.numel() or value.min() <= 0 or value.max() >= 1:
        return None
    frontier = [n.id]
    for _ in range(HOPS):
        frontier = list(dict.fromkeys(r.node for i in frontier for r in g.nodes[i].inputs))[:12]
        for i in frontier:
            u = program.base.get(Ref(i))
            if (
                u is not None
                and u.shape == value.shape
                and u.is_floating_point()
                and any(relative(value, torch.sigmoid(c * u)) < 1e-9 for c in (1, -1, 2, -2))
            ):
                return Ref(i)
    return None


def _parts(program: Program, gate: Gate) -> list[Gate]:
    """The gates that one sigmoid yields when its value is taken apart (not along time)."""
    g = program.graph
    if gate.pair_axis is not None or g.shape(gate.control) != g.shape(gate.output):
        return []
    value = program.base[gate.output]
    time = [i for i, s in enumerate(value.shape) if s == program.length][:1]
    index = torch.arange(value.numel(), dtype=torch.float64).reshape(value.shape)
    parts: dict[bytes, Gate] = {}
    todo, seen = [gate.output], {gate.output.node}
    while todo:
        for i in g.users[todo.pop().node]:
            n = g.nodes[i]
            if i in seen or not program.rearranges(Ref(i)) or len(n.inputs) != 1:
                continue
            seen.add(i)
            outs = [r for r in g.refs(n) if r in program.live]
            todo += outs
            taken = g.run({gate.output: index}, targets=outs)
            for r in outs if n.base in TAKES_APART else []:
                mask = torch.zeros(value.numel(), dtype=torch.bool)
                mask[taken[r].flatten().long()] = True
                mask = mask.reshape(value.shape)
                if time:
                    mask = mask.any(time[0], keepdim=True).expand_as(mask).contiguous()
                if not bool(mask.all()):
                    parts.setdefault(mask.numpy().tobytes(), Gate(gate.control, r, mask=mask))
    return list(parts.values())


def complements(program: Program) -> list[Gate]:
    """Other weights u of an interpolation: beside a 1 - u, or in x + u * (y - x)."""
    g, found = program.graph, {}
    for n in g.order:
        if Ref(n.id) not in program.live or len(n.args) < 2:
            continue
        if n.base in ("sub", "rsub"):
            whole, part = n.args[:2] if n.base == "sub" else (n.args[1], n.args[0])
            ones = program.base[whole] if isinstance(whole, Ref) else torch.tensor(float(whole))
            if isinstance(part, Ref) and ones.numel() and bool((ones == 1).all()):
                found[part] = Gate(part, part, raw=True)
        elif n.base == "mul" and len(n.inputs) == 2:
            for part, other in (n.inputs, n.inputs[::-1]):
                v = program.base[part]
                if g.node(other).base == "sub" and v.numel() and bool(((v >= 0) & (v <= 1)).all()):
                    found[part] = Gate(part, part, raw=True)
    return list(found.values())
