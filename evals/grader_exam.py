"""How far can the grader of neural_memory be trusted? Grades labelled files, no model involved.

    inspect eval evals/grader_exam.py --model none/none
    inspect eval evals/grader_exam.py --model none/none -T part=attacks
    inspect eval evals/grader_exam.py --model none/none -T folder=PATH     (its labels.json beside)

Each sample is one file with known verdicts; the table is the confusion of each criterion.
"""

import json
from importlib.resources import as_file, files
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.dataset import MemoryDataset, Sample

from researcher_evals.scorers.neural_memory.exam import exam_scorer, hand_in
from researcher_evals.scorers.neural_memory.finding import CRITERIA

PARTS = ("answers", "constructed", "second", "attacks")


@task
def grader_exam(part: str = "all", folder: str | None = None) -> Task:
    """The confusion table of the neural-memory grader.

    Args:
        part: "answers" (written as a model writes), "constructed" and "second" (two
            independent sets of styles and near misses), "attacks" (must not pass), or "all".
        folder: A folder of labelled files of your own instead: `labels.json` maps each file's stem
            to its six verdicts (1 or 0 by criterion) and, if you like, a `note`, and `passed`
            where it must not pass though all six hold (backward raises, say).
    """
    if part not in (*PARTS, "all"):
        raise PrerequisiteError(f"Unknown part={part}. Choose from: {', '.join(PARTS)}, all.")
    if folder is not None:
        samples = labelled(Path(folder).expanduser(), "labels.json")
    else:
        with as_file(files("researcher_evals") / "datasets" / "neural_memory" / "exam") as exam:
            parts = PARTS if part == "all" else (part,)
            samples = [s for p in parts for s in labelled(exam, f"labels_{p}.json")]
    return Task(
        dataset=MemoryDataset(samples),
        solver=hand_in(),
        scorer=exam_scorer(),
        sandbox="bubblewrap",
        version=1,
    )


def labelled(folder: Path, labels: str) -> list[Sample]:
    """One sample a labelled file.

    Raises:
        PrerequisiteError: the labels, a file or a verdict is missing.
    """
    try:
        verdicts = json.loads((folder / labels).read_text("utf-8"))
        return [
            Sample(
                input=(folder / f"{name}.py").read_text("utf-8", errors="replace"),
                id=name,
                metadata={
                    "label": {c: int(label[c]) for c in CRITERIA},
                    "passed": int(label.get("passed", all(label[c] for c in CRITERIA))),
                    "note": label.get("note", ""),
                    "attack": label.get("attack", ""),
                },
            )
            for name, label in verdicts.items()
        ]
    except FileNotFoundError as e:
        raise PrerequisiteError(f"The exam needs {labels} and the files it names: {e}") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise PrerequisiteError(
            f"{folder / labels} is no table of six verdicts a file: {e!r}"
        ) from e
