"""Is the tape what the program computes? Compares it with a plain run it could not foresee.

The record was written in the process of the submission, which may have forged it. So the model is
run again, in another process, without a recorder, on inputs that were drawn after the record was
handed over. The replayed tape must give the same logits.
"""

from typing import Any

import torch

from .graph import Graph, differs
from .tape import BadRecord, Record, read_tensor

TOLERANCE = 1e-3  # of the largest logit: float32, and another order of operations


def disagreement(record: Record, request: dict[str, Any], logits: list[Any]) -> str:
    """Why the tape is not the program ("" if it is).

    A program that branches on its data (`.item()`) runs a tape only where it branches alike: then
    half of the cases must agree.

    Raises:
        BadRecord: the logits are no tensors.
    """
    graphs = {mode: Graph(tape, exact=True) for mode, tape in record.tapes.items()}
    graphs.setdefault("eval", graphs["train"])
    if not isinstance(logits, list) or len(logits) != len(request["cases"]):
        raise BadRecord("the plain run left no logits")
    agree = 0
    for case, data in zip(request["cases"], logits, strict=True):
        graph = graphs["train" if case["train"] else "eval"]
        ids = torch.tensor(case["input_ids"])
        try:
            replayed = graph.run({graph.input: ids})[graph.logits]
        except Exception as e:  # any operation may refuse other inputs
            raise BadRecord(f"the record does not replay on other inputs: {e}"[:300]) from e
        real = read_tensor(data)
        agree += same_logits(replayed.detach(), real)
    branches = any(n.op == "item" for tape in record.tapes.values() for n in tape.nodes)
    needed = len(logits) / 2 if branches else len(logits)
    if agree >= needed:
        return ""
    return (
        f"on {len(logits) - agree} of {len(logits)} new inputs the model's logits are not those of "
        "the computation that was recorded"
    )


def same_logits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or not torch.equal(a.isfinite(), b.isfinite()):
        return False
    return not differs(a.double(), b.double(), TOLERANCE)


