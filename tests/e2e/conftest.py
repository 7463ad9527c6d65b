"""The real command line, in a process of its own, with no key in its environment."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

InspectCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def inspect_cli(tmp_path_factory: pytest.TempPathFactory) -> InspectCli:
    """Run `inspect ARGS` from the repository's root, or from `cwd`, and return what it printed."""
    home = tmp_path_factory.mktemp("home")

    def run(*args: object, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "inspect_ai", *map(str, args)],
            cwd=cwd,
            env={
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
                "HOME": str(home),
                "COLUMNS": "200",
                "INSPECT_DISPLAY": "plain",
                "INSPECT_LOG_DIR": str(home / "logs"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    return run
