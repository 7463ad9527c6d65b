"""Records of the repository's own submissions, made once a session."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from researcher_evals.scorers.neural_memory.tape import Record, read_records

with as_file(files("researcher_evals") / "datasets" / "neural_memory") as data:
    DATA = Path(data)
EXAM = DATA / "exam"

DRAW = 1  # of the sizes in `record_files.py`

Recorder = Callable[[Path], str]


def labels(name: str) -> dict[str, dict[str, int]]:
    """The labels of one part of the exam, by file stem."""
    found: dict[str, dict[str, int]] = json.loads((EXAM / f"labels_{name}.json").read_text())
    return found


@pytest.fixture(scope="session")
def record_text(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """The record of a file, as text; recorded when first asked for."""
    folder = tmp_path_factory.mktemp("records")

    def record(path: Path) -> str:
        out = folder / f"{path.stem}.json"
        if not out.exists():
            script = Path(__file__).with_name("record_files.py")
            subprocess.run([sys.executable, script, folder, path], check=True)
        return out.read_text()

    return record


def read_file_records(record_text: Recorder, path: Path) -> list[Record]:
    """The records of a file, read as the judge does."""
    return read_records(record_text(path), DRAW)


@pytest.fixture(scope="session")
def reference_records(record_text: Recorder) -> list[Record]:
    return read_file_records(record_text, DATA / "reference.py")
