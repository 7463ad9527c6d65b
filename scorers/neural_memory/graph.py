"""What would the program compute if this value were another? Replays a tape with interventions."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from .operations import implementation, widened
from .tape import BadRecord, Node, Ref, Tape

Replacement = torch.Tensor | Callable[[torch.Tensor], torch.Tensor]
Values = dict[Ref, torch.Tensor]


class Graph:
    """A tape and its interpreter.

    Only what the logits depend on is kept. `base` holds every value of the undisturbed replay.

    Args:
        tape: a checked tape.
        exact: replay in the recorded dtypes (to compare with the live program) instead of 64 bits
            (to see small effects).

    Raises:
        BadRecord: an operation of the tape fails.
    """

    def __init__(self, tape: Tape, exact: bool = False):
        self.nodes = tape.nodes
        self.logits = tape.logits
        self.exact = exact
        try:
            self._run_op = [None if n.leaf else implementation(n.op) for n in tape.nodes]
        except KeyError as e:
            raise BadRecord(f"the operation {e} cannot be replayed") from e
        self.users: list[list[int]] = [[] for _ in tape.nodes]
        for n in tape.nodes:
            for i in {r.node for r in n.inputs}:
                self.users[i].append(n.id)
        self._descendants: dict[frozenset[int], frozenset[int]] = {}
        self._ancestors: dict[frozenset[int], frozenset[int]] = {}
        self.input = next(Ref(n.id) for n in tape.nodes if n.leaf == "input")
        self.used = self.ancestors([self.logits]) | {self.input.node}
        self.order = [n for n in tape.nodes if n.id in self.used]
        self.base: Values = {}
        try:
            self.base = self._run({}, self.order, everything=True)
        except BadRecord:
            raise
        except Exception as e:  # any operation may refuse what a hostile tape feeds it
            raise BadRecord(f"the record does not replay: {type(e).__name__}: {e}"[:300]) from e

    # ---- structure
    def node(self, r: Ref) -> Node:
        return self.nodes[r.node]

    def shape(self, r: Ref) -> tuple[int, ...]:
        return self.nodes[r.node].shapes[r.out] or ()

    def refs(self, n: Node) -> list[Ref]:
        """The outputs of a node that hold tensors in `base`."""
        return [r for j in range(len(n.shapes)) if (r := Ref(n.id, j)) in self.base]

    def is_float(self, r: Ref) -> bool:
        return self.base[r].is_floating_point()

    def ancestors(self, refs: Iterable[Ref]) -> frozenset[int]:
        """The nodes that `refs` depend on, their own included."""
        key = frozenset(r.node for r in refs)
        if key not in self._ancestors:
            seen, todo = set(key), list(key)
            while todo:
                for r in self.nodes[todo.pop()].inputs:
                    if r.node not in seen:
                        seen.add(r.node)
                        todo.append(r.node)
            self._ancestors[key] = frozenset(seen)
        return self._ancestors[key]

    def descendants(self, refs: Iterable[Ref]) -> frozenset[int]:
        """The nodes that depend on `refs`, their own included."""
        key = frozenset(r.node for r in refs)
        if key not in self._descendants:
            seen, todo = set(key), list(key)
            while todo:
                for i in self.users[todo.pop()]:
                    if i not in seen:
                        seen.add(i)
                        todo.append(i)
            self._descendants[key] = frozenset(seen)
        return self._descendants[key]

    # ---- replay
    def run(
        self,
        replaced: Mapping[Ref, Replacement],
        targets: Iterable[Ref] | None = None,
        differentiable: bool = False,
        as_trained: bool = False,
    ) -> "Changed":
        """Replays with some values replaced, and returns what became different.

        Args:
            replaced: the new value of a ref, or a function of its replayed value. The very object
                `base[ref]` holds a value as it was.
            targets: compute only what these need (default: everything).
            differentiable: keep every dependent value, changed or not, for autograd.
            as_trained: stop gradients at `detach` and in `no_grad` regions, as training does;
                otherwise they flow wherever values do.
        """
        todo = self.descendants(r for r, v in replaced.items() if v is not self.base.get(r))
        todo = todo & self.used
        if targets is not None:
            todo = todo & self.ancestors(targets)
        order = [self.nodes[i] for i in sorted(todo)]
        return Changed(self.base, self._run(replaced, order, differentiable, as_trained))

    def _run(
        self,
        replaced: Mapping[Ref, Replacement],
        order: list[Node],
        everything: bool,
        as_trained: bool = False,
    ) -> Values:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32 if self.exact else torch.float64)
        try:
            return self._interpret(replaced, order, everything, as_trained)
        finally:
            torch.set_default_dtype(before)

    def _interpret(
        self,
        replaced: Mapping[Ref, Replacement],
        order: list[Node],
        everything: bool,
        as_trained: bool,
    ) -> Values:
        new: Values = {}
        base = self.base

        def value(a: Any) -> Any:
            if isinstance(a, Ref):
                return new[a] if a in new else base[a]
            if isinstance(a, list):
                return [value(b) for b in a]
            if isinstance(a, torch.dtype) and not self.exact:
                return widened(a)
            return a

        for n in order:
            refs = [Ref(n.id, j) for j in range(len(n.shapes))]
            if len(refs) == 1 and isinstance(swap := replaced.get(refs[0]), torch.Tensor):
                if swap is not base.get(refs[0]):
                    new[refs[0]] = swap
                continue
            if n.leaf:
                data = n.data
                assert data is not None
                outs: Any = [data if self.exact else data.to(widened(data.dtype))]
            elif not base or any(r in new for r in n.inputs) or any(r in replaced for r in refs):
                function = self._run_op[n.id]
                assert function is not None
                outs = function(*map(value, n.args), **{k: value(v) for k, v in n.kwargs.items()})
                outs = outs if isinstance(outs, (tuple, list)) else [outs]
            else:
                continue
            for r, out in zip(refs, outs, strict=False):
                if not isinstance(out, torch.Tensor):
                    continue
                if as_trained and (n.base == "detach" or not n.with_grad):
                    out = out.detach()
                swap = replaced.get(r)
                if swap is not None:
                    if swap is not base.get(r):
                        new[r] = swap(out) if callable(swap) else swap
                elif everything or not _same(out, base[r]):
                    new[r] = out
        return new


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


class Changed:
    """The values of one replay: the changed ones, and the base for the rest."""

    def __init__(self, base: Values, new: Values):
        self.base, self.new = base, new

    def __getitem__(self, r: Ref) -> torch.Tensor:
        return self.new[r] if r in self.new else self.base[r]

    def __contains__(self, r: Ref) -> bool:
        """Whether the value of `r` was replaced or became different."""
        return r in self.new

    def moved(self, r: Ref, tolerance: float) -> bool:
        """Whether the value of `r` differs from the undisturbed one, relative to its size."""
        return r in self.new and differs(self.new[r], self.base[r], tolerance)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference of two tensors over their largest magnitude (0 for two zeros)."""
    if not a.numel():
        return 0.0
    if a.shape != b.shape:
        return float("inf")
    if a.dtype == torch.bool:
        a, b = a.double(), b.double()
    a, b = a.nan_to_num(), b.nan_to_num()
    size = max(a.abs().max().item(), b.abs().max().item(), 1e-9)
    return (a - b).abs().max().item() / size


def differs(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    return relative(a, b) > tolerance
