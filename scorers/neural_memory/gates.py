"""Which values are gates? Finds sigmoids, however written, and forces them open or shut."""

import math
from dataclasses import dataclass

import torch

from .graph import Replacement, relative
from .program import Program
from .tape import Ref

SATURATED = 60.0  # sigmoid(60) is 1 to 64 bits
HOPS = 7  # how far back the input of a hand-written sigmoid is searched
SOFTMAX = ("_softmax", "_safe_softmax", "softmax")
BOUNDED = ("tanh", "hardtanh", "hardsigmoid", "erf")
TAKES_APART = (
    "chunk", "split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes",
    "slice", "select", "unbind",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Copy:
    """One use of a gate.

    Attributes:
        control: the value to force: the pre-activation, or the gate's value itself.
        output: the gate's value.
        mask: the elements of `control` that belong to this gate (None: all), where one sigmoid
            gives several gates.
    """

    control: Ref
    output: Ref
    mask: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Gate:
    """A gate with all its uses along the sequence: a loop computes it once for each token.

    Attributes:
        copies: its uses.
        pair_axis: for a softmax over two, its axis.
        raw: whether the control is the gate's value, not its pre-activation.
    """

    copies: tuple[Copy, ...]
    pair_axis: int | None = None
    raw: bool = False

    @property
    def controls(self) -> list[Ref]:
        return [c.control for c in self.copies]

    @property
    def outputs(self) -> list[Ref]:
        return [c.output for c in self.copies]

    def forced(self, program: Program, value: float) -> dict[Ref, Replacement]:
        """The intervention that sets the gate to `value` (between 0 and 1)."""
        return {
            c.control: self._forced(program.base[c.control], c.mask, value) for c in self.copies
        }

    def forced_apart(self, program: Program) -> dict[Ref, Replacement]:
        """The intervention that sets every element of the gate to another value."""
        found: dict[Ref, Replacement] = {}
        for c in self.copies:
            base = program.base[c.control]
            odds = 2 * program.noise(base, 1.0)
            if self.raw:
                odds = torch.sigmoid(odds)
            elif c.mask is not None:
                odds = torch.where(c.mask, odds, base)
            found[c.control] = odds
        return found

    def _forced(self, base: torch.Tensor, mask: torch.Tensor | None, value: float) -> torch.Tensor:
        if self.raw:
            return torch.full_like(base, value)
        odds = (
            -SATURATED if value == 0 else SATURATED if value == 1 else math.log(value / (1 - value))
        )
        if self.pair_axis is not None:
            control = torch.zeros_like(base)
            control.select(self.pair_axis, 0).fill_(odds)
            return control
        full = torch.full_like(base, odds)
        return full if mask is None else torch.where(mask, full, base)


def find_gates(program: Program) -> list[Gate]:
    """All live gates whose value is a sigmoid or one half of a softmax over two."""
    g = program.graph
    found: dict[tuple[Ref, int | None], Copy] = {}
    for n in g.order:
        output = Ref(n.id)
        if output not in program.live:
            continue
        if n.base == "sigmoid":
            found.setdefault((n.inputs[0], None), Copy(n.inputs[0], output))
        elif n.base in (*SOFTMAX, "_log_softmax"):
            axis = n.args[1]
            if isinstance(axis, int) and g.shape(output)[axis] == 2:
                found.setdefault((n.inputs[0], axis), Copy(n.inputs[0], output))
        else:
            control = _hand_written(program, output)
            if control is not None:
                found.setdefault((control, None), Copy(control, output))
    whole = [(axis, c) for (_, axis), c in found.items()]
    parts = [(None, p) for axis, c in whole if axis is None for p in _parts(program, c)]
    return _families(program, [*whole, *parts])


def _families(
    program: Program, copies: list[tuple[int | None, Copy]], raw: bool = False
) -> list[Gate]:
    """Joins the copies that a loop makes: same place in the source, shape and parameters."""
    g = program.graph
    families: dict[object, list[Copy]] = {}
    for axis, c in copies:
        z, y = g.node(c.control), g.node(c.output)
        mask = b"" if c.mask is None else c.mask.numpy().tobytes()
        key: tuple[object, ...] = (axis, z.op, z.line, y.op, y.line, g.shape(c.control), mask)
        families.setdefault((*key, _nearest_parameters(program, c.control)), []).append(c)
    return [Gate(tuple(f), pair_axis=key[0], raw=raw) for key, f in families.items()]  # type: ignore[index]


def _nearest_parameters(program: Program, r: Ref, hops: int = 6) -> tuple[str, ...]:
    """The names of the parameters nearest upstream: they tell one gate from another."""
    g, frontier = program.graph, {r.node}
    for _ in range(hops):
        names = sorted(g.nodes[i].name for i in frontier if g.nodes[i].leaf in ("param", "frozen"))
        if names:
            return tuple(names)
        frontier = {i.node for n in frontier for i in g.nodes[n].inputs}
    return ()


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


def _parts(program: Program, whole: Copy) -> list[Copy]:
    """The gates that one sigmoid yields when its value is taken apart (not along time)."""
    g = program.graph
    if g.shape(whole.control) != g.shape(whole.output):
        return []
    value = program.base[whole.output]
    time = [i for i, s in enumerate(value.shape) if s == program.length][:1]
    index = torch.arange(value.numel(), dtype=torch.float64).reshape(value.shape)
    parts: dict[bytes, Copy] = {}
    todo, seen = [whole.output], {whole.output.node}
    while todo:
        for i in g.users[todo.pop().node]:
            n = g.nodes[i]
            if i in seen or not program.rearranges(Ref(i)) or len(n.inputs) != 1:
                continue
            seen.add(i)
            outs = [r for r in g.refs(n) if r in program.live]
            todo += outs
            taken = g.run({whole.output: index}, targets=outs)
            for r in outs if n.base in TAKES_APART else []:
                mask = torch.zeros(value.numel(), dtype=torch.bool)
                mask[taken[r].flatten().long()] = True
                mask = mask.reshape(value.shape)
                if time:
                    mask = mask.any(time[0], keepdim=True).expand_as(mask).contiguous()
                if not bool(mask.all()):
                    parts.setdefault(mask.numpy().tobytes(), Copy(whole.control, r, mask))
    return list(parts.values())


def other_weights(program: Program) -> list[Gate]:
    """Weights of an interpolation that are no sigmoid.

    A u beside a 1 - u or in x + u * (y - x), such as a clamped parameter; a bounded function such
    as tanh, whose two ends may stand for the two streams.
    """
    g = program.graph
    found: dict[Ref, Copy] = {}
    bounded: list[Copy] = []
    for n in g.order:
        if Ref(n.id) not in program.live:
            continue
        if n.base in BOUNDED:
            bounded.append(Copy(n.inputs[0], Ref(n.id)))
        if len(n.args) < 2:
            continue
        if n.base in ("sub", "rsub"):
            whole, part = n.args[:2] if n.base == "sub" else (n.args[1], n.args[0])
            ones = program.base[whole] if isinstance(whole, Ref) else torch.tensor(float(whole))
            if isinstance(part, Ref) and ones.numel() and bool((ones == 1).all()):
                found[part] = Copy(part, part)
        elif n.base == "mul" and len(n.inputs) == 2:
            for part, other in (n.inputs, n.inputs[::-1]):
                v = program.base[part]
                if g.node(other).base == "sub" and v.numel() and bool(((v >= 0) & (v <= 1)).all()):
                    found[part] = Copy(part, part)
    weights = _families(program, [(None, c) for c in found.values()], raw=True)
    return weights + _families(program, [(None, c) for c in bounded])
