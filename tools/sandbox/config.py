"""What one bubblewrap sandbox may use."""

from pydantic import BaseModel, ConfigDict, Field


class BubblewrapConfig(BaseModel):
    """Limits of each environment of a sample.

    For a task: `SandboxEnvironmentSpec("bubblewrap", BubblewrapConfig(...))`.
    A process that wants more than it may have gets an error from the system (`MemoryError`,
    `No space left on device`, ...) or is killed; the sandbox itself lives on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_mib: int = Field(default=4096, ge=64)
    """MiB of memory for all processes of the environment together. The system refuses what one
    process alone wants beyond it; the sum is looked at ten times a second, and above the limit
    the largest process is killed."""

    processes: int = Field(default=128, ge=8)
    """Processes and threads at one time; also how far one sample can crowd out the others. (Before
    Linux 5.14, and not as root, those that the user has outside the sandbox count too.)"""

    cpu_seconds: int = Field(default=3600, ge=1)
    """CPU time of one process. The time of all together is bounded by `exec_seconds`."""

    exec_seconds: int = Field(default=3600, ge=1)
    """The longest that one command may take, also when its caller sets no timeout."""

    disk_mib: int = Field(default=1024, ge=1)
    """MiB (of memory) for each of the writable folders `/workspace`, `/tmp` and `/dev/shm`."""

    open_files: int = Field(default=4096, ge=32)
    """Open files of one process."""

    threads: int = Field(default=2, ge=1)
    """Threads that torch, OpenMP and MKL start by default (`OMP_NUM_THREADS`)."""
