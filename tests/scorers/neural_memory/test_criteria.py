"""The criteria against labelled submissions: good work in many styles, and near misses."""

import pytest

from researcher_evals.scorers.neural_memory.finding import CRITERIA
from researcher_evals.scorers.neural_memory.judge import judge_records
from researcher_evals.scorers.neural_memory.tape import read_records

from .conftest import DATA, EXAM, Recorder, labels

QUICK = 8  # every eighth file on a push, all of them at night


def cases() -> list[object]:
    files = {**labels("answers"), **labels("constructed"), **labels("second")}
    return [
        pytest.param(name, want, id=name, marks=[] if i % QUICK == 0 else pytest.mark.slow)
        for i, (name, want) in enumerate(sorted(files.items()))
    ]


# What the grader is known to get wrong, with the reason. A file that it learns to judge has to
# leave this list: the test fails then.
KNOWN_WRONG = {
    "c_conv_row_writes": "a matrix kept as a Python list of row vectors is not seen as a matrix",
    "d_row_assign": "a matrix written row by row from its old rows is not seen as carried",
    "d_index_add": "an outer product gathered into a flat vector is not seen as one",
    "d_normalised_weights": "two weights divided by their sum are not seen as one gate",
}


@pytest.mark.parametrize(("name", "want"), cases())
def test_exam(name: str, want: dict[str, int], record_text: Recorder) -> None:
    verdict = judge_records(read_records(record_text(EXAM / f"{name}.py")))
    found = {c: int(verdict.findings[c].holds) for c in CRITERIA}
    right = found == {c: want[c] for c in CRITERIA}
    why = {c: verdict.findings[c].evidence for c in CRITERIA if found[c] != want[c]}
    assert right != (name in KNOWN_WRONG), why


def test_evidence_names_the_lines(record_text: Recorder) -> None:
    """A person who reads the evidence finds the gate and the update in the file."""
    path = DATA / "reference.py"
    lines = path.read_text().splitlines()
    verdict = judge_records(read_records(record_text(path)))
    gating = verdict.findings["memory_attention_gating"].evidence
    number = int(gating.split("line ")[1].split()[0])
    assert "attention" in lines[number - 1] or "gate" in lines[number - 1], gating
    assert "decay" in verdict.findings["learnable_decay"].evidence
