"""What does one verdict cost? Grading, beside a bare `import torch` in the same kind of sandbox.

    python -m researcher_evals.scorers.neural_memory.benchmark [RUNS]

The two are measured in turn, in one run, each in fresh sandboxes: nothing is warm but the system's
file cache. Wall seconds, with nothing else running on the machine if you want to quote them.
"""

import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files

import anyio

from researcher_evals.tools.sandbox import bubblewrap_sandbox

from .grading import grade_submission


async def import_torch() -> None:
    async with bubblewrap_sandbox() as sandbox:
        result = await sandbox.exec(["python", "-c", "import torch"])
        if not result.success:
            raise RuntimeError(result.stderr)


async def grade_reference() -> None:
    data = files("researcher_evals") / "datasets" / "neural_memory"
    grade = await grade_submission((data / "reference.py").read_text("utf-8"))
    if not grade.passed:
        raise RuntimeError(f"the reference did not pass: {grade}")


async def seconds(run: Callable[[], Awaitable[None]]) -> float:
    start = time.perf_counter()
    await run()
    return time.perf_counter() - start


async def main(runs: int) -> None:
    await import_torch()  # fills the file cache
    floor, graded = [], []
    for _ in range(runs):
        floor.append(await seconds(import_torch))
        graded.append(await seconds(grade_reference))
    ratios = [g / f for g, f in zip(graded, floor, strict=True)]
    print(f"{runs} runs, alternating        median     min     max")
    for name, unit, values in (
        ("import torch in a sandbox", "s", floor),
        ("grading the reference", "s", graded),
        ("ratio", " ", ratios),
    ):
        figures = "  ".join(f"{f(values):5.2f}{unit}" for f in (statistics.median, min, max))
        print(f"{name:28s}{figures}")


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 5)
