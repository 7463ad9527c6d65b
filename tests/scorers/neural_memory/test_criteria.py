"""The criteria against labelled submissions: good work in many styles, and near misses."""

import json
from pathlib import Path

import pytest

from researcher_evals.scorers.neural_memory.finding import CRITERIA
from researcher_evals.scorers.neural_memory.judge import judge_records

from .conftest import DATA, EXAM, Recorder, labels, read_file_records

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
    verdict = judge_records(read_file_records(record_text, EXAM / f"{name}.py"))
    found = {c: int(verdict.findings[c].holds) for c in CRITERIA}
    right = found == {c: want[c] for c in CRITERIA}
    why = {c: verdict.findings[c].evidence for c in CRITERIA if found[c] != want[c]}
    assert right != (name in KNOWN_WRONG), why


RECORDINGS: dict[str, dict[str, int]] = json.loads((DATA / "recordings.json").read_text())


def submitted(path: Path) -> str:
    """The file that a recording hands in."""
    if path.suffix != ".jsonl":
        return path.read_text()
    last = json.loads(path.read_text().splitlines()[-1])
    answer: str = last["tool_calls"][-1]["arguments"]["answer"]
    return answer


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_are_what_they_say(name: str, record_text: Recorder, tmp_path: Path) -> None:
    (recording,) = (DATA / "recordings").glob(f"{name}.*")
    path = tmp_path / f"recording_{name}.py"
    path.write_text(submitted(recording))
    verdict = judge_records(read_file_records(record_text, path))
    found = {c: int(verdict.findings[c].holds) for c in CRITERIA}
    assert found == {c: RECORDINGS[name][c] for c in CRITERIA}


def test_recordings_fail_as_the_original_reports() -> None:
    """One of ten passes, eight fail the gating, half the surprise gate."""
    assert len(RECORDINGS) == len(list((DATA / "recordings").iterdir())) == 10
    passes = [all(label[c] for c in CRITERIA) for label in RECORDINGS.values()]
    assert sum(passes) == 1
    assert sum(not label["memory_attention_gating"] for label in RECORDINGS.values()) == 8
    assert sum(not label["surprise_gate"] for label in RECORDINGS.values()) == 5


def test_evidence_names_the_lines(record_text: Recorder) -> None:
    """A person who reads the evidence finds the gate and the update in the file."""
    path = DATA / "reference.py"
    lines = path.read_text().splitlines()
    verdict = judge_records(read_file_records(record_text, path))
    gating = verdict.findings["memory_attention_gating"].evidence
    number = int(gating.split("line ")[1].split()[0])
    assert "attention" in lines[number - 1] or "gate" in lines[number - 1], gating
    assert "decay" in verdict.findings["learnable_decay"].evidence
