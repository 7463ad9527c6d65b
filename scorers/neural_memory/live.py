"""Is the tape what the program computes? Compares it with a plain run it could not foresee.

The record was written in the process of the submission, which may have forged it. So the model is
run again, in another process, without a recorder, on inputs that were drawn after the record was
handed over. The replayed tape must give the same logits.
"""

from typing import Any

import torch

from .graph import Graph, differs
from .tape import BadRecord, Record, Ref, read_tensor

TOLERANCE = 1e-3  # of the largest logit: float32, and another order of operations


def disagreement(records: list[Record], request: dict[str, Any], logits: list[Any]) -> str:
    """Why the tapes are not the program ("" if they are).

    A program that turns data into Python numbers (`.item()`) runs a tape only where these are
    alike: then half of the cases must agree.

    Raises:
        BadRecord: the logits are no tensors.
    """
    if not isinstance(logits, list) or len(logits) != len(request["cases"]):
        raise BadRecord("the plain run left no logits")
    graphs = [
        {m: Graph(t, exact=True) for m, t in record.tapes.items() if m in ("train", "eval")}
        for record in records
    ]
    tried = agree = 0
    for case, data in zip(request["cases"], logits, strict=True):
        by_mode = graphs[case["setting"]]
        same_in_eval = "eval" not in graphs[0]
        if not case["train"] and "eval" not in by_mode and not same_in_eval:
            continue  # recorded in training only, and evaluation is another program
        graph = by_mode.get("train" if case["train"] else "eval", by_mode["train"])
        try:
            replayed = graph.run(_case(graph, case))[graph.logits]
        except Exception as e:  # any operation may refuse other inputs
            why = f"the record does not replay on other inputs: {type(e).__name__}: {e}"
            raise BadRecord(why[:300]) from e
        tried += 1
        agree += same_logits(replayed.detach(), read_tensor(data))
    branches = any(n.op == "item" for g in graphs for t in g.values() for n in t.nodes)
    if agree >= (tried / 2 if branches else tried):
        return ""
    return (
        f"on {tried - agree} of {tried} new inputs and weights the model's logits are not those "
        "of the computation that was recorded"
    )


def _case(graph: Graph, case: dict[str, Any]) -> dict[Ref, torch.Tensor]:
    """The inputs, and where the case says so the weights, of one case."""
    changed = {graph.input: torch.tensor(case["input_ids"])}
    if case["jitter"] is not None:
        weights = [n for n in graph.nodes if n.leaf in ("param", "frozen")]
        moved = [n.data.clone() for n in weights if n.data is not None]
        jitter(moved, case["jitter"])
        changed |= {Ref(n.id): m for n, m in zip(weights, moved, strict=True)}
    return changed


def jitter(parameters: list[torch.Tensor], seed: int) -> None:
    """Moves each weight by about 5 %, as `sandbox_side/run.py` does."""
    generator = torch.Generator().manual_seed(seed)
    for p in parameters:
        p.mul_((1 + 0.05 * torch.randn(p.shape, generator=generator)).to(p.dtype))


def same_logits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or not torch.equal(a.isfinite(), b.isfinite()):
        return False
    return not differs(a.double(), b.double(), TOLERANCE)
