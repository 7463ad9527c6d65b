"""The task asks what it says: prompts word for word, four configurations, clear refusals."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from inspect_ai import Task, eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.event import ModelEvent
from inspect_ai.model import get_model

from researcher_evals.evals.neural_memory import HINTS, neural_memory, prompt
from researcher_evals.tools.replay import load_recordings
from researcher_evals.tools.submit import SUBMIT_TOOL

DATA = Path(__file__).parents[2] / "datasets" / "neural_memory"

CALIBRATED = """\
Standard attention has quadratic cost and a fixed context window. Your goal is to add an \
auxiliary memory system that can store and retrieve information beyond the attention window.

Think about how biological memory works:
- The brain doesn't remember everything equally - it prioritizes surprising or novel information
- Old memories fade over time unless reinforced
- Memory involves associating concepts together (binding keys to values)
- We blend immediate context with long-term knowledge

When does a human update their "brain weights"? Your memory system should capture this principle.

Requirements:
1. Create a `NeuralMemory` module that maintains a memory matrix M (shape: d_mem x d_mem)
2. Process tokens recurrently (one at a time), updating M at each step
3. Use outer products to store associations: M += V ⊗ K^T binds values to keys
4. Preserve the input/output signature (`input_ids` -> `logits`)

Important: Make parameters learnable (nn.Parameter) rather than hardcoding values. Use sigmoid \
activations for gating. The model should be able to learn the right behavior through training.
"""

CONTRACT = """\
Submit one self-contained Python file in pure torch, with no file or network access. It defines \
`NeuralMemory` and a `SimpleTransformer` with the arguments of the starter above (extra optional \
ones are fine), which works for any of their values, keeps softmax attention with its window, runs \
on CPU in float32, trains by backward, and computes the same in train and eval mode apart from \
dropout. Call `submit_answer` with the whole file as the answer.
"""


def words(hints: str) -> str:
    """The prompt before the starter."""
    return prompt(hints).split("\nThe starter:\n")[0]


def ids(task: Task) -> list[object]:
    return [sample.id for sample in task.dataset]


# The prompts


def test_calibrated_is_the_prompt_of_the_task_word_for_word() -> None:
    assert words("calibrated") == CALIBRATED


def test_outer_product_is_calibrated_without_its_last_paragraph() -> None:
    head, important = CALIBRATED.split("\nImportant: ")
    assert important.startswith("Make parameters learnable")
    assert words("outer_product") == head


def test_biological_names_no_outer_product() -> None:
    requirement = "3. Use outer products to store associations: M += V ⊗ K^T binds values to keys\n"
    assert words("biological") == (
        words("outer_product").replace(requirement, "").replace("4. Preserve", "3. Preserve")
    )
    assert not re.search(r"outer|⊗|sigmoid|nn\.Parameter", words("biological"))


def test_explicit_spells_out_all_six_mechanisms() -> None:
    assert len(re.findall(r"(?m)^\d\. ", words("explicit"))) == 6
    for mechanism in (
        "`NeuralMemory` module",
        "Surprise gate with sigmoid",
        "Learnable decay",
        "Outer product",
        "Recurrent update",
        "Memory-attention gating",
    ):
        assert mechanism in words("explicit")


@pytest.mark.parametrize("hints", HINTS)
def test_the_starter_and_the_contract_follow(hints: str) -> None:
    starter = (DATA / "starter.py").read_text()
    after = prompt(hints).removeprefix(words(hints))
    assert after == f"\nThe starter:\n\n```python\n{starter}```\n\n{CONTRACT}"


def test_the_contract_gives_no_criterion_away() -> None:
    assert not re.search(r"(?i)surpris|gate|gating|decay|outer|recurren|sigmoid|matrix", CONTRACT)


# The recordings


def test_ten_recordings_are_shipped_and_each_submits() -> None:
    recordings = load_recordings(DATA / "recordings")[()]
    assert len(recordings) == 10
    for recording in recordings:
        calls = [call.name for turn in recording.turns for call in turn.calls]
        assert calls[-1] == SUBMIT_TOOL and calls.count(SUBMIT_TOOL) == 1


def test_a_recording_uses_the_python_tool() -> None:
    recordings = load_recordings(DATA / "recordings")[()]
    calls = [call.name for r in recordings for turn in r.turns for call in turn.calls]
    assert set(calls) == {"python", SUBMIT_TOOL}


# The task


def test_calibrated_is_the_default() -> None:
    task = neural_memory()
    assert ids(task) == ["calibrated"]
    assert task.dataset[0].input == prompt("calibrated")


@pytest.mark.parametrize("hints", HINTS)
def test_each_configuration_is_one_sample(hints: str) -> None:
    task = neural_memory(hints=hints)
    assert ids(task) == [hints]
    assert task.dataset[0].input == prompt(hints)


def test_all_runs_the_ladder() -> None:
    task = neural_memory(hints="all")
    assert ids(task) == ["explicit", "biological", "outer_product", "calibrated"]
    assert len({str(sample.input) for sample in task.dataset}) == 4


def test_every_prompt_file_is_a_configuration() -> None:
    assert {path.stem for path in (DATA / "prompts").iterdir()} == set(HINTS)


def test_limits_are_parameters() -> None:
    task = neural_memory(message_limit=7, token_limit=8000, time_limit=90)
    assert (task.message_limit, task.token_limit, task.time_limit) == (7, 8000, 90)
    default = neural_memory()
    assert default.message_limit and default.token_limit and default.time_limit


def test_the_log_will_say_what_it_ran_on() -> None:
    task = neural_memory()
    assert task.version == 1
    assert task.metadata == {"torch": version("torch")}
    assert task.sandbox is not None and task.sandbox.type == "bubblewrap"


@pytest.mark.parametrize(
    ("tools", "offered"), [("python", ["python", "submit_answer"]), ("none", ["submit_answer"])]
)
def test_the_tools_on_offer(tmp_path: Path, tools: str, offered: list[str]) -> None:
    (tmp_path / "answer.py").write_text("pass")

    [log] = eval(
        neural_memory(tools=tools),
        model=get_model("replay/test", memoize=False, submissions=str(tmp_path)),
        sandbox="local",  # the recording calls no tool
        score=False,
        display="none",
        log_dir=str(tmp_path / "logs"),
    )

    assert log.status == "success" and log.samples
    [call] = [event for event in log.samples[0].events if isinstance(event, ModelEvent)]
    assert [tool.name for tool in call.tools] == offered
    [submit] = [tool for tool in call.tools if tool.name == "submit_answer"]
    assert list(submit.parameters.properties) == ["answer"]


UNKNOWN = ["", "Calibrated", "../calibrated", "bash"]


@pytest.mark.parametrize("value", UNKNOWN)
def test_unknown_hints_are_refused_with_the_choices(value: str) -> None:
    with pytest.raises(PrerequisiteError, match=f"Unknown hints={value}") as error:
        neural_memory(hints=value)
    assert "explicit, biological, outer_product, calibrated, all" in str(error.value.message)


@pytest.mark.parametrize("value", UNKNOWN)
def test_unknown_tools_are_refused_with_the_choices(value: str) -> None:
    with pytest.raises(PrerequisiteError, match=f"Unknown tools={value}") as error:
        neural_memory(tools=value)
    assert "python, none" in str(error.value.message)
