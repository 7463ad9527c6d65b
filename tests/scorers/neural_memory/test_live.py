"""The plain run confirms an honest tape and exposes a forged one."""

import copy
import json
import random
from typing import Any

import pytest
import torch

from researcher_evals.scorers.neural_memory.graph import Graph
from researcher_evals.scorers.neural_memory.live import _case, disagreement, same_logits
from researcher_evals.scorers.neural_memory.protocol import live_request, seed_of
from researcher_evals.scorers.neural_memory.tape import Record, read_records

from .conftest import DATA, DRAW, Recorder

SEED = seed_of((DATA / "reference.py").read_text())


def encoded(t: torch.Tensor) -> dict[str, Any]:
    import base64

    raw = t.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    return {"dtype": "float32", "shape": list(t.shape), "base64": base64.b64encode(raw).decode()}


def honest_logits(records: list[Record], request: dict[str, Any]) -> list[dict[str, Any]]:
    graphs = [Graph(r.tapes["train"], exact=True) for r in records]
    out = []
    for case in request["cases"]:
        graph = graphs[case["setting"]]
        out.append(encoded(graph.run(_case(graph, case))[graph.logits]))
    return out


def test_an_honest_tape_agrees(reference_records: list[Record]) -> None:
    request = live_request(SEED, DRAW, random.Random(1))
    logits = honest_logits(reference_records, request)
    assert disagreement(reference_records, request, logits) == ""


@pytest.mark.parametrize("leaf", ["param", "const"])
def test_a_tape_of_other_numbers_disagrees(record_text: Recorder, leaf: str) -> None:
    """A constant in place of what the program computes from its input cannot follow new inputs."""
    raw = json.loads(record_text(DATA / "reference.py"))
    request = live_request(SEED, DRAW, random.Random(1))
    logits = honest_logits(read_records(json.dumps(raw), DRAW), request)
    forged = copy.deepcopy(raw)
    nodes = forged[0]["modes"]["train"]["nodes"]
    if leaf == "param":
        node = next(n for n in nodes if n.get("name", "").endswith("head.weight"))
        node["data"] = encoded(torch.zeros(node["data"]["shape"]))
    else:
        i = next(i for i, n in enumerate(nodes) if n.get("op") == "embedding.default")
        shape = nodes[i]["outs"][0][0]
        nodes[i] = {"leaf": "const", "name": "forged", "data": encoded(torch.ones(shape))}
    why = disagreement(read_records(json.dumps(forged), DRAW), request, logits)
    assert "not those of the computation that was recorded" in why


def test_logits_of_another_shape_or_with_nan_are_others() -> None:
    a = torch.ones(2, 3)
    assert same_logits(a, a + 1e-6)
    assert not same_logits(a, a[:1])
    assert not same_logits(a, torch.full_like(a, float("nan")))
