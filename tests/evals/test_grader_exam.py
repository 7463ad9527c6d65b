"""The exam of the neural-memory grader: what it counts, and what it refuses."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
from inspect_ai import eval
from inspect_ai._util.error import PrerequisiteError

from researcher_evals.evals.grader_exam import PARTS, grader_exam
from researcher_evals.scorers.neural_memory.exam import cell
from researcher_evals.scorers.neural_memory.finding import CRITERIA

DATA = files("researcher_evals") / "datasets" / "neural_memory"


def test_every_part_is_labelled_in_full() -> None:
    sizes = {part: len(grader_exam(part).dataset) for part in PARTS}
    assert sum(sizes.values()) == len(grader_exam().dataset)
    assert sizes["attacks"] >= 100 and sizes["constructed"] + sizes["second"] >= 120
    attacks = grader_exam("attacks").dataset
    assert not any(all((s.metadata or {})["label"].values()) for s in attacks)


def test_right_and_wrong_are_told_apart(tmp_path: Path) -> None:
    """The reference under its label, and the starter under one that claims everything."""
    for name in ("reference", "starter"):
        (tmp_path / f"{name}.py").write_text((DATA / f"{name}.py").read_text("utf-8"))
    yes = dict.fromkeys(CRITERIA, 1)
    (tmp_path / "labels.json").write_text(json.dumps({"reference": yes, "starter": yes}))
    (log,) = eval(
        grader_exam(folder=str(tmp_path)),
        model="none/none",
        log_dir=str(tmp_path / "logs"),
        display="none",
    )
    assert log.status == "success" and log.results
    for score in log.results.scores:
        counts = {k: m.value for k, m in score.metrics.items()}
        one_each = {"frequency_TP": 1, "frequency_FN": 1, "frequency_FP": 0, "frequency_TN": 0}
        assert counts == one_each, score.name


@pytest.mark.parametrize(
    ("have", "want", "name"), [(1, 1, "TP"), (0, 1, "FN"), (1, 0, "FP"), (0, 0, "TN")]
)
def test_cells(have: int, want: int, name: str) -> None:
    assert cell(have, want) == name


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(PrerequisiteError, match="constructed"):
        grader_exam("everything")


def test_missing_and_broken_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"labels\.json"):
        grader_exam(folder=str(tmp_path))
    (tmp_path / "a.py").write_text("x = 1\n")
    for text in ('{"a": {"surprise_gate": 1}}', "no json", "[1]"):
        (tmp_path / "labels.json").write_text(text)
        with pytest.raises(PrerequisiteError, match="six verdicts"):
            grader_exam(folder=str(tmp_path))
    yes = dict.fromkeys(CRITERIA, 1)
    (tmp_path / "labels.json").write_text(json.dumps({"not_there": yes}))
    with pytest.raises(PrerequisiteError, match="not_there"):
        grader_exam(folder=str(tmp_path))
