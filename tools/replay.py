"""The `replay` model provider: plays recorded answers through the real agent, with no network.

    inspect eval evals/neural_memory.py --model replay/NAME -M submissions=PATH

NAME is a label for the log. PATH is a recording, or a folder of them.

A recording is
- a `.py` or `.md` file: one turn, which submits the file's text (an empty file, the empty answer);
- a `.jsonl` file: one assistant turn a line, as a JSON object with at least one of
  `"text"`: what the model says,
  `"tool_calls"`: a list of `{"name": ..., "arguments": {...}}`,
  `"submit"`: the answer, short for a call of the submit tool (it comes after the other calls).

In a folder the recordings in name order are epoch 1, 2, 3, ... and then start over. Hidden files,
`__pycache__` and a README.md are no recordings. For several samples, sub-folders are named by
sample id; for several tasks, folders named after the task stand above.

The provider keeps no state: which recording is played follows from the task, sample and epoch that
ask, which turn from the number of turns the model has already taken. So samples may run side by
side, and a retried sample hears the same answers. No tokens are spent, and the usage says so.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log._samples import sample_active
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.tool import ToolCall, ToolChoice, ToolInfo
from inspect_ai.util import LimitExceededError
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from rich.markup import escape

from researcher_evals.tools.submit import SUBMIT_TOOL

Folder = tuple[str, ...]
"""A folder below PATH: (), (sample,), (task,) or (task, sample)."""


class Call(BaseModel):
    """A recorded call of a tool."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class Turn(BaseModel):
    """A recorded assistant turn: one line of a `.jsonl` recording."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = ""
    tool_calls: tuple[Call, ...] = ()
    submit: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Turn":
        if not self.model_fields_set:
            raise ValueError("a turn needs at least one of text, tool_calls, submit")
        return self

    @property
    def calls(self) -> tuple[Call, ...]:
        if self.submit is None:
            return self.tool_calls
        return (*self.tool_calls, Call(name=SUBMIT_TOOL, arguments={"answer": self.submit}))


@dataclass(frozen=True)
class Recording:
    path: Path
    turns: tuple[Turn, ...]


@modelapi(name="replay")
class ReplayAPI(ModelAPI):
    """Plays the recordings under `submissions` (`-M submissions=PATH`).

    Raises:
        PrerequisiteError: When it is made, where `submissions` is missing, is not there, holds no
            recording or a malformed one; in a sample, where no recording belongs to that sample.
        LimitExceededError: In a sample, where the recording ends before the agent does. The sample
            then ends there, as at any other limit, and is scored as it stands.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008, the signature of ModelAPI
        submissions: str | None = None,
        **model_args: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if model_args:
            unknown = ", ".join(sorted(model_args))
            raise _error(f"The replay model takes `submissions` only, not: {unknown}.")
        if submissions is None:
            raise _error(
                "The replay model needs recordings to play: add `-M submissions=PATH`, where PATH "
                "is a .py, .md or .jsonl file, or a folder of them."
            )
        self.submissions = Path(str(submissions)).expanduser().resolve()
        self.recordings = load_recordings(self.submissions)

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        recording = self._recording()
        # Assistant messages that came with the sample's input are no turns of this model.
        taken = sum(m.role == "assistant" and m.source != "input" for m in input)
        if taken >= len(recording.turns):
            turns = len(recording.turns)
            raise LimitExceededError(
                "custom",
                value=taken + 1,
                limit=turns,
                message=f"The recording {self._name(recording)} ended after {turns} "
                f"{'turn' if turns == 1 else 'turns'}, and the agent asked for another.",
            )
        return self._output(recording, taken)

    async def count_text_tokens(self, text: str) -> int:
        """About four characters a token. Inspect's own count would download a vocabulary."""
        return len(text) // 4

    def _recording(self) -> Recording:
        """The recording for the task, sample and epoch that are asking."""
        active = sample_active()  # Inspect has no public name for the sample that is running
        if active is None:  # generate() was called outside an evaluation
            task, sample, epoch = "", "", 1
        else:
            task, sample, epoch = active.task.split("/")[-1], str(active.sample.id), active.epoch
        for folder in ((task, sample), (task,), (sample,), ()):
            if files := self.recordings.get(folder):
                return files[(epoch - 1) % len(files)]
        there = ", ".join("/".join(folder) for folder in sorted(self.recordings))
        raise _error(
            f"No recording for sample '{sample}' of task '{task}' in {self.submissions}: "
            f"it has folders for {there}."
        )

    def _name(self, recording: Recording) -> str:
        """Its path from `submissions`, which says nothing of the machine."""
        return str(recording.path.relative_to(self.submissions.parent))

    def _output(self, recording: Recording, taken: int) -> ModelOutput:
        turn = recording.turns[taken]
        message = ChatMessageAssistant(
            content=turn.text,
            tool_calls=[
                ToolCall(id=f"turn{taken + 1}_call{n}", function=c.name, arguments=c.arguments)
                for n, c in enumerate(turn.calls, start=1)
            ]
            or None,
            model=self.model_name,
            source="generate",
        )
        choice = ChatCompletionChoice(
            message=message, stop_reason="tool_calls" if turn.calls else "stop"
        )
        return ModelOutput(
            model=self.model_name,
            choices=[choice],
            usage=ModelUsage(),
            metadata={"recording": self._name(recording), "turn": taken + 1},
        )


def load_recordings(path: Path) -> dict[Folder, tuple[Recording, ...]]:
    """Read a recording, or all of a folder's, in name order.

    Args:
        path: A `.py`, `.md` or `.jsonl` file, or a folder (see the module's docstring).

    Returns:
        Recordings by the folder they stand in, relative to `path`. No folder is empty.

    Raises:
        PrerequisiteError: `path` or a folder below it is not there, is empty, holds both
            recordings and sub-folders or another kind of file, or a recording is malformed.
    """
    if path.is_file():
        return {(): (_load_recording(path),)}
    if not path.is_dir():
        raise _error(f"There are no recordings at {path}: no such file or folder.")
    return _load_folder(path, ())


def _load_folder(path: Path, folder: Folder) -> dict[Folder, tuple[Recording, ...]]:
    entries = sorted(p for p in path.iterdir() if _is_recording_or_folder(p))
    folders = [p for p in entries if p.is_dir()]
    if not entries:
        raise _error(f"There are no recordings in {path}: it holds no .py, .md or .jsonl file.")
    if folders and len(folders) < len(entries):
        raise _error(
            f"{path} holds both recordings and folders, so it is not clear which belong to a "
            "sample. Move the recordings into a folder named after their sample."
        )
    if not folders:
        return {folder: tuple(_load_recording(p) for p in entries)}
    if len(folder) == 2:
        raise _error(f"{path} holds further folders: there are none below a sample's.")
    found: dict[Folder, tuple[Recording, ...]] = {}
    for p in folders:
        found |= _load_folder(p, (*folder, p.name))
    return found


def _is_recording_or_folder(path: Path) -> bool:
    return not path.name.startswith(".") and path.name not in ("__pycache__", "README.md")


def _load_recording(path: Path) -> Recording:
    if path.suffix in (".py", ".md"):
        # What is no UTF-8 becomes U+FFFD: a model's answer is text, whatever it is worth.
        answer = path.read_bytes().decode("utf-8", errors="replace")
        return Recording(path, (Turn(submit=answer),))
    if path.suffix == ".jsonl":
        return Recording(path, _load_turns(path))
    raise _error(f"{path} is no recording: the name must end in .py, .md or .jsonl.")


def _load_turns(path: Path) -> tuple[Turn, ...]:
    turns = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            turns.append(Turn.model_validate_json(line))
        except ValidationError as ex:
            reasons = "; ".join(
                ": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"])))
                for e in ex.errors(include_url=False)
            )
            raise _error(f"{path}:{number}: not an assistant turn ({reasons}).") from ex
    if not turns:
        raise _error(f"{path} holds no assistant turn.")
    return tuple(turns)


def _error(message: str) -> PrerequisiteError:
    # Inspect prints the message as markup, in which a path's [brackets] would vanish.
    return PrerequisiteError(escape(message))
