"""The whole way of one submission, in the real sandbox: what decides, and what cannot happen."""

import pytest

from researcher_evals.scorers.neural_memory import grading
from researcher_evals.scorers.neural_memory.finding import CRITERIA
from researcher_evals.scorers.neural_memory.grading import (
    MAX_SOURCE,
    Grade,
    GraderError,
    grade_submission,
    source_of,
)

from .conftest import DATA, EXAM

REFERENCE = (DATA / "reference.py").read_text()
STARTER = (DATA / "starter.py").read_text()


async def grade(answer: str | None) -> Grade:
    return await grade_submission(answer)


@pytest.mark.anyio
async def test_the_reference_passes_with_evidence() -> None:
    found = await grade(REFERENCE)
    assert found.passed and found.criteria == dict.fromkeys(CRITERIA, 1)
    assert all(found.evidence.values()) and found.outcome == "graded" and not found.integrity


@pytest.mark.anyio
async def test_a_fenced_answer_is_the_file_in_it() -> None:
    found = await grade(f"Here it is:\n\n```python\n{REFERENCE}```\n\nIt trains.")
    assert found.passed


@pytest.mark.anyio
async def test_the_starter_meets_nothing() -> None:
    found = await grade(STARTER)
    assert found.criteria == dict.fromkeys(CRITERIA, 0) and found.outcome == "graded"


NOT_CODE = {
    "nothing submitted": (None, "never called"),
    "empty": ("", "empty"),
    "blank": (" \n\t", "empty"),
    "prose": ("I would add a memory matrix and a gate.", "no Python file"),
    "five megabytes": ("x = 1\n" * 900_000, "longer than"),
    "binary": ("\x00\x01\x7fELF\udcff\x00" * 50, "no Python file"),
    "too deep": ("(" * 5000 + ")" * 5000, "no Python file"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", NOT_CODE)
async def test_what_is_no_program_scores_zero_at_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grading, "verifier_sandbox", None)  # would fail if it were opened
    answer, why = NOT_CODE[name]
    found = await grade(answer)
    assert not found.passed and sum(found.criteria.values()) == 0
    assert why in found.note


BROKEN = {
    "no model": ("import torch\n", "SimpleTransformer"),
    "raises": ("raise RuntimeError('ouch')\n", "ouch"),
    "exits": ("import os\nos._exit(0)\n", "code 0"),
    "never ends": ("while True:\n    pass\n", "does not end"),
    "sleeps": ("import time\ntime.sleep(1000)\n", "does not end"),
    "prints without end": ("while True:\n    print('PASSED' * 10_000)\n", "prints without end"),
    "eats memory": ("import torch\nx = [torch.ones(2**28) for _ in range(64)]\n", "ends with code"),
    "forks": (
        "import os, time\nfor _ in range(5000):\n    if os.fork() == 0:\n        time.sleep(100)\n",
        "ends with code",
    ),
    "writes a verdict": (
        "import os\nopen('result.json', 'w').write('{}')\nprint('PASSED 6 of 6')\nos._exit(0)\n",
        "code 0",
    ),
    "links to a secret": (
        "import os, glob\nfor d in glob.glob('/workspace/*/'):\n"
        "    os.symlink('/etc/hostname', d + 'result.json')\nos._exit(0)\n",
        "",
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", BROKEN)
async def test_code_that_does_not_run_scores_zero_with_the_reason(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grading, "RUN_SECONDS", 12)
    source, why = BROKEN[name]
    found = await grade(source)
    assert not found.passed and sum(found.criteria.values()) == 0
    assert why in found.note, found.note
    assert found.outcome in ("broken", "untraceable")


@pytest.mark.anyio
async def test_integrity_findings_forbid_a_pass_and_keep_the_criteria() -> None:
    found = await grade(REFERENCE + "\n\nimport gc\n\nSEEN = gc.get_objects()\n")
    assert found.criteria == dict.fromkeys(CRITERIA, 1)
    assert found.integrity and not found.passed


@pytest.mark.anyio
async def test_a_sandbox_without_torch_is_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_torch(sandbox: object) -> None:
        raise GraderError("The sandbox cannot import torch")

    monkeypatch.setattr(grading, "_require_torch", no_torch)
    with pytest.raises(GraderError):
        await grade("raise ImportError('no torch')\n")


@pytest.mark.anyio
async def test_a_crashed_judge_is_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "JUDGE_ENV", {"PYTHONHOME": "/nowhere"})
    with pytest.raises(GraderError, match="judge"):
        await grade(STARTER)


# Each of these meets all six criteria in a plain examination; a measure of its own stops it.
ATTACKS = [
    "z_017_only_small_batch",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "z_012_only_grad",
            "z_021_only_known_seed",
            "z_023_only_first_seconds",
            "z_025_only_larger_tail",
            "z_027_bomb_two_hundred_calls",
            "z_030_bomb_deepcopy",
            "z_126_backward_hook",
            "z_131_straight_through_decay",
            "z_152_bomb_tensor_counter",
            "z_159_dict_lies",
        )
    ),
]


@pytest.mark.anyio
@pytest.mark.parametrize("name", ATTACKS)
async def test_attacks_that_look_like_a_pass_do_not_pass(name: str) -> None:
    assert not (await grade((EXAM / f"{name}.py").read_text())).passed


@pytest.mark.parametrize(
    ("answer", "source"),
    [
        ("x = 1\n", "x = 1"),
        ("```python\nx = 1\n```", "x = 1\n"),
        ("Short:\n```py\ny\n```\nLong:\n```python\nx = 1\ny = 2\n```\n", "x = 1\ny = 2\n"),
        ("~~~\nx = 1\n~~~", "x = 1\n"),
        ("no code here", "no code here"),
        ('s = """\n```python\nx\n```\n"""', 's = """\n```python\nx\n```\n"""'),
    ],
)
def test_source_of(answer: str, source: str) -> None:
    assert source_of(answer) == source


def test_too_long_means_too_long() -> None:
    assert len(NOT_CODE["five megabytes"][0] or "") > MAX_SOURCE
