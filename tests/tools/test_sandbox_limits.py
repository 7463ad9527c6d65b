"""The limits of the sandbox: what wants too much is stopped, and the sandbox lives on."""

import time
from collections.abc import AsyncIterator

import anyio
import pytest
from inspect_ai.util import ExecResult, OutputLimitExceededError, SandboxEnvironmentLimits
from inspect_ai.util._sandbox.limits import override_max_exec_output_size

from researcher_evals.tools.sandbox import (
    BubblewrapConfig,
    BubblewrapSandboxEnvironment,
    bubblewrap_sandbox,
    session,
)

pytestmark = pytest.mark.anyio

SMALL = BubblewrapConfig(
    memory_mib=256, processes=40, cpu_seconds=1, exec_seconds=15, disk_mib=16, open_files=64
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def box() -> AsyncIterator[BubblewrapSandboxEnvironment]:
    async with bubblewrap_sandbox(SMALL) as environment:
        yield environment
        assert (await environment.exec(["echo", "alive"])).stdout == "alive\n"


async def python(
    box: BubblewrapSandboxEnvironment, program: str, timeout: int | None = None
) -> ExecResult[str]:
    return await box.exec(["python", "-S", "-c", program], timeout=timeout)


async def processes(box: BubblewrapSandboxEnvironment) -> list[str]:
    result = await box.exec(["ps", "-e", "-o", "args="])
    # without the holder and its supervisors, of which one may have ended this very moment
    ours = ("holder.py", "<defunct>")
    return [line for line in result.stdout.splitlines() if not any(o in line for o in ours)][:-1]


# --- memory ---


async def test_a_process_that_wants_too_much_memory_is_refused_it(
    box: BubblewrapSandboxEnvironment,
) -> None:
    result = await python(box, "x = bytearray(300 << 20)")
    assert result.returncode == 1 and "MemoryError" in result.stderr


async def test_memory_below_the_limit_is_given(box: BubblewrapSandboxEnvironment) -> None:
    program = "x = bytearray(200 << 20); import time; time.sleep(0.5); print(len(x) >> 20)"
    assert (await python(box, program)).stdout == "200\n"


@pytest.mark.parametrize(
    "hog",
    [
        # no single one of these processes is above the limit
        "import os, time\nfor _ in range(5): os.fork() or [bytearray(100 << 20), time.sleep(60)]"
        "\nos.wait()",
        # shared memory, which no limit of a process counts
        "import mmap, time\nm = mmap.mmap(-1, 1 << 30)\n"
        "for i in range(0, 1 << 30, 4096): m[i] = 1\ntime.sleep(60)",
    ],
    ids=["many processes", "shared memory"],
)
async def test_memory_of_all_together_is_bounded(
    box: BubblewrapSandboxEnvironment, hog: str
) -> None:
    start = time.monotonic()
    result = await python(box, f"{hog}\n", timeout=12)
    assert time.monotonic() - start < 10
    assert "killed a process, as all used more than 256 MiB" in result.stderr


async def test_shared_pages_count_once(box: BubblewrapSandboxEnvironment) -> None:
    # six processes that look at the same 100 MiB
    program = """
import os, time
x = bytearray(100 << 20)
children = [os.fork() or (time.sleep(1), os._exit(sum(x[::4096]))) for _ in range(5)]
print([os.waitpid(pid, 0)[1] for pid in children])
"""
    result = await python(box, program)
    assert (result.stdout, result.stderr) == ("[0, 0, 0, 0, 0]\n", "")


# --- processes ---

FORK_BOMB = """
import os
while True:
    try: os.fork()
    except OSError: pass
"""


async def test_a_fork_bomb_fizzles_and_is_cleared_away(box: BubblewrapSandboxEnvironment) -> None:
    await box.exec(["sh", "-c", "sleep 300 > /dev/null 2>&1 &"])  # another's, and stays
    with anyio.fail_after(30):
        with pytest.raises(TimeoutError):
            await python(box, FORK_BOMB, timeout=2)
        assert await processes(box) == ["sleep 300"]


async def test_a_fork_bomb_in_the_background_leaves_room_to_end_it(
    box: BubblewrapSandboxEnvironment,
) -> None:
    script = f"setsid python -S -c '{FORK_BOMB}' > /dev/null 2>&1 & sleep 1"
    with anyio.fail_after(30):
        await box.exec(["sh", "-c", script])
        running = await processes(box)
        assert 20 < len(running) <= SMALL.processes
        await box.exec(["bash", "-c", "kill -9 -1"])
        assert await processes(box) == []


async def test_threads_are_bounded(box: BubblewrapSandboxEnvironment) -> None:
    program = """
import threading, time
threading.stack_size(64 << 10)  # the limit on memory is not to stop them first
try:
    for n in range(1000): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
except RuntimeError as ex: print(n, ex)
"""
    result = await python(box, program)
    assert "can't start new thread" in result.stdout
    assert int(result.stdout.split()[0]) < SMALL.processes


async def test_environments_do_not_use_up_each_others_processes(
    box: BubblewrapSandboxEnvironment,
) -> None:
    async with bubblewrap_sandbox(SMALL) as other:
        sleepers = "for i in $(seq 30); do sleep 60 > /dev/null & done; exec 2>&-"
        for environment in (box, other):
            assert (await environment.exec(["sh", "-c", sleepers])).stderr == ""
        assert len(await processes(other)) == 30


# --- disk ---


@pytest.mark.parametrize("folder", ["/workspace", "/tmp", "/var/tmp", "/dev/shm"])
async def test_disk_is_bounded(box: BubblewrapSandboxEnvironment, folder: str) -> None:
    # in files of 4 MiB, so that it is not the limit of one file
    script = f"for i in $(seq 20); do head -c 4M /dev/zero > {folder}/$i || exit 1; done"
    result = await box.exec(["sh", "-c", script])
    assert result.returncode == 1 and "No space left on device" in result.stderr
    size = await box.exec(["du", "-smx", folder + "/"])
    assert int(size.stdout.split()[0]) <= SMALL.disk_mib
    if folder == "/workspace":
        with pytest.raises(OSError, match="No space left"):
            await box.write_file("more", "x" * 100_000)


async def test_files_are_bounded(box: BubblewrapSandboxEnvironment) -> None:
    result = await box.exec(["truncate", "-s", "1G", "sparse"])
    assert not result.success
    opened = await python(box, "print(len([open('/dev/null', 'wb', 0) for _ in range(100)]))")
    assert "Too many open files" in opened.stderr
    limits = await box.exec(["sh", "-c", "ulimit -c; cat /proc/self/limits"])
    # 1 byte: a limit of 0 would not keep the kernel from starting a core handler of the host
    assert "Max core file size        1                    1" in limits.stdout


# --- time ---


async def test_processor_time_of_a_process_is_bounded(box: BubblewrapSandboxEnvironment) -> None:
    result = await python(box, "import signal\nsignal.signal(24, lambda *_: 0)\nwhile True: pass")
    assert result.returncode == 137  # SIGXCPU can be caught, but not the SIGKILL after it


@pytest.mark.parametrize("timeout", [None, 100])
async def test_a_command_has_a_timeout_even_if_it_asks_for_none(timeout: int | None) -> None:
    async with bubblewrap_sandbox(BubblewrapConfig(exec_seconds=1)) as box:
        with anyio.fail_after(5), pytest.raises(TimeoutError, match="timed out after 1 seconds"):
            await box.exec(["sleep", "60"], timeout=timeout)


async def test_what_was_written_before_a_timeout_is_kept(
    box: BubblewrapSandboxEnvironment,
) -> None:
    with pytest.raises(TimeoutError) as error:
        await box.exec(["sh", "-c", "echo so far; echo so good >&2; sleep 60"], timeout=1)
    assert error.value.truncated_output == "so far\nso good\n"  # type: ignore[attr-defined]


EVADERS = {
    "ignores signals": "trap '' TERM INT HUP; while true; do sleep 60; done",
    "is stopped": "sleep 60 & kill -STOP $!; sleep 60",
    "in another session": "setsid setsid sleep 61 & sleep 60",
    "orphans": "(setsid sh -c 'sleep 62 & sleep 63 & exit' &) ; sleep 60",
    "never the same process for long": """setsid python -S -c '
import os, time
while True:
    if os.fork(): os._exit(0)
    os.setsid(); time.sleep(0.001)' & sleep 60""",
}


async def test_after_a_timeout_nothing_of_the_command_is_left() -> None:
    left: dict[str, list[str]] = {}

    async def attempt(name: str, script: str) -> None:
        async with bubblewrap_sandbox(SMALL) as box:
            await box.exec(["sh", "-c", "sleep 300 > /dev/null 2>&1 &"])  # another's, and stays
            with anyio.fail_after(12), pytest.raises(TimeoutError):
                await box.exec(["sh", "-c", script], timeout=1, concurrency=False)
            left[name] = await processes(box)

    async with anyio.create_task_group() as tasks:
        for name, script in EVADERS.items():
            tasks.start_soon(attempt, name, script)
    assert left == {name: ["sleep 300"] for name in EVADERS}


async def test_a_cancelled_command_is_killed(box: BubblewrapSandboxEnvironment) -> None:
    with anyio.move_on_after(0.5):
        await box.exec(["sh", "-c", "setsid sleep 60 & sleep 60"])
    for _ in range(50):
        if not await processes(box):
            return
        await anyio.sleep(0.05)
    raise AssertionError(await processes(box))


@pytest.mark.parametrize("signal", ["STOP", "KILL"])
async def test_a_command_that_turns_on_its_supervisor_is_killed_with_all(
    box: BubblewrapSandboxEnvironment, signal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "KILL_SECONDS", 0.5)
    script = f"setsid sleep 60 & kill -{signal} $PPID; sleep 60"
    with anyio.fail_after(14):
        if signal == "STOP":
            with pytest.raises(TimeoutError):
                await box.exec(["sh", "-c", script], timeout=1)
        else:
            result = await box.exec(["sh", "-c", script], timeout=10)
            assert (result.success, result.returncode) == (False, 137)
    assert await processes(box) == []


async def test_the_first_process_cannot_be_killed_or_stopped(
    box: BubblewrapSandboxEnvironment,
) -> None:
    for signal in ("KILL", "STOP", "INT", "TERM", "SEGV"):
        await box.exec(["sh", "-c", f"kill -{signal} 1"])
    result = await box.exec(["sh", "-c", "kill -9 -1; echo survived"])
    # `kill -1` spares the shell that calls it, but its supervisor's death ends it
    assert result.returncode == 137


# --- output ---


@pytest.mark.parametrize("stream", [1, 2])
async def test_a_flood_of_output_is_dammed(box: BubblewrapSandboxEnvironment, stream: int) -> None:
    limit = SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE
    start = time.monotonic()
    with pytest.raises(OutputLimitExceededError, match="10 MiB") as error:
        await box.exec(["sh", "-c", f"yes >&{stream}"])
    assert time.monotonic() - start < 5
    assert error.value.truncated_output == "y\n" * (limit // 2)
    assert await processes(box) == []


async def test_output_up_to_the_limit_is_given(box: BubblewrapSandboxEnvironment) -> None:
    with override_max_exec_output_size(1000):
        result = await box.exec(["head", "-c", "1000", "/dev/zero"])
        assert len(result.stdout) == 1000
        with pytest.raises(OutputLimitExceededError):
            await box.exec(["head", "-c", "1001", "/dev/zero"])


async def test_output_that_is_no_text_is_given_as_text(box: BubblewrapSandboxEnvironment) -> None:
    assert (await box.exec(["printf", "a\\377b"])).stdout == "a\N{REPLACEMENT CHARACTER}b"
