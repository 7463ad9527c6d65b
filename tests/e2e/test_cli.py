"""What a person meets at the command line: a run without a key, a score, and clear refusals."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalLog, EvalSample, list_eval_logs, read_eval_log

DATA = Path(__file__).parents[2] / "datasets" / "neural_memory"

CRITERIA = (
    "neural_memory_class",
    "surprise_gate",
    "learnable_decay",
    "outer_product",
    "recurrent_update",
    "memory_attention_gating",
)

InspectCli = Callable[..., subprocess.CompletedProcess[str]]


def last_log(folder: Path) -> EvalLog:
    return read_eval_log(list_eval_logs(str(folder))[0])


def scores(sample: EvalSample, scorer: str = "neural_memory_scorer") -> dict[str, Any]:
    assert sample.scores, sample.error
    value = sample.scores[scorer].value
    assert isinstance(value, dict)
    return value


def verdict(sample: EvalSample) -> list[Any]:
    """The six criteria's scores, then `passed`."""
    return [scores(sample)[key] for key in (*CRITERIA, "passed")]


# Runs


EPOCHS: dict[str, str | bytes] = {
    "01_reference.py": (DATA / "reference.py").read_bytes(),
    "02_starter.py": (DATA / "starter.py").read_bytes(),
    "03_empty.py": "",
    "04_prose.md": "# My plan\n\nI would add a memory with a surprise gate. I promise it works.\n",
    "05_garbage.py": bytes(range(256)) * 40,
    "06_large.py": "x = 0  # 5 MB of code\n" * 230_000,
    "07_never_submits.jsonl": '{"text": "I do not know where to begin."}\n',
    "08_uses_python.jsonl": "\n".join(
        json.dumps(turn)
        for turn in (
            {
                "text": "Is torch there?",
                "tool_calls": [
                    {
                        "name": "python",
                        "arguments": {"code": "import torch; print(torch.ones(3).sum().item())"},
                    }
                ],
            },
            {"text": "It is.", "submit": (DATA / "reference.py").read_text()},
        )
    ),
}
"""Recordings that are played as the epochs of one run."""


@pytest.fixture(scope="module")
def run(inspect_cli: InspectCli, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, EvalLog]:
    """One run by path that plays EPOCHS: what it printed, and its log."""
    place = tmp_path_factory.mktemp("run")
    (place / "recordings").mkdir()
    for name, content in EPOCHS.items():
        data = content if isinstance(content, bytes) else content.encode()
        (place / "recordings" / name).write_bytes(data)
    done = inspect_cli(
        *("eval", "evals/neural_memory.py", "--epochs", len(EPOCHS)),
        *("--model", "replay/e2e", "-M", f"submissions={place / 'recordings'}"),
        *("--log-dir", place / "logs"),
    )
    assert done.returncode == 0, done.stdout
    log = last_log(place / "logs")
    assert log.status == "success", done.stdout
    return done.stdout, log


@pytest.fixture(scope="module")
def samples(run: tuple[str, EvalLog]) -> dict[str, EvalSample]:
    """The run's samples by the name of the recording they played."""
    played = dict(zip(EPOCHS, run[1].samples or [], strict=True))
    assert [sample.epoch for sample in played.values()] == list(range(1, len(EPOCHS) + 1))
    return played


def test_the_table_is_printed(run: tuple[str, EvalLog]) -> None:
    for name in (*CRITERIA, "passed"):
        assert name in run[0]


def test_the_reference_passes(samples: dict[str, EvalSample]) -> None:
    assert verdict(samples["01_reference.py"]) == [1] * 7


@pytest.mark.parametrize(
    "name",
    [
        "02_starter.py",
        "03_empty.py",
        "04_prose.md",
        "05_garbage.py",
        "06_large.py",
        "07_never_submits.jsonl",
    ],
)
def test_what_is_no_solution_earns_nothing_and_says_why(
    samples: dict[str, EvalSample], name: str
) -> None:
    sample = samples[name]
    assert sample.error is None
    assert verdict(sample) == [0] * 7
    assert sample.scores and sample.scores["neural_memory_scorer"].explanation


def test_a_model_that_never_submits_comes_to_an_end(samples: dict[str, EvalSample]) -> None:
    sample = samples["07_never_submits.jsonl"]
    assert sample.limit is not None
    assert "ended after 1 turn, and the agent asked for another" in (sample.limit.reason or "")


def test_the_python_tool_runs_in_the_sandbox(samples: dict[str, EvalSample]) -> None:
    sample = samples["08_uses_python.jsonl"]
    [result] = [m for m in sample.messages if m.role == "tool" and m.function == "python"]
    assert (result.error, result.text.strip()) == (None, "3.0")
    assert verdict(sample) == [1] * 7


def test_an_old_log_is_graded_again(
    inspect_cli: InspectCli, run: tuple[str, EvalLog], tmp_path: Path
) -> None:
    again = tmp_path / "again.eval"

    done = inspect_cli(
        *("score", run[1].location, "--action", "overwrite", "--output-file", again),
        *("--scorer", "researcher_evals/neural_memory_scorer"),
    )

    assert done.returncode == 0, done.stdout
    before, after = run[1].samples or [], read_eval_log(str(again)).samples or []
    assert [verdict(sample) for sample in after] == [verdict(sample) for sample in before]


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import os\nwhile True: os.fork()",
        "hog = []\nwhile True: hog.append(bytearray(10**8))",
    ],
    ids=["never ends", "forks", "eats memory"],
)
def test_a_hostile_submission_is_scored(inspect_cli: InspectCli, tmp_path: Path, code: str) -> None:
    (tmp_path / "hostile.py").write_text(code)

    done = inspect_cli(
        *("eval", "researcher_evals/neural_memory", "--log-dir", tmp_path / "logs"),
        *("--model", "replay/e2e", "-M", f"submissions={tmp_path / 'hostile.py'}"),
    )

    assert done.returncode == 0, done.stdout
    log = last_log(tmp_path / "logs")
    assert log.status == "success", done.stdout
    [sample] = log.samples or []
    assert verdict(sample) == [0] * 7
    assert sample.scores and sample.scores["neural_memory_scorer"].explanation


def test_a_message_limit_ends_a_model_that_never_submits(
    inspect_cli: InspectCli, tmp_path: Path
) -> None:
    recording = tmp_path / "talks.jsonl"
    recording.write_text('{"text": "I keep thinking."}\n' * 50)

    done = inspect_cli(
        *("eval", "researcher_evals/neural_memory", "-T", "message_limit=6", "-T", "tools=none"),
        *("--model", "replay/e2e", "-M", f"submissions={recording}"),
        *("--log-dir", tmp_path / "logs"),
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stdout
    [sample] = last_log(tmp_path / "logs").samples or []
    assert sample.limit is not None and (sample.limit.type, sample.limit.limit) == ("message", 6)
    assert len(sample.messages) == 6
    assert verdict(sample) == [0] * 7


# Refusals


def test_recordings_are_missing(inspect_cli: InspectCli, tmp_path: Path) -> None:
    done = inspect_cli(
        *("eval", "evals/neural_memory.py", "--model", "replay/e2e", "--log-dir", tmp_path)
    )
    assert done.returncode == 1
    assert "add `-M submissions=PATH`" in done.stdout
    assert "Traceback" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_recordings_are_not_there(inspect_cli: InspectCli, tmp_path: Path) -> None:
    done = inspect_cli(
        *("eval", "evals/neural_memory.py", "--log-dir", tmp_path),
        *("--model", "replay/e2e", "-M", "submissions=nowhere"),
    )
    assert done.returncode == 1
    assert "nowhere: no such file or folder" in done.stdout
    assert "Traceback" not in done.stdout


def test_an_unknown_hint(inspect_cli: InspectCli, tmp_path: Path) -> None:
    done = inspect_cli(
        *("eval", "evals/neural_memory.py", "-T", "hints=subtle", "--log-dir", tmp_path),
        *("--model", "replay/e2e", "-M", f"submissions={DATA / 'starter.py'}"),
    )
    assert done.returncode == 1
    assert "Unknown hints=subtle" in done.stdout
    assert "explicit, biological, outer_product, calibrated, all" in done.stdout
    assert "Traceback" not in done.stdout


# Where the tasks are found


def test_the_task_is_listed_by_path(inspect_cli: InspectCli) -> None:
    assert "evals/neural_memory.py@neural_memory" in inspect_cli("list", "tasks").stdout.split()
