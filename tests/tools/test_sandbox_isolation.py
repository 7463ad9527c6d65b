"""What code in the sandbox must not see, reach or change."""

import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import researcher_evals
from researcher_evals.tools.sandbox import (
    BubblewrapConfig,
    BubblewrapSandboxEnvironment,
    bubblewrap_sandbox,
    mounts,
)

pytestmark = pytest.mark.anyio

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def box() -> AsyncIterator[BubblewrapSandboxEnvironment]:
    async with bubblewrap_sandbox() as environment:
        yield environment


async def sh(box: BubblewrapSandboxEnvironment, script: str) -> str:
    """Everything that a shell script writes."""
    result = await box.exec(["sh", "-c", f"exec 2>&1; {script}"], timeout=20)
    return result.stdout


async def python(box: BubblewrapSandboxEnvironment, program: str) -> str:
    result = await box.exec(["python", "-S", "-c", program], timeout=20)
    return result.stdout + result.stderr


async def test_no_environment_variable_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    key = f"sk-{secrets.token_hex(8)}"
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    async with bubblewrap_sandbox() as box:
        seen = await sh(box, "env; cat /proc/self/environ /proc/1/environ /proc/*/environ")
        assert key not in seen and "ANTHROPIC" not in seen
        names = {line.split("=")[0] for line in (await sh(box, "env")).splitlines()}
        assert names == {*mounts.environment(2), "PWD"}
        assert "Permission denied" in await sh(box, "cat /proc/1/environ")
        # the real leak: the environment that bwrap itself was started with
        assert key.encode() not in Path(f"/proc/{box._holder.process.pid}/environ").read_bytes()


async def test_no_network(box: BubblewrapSandboxEnvironment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        name = f"\0{secrets.token_hex(8)}"
        abstract.bind(name)
        abstract.listen()
        program = f"""
import socket, os
print(sorted(name for _, name in socket.if_nameindex()))
def attempt(address, family=socket.AF_INET):
    try:
        with socket.socket(family) as s:
            s.settimeout(3)
            s.connect(address)
        print("connected")
    except OSError as ex:
        print(ex.strerror)
attempt(("127.0.0.1", {tcp.getsockname()[1]}))
attempt(("192.0.2.1", 80))
attempt({name!r}, socket.AF_UNIX)
attempt((2, 1024), socket.AF_VSOCK)
attempt(("lo", 0), socket.AF_PACKET)
"""
        refused = "Address family not supported by protocol"
        assert (await python(box, program)).splitlines() == [
            "['lo']",
            "Connection refused",
            "Network is unreachable",
            "Connection refused",
            refused,
            refused,
        ]


async def test_processes_inside_can_talk_over_loopback(box: BubblewrapSandboxEnvironment) -> None:
    program = """
import socket
with socket.create_server(("localhost", 0)) as server:
    client = socket.create_connection(server.getsockname())
    server.accept()[0].send(b"hello")
    print(client.recv(5), socket.gethostbyname(socket.gethostname()))
"""
    assert await python(box, program) == "b'hello' 127.0.0.1\n"


async def test_no_files_of_the_host(box: BubblewrapSandboxEnvironment, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for path in (tmp_path, REPOSITORY / "tests", "/home", "/etc/shadow", "/etc/ssl", "/mnt"):
        assert "No such file" in await sh(box, f"ls {path}"), path
    home = await sh(box, f"cd {Path.home()} && find . -maxdepth 1 -type f")
    assert home == "" or "can't cd" in home
    assert await sh(box, "find / -xdev -name starter.py -o -xdev -name recordings") == ""
    system = ["bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin"]
    expected = [*system, "tmp", "usr", "var", "workspace"]
    of_python = {Path(path).parts[1] for path in mounts.python_folders()}
    assert set((await sh(box, "ls /")).split()) <= {*expected, *of_python}


async def test_no_part_of_this_project(box: BubblewrapSandboxEnvironment) -> None:
    result = await box.exec(["python", "-c", "import researcher_evals.scorers"])
    assert "ModuleNotFoundError" in result.stderr
    listing = await sh(box, f"ls {Path(researcher_evals.__file__ or '').parent}")
    assert listing == "" or "No such file" in listing


async def test_an_installed_copy_of_this_project_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "venv/lib/site-packages"
    (packages / "researcher_evals/scorers").mkdir(parents=True)
    (packages / "researcher_evals/scorers/answer.py").write_text("")
    (packages / "other.py").write_text("")
    tmp_path.chmod(0o755)
    folders = [*mounts.python_folders(), str(tmp_path / "venv")]
    monkeypatch.setattr(mounts, "python_folders", lambda: folders)
    monkeypatch.setattr(
        researcher_evals, "__file__", str(packages / "researcher_evals/__init__.py")
    )
    async with bubblewrap_sandbox() as box:
        assert await sh(box, f"ls {packages}") == "other.py\nresearcher_evals\n"
        assert await sh(box, f"ls -A {packages}/researcher_evals") == ""
        assert "Read-only" in await sh(box, f"touch {packages}/researcher_evals/x")


async def test_a_repository_among_the_python_packages_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "python/src/repository"
    package = repository / "src/researcher_evals"
    package.mkdir(parents=True)
    (repository / "scorers").mkdir()
    (repository / "answer").write_text("")
    (package / "scorers").symlink_to("../../scorers")
    (repository / ".venv").mkdir()
    (repository / ".venv/python").write_text("")
    folders = [*mounts.python_folders(), f"{tmp_path}/python", f"{repository}/.venv"]
    monkeypatch.setattr(mounts, "python_folders", lambda: folders)
    monkeypatch.setattr(researcher_evals, "__file__", str(package / "__init__.py"))
    async with bubblewrap_sandbox() as box:
        assert await sh(box, f"find {repository} -type f") == f"{repository}/.venv/python\n"


async def test_nothing_but_the_work_folders_can_be_written(
    box: BubblewrapSandboxEnvironment,
) -> None:
    # bwrap makes the root and /dev as file systems in memory without a limit
    for folder in ("/", "/dev", "/etc", "/usr/bin", "/run", "/var", sys.prefix, "/proc/self"):
        message = await sh(box, f"touch {folder}/x")
        assert "Read-only" in message or "No such file" in message, (folder, message)
    writable = await sh(
        box, "find / -xdev -writable -type d; find /dev /tmp /workspace -writable -type d"
    )
    # nobody can make files in a devpts; a Python that lies in /tmp is mounted on folders there
    above_python = {str(p) for p in Path(sys.prefix).parents} - {"/tmp"}
    found = set(writable.split()) - {"/dev/pts"} - above_python
    assert found == {"/workspace", "/tmp", "/dev/shm"}
    files = "find / -xdev -type f -writable -not -path '/proc/*' 2>/dev/null"
    assert await sh(box, files) == ""


async def test_no_setting_of_the_kernel_can_be_written(box: BubblewrapSandboxEnvironment) -> None:
    assert await sh(box, "find /proc/sys -writable") == ""
    setting = Path("/proc/sys/vm/swappiness")
    before = setting.read_text()
    for path in (setting, "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"):
        message = await sh(box, f"echo 1 > {path}")
        assert "cannot create" in message or "Read-only" in message
    assert setting.read_text() == before


async def test_no_privilege_and_no_way_to_one(box: BubblewrapSandboxEnvironment) -> None:
    status = await sh(box, "cat /proc/self/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == int(fields["CapAmb"], 16) == 0
    assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2"
    assert "0" not in fields["Uid"].split() and "0" not in fields["Gid"].split()
    assert "nosuid" in await sh(box, "grep ' /usr/bin ' /proc/mounts")
    assert "Error" in await python(box, "import os; os.setuid(0)")
    assert "Error" in await python(box, "import os; os.chroot('/tmp')")
    assert "No such device" in await sh(box, "cat /dev/tty")  # no terminal to type into


SYSTEM_CALLS = """
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    result = getattr(libc, name)(*arguments)
    print(name, os.strerror(ctypes.get_errno()) if result == -1 else "done")
    ctypes.set_errno(0)
NEWUSER = 0x10000000
call("unshare", NEWUSER)
call("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0)
stack = ctypes.create_string_buffer(65536)
child = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: 0)
call("clone", child, ctypes.byref(stack, 65000), NEWUSER | 17, None)
call("memfd_create", b"x", 0)
call("shmget", 0, 4096, 0o1600)
call("semget", 0, 1, 0o1600)
call("msgget", 0, 0o1600)
call("syscall", ctypes.c_long({"x86_64": 250, "aarch64": 219}[os.uname().machine]), 0, -3, 0)
call("prlimit64", 1, resource.RLIMIT_NOFILE, (ctypes.c_ulong * 2)(0, 0), None)
call("prlimit64", 0, resource.RLIMIT_NOFILE, (ctypes.c_ulong * 2)(99, 99), None)
call("ptrace", 16, 1, 0, 0)
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


async def test_dangerous_system_calls_are_refused(box: BubblewrapSandboxEnvironment) -> None:
    missing, forbidden = "Function not implemented", "Operation not permitted"
    assert (await python(box, SYSTEM_CALLS)).splitlines() == [
        f"unshare {missing}",
        f"setns {missing}",
        f"clone {forbidden}",
        f"memfd_create {missing}",  # memory that belongs to no process
        f"shmget {missing}",
        f"semget {missing}",
        f"msgget {missing}",
        f"syscall {missing}",  # keyctl
        f"prlimit64 {forbidden}",
        "prlimit64 done",
        f"ptrace {forbidden}",
        "(99, 99)",
    ]


async def test_commands_hold_no_descriptor_but_their_own(
    box: BubblewrapSandboxEnvironment,
) -> None:
    # one more would be the session, on which a command could forge its own result
    assert await python(box, "import os; print(os.listdir('/proc/self/fd'))") == (
        "['0', '1', '2', '3']\n"  # 3: the listing itself
    )
    for secret in ("fd/0", "mem", "environ", "maps", "cwd/x", "root/x"):
        for pid in ("1", "$PPID"):  # the holder, and the command's own supervisor
            assert "Permission denied" in await sh(box, f"cat /proc/{pid}/{secret}")


async def test_no_process_of_the_host(box: BubblewrapSandboxEnvironment) -> None:
    seen = (await sh(box, "ps -e -o args= | grep -v holder.py")).splitlines()
    assert all(line.startswith(("sh -c", "ps -e", "grep")) for line in seen), seen
    assert "No such process" in await sh(box, f"/bin/kill -0 {os.getpid()}")
    assert await sh(box, "hostname") == "sandbox\n"


async def test_links_are_followed_inside_and_not_on_the_host(
    box: BubblewrapSandboxEnvironment, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_text("host")
    await box.exec(["ln", "-s", str(target), "link"])
    with pytest.raises(FileNotFoundError):
        await box.read_file("link")
    await sh(box, f"mkdir -p {tmp_path}")
    await box.write_file("link", "inside")
    assert await box.read_file(str(target)) == "inside"
    assert target.read_text() == "host"
    await box.exec(["ln", "-s", str(tmp_path), "folder"])
    await box.write_file("folder/new", "inside")
    assert os.listdir(tmp_path) == ["target"]
    await box.exec(["ln", "-s", "/proc/1/environ", "environ"])
    with pytest.raises(PermissionError):
        await box.read_file("environ")


async def test_two_environments_share_nothing() -> None:
    both = await BubblewrapSandboxEnvironment.sample_init("task", BubblewrapConfig(), {})
    assert list(both) == ["default", "verifier"]
    default = both["default"].as_type(BubblewrapSandboxEnvironment)
    verifier = both["verifier"].as_type(BubblewrapSandboxEnvironment)
    try:
        for folder in ("/workspace", "/tmp", "/var/tmp", "/dev/shm"):
            await default.write_file(f"{folder}/file", "x")
            with pytest.raises(FileNotFoundError):
                await verifier.read_file(f"{folder}/file")
        pid = (await sh(default, "sleep 299 & echo $!")).strip()
        assert "sleep 299" not in await sh(verifier, "ps -e -o args= | grep -v grep")
        await sh(verifier, "kill -9 -1")
        assert await sh(default, f"ps -o args= -p {pid}") == "sleep 299\n"
        server = "import socket; s = socket.create_server(('127.0.0.1', 5000)); s.accept()"
        await sh(default, f'python -S -c "{server}" > /dev/null & sleep 0.5')
        client = "import socket; print(socket.create_connection(('127.0.0.1', 5000)))"
        assert "refused" in await python(verifier, client)
        if os.geteuid() == 0:  # otherwise their user ids differ by user namespace
            assert await sh(default, "id -u") != await sh(verifier, "id -u")
    finally:
        await BubblewrapSandboxEnvironment.sample_cleanup("task", None, both, False)
