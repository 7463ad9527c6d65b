"""Which criteria does a recorded submission meet? The verdict, from data alone.

Runs as a process of its own, which never holds a line of the submission's code. It reads two lines
of JSON on standard input, first the record, then the plain run that must confirm it, and prints the
verdict. A record that cannot be followed gives a verdict too (`untraceable`); any other error ends
the process with a traceback and is a failure of the grader.
"""

import json
import resource
import sys
from dataclasses import asdict, dataclass, field
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
from .finding import CRITERIA, Finding
from .gates import find_gates
from .memory import find_memory
from .program import Program
from .live import disagreement
from .tape import BadRecord, Record, Tape, read_record
from .write_gates import write_gates

@dataclass(frozen=True)
class Verdict:
    """The findings by criterion, and what makes the whole invalid."""

    findings: dict[str, Finding]
    outcome: str = "graded"  # or invalid, untraceable
    note: str = ""
    info: dict[str, Any] = field(default_factory=dict)


def nothing(outcome: str, why: str) -> Verdict:
    """The verdict that no criterion is met, for one reason."""
    return Verdict({c: Finding(False, f"{outcome}: {why}") for c in CRITERIA}, outcome, why)


def judge_record(record: Record) -> Verdict:
    """The findings about a submission: what holds in training and in evaluation mode alike."""
    verdicts = {mode: judge_tape(record, tape) for mode, tape in record.tapes.items()}
    verdict = verdicts["train"]
    other = verdicts.get("eval")
    if other is None or verdict.outcome != "graded":
        return verdict
    if other.outcome != "graded":
        return other
    for c, finding in other.findings.items():
        if verdict.findings[c].holds and not finding.holds:
            text = f"in evaluation mode: {finding.evidence}"
            verdict.findings[c] = Finding(False, text, finding.numbers)
    return verdict


def judge_tape(record: Record, tape: Tape) -> Verdict:
    """The six findings about one recorded forward pass."""
    torch.set_num_threads(1)
    program = Program(record, tape)
    leak = program.future_leak()
    if leak:
        why = f"changing token {leak[0]} changes the logits of the earlier position {leak[1]}"
        return nothing("invalid", why)
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


MEMORY = 8 * 2**30
CPU_SECONDS = 120


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    try:
        record = read_record(sys.stdin.readline())
        verdict = judge_record(record)
        message = json.loads(sys.stdin.readline())
        why = message["failed"] or disagreement(record, message["request"], message["logits"])
        if why:
            verdict = nothing("untraceable", why)
        untrainable = record.backward_error if record.gradients is None else ""
    except BadRecord as e:
        verdict, untrainable = nothing("untraceable", str(e)), ""
    except MemoryError:
        verdict, untrainable = nothing("untraceable", "its replay needs too much memory"), ""
    result = {
        "outcome": verdict.outcome,
        "note": verdict.note,
        "untrainable": untrainable,
        "criteria": {c: asdict(f) for c, f in verdict.findings.items()},
        "info": verdict.info,
    }
    print(json.dumps(result, default=str))


if __name__ == "__main__":
    main()
