"""The wheel and the sdist, installed elsewhere, hold everything the task needs to run by name.

The dependencies are taken from this environment, so that nothing is downloaded.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Installed:
    """An environment with the package in it, and a folder away from the repository to run in."""

    python: Path
    elsewhere: Path

    def run(self, *args: object) -> str:
        """Run its Python elsewhere and return what it printed."""
        done = subprocess.run(
            [str(self.python), *map(str, args)],
            cwd=self.elsewhere,
            env={
                "PATH": f"{self.python.parent}{os.pathsep}{os.defpath}",
                "HOME": str(self.elsewhere),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def evaluate(self, task: str, recording: str) -> EvalLog:
        """Play a recording to a task."""
        printed = self.run(
            *("-m", "inspect_ai", "eval", task, "--display", "plain", "--log-dir", "logs"),
            *("--model", "replay/e2e", "-M", f"submissions={recording}"),
        )
        log = read_eval_log(list_eval_logs(str(self.elsewhere / "logs"))[0])
        assert log.status == "success", printed
        return log

    def passes(self, task: str) -> bool:
        """Whether the reference solution passes a task."""
        shutil.copy(REPOSITORY / "datasets" / "neural_memory" / "reference.py", self.elsewhere)
        [sample] = self.evaluate(task, "reference.py").samples or []
        [score] = (sample.scores or {}).values()
        return isinstance(score.value, dict) and score.value["passed"] == 1


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, with nothing of an older build in it."""
    copy = tmp_path_factory.mktemp("build") / "copy"
    unwanted = shutil.ignore_patterns(
        *(".git", ".venv", "build", "dist", "logs", "__pycache__", "*.egg-info", ".*_cache")
    )
    shutil.copytree(REPOSITORY, copy, symlinks=True, ignore=unwanted)
    return copy


@pytest.fixture(scope="module")
def artefacts(copy: Path) -> dict[str, Path]:
    """The wheel and the sdist."""
    build = "from setuptools import build_meta as b; b.build_wheel('..'); b.build_sdist('..')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    [wheel], [sdist] = copy.parent.glob("*.whl"), copy.parent.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def link_or_copy(source: str, target: str) -> None:
    """A hard link where the file system allows it: torch is large."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def installed(
    request: pytest.FixtureRequest,
    artefacts: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Installed:
    place = tmp_path_factory.mktemp(request.param)
    venv.create(place / "venv")
    python = place / "venv" / "bin" / "python"
    [site_packages] = (place / "venv" / "lib").glob("python*/site-packages")
    shutil.copytree(
        sysconfig.get_path("purelib"),
        site_packages,
        ignore=shutil.ignore_patterns("*researcher_evals*"),
        copy_function=link_or_copy,
        dirs_exist_ok=True,
    )
    (place / "elsewhere").mkdir()
    environment = Installed(python, place / "elsewhere")
    environment.run(
        *("-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation"),
        artefacts[request.param],
    )
    where = environment.run("-c", "import researcher_evals; print(researcher_evals.__file__)")
    assert Path(where.strip()).is_relative_to(site_packages)
    return environment


def test_every_file_is_there(installed: Installed, copy: Path) -> None:
    root = "import researcher_evals, pathlib; print(pathlib.Path(researcher_evals.__file__).parent)"
    package = Path(installed.run("-c", root).strip())
    for folder in ("evals", "tools", "scorers", "datasets"):
        expected = {p.relative_to(copy) for p in (copy / folder).rglob("*") if p.is_file()}
        found = {p.relative_to(package) for p in (package / folder).rglob("*") if p.is_file()}
        assert expected and expected - found == set()
    assert (package / "py.typed").is_file()


def test_the_task_runs_by_name(installed: Installed) -> None:
    assert installed.passes("researcher_evals/neural_memory")


def test_the_task_is_listed_and_runs_by_path(installed: Installed) -> None:
    (installed.elsewhere / "tasks").mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "evals" / "neural_memory.py", installed.elsewhere / "tasks")

    listed = installed.run("-m", "inspect_ai", "list", "tasks")

    assert listed.split() == ["tasks/neural_memory.py@neural_memory"]
    assert installed.passes("tasks/neural_memory.py")


def test_the_model_sees_no_graders_and_no_answers(installed: Installed) -> None:
    look = (
        "import pathlib, sys\n"
        "print([str(p) for place in sys.path for p in pathlib.Path(place).rglob('neural_memory*')])"
    )
    turns = (
        {"tool_calls": [{"name": "python", "arguments": {"code": look}}]},
        {"submit": ""},
    )
    (installed.elsewhere / "look.jsonl").write_text("\n".join(map(json.dumps, turns)))

    log = installed.evaluate("researcher_evals/neural_memory", "look.jsonl")

    [sample] = log.samples or []
    [seen] = [m for m in sample.messages if m.role == "tool" and m.function == "python"]
    assert (seen.error, seen.text.strip()) == (None, "[]")


def test_its_types_are_seen(installed: Installed) -> None:
    code = (
        "from researcher_evals.tools.submit import submitted_answer; x: int = submitted_answer([])"
    )

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", installed.python, "-c", code],
        cwd=installed.elsewhere,
        capture_output=True,
        text=True,
    )

    assert 'expression has type "str | None", variable has type "int"' in done.stdout
