"""The files for `--sandbox docker`, as far as they can be checked without a Docker engine."""

from importlib.metadata import requires
from pathlib import Path

from inspect_ai import Task
from inspect_ai._eval.loader import resolve_task_sandbox
from inspect_ai._eval.task.constants import TASK_RUN_DIR_ATTR
from inspect_ai.dataset import Sample
from inspect_ai.util import SandboxEnvironmentSpec
from inspect_ai.util._sandbox.compose import ComposeService, parse_compose_yaml

from researcher_evals.tools.sandbox import BubblewrapConfig

EVALS = Path(__file__).parents[2] / "evals"


def test_inspect_finds_the_compose_file_beside_a_task() -> None:
    task = Task(
        dataset=[Sample("x")], sandbox=SandboxEnvironmentSpec("bubblewrap", BubblewrapConfig())
    )
    setattr(task, TASK_RUN_DIR_ATTR, str(EVALS))
    spec = resolve_task_sandbox(task, "docker")
    assert spec and spec.type == "docker" and Path(spec.config) == EVALS / "compose.yaml"


def test_both_environments_are_closed_and_alike() -> None:
    services = parse_compose_yaml(str(EVALS / "compose.yaml"), multiple_services=True).services
    assert list(services) == ["default", "verifier"]
    limits = BubblewrapConfig()
    for service in services.values():
        assert isinstance(service, ComposeService)
        assert service.network_mode == "none" and service.read_only and service.init
        assert service.cap_drop == ["ALL"] and service.user == "1000:1000"
        assert service.security_opt == ["no-new-privileges:true"]
        assert service.mem_limit == f"{limits.memory_mib // 1024}g"
        assert service.pids_limit == limits.processes
        assert service.volumes == ["/workspace"] and not service.cap_add and not service.devices
    different = {"build", "pull_policy", "x-local"}
    default, verifier = (
        service.model_dump(exclude_none=True, exclude=different) for service in services.values()
    )
    assert default == verifier


def test_the_image_has_the_versions_that_the_graders_were_measured_with() -> None:
    dockerfile = (EVALS / "Dockerfile").read_text()
    pinned = [line for line in requires("researcher_evals") or [] if "extra" not in line]
    for package in ("torch", "numpy"):
        [requirement] = [line for line in pinned if line.startswith(f"{package}==")]
        assert requirement in dockerfile
