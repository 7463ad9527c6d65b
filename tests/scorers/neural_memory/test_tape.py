"""A record is untrusted data: whatever does not hold together is refused, by name."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from researcher_evals.scorers.neural_memory.graph import Graph
from researcher_evals.scorers.neural_memory.judge import judge_tape
from researcher_evals.scorers.neural_memory.operations import implementation
from researcher_evals.scorers.neural_memory.tape import (
    MAX_BYTES,
    BadRecord,
    read_records,
    read_tensor,
)

from .conftest import DATA, DRAW, Recorder


@pytest.fixture(scope="module")
def raw(record_text: Recorder) -> Any:
    small = json.loads(record_text(DATA / "reference.py"))[0]
    return [small, small]


def nodes(raw: Any) -> Any:
    return raw[0]["modes"]["train"]["nodes"]


def first_operation(raw: Any, base: str) -> Any:
    return next(n for n in nodes(raw) if n.get("op", "").startswith(base))


def set_op(op: str) -> Callable[[Any], None]:
    return lambda raw: first_operation(raw, "sigmoid").update(op=op)


def other_logits(raw: Any) -> None:
    raw[0]["modes"]["train"]["logits"] = [0, 0]


def refer_forward(raw: Any) -> None:
    first_operation(raw, "sigmoid")["args"] = [{"ref": [len(nodes(raw)) - 1, 0]}]


def huge_shape(raw: Any) -> None:
    first_operation(raw, "sigmoid")["outs"] = [[[10**6, 10**6], "float32"]]


def short_data(raw: Any) -> None:
    next(n for n in nodes(raw) if n.get("leaf") == "param")["data"]["base64"] = "AAAA"


def two_inputs(raw: Any) -> None:
    next(n for n in nodes(raw) if n.get("leaf") == "param")["leaf"] = "input"


def logits_nowhere(raw: Any) -> None:
    raw[0]["modes"]["train"]["logits"] = [10**9, 0]


def no_eval(raw: Any) -> None:
    del raw[0]["modes"]["eval"]


def many_modes(raw: Any) -> None:
    raw[0]["modes"].update({f"x{i}": raw[0]["modes"]["train"] for i in range(20)})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (set_op("from_file.default"), "from_file"),
        (set_op("sigmoid_.default"), "sigmoid_"),
        (set_op("os::system"), "os::system"),
        (set_op("__class__.default"), "__class__"),
        (refer_forward, "leads nowhere"),
        (huge_shape, "elements"),
        (short_data, "length"),
        (two_inputs, "one input"),
        (logits_nowhere, "leads nowhere"),
        (no_eval, "not recorded"),
        (many_modes, "too many tapes"),
    ],
)
def test_damaged_records_are_refused(raw: Any, damage: Any, message: str) -> None:
    broken = copy.deepcopy(raw)
    damage(broken)
    with pytest.raises(BadRecord, match=message):
        read_records(json.dumps(broken), DRAW)


@pytest.mark.parametrize(
    ("damage", "message"),
    [(set_op("sigmoid.nonsense"), "sigmoid.nonsense"), (other_logits, "examined model")],
)
def test_records_that_read_well_and_mean_nothing_are_refused(
    raw: Any, damage: Any, message: str
) -> None:
    broken = copy.deepcopy(raw)
    damage(broken)
    record = read_records(json.dumps(broken), DRAW)[0]
    with pytest.raises(BadRecord, match=message):
        judge_tape(record, record.tapes["train"])


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[1, 2]", "nonsense", "[" * 100_000])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(BadRecord):
        read_records(text, DRAW)


def test_a_huge_record_is_refused_unread() -> None:
    with pytest.raises(BadRecord, match="larger than"):
        read_records(" " * (MAX_BYTES + 1), DRAW)


def test_an_operation_that_fails_is_a_bad_record(raw: Any) -> None:
    broken = copy.deepcopy(raw)
    node = first_operation(broken, "addmm")
    node["args"] = node["args"][:1]
    record = read_records(json.dumps(broken), DRAW)[0]
    with pytest.raises(BadRecord, match="does not replay"):
        Graph(record.tapes["train"])


@pytest.mark.parametrize(
    "op", ["add_.Tensor", "copy_.default", "set_.source_Tensor", "bernoulli.p"]
)
def test_operations_that_write_or_draw_are_not_replayed(op: str) -> None:
    with pytest.raises(KeyError):
        implementation(op)


def test_tensors_survive_and_odd_bools_become_bools() -> None:
    data = {"dtype": "bool", "shape": [2], "base64": "AP8="}
    assert read_tensor(data).tolist() == [False, True]
    data = {"dtype": "float32", "shape": [1], "base64": "AACAPw=="}
    assert torch.equal(read_tensor(data), torch.ones(1))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_damage_gives_a_verdict_on_the_record(raw: Any, data: st.DataObject) -> None:
    """Random values in random places: the record is read, or refused; nothing else happens."""
    node = data.draw(st.sampled_from(nodes(raw)))
    key = data.draw(st.sampled_from(sorted(node)))
    honest = node[key]
    node[key] = data.draw(json_values)
    try:
        record = read_records(json.dumps(raw), DRAW)[0]
        Graph(record.tapes["train"])
    except BadRecord:
        pass
    finally:
        node[key] = honest
