"""Inspect's own conformance checks on the bubblewrap sandbox, and the rest of its interface."""

import os
import subprocess
import sys
import types
from collections.abc import AsyncIterator

import anyio
import pytest
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.util import SandboxUnavailableError, SandboxUserUnsupportedError
from inspect_ai.util._sandbox import self_check
from inspect_ai.util._sandbox.environment import SandboxEnvironmentSpec
from inspect_ai.util._sandbox.events import SandboxEnvironmentProxy
from inspect_ai.util._sandbox.self_check import *  # noqa: F403
from pydantic import ValidationError

from researcher_evals.tools.sandbox import BubblewrapConfig, BubblewrapSandboxEnvironment

pytestmark = pytest.mark.anyio

IMPOSSIBLE = {
    "test_exec_as_user": "adds a user with `adduser` as root; the sandbox has no root, one user",
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sandbox_env(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[BubblewrapSandboxEnvironment]:
    if reason := IMPOSSIBLE.get(request.node.originalname):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    # The checks give a provider 5 s to kill what timed out. Here it must be dead at once.
    sleepless = types.SimpleNamespace(sleep=lambda seconds: anyio.sleep(0))
    monkeypatch.setattr(self_check, "anyio", sleepless)
    env = await BubblewrapSandboxEnvironment.open(BubblewrapConfig())
    yield env
    await env.close()


def test_the_conformance_checks_were_collected(request: pytest.FixtureRequest) -> None:
    names = {item.name for item in request.session.items if item.path == request.path}
    missing = set(self_check.__all__) - names
    assert len(self_check.__all__) >= 44
    assert not missing or len(names) == 1, missing  # 1: this test was asked for alone


async def test_starts_in_its_workspace_with_this_python_first(
    sandbox_env: BubblewrapSandboxEnvironment,
) -> None:
    result = await sandbox_env.exec(["sh", "-c", "pwd; command -v python; whoami; ls -A"])
    python = os.path.join(os.path.dirname(sys.executable), "python")
    assert result.stdout.split() == ["/workspace", python, "sandbox"]


async def test_torch_can_be_imported_and_says_nothing(
    sandbox_env: BubblewrapSandboxEnvironment,
) -> None:
    program = "import torch; print((torch.ones(3) @ torch.ones(3)).item(), torch.get_num_threads())"
    result = await sandbox_env.exec(["python", "-c", program])
    assert (result.stdout, result.stderr) == ("3.0 2\n", "")


@pytest.mark.slow
async def test_workers_and_ranks_of_torch_run(sandbox_env: BubblewrapSandboxEnvironment) -> None:
    # shared memory, loopback, and the name of the host must all be as they need them
    program = """
import torch, torch.distributed as dist
from torch.utils.data import DataLoader
if __name__ == "__main__":
    dist.init_process_group("gloo")
    batches = DataLoader(torch.arange(1000.0).view(100, 10), batch_size=10, num_workers=2)
    total = sum(batch.sum() for batch in batches)
    dist.all_reduce(total)
    if dist.get_rank() == 0:
        print(total.item())
    dist.destroy_process_group()
"""
    await sandbox_env.write_file("ranks.py", program)
    command = ["python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = await sandbox_env.exec([*command, "ranks.py"], timeout=240)
    assert result.stdout == "999000.0\n", result.stderr


async def test_commands_that_do_not_start_are_failed_results(
    sandbox_env: BubblewrapSandboxEnvironment,
) -> None:
    missing = await sandbox_env.exec(["no-such-program"])
    assert (missing.returncode, missing.stderr) == (
        127,
        "sandbox: no-such-program: No such file or directory\n",
    )
    nowhere = await sandbox_env.exec(["true"], cwd="no/such/folder")
    assert nowhere.returncode != 0
    assert nowhere.stderr == "sandbox: /workspace/no/such/folder: No such file or directory\n"
    await sandbox_env.write_file("script", "no shebang")
    await sandbox_env.exec(["chmod", "+x", "script"])
    garbage = await sandbox_env.exec(["./script"])
    assert (garbage.returncode, garbage.stderr) == (126, "sandbox: ./script: Exec format error\n")
    long = await sandbox_env.exec(["echo", "x" * 200_000])
    assert (long.returncode, long.stderr) == (126, "sandbox: echo: Argument list too long\n")


@pytest.mark.parametrize(
    ("cmd", "env"),
    [([], {}), ([""], {}), (["echo", "a\0b"], {}), (["true"], {"A=B": "1"}), (["true"], {"": "1"})],
)
async def test_what_no_program_can_be_given_is_refused(
    sandbox_env: BubblewrapSandboxEnvironment, cmd: list[str], env: dict[str, str]
) -> None:
    with pytest.raises(ValueError):
        await sandbox_env.exec(cmd, env=env)


async def test_there_is_one_user(sandbox_env: BubblewrapSandboxEnvironment) -> None:
    assert (await sandbox_env.exec(["whoami"], user="sandbox")).stdout == "sandbox\n"
    for user in ("root", "0", "nobody"):
        with pytest.raises(SandboxUserUnsupportedError, match=user):
            await sandbox_env.exec(["whoami"], user=user)


async def test_variables_of_one_command_are_gone_in_the_next(
    sandbox_env: BubblewrapSandboxEnvironment,
) -> None:
    found = await sandbox_env.exec(["only-there"], env={"PATH": "/workspace"})
    assert found.returncode == 127
    await sandbox_env.write_file("only-there", "#!/bin/sh\necho $GREETING")
    await sandbox_env.exec(["chmod", "+x", "only-there"])
    env = {"PATH": "/workspace", "GREETING": "héllo"}
    assert (await sandbox_env.exec(["only-there"], env=env)).stdout == "héllo\n"
    assert (await sandbox_env.exec(["sh", "-c", "echo $GREETING"])).stdout == "\n"


async def test_background_processes_live_on_and_do_not_hold_up_their_command(
    sandbox_env: BubblewrapSandboxEnvironment,
) -> None:
    with anyio.fail_after(10):
        # it even keeps the command's output open
        result = await sandbox_env.exec(["sh", "-c", "sleep 300 & echo $!"])
    pid = result.stdout.strip()
    state = await sandbox_env.exec(["ps", "-o", "args=", "-p", pid])
    assert state.stdout == "sleep 300\n"


async def test_commands_run_side_by_side_and_keep_their_outputs_apart(
    sandbox_env: BubblewrapSandboxEnvironment,
) -> None:
    outputs: dict[int, str] = {}

    async def run(number: int) -> None:
        program = f"sleep 0.1; head -c 200000 /dev/zero | tr '\\0' {number % 10}; echo {number} >&2"
        result = await sandbox_env.exec(["sh", "-c", program], concurrency=False)
        outputs[number] = result.stdout[:1] + result.stdout[-1:] + result.stderr
        assert len(result.stdout) == 200_000

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(run, number)
    assert outputs == {n: f"{n % 10}{n % 10}{n}\n" for n in range(20)}


async def test_input_that_nobody_reads_is_no_error(
    sandbox_env: BubblewrapSandboxEnvironment,
) -> None:
    assert (await sandbox_env.exec(["true"], input="x" * 1_000_000)).success


async def test_a_pipe_whose_reader_has_gone_ends_its_writer(
    sandbox_env: BubblewrapSandboxEnvironment,
) -> None:
    # Python, which starts the commands, ignores SIGPIPE; they must not
    result = await sandbox_env.exec(["bash", "-c", "yes | head -1; echo ${PIPESTATUS[0]}"])
    assert result.stdout == "y\n141\n"


async def test_only_regular_files_are_read(sandbox_env: BubblewrapSandboxEnvironment) -> None:
    await sandbox_env.exec(["mkfifo", "pipe"])
    with anyio.fail_after(10):
        for file in ("pipe", "/dev/zero"):
            with pytest.raises(OSError, match="Invalid argument"):
                await sandbox_env.read_file(file)
        with pytest.raises(OSError):
            await sandbox_env.write_file("pipe", "x")


async def test_reading_and_writing_fail_as_files_do(
    sandbox_env: BubblewrapSandboxEnvironment,
) -> None:
    await sandbox_env.write_file("file", "x")
    with pytest.raises(OSError, match="Read-only file system"):
        await sandbox_env.write_file("/usr/bin/python", "x")
    with pytest.raises(NotADirectoryError):
        await sandbox_env.read_file("file/below")
    with pytest.raises(OSError):
        await sandbox_env.write_file("file/below", "x")
    await sandbox_env.write_file("binary", b"\xff\r\n")
    with pytest.raises(UnicodeDecodeError):
        await sandbox_env.read_file("binary")
    await sandbox_env.write_file("lines", "a\r\nb")
    assert await sandbox_env.read_file("lines") == "a\r\nb"


async def test_a_closed_sandbox_says_so(sandbox_env: BubblewrapSandboxEnvironment) -> None:
    await sandbox_env.close()
    await sandbox_env.close()
    with pytest.raises(SandboxUnavailableError, match="not running"):
        await sandbox_env.exec(["true"])
    with pytest.raises(SandboxUnavailableError):
        await sandbox_env.read_file("x")
    with pytest.raises((ConnectionError, NotImplementedError)):
        await sandbox_env.connection()


async def test_a_command_whose_sandbox_dies_raises(
    sandbox_env: BubblewrapSandboxEnvironment,
) -> None:
    async with anyio.create_task_group() as tasks:

        async def close() -> None:
            await anyio.sleep(0.3)
            await sandbox_env.close()

        tasks.start_soon(close)
        with pytest.raises(SandboxUnavailableError):
            await sandbox_env.exec(["sleep", "60"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can enter a running sandbox")
async def test_root_can_connect_to_a_sandbox(sandbox_env: BubblewrapSandboxEnvironment) -> None:
    await sandbox_env.write_file("inside", "")
    command = (await sandbox_env.connection()).command
    shell = subprocess.run(
        command,
        shell=True,
        input="whoami; pwd; ls; ls /home; echo $PATH",
        capture_output=True,
        text=True,
    )
    lines = shell.stdout.split()
    assert lines[:3] == ["sandbox", "/workspace", "inside"]
    assert len(lines) == 4 and lines[3].endswith("/sbin")


@pytest.mark.slow
async def test_inspect_can_install_its_tools_inside(
    sandbox_env: BubblewrapSandboxEnvironment,
) -> None:
    # what bash_session, text_editor, MCP servers and the agent bridge are built on
    proxy = SandboxEnvironmentProxy(sandbox_env)
    result = await proxy.exec_remote(["sh", "-c", "cat; whoami"], stream=False)
    assert (result.stdout, result.success) == ("sandbox\n", True)


def test_limits_survive_the_log() -> None:
    spec = SandboxEnvironmentSpec("bubblewrap", BubblewrapConfig(memory_mib=100))
    assert SandboxEnvironmentSpec.model_validate_json(spec.model_dump_json()) == spec


async def test_bad_limits_are_named() -> None:
    with pytest.raises(ValidationError, match="memory_mb"):
        BubblewrapConfig(memory_mb=100)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="processes"):
        BubblewrapConfig(processes=0)
    with pytest.raises(PrerequisiteError) as error:
        await BubblewrapSandboxEnvironment.task_init("task", "compose.yaml")
    assert "BubblewrapConfig" in str(error.value.message)
