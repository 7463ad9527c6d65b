"""Criterion 5: is M updated step by step along the sequence?

There must be a chain of states, one for each token (the first and the last may be missing), and
each state must change with the one before it. A sum over a chunk of tokens advances many tokens at
once and fails.
"""

from ..finding import Finding
from ..memory import Memory, carries
from ..program import Program

MISSING = 1  # steps that may leave the state as it was


def decide(program: Program, memory: Memory) -> Finding:
    steps = [t for t in memory.state if memory.previous.get(t, -1) >= 0]
    numbers: dict[str, object] = {"steps": memory.steps, "tokens": program.length}
    if not memory.path:
        return Finding(False, "no live matrix is carried along the sequence", numbers)
    if not memory.recurrent:
        text = f"the memory matrix goes through {memory.steps} states over {program.length} tokens"
        return Finding(False, f"{text}: it is not updated token by token", numbers)
    carried = [t for t in steps if carries(program, memory, t)]
    numbers["states that change with the one before"] = len(carried)
    where = program.line(*(memory.state[t] for t in memory.middle_steps()))
    if len(carried) >= len(steps) - MISSING:
        text = f"{where} makes a new M for each of {memory.steps} tokens from the one before"
        return Finding(True, text, numbers)
    return Finding(False, f"the M that {where} makes does not depend on the M before it", numbers)
