"""Does the submitted memory do what the task asks? The scorer of `neural_memory`.

Failure policy:
- Scored: an answer that is missing, empty, no Python, that does not run, does not end, is too
  large, attacks the grader, or cannot be followed. Its criteria are what it really does, at worst
  all 0.
- Raised: a judge that crashes, a sandbox that dies or has no torch (`GraderError` and Inspect's own
  errors). Inspect marks the sample as an error, or retries it; it is never a score.
"""

from importlib.metadata import version
from typing import Any

from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState
from inspect_ai.util import concurrency

from researcher_evals.tools.submit import submitted_answer

from ..metrics import pass_rate, rate
from .finding import CRITERIA
from .grading import Grade, grade_submission

GRADINGS = 2
"""Submissions graded at one time: each needs two processes with torch."""


@scorer(
    metrics=[
        {
            "passed": pass_rate(),
            **{c: rate() for c in CRITERIA},
        }
    ]
)
def neural_memory_scorer() -> Scorer:
    """Grades the submitted file by six criteria; a pass is all six."""

    async def score(state: TaskState, target: Target) -> Score:
        async with concurrency("neural_memory grading", GRADINGS):
            grade = await grade_submission(submitted_answer(state.messages))
        return Score(
            value={"passed": int(grade.passed), **grade.criteria},
            answer=shown(submitted_answer(state.messages)),
            explanation=explain(grade),
            metadata=evidence(grade),
        )

    return score


def shown(answer: str | None) -> str | None:
    """The answer as Inspect's viewer shows code."""
    return f"```python\n{answer}\n```" if answer and "```" not in answer else answer


def explain(grade: Grade) -> str:
    """The verdict for a person: one line a criterion, and what else decided."""
    lines = [f"{'PASSED' if grade.passed else 'NOT PASSED'} ({sum(grade.criteria.values())} of 6)"]
    if grade.outcome != "graded":
        lines.append(f"{grade.outcome}: {grade.note}")
    else:
        lines += [f"{'✓' if grade.criteria[c] else '✗'} {c}: {grade.evidence[c]}" for c in CRITERIA]
    if grade.untrainable:
        lines.append(f"untrainable, so it cannot pass: backward raises {grade.untrainable}")
    if grade.integrity:
        lines.append("integrity, so it cannot pass: " + "; ".join(grade.integrity))
    return "\n".join(lines)


def evidence(grade: Grade) -> dict[str, Any]:
    """What stands behind the verdict, for the log."""
    return {
        "outcome": grade.outcome,
        "integrity": grade.integrity,
        "untrainable": grade.untrainable,
        "evidence": grade.evidence,
        "numbers": grade.numbers,
        "graded_with": {"torch": version("torch"), "inspect_ai": version("inspect_ai")},
    }
