"""The replay provider plays the right recording, turn by turn, and says clearly when it cannot."""

import asyncio
import json
from io import StringIO
from pathlib import Path

import anyio
import pytest
from inspect_ai import Task, eval, task
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.agent import react
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelUsage,
    get_model,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.tool import Tool, tool
from rich.console import Console

from researcher_evals.tools.replay import ReplayAPI, Turn, load_recordings
from researcher_evals.tools.submit import submit_answer, submitted_answer


def write(folder: Path, **files: str) -> Path:
    """Write files, named stem_suffix, into a folder: `a_py="x"` is `a.py`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        stem, suffix = name.rsplit("_", 1)
        (folder / f"{stem}.{suffix}").write_text(text)
    return folder


def jsonl(*turns: dict[str, object]) -> str:
    return "\n".join(json.dumps(turn) for turn in turns)


@tool
def double() -> Tool:
    async def execute(number: int) -> str:
        """Double a number.

        Args:
            number: What to double.
        """
        return str(2 * number)

    return execute


def replay(path: Path) -> Model:
    return get_model("replay/test", memoize=False, submissions=str(path))


def play(path: Path, task: Task, epochs: int = 1, retries: int = 0) -> EvalLog:
    [log] = eval(
        task,
        model=replay(path),
        epochs=epochs,
        max_samples=20,
        retry_on_error=retries,
        display="none",
        log_dir=str(path.parent / "logs"),
    )
    return log


def agent_task(*ids: str | int, name: str = "some_task", setup: Solver | None = None) -> Task:
    return Task(
        dataset=[Sample("Do it.", id=i) for i in ids or ("only",)],
        setup=setup,
        solver=react(tools=[double()], submit=submit_answer()),
        name=name,
    )


def answers(log: EvalLog) -> dict[tuple[str | int, int], str | None]:
    """What each sample submitted, by sample id and epoch."""
    assert log.status == "success", log.error
    return {(s.id, s.epoch): submitted_answer(s.messages) for s in log.samples or []}


def only(log: EvalLog) -> EvalSample:
    assert log.status == "success", log.error
    [sample] = log.samples or []
    return sample


# One recording


@pytest.mark.parametrize("name", ["answer.py", "answer.md"])
@pytest.mark.parametrize("text", ["print('hi')\r\n\n", "", "naïve ⊗\x00\x07 \x1b[1mbold"])
def test_a_file_is_submitted_as_it_is(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())

    sample = only(play(tmp_path / name, agent_task()))

    assert submitted_answer(sample.messages) == text
    assert sample.output.completion == text


def test_bytes_that_are_no_text_are_submitted_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "answer.py").write_bytes(b"\x80\xff ok")

    assert answers(play(tmp_path, agent_task())) == {("only", 1): "\ufffd\ufffd ok"}


def test_a_jsonl_is_played_turn_by_turn(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        jsonl(
            {"text": "Let me think."},
            {"text": "Try.", "tool_calls": [{"name": "double", "arguments": {"number": 21}}]},
            {"text": "Done.", "submit": "42"},
        )
    )

    sample = only(play(tmp_path, agent_task()))

    said = [(m.role, m.text) for m in sample.messages if m.role in ("assistant", "tool")]
    assert said == [
        ("assistant", "Let me think."),
        ("assistant", "Try."),
        ("tool", "42"),
        ("assistant", "Done."),
        ("tool", "42"),
    ]
    assert submitted_answer(sample.messages) == sample.output.completion == "42"
    assert sample.output.metadata == {"recording": f"{tmp_path.name}/a.jsonl", "turn": 3}


def test_a_call_of_a_tool_that_is_not_there_fails_and_the_recording_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        jsonl({"tool_calls": [{"name": "nothing"}]}, {"submit": "answer"})
    )

    assert answers(play(tmp_path, agent_task())) == {("only", 1): "answer"}


def test_no_tokens_are_spent(tmp_path: Path) -> None:
    write(tmp_path, a_py="x")

    sample = only(play(tmp_path, agent_task()))

    assert sample.model_usage == {"replay/test": ModelUsage()}


def test_tokens_are_counted_without_a_vocabulary(tmp_path: Path) -> None:
    model = replay(write(tmp_path, a_py="x"))
    assert asyncio.run(model.count_tokens("x" * 400)) == 100


# A recording that ends


def test_a_recording_that_never_submits_ends_the_sample(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(jsonl({"text": "Hm."}, {"text": "I give up."}))

    sample = only(play(tmp_path, agent_task()))

    assert sample.error is None
    assert sample.limit is not None and sample.limit.type == "custom"
    assert sample.limit.reason == (
        f"The recording {tmp_path.name}/a.jsonl ended after 2 turns, "
        "and the agent asked for another."
    )
    assert submitted_answer(sample.messages) is None
    assert sample.output.completion == "I give up."


def test_a_call_of_submit_without_an_answer_is_no_submission(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(jsonl({"tool_calls": [{"name": "submit_answer"}]}))

    assert answers(play(tmp_path, agent_task())) == {("only", 1): None}


# Which recording


def test_epochs_take_the_recordings_in_name_order_and_start_over(tmp_path: Path) -> None:
    write(tmp_path, b_md="second", c_jsonl=jsonl({"submit": "third"}), a_py="first")
    write(tmp_path, README_md="about")
    (tmp_path / ".hidden").touch()
    write(tmp_path / "__pycache__", a_pyc="")

    got = answers(play(tmp_path, agent_task(), epochs=5))

    assert [got["only", epoch] for epoch in range(1, 6)] == [
        "first",
        "second",
        "third",
        "first",
        "second",
    ]


def test_samples_have_folders_named_by_their_id(tmp_path: Path) -> None:
    for sample in ("x", "7"):
        write(tmp_path / sample, a_py=f"{sample} first", b_py=f"{sample} second")

    assert answers(play(tmp_path, agent_task("x", 7), epochs=2)) == {
        ("x", 1): "x first",
        ("x", 2): "x second",
        (7, 1): "7 first",
        (7, 2): "7 second",
    }


def test_files_with_no_folder_serve_every_sample(tmp_path: Path) -> None:
    write(tmp_path, a_py="same")

    assert answers(play(tmp_path, agent_task("x", "y"))) == {("x", 1): "same", ("y", 1): "same"}


@task
def registered() -> Task:
    return agent_task("x", "y", name="researcher_evals/two_samples")


def test_a_folder_named_after_the_task_stands_above(tmp_path: Path) -> None:
    write(tmp_path / "one_sample", a_py="one")
    write(tmp_path / "two_samples" / "x", a_py="two x")
    write(tmp_path / "two_samples" / "y", a_py="two y")

    assert answers(play(tmp_path, agent_task(name="one_sample"))) == {("only", 1): "one"}
    assert answers(play(tmp_path, registered())) == {("x", 1): "two x", ("y", 1): "two y"}


@solver
def fail_once_out_of_order() -> Solver:
    """Let later epochs go first, and let every sample's first attempt fail after a turn."""
    failed: set[tuple[str | int, int]] = set()

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        key = (state.sample_id, state.epoch)
        await anyio.sleep(0.3 / state.epoch)
        if key not in failed:
            failed.add(key)
            await generate(state)
            raise RuntimeError("This attempt is lost.")
        return state

    return solve


def test_the_recording_is_right_when_samples_run_side_by_side_and_again(tmp_path: Path) -> None:
    for sample in ("x", "y"):
        for n in range(1, 6):
            write(
                tmp_path / sample,
                **{f"{n}_jsonl": jsonl({"text": f"{sample}{n}"}, {"submit": f"{sample}{n}"})},
            )

    log = play(tmp_path, agent_task("x", "y", setup=fail_once_out_of_order()), epochs=5, retries=1)

    assert answers(log) == {(s, n): f"{s}{n}" for s in "xy" for n in range(1, 6)}
    for played in log.samples or []:
        assert len(played.error_retries or []) == 1
        first = next(m for m in played.messages if m.role == "assistant")
        assert first.text == f"{played.id}{played.epoch}"


def test_assistant_messages_of_the_input_are_no_turns(tmp_path: Path) -> None:
    write(tmp_path, a_py="answer")
    shots: list[ChatMessage] = [
        ChatMessageUser(content="2 + 2?"),
        ChatMessageAssistant(content="4"),
        ChatMessageUser(content="Do it."),
    ]
    shown = Task(dataset=[Sample(shots, id="only")], solver=react(submit=submit_answer()))

    assert answers(play(tmp_path, shown)) == {("only", 1): "answer"}


def test_outside_an_evaluation_it_is_epoch_1(tmp_path: Path) -> None:
    model = replay(write(tmp_path, a_py="first", b_py="second"))
    output = asyncio.run(model.generate("Do it."))

    [call] = output.message.tool_calls or []
    assert (call.function, call.arguments) == ("submit_answer", {"answer": "first"})


# What cannot be played


def test_no_submissions() -> None:
    with pytest.raises(PrerequisiteError, match="-M submissions=PATH"):
        get_model("replay/test", memoize=False)


def test_another_argument(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="not: submission"):
        get_model("replay/test", memoize=False, submission=str(tmp_path))


def test_no_such_path(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no such file or folder"):
        load_recordings(tmp_path / "nowhere")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "sample").mkdir()
    with pytest.raises(PrerequisiteError, match=r"no recordings in .*sample"):
        load_recordings(tmp_path)


def test_recordings_beside_folders(tmp_path: Path) -> None:
    write(tmp_path, a_py="x")
    write(tmp_path / "sample", a_py="x")
    with pytest.raises(PrerequisiteError, match="both recordings and folders"):
        load_recordings(tmp_path)


def test_folders_too_deep(tmp_path: Path) -> None:
    write(tmp_path / "task" / "sample" / "what", a_py="x")
    with pytest.raises(PrerequisiteError, match="none below a sample's"):
        load_recordings(tmp_path)


def test_a_file_that_is_no_recording(tmp_path: Path) -> None:
    write(tmp_path, a_txt="x")
    with pytest.raises(PrerequisiteError, match="must end in"):
        load_recordings(tmp_path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "Invalid JSON"),
        ("[]", "should be an object"),
        ("{}", "at least one of text, tool_calls, submit"),
        ('{"txet": "typo"}', "txet: Extra inputs"),
        ('{"submit": 3}', "submit: Input should be a valid string"),
        ('{"tool_calls": [{"arguments": {}}]}', "tool_calls.0.name: Field required"),
        ('{"text": "\\ud800"}', "Invalid JSON"),
        ('{"text": "\xff"}', "Invalid JSON"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "fine"}\n\n' + line.encode("latin-1"))
    with pytest.raises(PrerequisiteError) as error:
        load_recordings(path)
    assert f"{path}:3: not an assistant turn" in str(error.value.message)
    assert reason in str(error.value.message)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_jsonl_with_no_turn(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(PrerequisiteError, match="no assistant turn"):
        load_recordings(tmp_path)


def test_a_sample_with_no_folder_is_named(tmp_path: Path) -> None:
    write(tmp_path / "x", a_py="x")

    log = play(tmp_path, agent_task("y"))

    assert log.status == "error" and log.error is not None
    assert "No recording for sample 'y' of task 'some_task'" in log.error.message
    assert "it has folders for x" in log.error.message


def test_brackets_in_a_path_reach_the_reader(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError) as error:
        load_recordings(tmp_path / "run[bold]")
    printed = StringIO()
    Console(file=printed, width=1000).print(error.value.message)
    assert "run[bold]" in printed.getvalue()


def test_the_turns_of_a_recording(tmp_path: Path) -> None:
    [recording] = load_recordings(write(tmp_path, a_py="x"))[()]
    assert recording.turns == (Turn(submit="x"),)


def test_the_provider_can_be_made_without_inspects_factory(tmp_path: Path) -> None:
    api = ReplayAPI("test", config=GenerateConfig(), submissions=str(write(tmp_path, a_py="x")))
    assert list(api.recordings) == [()]
