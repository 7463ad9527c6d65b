"""How is one submission graded? From source text to a grade.

1. The source gate reads the text.
2. In a fresh sandbox the submission runs under the recorder, and leaves a record.
3. A judge process outside replays the record and decides the criteria.
4. In another fresh sandbox the submission runs plainly, on inputs drawn after step 2; the judge
   compares.
"""

import ast
import json
import random
import re
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any

import anyio
from inspect_ai.util import OutputLimitExceededError, SandboxEnvironment

from researcher_evals.tools.sandbox import (
    BubblewrapSandboxEnvironment,
    bubblewrap_sandbox,
    verifier_sandbox,
)

from .finding import CRITERIA
from .protocol import live_request, record_request, seed_of
from .source_gate import UnreadableSource, inspect_source

MAX_SOURCE = 1_000_000  # characters
RUN_SECONDS = 180  # wall time of one run in the sandbox; its CPU time is bounded in `run.py`
JUDGE_SECONDS = 600
JUDGE_OUTPUT = 4_000_000  # bytes
SIDE = ("recorder.py", "run.py")


class GraderError(RuntimeError):
    """The grader itself failed: no verdict about the submission."""


@dataclass(frozen=True)
class Grade:
    """What was found about one submission.

    Attributes:
        criteria: 1 or 0 by criterion.
        evidence: one line by criterion.
        outcome: `graded`; or why nothing holds: `no submission`, `broken` (does not run),
            `invalid` (not causal), `untraceable` (the grader could not follow it).
        note: the reason for an outcome other than `graded`.
        untrainable: the error of the backward pass, if it failed.
        integrity: what was caught trying to reach beyond the task.
        numbers: the measurements by criterion.
    """

    criteria: dict[str, int]
    evidence: dict[str, str]
    outcome: str = "graded"
    note: str = ""
    untrainable: str = ""
    integrity: list[str] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        clean = not self.integrity and not self.untrainable and self.outcome == "graded"
        return clean and all(self.criteria.values())

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "passed": int(self.passed)}


def nothing(outcome: str, note: str, integrity: list[str] | None = None) -> Grade:
    """The grade of a submission that meets no criterion, for one reason."""
    return Grade(
        dict.fromkeys(CRITERIA, 0),
        dict.fromkeys(CRITERIA, f"{outcome}: {note}"),
        outcome,
        note,
        integrity=integrity or [],
    )


FENCE = re.compile(r"^(`{3,}|~{3,})[^\n`]*\n(.*?)^\1[ \t]*$", re.DOTALL | re.MULTILINE)


def source_of(answer: str) -> str:
    """The submitted file: the answer itself, or the largest fenced block of code in it."""
    answer = answer.strip().replace("\r\n", "\n")
    if _parses(answer):
        return answer
    blocks = [m.group(2) for m in FENCE.finditer(answer)]
    return max((b for b in blocks if _parses(b)), key=len, default=answer)


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


async def grade_submission(answer: str | None) -> Grade:
    """Grades one answer, in the sandbox of the active sample or in fresh ones.

    Args:
        answer: the submitted text; None if nothing was submitted.

    Raises:
        GraderError: the judge failed, or the sandbox cannot run torch.
        PrerequisiteError: there is no sandbox, and none can be started here.
    """
    if answer is None:
        return nothing("no submission", "the model never called the submit tool")
    if not answer.strip():
        return nothing("no submission", "the answer is empty")
    if len(answer) > MAX_SOURCE:
        return nothing("broken", f"the answer is longer than {MAX_SOURCE} characters")
    source = source_of(answer).encode("utf-8", "replace").decode("utf-8")
    try:
        caught = [f.what for f in inspect_source(source)]
    except UnreadableSource as e:
        return nothing("broken", f"the answer is no Python file: {e}"[:300])
    draw = secrets.randbits(31)
    async with _Judge.start(draw) as judge:
        async with verifier_sandbox() as sandbox:
            record = await _run(sandbox, "record", record_request(seed_of(source), draw), source)
            if isinstance(record, _Failure):
                return nothing("broken", record.why, caught)
            await judge.send(record)
            async with _another(sandbox) as fresh:
                message = await _live(fresh, source, draw)
        await judge.send(json.dumps(message))
        verdict = await judge.verdict()
    return Grade(
        {c: int(verdict["criteria"][c]["holds"]) for c in CRITERIA},
        {c: verdict["criteria"][c]["evidence"] for c in CRITERIA},
        verdict["outcome"],
        verdict["note"],
        verdict["untrainable"],
        caught,
        {c: verdict["criteria"][c]["numbers"] for c in CRITERIA} | {"program": verdict["info"]},
    )


@asynccontextmanager
async def _another(sandbox: SandboxEnvironment) -> AsyncIterator[SandboxEnvironment]:
    """A second fresh sandbox of the same kind, which the recorded run never touched.

    Docker's environments are fixed by the compose file: there the same one is used again, in
    another folder.
    """
    try:  # a sample's sandbox comes wrapped in a proxy of Inspect's
        config = sandbox.as_type(BubblewrapSandboxEnvironment).config
    except TypeError:
        yield sandbox
        return
    async with bubblewrap_sandbox(config) as fresh:
        yield fresh


@dataclass(frozen=True)
class _Failure:
    """A run that left nothing, by its own fault."""

    why: str


async def _live(sandbox: SandboxEnvironment, source: str, draw: int) -> dict[str, Any]:
    """What the judge is told about the plain run."""
    request = live_request(seed_of(source), draw, random.Random(secrets.randbits(64)))
    found = await _run(sandbox, "live", request, source)
    if isinstance(found, _Failure):
        return {"request": request, "logits": None, "failed": f"the plain run failed: {found.why}"}
    try:
        return {"request": request, "logits": json.loads(found), "failed": ""}
    except (ValueError, RecursionError):
        return {"request": request, "logits": None, "failed": "the plain run left no logits"}


async def _run(
    sandbox: SandboxEnvironment, command: str, request: dict[str, Any], source: str
) -> str | _Failure:
    """Runs the submission in a new folder of the sandbox; the one line that it leaves."""
    folder = f"grading-{secrets.token_hex(8)}"
    side = files("researcher_evals") / "scorers" / "neural_memory" / "sandbox_side"
    for name in SIDE:
        await sandbox.write_file(f"{folder}/{name}", (side / name).read_text("utf-8"))
    await sandbox.write_file(f"{folder}/submission.py", source)
    await sandbox.write_file(f"{folder}/request.json", json.dumps(request))
    python = ["python", "-I", "-B", f"{folder}/run.py", command, "request.json", "result.json"]
    try:
        result = await sandbox.exec(python, timeout=RUN_SECONDS, timeout_retry=False)
    except TimeoutError:
        return _Failure(f"it does not end within {RUN_SECONDS} s")
    except OutputLimitExceededError:
        return _Failure("it prints without end")
    try:
        text = await sandbox.read_file(f"{folder}/result.json")
        return text.replace("\n", " ")
    except FileNotFoundError:
        pass
    except (
        Exception
    ) as e:  # too large, no text, a link to somewhere: all of the submission's making
        return _Failure(f"its record cannot be read: {type(e).__name__}: {e}"[:300])
    await _require_torch(sandbox)
    last = (result.stderr.strip().splitlines() or ["no message"])[-1][:300]
    return _Failure(f"it ends with code {result.returncode} before its logits are there: {last}")


async def _require_torch(sandbox: SandboxEnvironment) -> None:
    """Tells a sandbox that cannot run any submission from a submission that does not run."""
    async with _another(sandbox) as fresh:
        result = await fresh.exec(["python", "-I", "-c", "import torch"], timeout=RUN_SECONDS)
    if not result.success:
        raise GraderError(
            "The sandbox cannot import torch, so nothing can be graded in it. Install torch in its "
            f"image (or environment). Its message: {result.stderr.strip()[-500:]}"
        )


class _Judge:
    """The judge process: started early, since it needs a second to import torch."""

    def __init__(self, process: anyio.abc.Process):
        self._process = process

    @classmethod
    @asynccontextmanager
    async def start(cls, draw: int) -> AsyncIterator["_Judge"]:
        module = f"{__package__}.judge"
        process = await anyio.open_process([sys.executable, "-m", module, str(draw)], env=JUDGE_ENV)
        try:
            yield cls(process)
        finally:
            if process.returncode is None:
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()

    async def send(self, line: str) -> None:
        """One line to the judge; a judge that has ended already says so in its verdict."""
        assert self._process.stdin is not None
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._process.stdin.send(line.encode() + b"\n")

    async def verdict(self) -> dict[str, Any]:
        """The verdict.

        Raises:
            GraderError: the judge crashed or does not end.
        """
        process, out, err = self._process, bytearray(), bytearray()
        assert process.stdin and process.stdout and process.stderr

        async def read(stream: Any, into: bytearray) -> None:
            async for chunk in stream:
                into += chunk[: JUDGE_OUTPUT - len(into)]

        try:
            with anyio.fail_after(JUDGE_SECONDS):
                async with anyio.create_task_group() as group:
                    group.start_soon(read, process.stdout, out)
                    group.start_soon(read, process.stderr, err)
                    await process.stdin.aclose()
                    await process.wait()
        except TimeoutError as e:
            raise GraderError(f"The judge did not end within {JUDGE_SECONDS} s.") from e
        if process.returncode in JUDGE_KILLED:
            note = "its replay takes too long"
            found = nothing("untraceable", note)
            finding = {
                c: {"holds": 0, "evidence": found.evidence[c], "numbers": {}} for c in CRITERIA
            }
            return {
                "outcome": "untraceable", "note": note, "untrainable": "",
                "criteria": finding, "info": {},
            }  # fmt: skip
        if process.returncode != 0:
            raise GraderError(f"The judge crashed: {err.decode(errors='replace')[-2000:]}")
        result: dict[str, Any] = json.loads(out)
        return result


JUDGE_KILLED = (-24,)  # SIGXCPU: its CPU time is used up
JUDGE_ENV = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
