"""The grader of `neural_memory`: record (in the sandbox) -> graph -> criteria.

`scorer.py` is what the task uses and states the failure policy; `grading.py` is the way of one
submission; `judge.py` decides from the record; `criteria/` holds one module a criterion.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .scorer import neural_memory_scorer

__all__ = ["neural_memory_scorer"]


def __getattr__(name: str) -> Any:
    """Imports the scorer when it is asked for: the judge process does not wait for Inspect."""
    if name == "neural_memory_scorer":
        from .scorer import neural_memory_scorer

        return neural_memory_scorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
