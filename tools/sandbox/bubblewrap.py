"""The sandbox provider `bubblewrap`: Linux namespaces, no daemon, as root or not.

A sample has two environments that share nothing: `default`, for the model, and `verifier`, for
graders. Inside there is this Python with its packages and the system's programs, all read-only;
no network, no file and no environment variable of the host; and the limits of `BubblewrapConfig`.
All of it ends with the sample, also when Inspect is killed.
"""

import errno
import os
import shlex
import shutil
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import PurePosixPath
from typing import Any, Literal, overload

import anyio
from inspect_ai._util.cpu import effective_cpu_count
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.util import (
    ExecResult,
    OutputLimitExceededError,
    SandboxConnection,
    SandboxEnvironment,
    SandboxEnvironmentConfigType,
    SandboxEnvironmentLimits,
    SandboxUnavailableError,
    SandboxUserUnsupportedError,
    sandboxenv,
)
from inspect_ai.util import concurrency as concurrency_limit
from inspect_ai.util._subprocess import max_subprocesses_context_var
from rich.markup import escape
from typing_extensions import override

from .config import BubblewrapConfig
from .launch import Holder, StartError, start, stop
from .mounts import USER, WORKSPACE, environment
from .prerequisites import explain, require_platform
from .session import CommandTimeoutError, OutputLimitError, Reply, call

FILE_SECONDS = 600
KILLED = 128 + 9


@sandboxenv(name="bubblewrap")
class BubblewrapSandboxEnvironment(SandboxEnvironment):
    """One environment of a sample; made by `sample_init` or `open`."""

    def __init__(self, holder: Holder, config: BubblewrapConfig) -> None:
        super().__init__()
        self._holder = holder
        self._config = config

    @classmethod
    async def open(cls, config: BubblewrapConfig) -> "BubblewrapSandboxEnvironment":
        """Start an environment, which lives until `close` or the end of this process.

        Raises:
            PrerequisiteError: it cannot be started here; says what to install or to set.
        """
        require_platform()
        try:
            return cls(await start(config), config)
        except StartError as ex:
            message = explain(str(ex), os.geteuid() == 0)
            raise PrerequisiteError(escape(message)) from ex

    async def close(self) -> None:
        """End the environment; when this returns, no process and no file of it is left."""
        await stop(self._holder)

    @property
    def config(self) -> BubblewrapConfig:
        """The limits of this environment."""
        return self._config

    @override
    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run a command, as Inspect's `SandboxEnvironment.exec` describes.

        What the command leaves running in the background goes on, until the sample ends; send
        its output to a file, since nobody reads it after the command.

        Args:
            cmd: Program and arguments.
            input: Standard input.
            cwd: Working directory, relative to `/workspace`.
            env: Environment variables, on top of the sandbox's own.
            user: None or the sandbox's only user.
            timeout: Seconds, at most the `exec_seconds` of the configuration.
            timeout_retry: Ignored: a timeout here is always the command's own.
            concurrency: Count as one of Inspect's limited number of subprocesses.

        Raises:
            TimeoutError, OutputLimitExceededError: the command and all it started were killed.
            PermissionError: the program may not be executed.
            SandboxUserUnsupportedError: for any other user.
            SandboxUnavailableError: the sandbox is not running.
            ValueError: the command or a variable cannot be passed to a program.
        """
        _check_command(cmd, env or {})
        if user not in (None, USER, str(self._holder.uid)):
            raise SandboxUserUnsupportedError(
                f"the bubblewrap sandbox has one user, '{USER}'; it cannot run commands as '{user}'"
            )
        folder = _absolute(cwd or ".")
        request = {"op": "exec", "cmd": cmd, "env": env or {}, "cwd": folder}
        seconds = self._config.exec_seconds
        async with _subprocess_slot() if concurrency else nullcontext():
            reply = await self._call(
                request,
                _bytes(input or b""),
                SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE,
                seconds if timeout is None else min(timeout, seconds),
            )
        return self._result(cmd[0], folder, reply)

    def _result(self, program: str, folder: str, reply: Reply) -> ExecResult[str]:
        status = reply.status or {"returncode": KILLED}  # `kill -9 -1` kills the supervisor too
        stderr = _text(reply.stderr)
        if status.get("out_of_memory"):
            limit = self._config.memory_mib
            stderr += f"\nsandbox: killed a process, as all used more than {limit} MiB of memory\n"
        if "returncode" in status:
            code = int(status["returncode"])
        else:
            number, reason = status["errno"], os.strerror(status["errno"])
            if status["step"] == "exec" and number == errno.EACCES:
                raise PermissionError(number, reason, program)
            code = 127 if number == errno.ENOENT else 126  # as a shell does
            stderr += f"sandbox: {folder if status['step'] == 'cwd' else program}: {reason}\n"
        return ExecResult(code == 0, code, _text(reply.stdout), stderr)

    @override
    async def write_file(self, file: str, contents: str | bytes) -> None:
        reply = await self._call(
            {"op": "write", "file": _absolute(file)}, _bytes(contents), 0, FILE_SECONDS
        )
        _raise_error(reply, file)

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    @override
    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        limit = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE
        request = {"op": "read", "file": _absolute(file), "limit": limit}
        reply = await self._call(request, b"", limit + 1, FILE_SECONDS)
        _raise_error(reply, file)
        if len(reply.stdout) > limit:
            raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR, None)
        return reply.stdout.decode("utf-8") if text else reply.stdout

    async def _call(
        self, request: dict[str, Any], input: bytes, limit: int, seconds: float
    ) -> Reply:
        unavailable = SandboxUnavailableError("the bubblewrap sandbox is not running")
        if not self._holder.running:
            raise unavailable
        try:
            reply = await call(self._holder.control, request, input, limit, seconds)
        except CommandTimeoutError as ex:
            error = TimeoutError(f"timed out after {seconds} seconds")
            # where Inspect looks for what to show of the output
            error.truncated_output = _text(ex.output)  # type: ignore[attr-defined]
            raise error from None
        except OutputLimitError as ex:
            raise OutputLimitExceededError(
                SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE_STR, _text(ex.output)
            ) from None
        except ConnectionError:
            raise unavailable from None
        if reply.status is None and not self._holder.running:
            raise unavailable
        if reply.status and "failure" in reply.status:
            raise RuntimeError(f"the sandbox's holder failed: {reply.status['failure']}")
        return reply

    @override
    async def connection(self, *, user: str | None = None) -> SandboxConnection:
        """A shell in the sandbox for a person, if that person is root.

        It is in the sandbox's namespaces, but without its limits. Otherwise bwrap has nested two
        user namespaces, and `nsenter` cannot enter those.
        """
        nsenter = shutil.which("nsenter")
        if nsenter is None or os.geteuid() != 0 or user not in (None, USER):
            raise NotImplementedError("needs root, `nsenter`, and no other user than the sandbox's")
        if not self._holder.running:
            raise ConnectionError("the bubblewrap sandbox is not running")
        uid, pid = str(self._holder.uid), str(self._holder.pid)
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid"]
        enter = [nsenter, "--target", pid, *namespaces, "--setgid", uid, "--setuid", uid]
        variables = {"TERM": os.environ.get("TERM", "dumb"), **environment(self._config.threads)}
        words = ["env", "-i", *(f"{name}={value}" for name, value in variables.items()), *enter]
        command = shlex.join([*words, "sh", "-c", f"cd {WORKSPACE} && exec bash"])
        return SandboxConnection(type="bubblewrap", command=command)

    @override
    def default_polling_interval(self) -> float:
        return 0.2

    @override
    @classmethod
    def default_concurrency(cls) -> int | None:
        return 2 * effective_cpu_count()

    @override
    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BubblewrapConfig:
        return BubblewrapConfig.model_validate(config)

    @override
    @classmethod
    async def task_init(cls, task_name: str, config: SandboxEnvironmentConfigType | None) -> None:
        environment = await cls.open(_config(config))  # fails early where it cannot work
        await environment.close()

    @override
    @classmethod
    async def sample_init(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        metadata: dict[str, str],
    ) -> dict[str, SandboxEnvironment]:
        environments: dict[str, SandboxEnvironment] = {}
        try:
            for name in ("default", "verifier"):
                environments[name] = await cls.open(_config(config))
        except BaseException:  # Inspect does not clean up after a failed sample_init
            await cls.sample_cleanup(task_name, config, environments, True)
            raise
        return environments

    @override
    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        with anyio.CancelScope(shield=True):
            for environment in environments.values():
                await environment.as_type(BubblewrapSandboxEnvironment).close()

    # Nothing outlives a sample or the process, so `task_cleanup` and `cli_cleanup` have nothing
    # to do, and Inspect's own do nothing.


def _config(config: SandboxEnvironmentConfigType | None) -> BubblewrapConfig:
    if config is None:
        return BubblewrapConfig()
    if isinstance(config, BubblewrapConfig):
        return config
    raise PrerequisiteError(
        "The bubblewrap sandbox is configured with a BubblewrapConfig, as in "
        f"`sandbox=('bubblewrap', BubblewrapConfig(memory_mib=2048))`, not with {config!r}."
    )


def _subprocess_slot() -> AbstractAsyncContextManager[object]:
    return concurrency_limit("subprocesses", max_subprocesses_context_var.get(), resizable=True)


def _check_command(cmd: list[str], env: dict[str, str]) -> None:
    if not cmd or not cmd[0]:
        raise ValueError("cmd must name a program")
    if bad := [name for name in env if not name or "=" in name]:
        raise ValueError(f"not names of environment variables: {bad}")
    if any("\0" in word for word in [*cmd, *env, *env.values()]):
        raise ValueError("a command and its variables cannot contain a NUL character")


def _absolute(path: str) -> str:
    return str(PurePosixPath(WORKSPACE) / path)


def _raise_error(reply: Reply, file: str) -> None:
    if reply.status is None:
        raise RuntimeError(f"the sandbox killed its own work on {file}")
    if number := reply.status.get("errno"):
        raise OSError(number, os.strerror(number), file)


def _bytes(contents: str | bytes) -> bytes:
    return contents.encode() if isinstance(contents, str) else contents


def _text(output: bytes) -> str:
    return output.decode("utf-8", errors="replace")
