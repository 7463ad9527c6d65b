"""The sandbox provider `bubblewrap`, registered with Inspect when this is imported.

Task(..., sandbox="bubblewrap")
Task(..., sandbox=SandboxEnvironmentSpec("bubblewrap", BubblewrapConfig(memory_mib=2048)))

async with verifier_sandbox() as verifier:  # in a scorer
    result = await verifier.exec(["python", "submission.py"], timeout=60)
"""

from .bubblewrap import BubblewrapSandboxEnvironment
from .config import BubblewrapConfig
from .verifier import bubblewrap_sandbox, verifier_sandbox

__all__ = [
    "BubblewrapConfig",
    "BubblewrapSandboxEnvironment",
    "bubblewrap_sandbox",
    "verifier_sandbox",
]
