"""What a sandbox sees of the host: the system's programs and libraries, and this Python."""

import os
import site
import sys
from collections.abc import Iterable
from pathlib import Path

import researcher_evals

WORKSPACE = "/workspace"
USER = "sandbox"

# `/usr` without what people put there by hand: `local`, `src`, `games`, `etc`
_USR = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "include", "share"]
_USR_LINKS = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]
_ETC = ["ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "os-release", "localtime"]


def filesystem_arguments(disk_mib: int, files: dict[str, int]) -> list[str]:
    """Arguments of bwrap for the file system: all read-only, but for three bounded folders.

    Args:
        disk_mib: Size of each writable folder.
        files: Path inside -> descriptor to copy its content from, for files made for the sandbox.
    """
    size = str(disk_mib << 20)
    mounts: list[tuple[str, list[str]]] = [
        (WORKSPACE, ["--perms", "0755", "--size", size, "--tmpfs", WORKSPACE]),
        ("/tmp", ["--perms", "1777", "--size", size, "--tmpfs", "/tmp"]),
        ("/dev", ["--dev", "/dev"]),
        ("/dev/shm", ["--perms", "1777", "--size", size, "--tmpfs", "/dev/shm"]),
        ("/proc", ["--proc", "/proc", "--remount-ro", "/proc"]),
        ("/var/tmp", ["--symlink", "/tmp", "/var/tmp"]),
    ]
    visible = [f"/usr/{name}" for name in _USR] + [f"/etc/{name}" for name in _ETC]
    for path in (f"/{name}" for name in _USR_LINKS):
        if os.path.islink(path):
            mounts.append((path, ["--symlink", os.readlink(path), path]))
        else:
            visible.append(path)
    visible = [path for path in visible + python_folders() if os.path.exists(path)]
    hidden = [path for path in hidden_folders() if os.path.exists(path)]
    # each only where the folder that it lies in is not already what it should be
    around = {path: _nearest(path, {*visible, *hidden} - {path}) for path in [*visible, *hidden]}
    mounts += [(path, ["--ro-bind", path, path]) for path in visible if around[path] not in visible]
    hidden = [path for path in hidden if around[path] in visible]
    mounts += [(path, ["--tmpfs", path]) for path in hidden]
    mounts += [
        (path, ["--perms", "0444", "--ro-bind-data", str(fd), path]) for path, fd in files.items()
    ]
    # bwrap would make missing parents so that only root can enter them
    parents = {str(parent) for path, _ in mounts for parent in list(Path(path).parents)[:-1]}
    mounts += [
        (path, ["--perms", "0755", "--dir", path])
        for path in parents - {path for path, _ in mounts}
    ]
    mounts.sort(key=lambda mount: mount[0].count("/"))  # a folder before what lies in it
    arguments = [argument for _, mount in mounts for argument in mount]
    # what bwrap makes as tmpfs with no bound may not be written
    for path in [*hidden, "/dev", "/"]:
        arguments += ["--remount-ro", path]
    return [*arguments, "--chdir", WORKSPACE]


def python_folders() -> list[str]:
    """Where this Python and the packages installed for it lie."""
    found = {sys.prefix, sys.base_prefix, sys.base_exec_prefix, *site.getsitepackages()}
    link = Path(sys.executable)
    for _ in range(16):  # the links from the virtual environment to the real program
        found.add(str(link.parent.parent))
        if not link.is_symlink():
            break
        link = Path(os.path.normpath(link.parent / os.readlink(link)))
    return sorted(found - {"/", "/usr"})  # a system Python's lies in folders that are there anyway


def hidden_folders() -> list[str]:
    """This package, which holds graders and reference answers, wherever it is installed.

    In an editable install its parts are links into the repository: then the repository.
    """
    package = Path(researcher_evals.__file__ or "").absolute().parent
    repositories = {part.resolve().parent for part in package.iterdir() if part.is_symlink()}
    return [str(path) for path in {package, package.resolve(), *repositories}]


def environment(threads: int) -> dict[str, str]:
    """All environment variables that a sandbox starts with; none comes from the host."""
    path = [os.path.dirname(sys.executable), f"{sys.base_prefix}/bin", "/usr/bin", "/bin"]
    return {
        "PATH": ":".join(dict.fromkeys([*path, "/usr/sbin", "/sbin"])),
        "HOME": WORKSPACE,
        "USER": USER,
        "LOGNAME": USER,
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }


def etc_files(uid: int, gid: int) -> dict[str, str]:
    """Small files of `/etc` that programs ask for, in place of the host's."""
    return {
        "/etc/passwd": f"root:x:0:0::/:/usr/sbin/nologin\n"
        f"{USER}:x:{uid}:{gid}::{WORKSPACE}:/bin/bash\n",
        "/etc/group": f"root:x:0:\n{USER}:x:{gid}:\n",
        "/etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }


def _nearest(path: str, folders: Iterable[str]) -> str | None:
    """The innermost of the folders that `path` lies in."""
    return max((folder for folder in folders if _is_below(path, folder)), key=len, default=None)


def _is_below(path: str, parent: str) -> bool:
    return path == parent or path.startswith(parent.rstrip("/") + "/")
