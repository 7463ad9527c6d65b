"""What was found about one criterion."""

from dataclasses import dataclass, field
from typing import Any

CRITERIA = (
    "neural_memory_class",
    "surprise_gate",
    "learnable_decay",
    "outer_product",
    "recurrent_update",
    "memory_attention_gating",
)


@dataclass(frozen=True)
class Finding:
    """A verdict with its evidence.

    Attributes:
        holds: whether the criterion is met.
        evidence: one line that a person understands.
        numbers: the measurements behind it.
    """

    holds: bool
    evidence: str
    numbers: dict[str, Any] = field(default_factory=dict)
