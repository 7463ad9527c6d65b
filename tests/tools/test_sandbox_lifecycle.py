"""Sandboxes in a run of Inspect: they start with a sample, and nothing of them stays."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import anyio
import pytest
from inspect_ai import Task, eval, score, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ModelOutput, ModelUsage
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import SandboxEnvironmentSpec, sandbox

from researcher_evals.tools.sandbox import (
    BubblewrapConfig,
    BubblewrapSandboxEnvironment,
    bubblewrap_sandbox,
    verifier_sandbox,
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def processes_with(marker: str) -> list[int]:
    """Process ids on the host whose command line contains a marker."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def sandboxes() -> list[int]:
    """bwrap processes that this process has started, and that still run."""
    return [pid for pid in children(os.getpid()) if "bwrap" in command_line(pid)]


def wait_until_gone(marker: str) -> None:
    for _ in range(100):
        if not processes_with(marker):
            return
        time.sleep(0.1)
    raise AssertionError(f"still running after 10 s: {processes_with(marker)}")


@pytest.mark.anyio
async def test_closing_leaves_nothing_behind() -> None:
    descriptors = os.listdir("/proc/self/fd")
    marker = uuid.uuid4().hex
    async with bubblewrap_sandbox() as box:
        script = f"setsid sh -c 'trap \"\" TERM HUP; sleep 60; : {marker}' > /dev/null 2>&1 &"
        await box.exec(["sh", "-c", script])
        await box.write_file("x", "x")
        assert processes_with(marker)
    assert processes_with(marker) == []
    assert sandboxes() == []
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)


@pytest.mark.anyio
async def test_failed_commands_leak_no_descriptors() -> None:
    async with bubblewrap_sandbox() as box:
        await box.exec(["true"])
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await box.exec(["sleep", "60"], timeout=0)
            with pytest.raises(FileNotFoundError):
                await box.read_file("none")
        await box.exec(["sh", "-c", "sleep 50 &"])
        assert len(os.listdir("/proc/self/fd")) == before


KILLED_RUN = """
import anyio, sys
from researcher_evals.tools.sandbox import bubblewrap_sandbox
async def main():
    async with bubblewrap_sandbox() as box:
        await box.exec(["sh", "-c", f"setsid sh -c 'sleep 60; : {sys.argv[1]}' > /dev/null 2>&1 &"])
        print("ready", flush=True)
        await box.exec(["sh", "-c", f"sleep 60; : {sys.argv[1]}"])
anyio.run(main)
"""


@pytest.mark.parametrize("hold_socket", [False, True], ids=["alone", "with a forked child"])
def test_a_killed_run_takes_its_sandboxes_with_it(hold_socket: bool) -> None:
    marker = uuid.uuid4().hex
    program = KILLED_RUN
    if hold_socket:  # a child that inherits everything keeps the holder's socket open
        fork = "    if os.fork() == 0: time.sleep(8); os._exit(0)\n        print"
        program = "import os, time\n" + program.replace("    print", fork)
    run = subprocess.Popen([sys.executable, "-c", program, marker], stdout=subprocess.PIPE)
    assert run.stdout is not None and run.stdout.readline() == b"ready\n"
    inside: list[int] = []
    while len(inside) < 2:  # one in the foreground, one in the background
        inside = [pid for pid in processes_with(f"sleep 60; : {marker}") if pid != run.pid]
    inside += [int(pid) for pid in children(run.pid) if "bwrap" in command_line(pid)]
    inside += [int(pid) for bwrap in inside[-1:] for pid in children(bwrap)]
    assert len(inside) >= 4
    run.send_signal(signal.SIGKILL)
    run.wait()
    for _ in range(40):
        # a zombie has no command line, and waits for whoever adopts it
        left = [pid for pid in inside if Path(f"/proc/{pid}").exists() and command_line(pid)]
        if not left:
            break
        time.sleep(0.1)
    assert left == []
    run.stdout.close()


@pytest.mark.anyio
async def test_an_interrupt_from_the_terminal_does_not_reach_sandboxes() -> None:
    # it would end them before Inspect can end its samples in good order
    async with bubblewrap_sandbox() as box:
        assert os.getsid(box._holder.process.pid) != os.getsid(0)


@pytest.mark.anyio
async def test_a_sample_that_fails_to_start_is_cleaned_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # Inspect does not call sample_cleanup then
    opened: list[BubblewrapSandboxEnvironment] = []
    original = BubblewrapSandboxEnvironment.open

    async def open_once(config: BubblewrapConfig) -> BubblewrapSandboxEnvironment:
        if opened:
            raise RuntimeError("no second one")
        opened.append(await original(config))
        return opened[0]

    monkeypatch.setattr(BubblewrapSandboxEnvironment, "open", open_once)
    with pytest.raises(RuntimeError, match="no second one"):
        await BubblewrapSandboxEnvironment.sample_init("task", None, {})
    assert len(opened) == 1 and sandboxes() == []


@pytest.mark.anyio
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.05])
async def test_a_start_that_is_cancelled_leaves_nothing(delay: float) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with anyio.move_on_after(delay):
        async with bubblewrap_sandbox():
            pass
    assert sandboxes() == []
    assert len(os.listdir("/proc/self/fd")) == descriptors


# --- whole runs of Inspect ---


def answer(text: str) -> ModelOutput:
    """A model's answer; without `usage`, Inspect would download a tokenizer to count it."""
    message = ChatMessageAssistant(content=text, source="generate")
    return ModelOutput(
        model="mockllm",
        choices=[ChatCompletionChoice(message=message)],
        usage=ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2),
    )


@solver
def leave_traces() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state = await generate(state)
        await sandbox().write_file("/tmp/trace", state.output.completion)
        await sandbox().exec(["sh", "-c", f"sleep 60 # {state.metadata['marker']}"], timeout=None)
        return state

    return solve


@solver
def run_answer() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state = await generate(state)
        await sandbox().write_file("/tmp/trace", "the model was here")
        marker = state.metadata["marker"]
        await sandbox().exec(
            ["sh", "-c", f"setsid sh -c 'sleep 60; : {marker}' > /dev/null 2>&1 &"]
        )
        assert processes_with(marker)
        return state

    return solve


@scorer(metrics=[accuracy()])
def computes() -> Scorer:
    """Runs the answer as a program: is its output the target?"""

    async def evaluate(state: TaskState, target: Target) -> Score:
        async with verifier_sandbox() as verifier:
            trace = await verifier.exec(["cat", "/tmp/trace"])
            result = await verifier.exec(["python", "-S", "-c", state.output.completion])
        right = result.stdout.strip() == target.text
        return Score(value=1 if right and not trace.success else 0, explanation=result.stderr)

    return evaluate


@task
def tiny(marker: str = "none") -> Task:
    return Task(
        dataset=[Sample(input="Print 6 * 7.", target="42", metadata={"marker": marker})],
        solver=run_answer(),
        scorer=computes(),
        sandbox=SandboxEnvironmentSpec("bubblewrap", BubblewrapConfig(memory_mib=512)),
    )


def test_a_whole_run_and_its_scoring_again(tmp_path: Path) -> None:
    marker = uuid.uuid4().hex
    [log] = eval(
        tiny(marker),
        model="mockllm/model",
        model_args={"custom_outputs": [answer("print(6 * 7)")]},
        log_dir=str(tmp_path),
        display="none",
    )
    assert log.status == "success" and log.samples and log.results
    assert log.results.scores[0].metrics["accuracy"].value == 1
    assert log.eval.sandbox and log.eval.sandbox.config == BubblewrapConfig(memory_mib=512)
    assert processes_with(marker) == [] and sandboxes() == []

    # no sandbox is left of the sample: the scorer opens one of its own
    again = score(log, computes(), action="overwrite", display="none")
    assert again.results and again.results.scores[0].metrics["accuracy"].value == 1
    assert sandboxes() == []


def test_an_error_in_a_sample_ends_its_sandbox(tmp_path: Path) -> None:
    @solver
    def fails() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            await sandbox().exec(["sh", "-c", "sleep 60 > /dev/null 2>&1 &"])
            raise RuntimeError("the solver failed")

        return solve

    [log] = eval(
        Task(dataset=[Sample("x")], solver=fails(), sandbox="bubblewrap"),
        model="mockllm/model",
        log_dir=str(tmp_path),
        display="none",
    )
    assert log.status == "error" and log.error and "the solver failed" in log.error.message
    assert sandboxes() == []


def test_a_time_limit_ends_what_runs_in_the_sandbox(tmp_path: Path) -> None:
    marker = uuid.uuid4().hex
    [log] = eval(
        Task(
            dataset=[Sample("x", metadata={"marker": marker})],
            solver=leave_traces(),
            sandbox="bubblewrap",
            time_limit=2,
        ),
        model="mockllm/model",
        model_args={"custom_outputs": [answer("x")]},
        log_dir=str(tmp_path),
        display="none",
    )
    assert log.status == "success" and log.samples and log.samples[0].limit
    wait_until_gone(marker)
    assert sandboxes() == []


@pytest.mark.anyio
async def test_without_a_sample_the_verifier_is_a_fresh_one() -> None:
    async with verifier_sandbox(BubblewrapConfig(threads=1)) as first:
        await first.write_file("/tmp/x", "x")
        assert (await first.exec(["sh", "-c", "echo $OMP_NUM_THREADS"])).stdout == "1\n"
        async with verifier_sandbox() as second:
            with pytest.raises(FileNotFoundError):
                await second.read_file("/tmp/x")
    assert sandboxes() == []
