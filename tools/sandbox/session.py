"""Have one request served by an environment's holder: a command, or a file read or written."""

import json
import math
import os
import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from io import FileIO
from typing import Any

import anyio

# After a command has ended, its background processes may hold its output open.
DRAIN_SECONDS = 0.5
# After less than this the holder gives up on finding all of a command's processes.
KILL_SECONDS = 3
_CHUNK = 1 << 20


class OutputLimitError(Exception):
    """The command wrote more than it may, and was killed; `output` is the beginning of it."""

    def __init__(self, output: bytes) -> None:
        super().__init__("output limit exceeded")
        self.output = output


class CommandTimeoutError(Exception):
    """The command took too long, and was killed; `output` is what it had written."""

    def __init__(self, output: bytes) -> None:
        super().__init__("timed out")
        self.output = output


@dataclass(frozen=True)
class Reply:
    """What came of a request."""

    status: dict[str, Any] | None
    """The supervisor's answer; None when it gave none, because the command (or the end of the
    environment) killed it."""
    stdout: bytes
    stderr: bytes


@dataclass
class Control:
    """The way to a holder."""

    channel: socket.socket
    sweeps: int = 0
    """How many times all processes of the environment have been killed."""


@dataclass
class _Output:
    """Reads one output stream of a command, up to a limit in bytes."""

    file: FileIO
    limit: int
    data: bytearray = field(default_factory=bytearray)
    ended: anyio.Event = field(default_factory=anyio.Event)

    @property
    def overflowed(self) -> bool:
        return len(self.data) > self.limit

    async def read(self, on_overflow: anyio.CancelScope) -> None:
        while True:
            await anyio.wait_readable(self.file)
            chunk = self.file.read(_CHUNK)
            if chunk is None:
                continue
            if not chunk:
                return self.ended.set()
            self.data += chunk[: self.limit + 1 - len(self.data)]
            if self.overflowed:
                return on_overflow.cancel()


async def call(
    control: Control, request: dict[str, Any], input: bytes, limit: int, seconds: float
) -> Reply:
    """Send a request and its input, and collect its output and its answer.

    Args:
        control: The way to the holder.
        request: As `holder.py` understands it.
        input: What the command reads from its standard input.
        limit: Bytes that each of the two output streams may have.
        seconds: The longest it may take.

    Raises:
        CommandTimeoutError, OutputLimitError: the command and all that it started were killed.
        ConnectionError: the holder is gone.
    """
    with ExitStack() as stack:
        session, their_session = socket.socketpair()
        (their_in, stdin), (stdout, their_out), (stderr, their_err) = _pipe(), _pipe(), _pipe()
        theirs: list[socket.socket | FileIO] = [their_session, their_in, their_out, their_err]
        ours: list[socket.socket | FileIO] = [session, stdin, stdout, stderr]
        for end in (*ours, *theirs):
            stack.enter_context(end)
        await _send(control.channel, b"run", [end.fileno() for end in theirs])
        for end in theirs:
            end.close()
        for end in ours:
            os.set_blocking(end.fileno(), False)

        answer = b""
        sweeps = control.sweeps
        outputs = _Output(stdout, limit), _Output(stderr, limit)
        with anyio.move_on_after(seconds) as patience:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_feed, stdin, input)
                for output in outputs:
                    tasks.start_soon(output.read, patience)
                answer = await _ask(session, json.dumps(request).encode())
                patience.deadline = math.inf  # it has ended; what is left is to read
                with anyio.move_on_after(DRAIN_SECONDS):
                    for output in outputs:
                        await output.ended.wait()
                tasks.cancel_scope.cancel()
        if not answer:
            with anyio.CancelScope(shield=True):
                await _kill(control, session, sweeps)
        if patience.cancelled_caught:
            written = b"".join(bytes(output.data[:limit]) for output in outputs)
            if any(output.overflowed for output in outputs):
                raise OutputLimitError(written)
            raise CommandTimeoutError(written)
        status = json.loads(answer) if answer else None
        return Reply(status, bytes(outputs[0].data), bytes(outputs[1].data))


async def _ask(session: socket.socket, request: bytes) -> bytes:
    """Send a request with its length before it, and receive until the other side closes."""
    left = memoryview(len(request).to_bytes(8, "big") + request)
    with suppress(BrokenPipeError, ConnectionResetError):
        while left:
            await anyio.wait_writable(session)
            left = left[session.send(left) :]
    return await _receive_all(session)


async def _receive_all(session: socket.socket) -> bytes:
    data = b""
    with suppress(ConnectionResetError):
        while True:
            await anyio.wait_readable(session)
            chunk = session.recv(_CHUNK)
            if not chunk:
                break
            data += chunk
    return data


async def _feed(stdin: FileIO, input: bytes) -> None:
    left = memoryview(input)
    with suppress(BrokenPipeError), stdin:
        while left:
            await anyio.wait_writable(stdin)
            left = left[stdin.write(left) or 0 :]


async def _kill(control: Control, session: socket.socket, sweeps: int) -> None:
    """End the command and all that it started, and wait until they are gone."""
    with suppress(OSError):
        session.shutdown(socket.SHUT_WR)
    with anyio.move_on_after(KILL_SECONDS) as patience:
        answer = await _receive_all(session)
    # It may have stopped its supervisor, or killed it. Then nobody knows its processes from
    # others, and all must go, unless they went since this command began.
    if (patience.cancelled_caught or not answer) and control.sweeps == sweeps:
        control.sweeps += 1
        done, their_done = socket.socketpair()
        with done, suppress(ConnectionError):
            done.setblocking(False)
            with their_done:
                await _send(control.channel, b"kill", [their_done.fileno()])
            with anyio.move_on_after(KILL_SECONDS):
                await _receive_all(done)


async def _send(channel: socket.socket, message: bytes, fds: list[int]) -> None:
    while True:
        try:
            if channel.fileno() < 0:
                raise ConnectionResetError("the environment has been ended")
            socket.send_fds(channel, [message], fds)
            return
        except BlockingIOError:
            await anyio.sleep(0.01)


def _pipe() -> tuple[FileIO, FileIO]:
    read, write = os.pipe()
    return FileIO(read, "rb"), FileIO(write, "wb")
