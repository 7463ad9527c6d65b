"""A sandbox for code outside of Inspect's samples, above all for scorers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inspect_ai.util import SandboxEnvironment, sandbox

from .bubblewrap import BubblewrapSandboxEnvironment
from .config import BubblewrapConfig


@asynccontextmanager
async def bubblewrap_sandbox(
    config: BubblewrapConfig | None = None,
) -> AsyncIterator[BubblewrapSandboxEnvironment]:
    """A fresh environment for the `async with` block, outside of any sample.

    Raises:
        PrerequisiteError: it cannot be started here; says what to install or to set.
    """
    environment = await BubblewrapSandboxEnvironment.open(config or BubblewrapConfig())
    try:
        yield environment
    finally:
        await environment.close()


@asynccontextmanager
async def verifier_sandbox(
    config: BubblewrapConfig | None = None,
) -> AsyncIterator[SandboxEnvironment]:
    """The place to grade in: the sample's `verifier`, or a fresh one if there is none.

    There is none when an old log is scored again (`inspect score`), or when the sample runs in
    a sandbox that has no environment of this name. The model's `default` is never used.

    Args:
        config: Limits of a fresh one.

    Raises:
        PrerequisiteError: a fresh one is needed, and cannot be started here.
    """
    try:
        environment: SandboxEnvironment | None = sandbox("verifier")
    except (ProcessLookupError, ValueError):
        environment = None
    if environment is not None:
        yield environment
    else:
        async with bubblewrap_sandbox(config) as fresh:
            yield fresh
