"""What does every value of a recorded forward pass depend on, and does it matter?"""

from collections.abc import Callable, Mapping

import torch

from .graph import Changed, Graph, Replacement, relative
from .operations import REARRANGING
from .tape import BadRecord, Record, Ref, Tape

Measure = Callable[[torch.Tensor], torch.Tensor]

LIVE = 1e-7  # a value whose gradient to the logits is below this does nothing
DEPENDS = 1e-10  # a relative change above this is a dependence (the replay has 1e-16)


def live_values(graph: Graph, generator: torch.Generator) -> set[Ref]:
    """The values that the logits react to: by gradients, with `detach` as identity."""
    leaves = {
        r: graph.base[r].clone().requires_grad_()
        for n in graph.order
        if not n.inputs
        for r in graph.refs(n)
        if graph.is_float(r)
    }
    run = graph.run(leaves, differentiable=True)
    refs = [r for r, v in run.new.items() if v.requires_grad]
    logits = run[graph.logits]
    weights = torch.randn(logits.shape, generator=generator, dtype=torch.float64)
    grads = torch.autograd.grad((logits * weights).sum(), [run[r] for r in refs], allow_unused=True)
    return {
        r
        for r, g in zip(refs, grads, strict=True)
        if g is not None and g.numel() and g.nan_to_num().abs().max().item() > LIVE
    }


def spread(value: torch.Tensor) -> float:
    """The standard deviation of the elements; of a single one, its size."""
    return value.std().item() if value.numel() > 1 else value.abs().sum().item()


class Program:
    """A replayed forward pass with its dependences.

    Attributes:
        depends: by value, the token positions that change it.
        latest: by value, the last of these.
        live: the values that the logits react to.
        token_changed: by position, the replay with that token changed.
    """

    def __init__(self, record: Record, tape: Tape):
        self.record = record
        self.graph = Graph(tape)
        self.base = self.graph.base
        self.logits = self.graph.logits
        self.generator = torch.Generator().manual_seed(5)
        setting = record.setting
        self.batch, self.length = setting.batch, setting.length
        self.vocabulary = setting.model["vocab_size"]
        shapes = (self.base[self.graph.input].shape, self.base[self.logits].shape)
        whole = (self.batch, self.length)
        if shapes != (whole, (*whole, self.vocabulary)):
            raise BadRecord("the record is not one of the examined model on the given inputs")
        self._find_dependences()
        self.live = live_values(self.graph, self.generator)
        self.trained = self._find_trained()

    # ---- dependences
    def _find_dependences(self) -> None:
        ids = self.base[self.graph.input]
        self.depends: dict[Ref, set[int]] = {}
        self.token_changed: list[Changed] = []
        for t in range(self.length):
            other = ids.clone()
            other[:, t] = (other[:, t] + 5 + t % (self.vocabulary - 6)) % self.vocabulary
            run = self.graph.run({self.graph.input: other})
            self.token_changed.append(run)
            for r, v in run.new.items():
                if v.is_floating_point() and relative(v, self.base[r]) > DEPENDS:
                    self.depends.setdefault(r, set()).add(t)
        self.latest = {r: max(s) for r, s in self.depends.items()}

    def _find_trained(self) -> set[Ref]:
        """The values that the loss reaches, with gradients stopped where training stops them."""
        parameters = self._parameters()
        run = self.graph.run(parameters, differentiable=True, as_trained=True)
        if not run[self.logits].requires_grad:
            return set()
        refs = [r for r, v in run.new.items() if v.requires_grad]
        weights = self.noise(run[self.logits].detach(), 1.0)
        loss = (run[self.logits] * weights).sum()
        grads = torch.autograd.grad(loss, [run[r] for r in refs], allow_unused=True)
        found = zip(refs, grads, strict=True)
        return {r for r, g in found if g is not None and bool((g != 0).any())}

    def trains(self, r: Ref) -> bool:
        """Whether training reaches a value (if backward raised: unknown, yes)."""
        return self.record.gradients is None or r in self.trained

    def future_leak(self) -> tuple[int, int] | None:
        """(changed token, earlier position whose logits it moves), or None: causal."""
        base = self.base[self.logits]
        for t in range(1, self.length):
            now = self.token_changed[t][self.logits]
            for s in range(t):
                if relative(now[:, s], base[:, s]) > 1e-6:
                    return t, s
        return None

    # ---- noise
    def noise(self, like: torch.Tensor, scale: float | None = None) -> torch.Tensor:
        """Gaussian noise of the shape of `like`, by default as large as its values."""
        if scale is None:
            scale = max(spread(like), 0.1)
        return torch.randn(like.shape, generator=self.generator, dtype=torch.float64) * scale

    def noisy(self, r: Ref) -> torch.Tensor:
        return self.base[r] + self.noise(self.base[r])

    # ---- parameters
    def gradients(
        self,
        target: Ref,
        fixed: Mapping[Ref, Replacement],
        measure: Measure | None = None,
        as_trained: bool = False,
    ) -> dict[str, torch.Tensor]:
        """|d target / d parameter| by name, with the values in `fixed` held.

        `measure` makes one number of the target (default: a random projection).
        """
        parameters = self._parameters()
        run = self.graph.run(
            {**parameters, **fixed}, targets=[target], differentiable=True, as_trained=as_trained
        )
        value = run[target]
        if not value.requires_grad:
            return {}
        weights = self.noise(value.detach(), 1.0)
        loss = measure(value) if measure else (value * weights).sum()
        grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        return {
            self.graph.node(r).name: g.nan_to_num().abs()
            for r, g in zip(parameters, grads, strict=True)
            if g is not None and g.numel()
        }

    def _parameters(self) -> dict[Ref, torch.Tensor]:
        return {
            r: self.base[r].clone().requires_grad_()
            for n in self.graph.order
            if n.leaf == "param"
            for r in self.graph.refs(n)
            if self.graph.is_float(r)
        }

    def learned_gradients(
        self, target: Ref, fixed: Mapping[Ref, Replacement], measure: Measure | None = None
    ) -> dict[str, torch.Tensor]:
        """How far each parameter really moves the target, where training can see that it does.

        Both are needed: behind a `detach` a parameter acts and does not learn; in front of a
        straight-through trick it learns and does not act.
        """
        acts = self.gradients(target, fixed, measure)
        if self.record.gradients is None:
            return acts
        learns = self.gradients(target, fixed, measure, as_trained=True)
        return {
            k: torch.where(learns[k] != 0, g, 0.0)
            for k, g in acts.items()
            if k in learns and self.learnable(k)
        }

    def parameters_by_distance(self, r: Ref) -> list[str]:
        """The names of the parameters upstream of a value, nearest first."""
        found: list[str] = []
        seen, frontier = {r.node}, [r.node]
        while frontier:
            found += [n.name for i in frontier if (n := self.graph.nodes[i]).leaf == "param"]
            frontier = list({i.node for n in frontier for i in self.graph.nodes[n].inputs} - seen)
            seen.update(frontier)
        return found

    def learnable(self, name: str) -> bool:
        """Whether a real backward pass reached the parameter (if backward raised: unknown, yes)."""
        gradients = self.record.gradients
        return gradients is None or gradients.get(name, 0.0) > 0

    def learned_by(
        self,
        target: Ref,
        fixed: Mapping[Ref, Replacement],
        least: float = 1e-9,
        measure: Measure | None = None,
    ) -> list[str]:
        """The learnable parameters that move `target`."""
        found = self.learned_gradients(target, fixed, measure)
        return [k for k, g in found.items() if g.max().item() > least]

    def rearranges(self, r: Ref) -> bool:
        return self.graph.node(r).base in REARRANGING

    def line(self, *refs: Ref) -> str:
        """`line 84` of the submission, for the first ref that has one."""
        for r in refs:
            line = self.graph.node(r).line
            if line:
                return f"line {line}"
        return "an unknown line"
