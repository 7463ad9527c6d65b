"""Which criteria does a recorded submission meet? The verdict, from data alone.

Runs as a process of its own, which never holds a line of the submission's code. Its argument is
the draw of the examination's sizes. It reads two lines of JSON on standard input, first the record,
then the plain run that must confirm it, and prints the verdict. A record that cannot be followed
gives a verdict too (`untraceable`); any other error ends the process with a traceback and is a
failure of the grader.
"""

import contextlib
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
from .graph import Graph
from .live import disagreement
from .memory import Memory, find_memory
from .operations import REARRANGING
from .program import Program, live_values
from .streams import memory_sources
from .tape import BadRecord, Record, Tape, read_records
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


def judge_records(records: list[Record]) -> Verdict:
    """The findings about a submission: what holds in every mode and, for a pass, at usual sizes."""
    verdict = _judge_modes(records[0])
    if all(f.holds for f in verdict.findings.values()):
        usual = records[1]
        odd = lines_without_effect(records[0], usual)
        if odd:
            verdict.info["other program at the starter's sizes"] = odd
            verdict = _both(
                verdict, judge_tape(usual, usual.tapes["train"]), "at the starter's sizes"
            )
    return verdict


def lines_without_effect(record: Record, usual: Record) -> list[str]:
    """What does something in the examined model, and nothing in one of the starter's sizes.

    Code may branch on its sizes; where it does, the usual size has to be judged as well.
    """
    return sorted(live_operations(record) - live_operations(usual))


def live_operations(record: Record) -> set[str]:
    """The operations that move the logits, as `line 84: mul`."""
    graph = Graph(record.tapes["train"])
    live = live_values(graph, torch.Generator().manual_seed(5))
    nodes = {graph.node(r) for r in live if not graph.node(r).leaf}
    return {
        f"line {n.line}: {ALIKE.get(n.base, n.base)}" for n in nodes if n.base not in REARRANGING
    }


# Which of these runs depends on shapes alone.
ALIKE = dict.fromkeys(("mm", "bmm", "mv", "dot", "addmm", "matmul", "mul", "sum"), "product")


def _judge_modes(record: Record) -> Verdict:
    """What holds in all modes alike, and on all branches."""
    first = record.tapes["train"]
    verdict = judge_tape(record, first)
    for mode, tape in record.tapes.items():
        if tape is not first and not (mode != "eval" and tape.same_operations(first)):
            verdict = _both(verdict, judge_tape(record, tape), f"in mode {mode}")
    return verdict


def _both(verdict: Verdict, other: Verdict, where: str) -> Verdict:
    """What holds in two verdicts alike; the second one's evidence says where it was found."""
    if verdict.outcome != "graded":
        return verdict
    if other.outcome != "graded":
        return other
    for c, finding in other.findings.items():
        if verdict.findings[c].holds and not finding.holds:
            text = f"{where}: {finding.evidence}"
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
    if not has_effect(program, memory):
        return nothing("invalid", "the memory has next to no effect on the logits")
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
    info: dict[str, Any] = {"steps": memory.steps, "operations": len(program.graph.order)}
    if tape.problems:
        info["mutations taken as constants"] = list(tape.problems)
    return Verdict(findings, info=info)


EFFECT = 1e-5


def has_effect(program: Program, memory: Memory) -> bool:
    """Whether another memory would change the logits by more than a rounding error of training."""
    sources = memory_sources(program, memory)
    if not sources:
        return True  # there is no memory to have one: the criteria say so
    run = program.graph.run({r: program.noisy(r) for r in sources})
    return run.moved(program.logits, EFFECT)


MEMORY = 8 * 2**30
CPU_SECONDS = 120


def limit(resource_kind: int, most: int) -> None:
    """Lowers a limit of this process, where the system knows it (macOS has no RLIMIT_AS)."""
    _, hard = resource.getrlimit(resource_kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource_kind, (most, hard))


def main() -> None:
    limit(resource.RLIMIT_AS, MEMORY)
    limit(resource.RLIMIT_CPU, CPU_SECONDS)
    try:
        records = read_records(sys.stdin.readline(), int(sys.argv[1]))
        verdict = judge_records(records)
        message = json.loads(sys.stdin.readline())
        why = message["failed"] or disagreement(records, message["request"], message["logits"])
        if why:
            verdict = nothing("untraceable", why)
        untrainable = next((r.backward_error for r in records if r.gradients is None), "")
    except BadRecord as e:
        verdict, untrainable = nothing("untraceable", str(e)), ""
    except (MemoryError, RuntimeError) as e:
        if isinstance(e, RuntimeError) and "allocate memory" not in str(e):
            raise
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
