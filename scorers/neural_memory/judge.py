"""Which criteria does a recorded submission meet? The verdict, from data alone.

Runs in a process of its own (`python -m researcher_evals.scorers.neural_memory.judge`), which never
holds a line of the submission's code: it reads the record on standard input and prints the verdict.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from .criteria import (
    learnable_decay,
    memory_attention_gating,
    neural_memory_class,
    outer_product,
    recurrent_update,
    surprise_gate,
)
from .finding import Finding
from .gates import find_gates
from .memory import find_memory
from .program import Program
from .tape import Record, Tape
from .write_gates import write_gates

CRITERIA = (
    "neural_memory_class",
    "surprise_gate",
    "learnable_decay",
    "outer_product",
    "recurrent_update",
    "memory_attention_gating",
)


@dataclass(frozen=True)
class Verdict:
    """The findings by criterion, and what makes the whole invalid."""

    findings: dict[str, Finding]
    invalid: str = ""
    info: dict[str, Any] = field(default_factory=dict)


def judge_tape(record: Record, tape: Tape) -> Verdict:
    """The six findings about one recorded forward pass."""
    torch.set_num_threads(1)
    program = Program(record, tape)
    leak = program.future_leak()
    if leak:
        why = f"changing token {leak[0]} changes the logits of the earlier position {leak[1]}"
        return Verdict({c: Finding(False, f"invalid: {why}") for c in CRITERIA}, invalid=why)
    memory = find_memory(program)
    gates = find_gates(program)
    on_write = [g for t in memory.middle_steps() for g in write_gates(program, memory, gates, t)]
    findings = {
        "neural_memory_class": neural_memory_class.decide(program, memory),
        "surprise_gate": surprise_gate.decide(program, memory, gates),
        "learnable_decay": learnable_decay.decide(program, memory, gates),
        "outer_product": outer_product.decide(program, memory),
        "recurrent_update": recurrent_update.decide(program, memory),
        "memory_attention_gating": memory_attention_gating.decide(program, memory, gates, on_write),
    }
    return Verdict(findings, info={"steps": memory.steps, "operations": len(program.graph.order)})
