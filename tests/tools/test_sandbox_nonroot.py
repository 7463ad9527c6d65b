"""As root: the sandbox's tests once more, as a user who is not root.

That user must be able to read this Python. If it lies in a folder that only root can enter (as
`/root`), an outer `bwrap` shows it in an empty folder of the same name.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from researcher_evals.tools.sandbox import launch, mounts

NOBODY = "65534"
HERE = Path(__file__).parent
ALL = sorted(path for path in HERE.glob("test_sandbox*.py") if path != Path(__file__))


def closed_folder(path: str) -> str | None:
    """The outermost folder around `path` that only its owner or group can enter."""
    for folder in [*reversed(Path(path).parents), Path(path)]:
        if not folder.stat().st_mode & stat.S_IXOTH:
            return str(folder)
    return None


def as_nobody(command: list[str], home: Path) -> list[str]:
    needed = [*mounts.python_folders(), str(HERE.parents[1])]
    opened = [path for path in needed if closed_folder(path)]
    arguments = [launch._bwrap(), "--dev-bind", "/", "/"]
    for folder in {closed_folder(path) for path in opened} - {None}:
        arguments += ["--perms", "0755", "--tmpfs", str(folder)]
    for path in opened:
        for parent in reversed(Path(path).parents):
            if str(parent).startswith(str(closed_folder(path))):
                arguments += ["--perms", "0755", "--dir", str(parent)]
        arguments += ["--ro-bind", path, path]
    user = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--inh-caps=-all"]
    variables = [f"HOME={home}", f"TMPDIR={home}", "PYTHONDONTWRITEBYTECODE=1"]
    return [*arguments, "--", "setpriv", *user, "env", *variables, *command]


@pytest.fixture
def nobodys_home() -> Iterator[Path]:
    # not below pytest's own folder, which is root's alone
    with tempfile.TemporaryDirectory(prefix="nobody-", ignore_cleanup_errors=True) as home:
        os.chown(home, int(NOBODY), int(NOBODY))
        yield Path(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="then all the other tests have not run as root")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv, of util-linux")
@pytest.mark.parametrize(
    ("tests", "at_least"),
    [
        pytest.param([HERE / "test_sandbox_isolation.py"], 15, id="isolation"),
        pytest.param(ALL, 120, id="all", marks=pytest.mark.slow),
    ],
)
def test_what_holds_as_root_holds_without(
    nobodys_home: Path, tests: list[Path], at_least: int
) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
    run = subprocess.run(
        as_nobody([*command, *map(str, tests)], nobodys_home),
        capture_output=True,
        text=True,
        timeout=600,
        cwd="/",
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed and int(passed[1]) >= at_least, run.stdout[-2000:]
