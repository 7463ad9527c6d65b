"""Can a model build a transformer with a memory that works, from hints about how brains do it?

    inspect eval evals/neural_memory.py --epochs 10 --model PROVIDER/MODEL

The model gets a small windowed transformer and writes one file that adds an auxiliary memory. Six
criteria are decided by what that file does when it runs; a pass is all six.
"""

from importlib.metadata import version
from importlib.resources import files

from inspect_ai import Task, task
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.agent import react
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.tool import python

from researcher_evals.scorers.neural_memory import neural_memory_scorer
from researcher_evals.tools.submit import submit_answer

DATA = files("researcher_evals") / "datasets" / "neural_memory"

HINTS = ("explicit", "biological", "outer_product", "calibrated")

PYTHON_TIMEOUT = 120
"""Seconds one call of the python tool may take."""


@task
def neural_memory(
    hints: str = "calibrated",
    tools: str = "python",
    message_limit: int = 100,
    token_limit: int = 1_000_000,
    time_limit: int = 3600,
) -> Task:
    """Add a neural memory to a windowed transformer, in one file.

    Args:
        hints: "explicit" (all six mechanisms), "biological" (how brains do it), "outer_product"
            (that, and the formula of the write) or "calibrated" (that, and advice to make
            parameters learnable and to gate with sigmoids); "all" runs the four as four samples.
        tools: "python" (a sandboxed Python, with torch) or "none" (nothing but the submit tool).
        message_limit: Messages after which a sample ends and is scored as it stands.
        token_limit: Tokens after which it does.
        time_limit: Seconds after which it does.
    """
    if hints not in (*HINTS, "all"):
        raise PrerequisiteError(f"Unknown hints={hints}. Choose from: {', '.join(HINTS)}, all.")
    if tools not in ("python", "none"):
        raise PrerequisiteError(f"Unknown tools={tools}. Choose from: python, none.")
    ladder = HINTS if hints == "all" else (hints,)
    return Task(
        dataset=MemoryDataset([Sample(prompt(h), id=h, metadata={"hints": h}) for h in ladder]),
        solver=react(
            tools=[python(timeout=PYTHON_TIMEOUT)] if tools == "python" else [],
            submit=submit_answer(),
        ),
        scorer=neural_memory_scorer(),
        sandbox="bubblewrap",
        message_limit=message_limit,
        token_limit=token_limit,
        time_limit=time_limit,
        version=1,
        metadata={"torch": version("torch")},
    )


def prompt(hints: str) -> str:
    """The hints' prompt, then the starter's code, then the contract for the submission."""
    words = (DATA / "prompts" / f"{hints}.md").read_text("utf-8")
    starter = (DATA / "starter.py").read_text("utf-8")
    contract = (DATA / "contract.md").read_text("utf-8")
    return f"{words}\nThe starter:\n\n```python\n{starter}```\n\n{contract}"
