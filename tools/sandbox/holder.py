"""The first process of one sandbox environment: starts commands, ends them, counts memory.

The host reads this file as text and runs it inside the sandbox with a bare Python (standard
library only); nothing outside the sandbox imports it. It is PID 1 of the environment's process
namespace, so no signal from inside can stop it, and when it ends, everything ends with it.

Protocol. Standard input is a SEQPACKET socket to the host. One message asks for one thing:

- `run`, with four descriptors attached (session, stdin, stdout, stderr): fork a supervisor, which
  reads a length-prefixed JSON request from its session, serves it, and answers with JSON. A
  session that the host closes before the answer means: kill the command and all it started.
- `kill`, with one descriptor: kill every process of the environment, then close the descriptor.

The very first message carries a pidfd of the host's process. When that ends, or the other end of
standard input is closed, the holder exits, which kills everything.

The supervisors and this process share the commands' user id, so a command can kill its supervisor
(to which the host answers with `kill`), but cannot read their memory or take their descriptors:
they are marked as not dumpable.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36
POLL_SECONDS = 0.1
CHUNK = 1 << 20
MIB = 1 << 20

libc = ctypes.CDLL(None, use_errno=True)
Settings = dict[str, int]


def main() -> NoReturn:
    settings: Settings = json.loads(sys.argv[1])
    control = socket.socket(fileno=fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.umask(0o022)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # PID 1 ignores what it has no handler for
    if os.getuid() == 0:
        os.chown(os.getcwd(), settings["uid"], settings["gid"])
        os.setgroups([])
        os.setresgid(settings["gid"], settings["gid"], settings["gid"])
        os.setresuid(settings["uid"], settings["uid"], settings["uid"])
    prctl(PR_SET_DUMPABLE, 0)
    _, [host], _, _ = socket.recv_fds(control, 16, 1)
    os.set_inheritable(host, False)
    memory_kills = mmap.mmap(-1, 1)  # shared with the supervisors: kills for memory, modulo 256
    control.send(b"ready")
    serve(control, host, settings, memory_kills)


def serve(
    control: socket.socket, host: int, settings: Settings, memory_kills: mmap.mmap
) -> NoReturn:
    supervisors: set[int] = set()
    next_check = 0.0
    while True:
        busy = reap(supervisors)
        wait_seconds = POLL_SECONDS if busy else None
        readable, _, _ = select.select([control.fileno(), host], [], [], wait_seconds)
        if host in readable:
            os._exit(0)
        if readable:
            message, fds, _, _ = socket.recv_fds(control, 16, 4)
            for fd in fds:
                os.set_inheritable(fd, False)  # a command must not get at its session
            if not message:
                os._exit(0)
            elif message == b"kill":
                kill_all()
                wait_for_all(2)
            elif len(fds) == 4:
                pid = os.fork()
                if pid == 0:
                    supervise(socket.socket(fileno=fds[0]), fds[1:], settings, memory_kills)
                supervisors.add(pid)
            for fd in fds:
                os.close(fd)
        if busy and (start := time.monotonic()) >= next_check:
            if hog := over_memory(settings["memory_mib"] * MIB, supervisors):
                memory_kills[0] = (memory_kills[0] + 1) % 256
                signal_each([hog], signal.SIGKILL)
            end = time.monotonic()
            next_check = end + max(POLL_SECONDS, 5 * (end - start))  # a slow look is a rare one


def reap(supervisors: set[int]) -> bool:
    """Collect the dead; True while any process but this one is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        supervisors.discard(pid)


def kill_all() -> None:
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)


# --- one request ---


def supervise(
    session: socket.socket, fds: list[int], settings: Settings, memory_kills: mmap.mmap
) -> NoReturn:
    """Serve the one request of this session, answer it, and exit."""
    try:
        prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans of the command come to us, not to PID 1
        size = int.from_bytes(receive(session, 8), "big")
        request = json.loads(receive(session, size))
        kills = memory_kills[0]
        try:
            if request["op"] == "exec":
                reply = run(request, session, fds, settings)
            elif request["op"] == "read":
                reply = read_file(request["file"], fds[1], request["limit"])
            else:
                reply = write_file(request["file"], fds[0])
        except Exception as ex:
            reply = {"failure": repr(ex)}
        reply["out_of_memory"] = memory_kills[0] != kills
        session.sendall(json.dumps(reply).encode())
    finally:
        os._exit(0)


def receive(session: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = session.recv(min(CHUNK, size - len(data)))
        if not chunk:
            os._exit(0)
        data += chunk
    return bytes(data)


def run(
    request: dict[str, Any], session: socket.socket, fds: list[int], settings: Settings
) -> dict[str, Any]:
    """Run a command; its return code as a shell would give it, or the errno of its start."""
    failure, failure_w = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        step = "start"
        try:
            os.setsid()
            for target, fd in enumerate(fds):
                os.dup2(fd, target)
            for name in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(name, signal.SIG_DFL)
            set_limits(settings)
            step = "cwd"
            os.chdir(request["cwd"])
            step = "exec"
            environment = {**os.environ, **request["env"]}
            os.execvpe(request["cmd"][0], request["cmd"], environment)
        except OSError as ex:
            os.write(failure_w, f"{step} {ex.errno}".encode())
        finally:
            os._exit(127)
    for fd in (failure_w, *fds):
        os.close(fd)
    status = wait(pid, session)
    if failed := os.read(failure, 100).decode():
        return {"step": failed.split()[0], "errno": int(failed.split()[1])}
    return {"returncode": status}


def set_limits(settings: Settings) -> None:
    limits = {
        resource.RLIMIT_DATA: settings["memory_mib"] * MIB,
        resource.RLIMIT_NPROC: settings["processes"],
        resource.RLIMIT_CPU: settings["cpu_seconds"],
        resource.RLIMIT_FSIZE: settings["disk_mib"] * MIB,
        resource.RLIMIT_NOFILE: settings["open_files"],
        resource.RLIMIT_CORE: 1,  # 0 would still start a core handler of the host
    }
    for name, wanted in limits.items():
        hard = resource.getrlimit(name)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(name, (value, value))


def wait(pid: int, session: socket.socket) -> int | None:
    """The command's return code, or None when the host gave up and everything was killed."""
    sources = [os.pidfd_open(pid), session.fileno()]
    while True:
        readable, _, _ = select.select(sources, [], [], 0.5)
        while True:  # orphans that ended, and perhaps the command
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == pid:
                code = os.waitstatus_to_exitcode(status)
                return 128 - code if code < 0 else code
            if ended == 0:
                break
        if session.fileno() in readable:
            kill_descendants()
            return None


def kill_descendants() -> None:
    """Stop all, so that none can fork, then kill all; everything, should that not end."""
    patience = time.monotonic() + 2
    while time.monotonic() < patience:
        stopped: set[int] = set()
        while new := descendants(os.getpid()) - stopped:
            signal_each(new, signal.SIGSTOP)
            stopped |= new
        signal_each(stopped, signal.SIGKILL)
        if not wait_for_all(0.2):
            return
    kill_all()


def wait_for_all(seconds: float) -> bool:
    """Collect children for a while; False when none is left."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.002)
        except ChildProcessError:
            return False
    return True


def signal_each(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def read_file(file: str, out: int, limit: int) -> dict[str, Any]:
    """Copy at most `limit` bytes and one more of a regular file to `out`."""
    try:
        # not blocking: a pipe with no writer must not hold us up
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            return {"errno": errno.EISDIR}
        if not stat.S_ISREG(mode):
            return {"errno": errno.EINVAL}
        left = limit + 1
        while left and (chunk := os.read(fd, min(CHUNK, left))):
            write_all(out, chunk)
            left -= len(chunk)
    except OSError as ex:
        return {"errno": ex.errno}
    return {"returncode": 0}


def write_file(file: str, source: int) -> dict[str, Any]:
    """Create or overwrite a file, and the folders it is in, with what comes from `source`."""
    try:
        os.makedirs(os.path.dirname(file) or "/", exist_ok=True)
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC)
        while chunk := os.read(source, CHUNK):
            write_all(fd, chunk)
    except OSError as ex:
        return {"errno": ex.errno}
    return {"returncode": 0}


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


# --- what runs, and what it uses ---


def processes() -> Iterator[tuple[int, int, int]]:
    """(pid, parent, resident bytes of memory) of every other process; zombies have 0 bytes."""
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        yield int(name), int(fields[1]), int(fields[21]) * mmap.PAGESIZE


def descendants(pid: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for child, parent, _ in processes():
        children.setdefault(parent, []).append(child)
    found: set[int] = set()
    open_pids = [pid]
    while open_pids:
        below = children.get(open_pids.pop(), [])
        open_pids += below
        found.update(below)
    return found


def over_memory(limit: int, supervisors: set[int]) -> int | None:
    """The largest process, when all of them together use more than `limit` bytes."""
    resident = {pid: size for pid, _, size in processes() if pid not in supervisors}
    if sum(resident.values()) <= limit:
        return None
    # resident sets count shared pages once for each process: look again, exactly
    used = {pid: proportional(pid, size) for pid, size in resident.items()}
    return max(used, key=lambda pid: used[pid]) if sum(used.values()) > limit else None


def proportional(pid: int, otherwise: int) -> int:
    """Bytes of anonymous and shared memory of a process, shared pages divided by their users."""
    total = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith((b"Pss_Anon:", b"Pss_Shmem:")):
                    total += int(line.split()[1]) * 1024
    except OSError:
        return otherwise
    return total


def prctl(option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


if __name__ == "__main__":
    main()
