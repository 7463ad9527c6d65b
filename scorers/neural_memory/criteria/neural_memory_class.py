"""Criterion 1: is `NeuralMemory` a proper module with memory logic, really used by the model?

The class is an `nn.Module`, an instance of it is registered in the model, and the memory lives in
it: the steps of the matrix are made while its code runs. Without a matrix, an early token that
enters the module must still be felt in what leaves it at a later position.
"""

import torch

from ..finding import Finding
from ..graph import Values
from ..memory import Memory
from ..program import Program
from ..streams import module_boundary
from ..tape import Ref


def decide(program: Program, memory: Memory) -> Finding:
    record = program.record
    if not record.memory_is_module:
        return Finding(False, "the file defines no nn.Module named NeuralMemory")
    if not record.memory_instances:
        return Finding(False, "no instance of NeuralMemory is part of the model")
    numbers: dict[str, object] = {"instances": record.memory_instances}
    if memory.recurrent:
        states = [r for t, r in memory.state.items() if t >= 0]
        inside = sum(_made_inside(program, memory, t) for t in memory.state if t >= 0)
        numbers["steps made inside"] = inside
        if inside >= program.length - 3:
            text = f"NeuralMemory makes the memory matrix of {inside} steps"
            return Finding(True, f"{text} ({program.line(*states)})", numbers)
        return Finding(False, "the memory matrix is made outside NeuralMemory", numbers)
    if _remembers(program):
        return Finding(True, "early tokens reach later outputs through NeuralMemory", numbers)
    return Finding(False, "NeuralMemory carries nothing from earlier tokens to the logits", numbers)


def _made_inside(program: Program, memory: Memory, t: int) -> bool:
    """The state of step t, or at least what is written in it, comes from the module's code."""
    node = program.graph.node
    if node(memory.state[t]).in_memory:
        return True
    births = memory.write(t).births
    return bool(births) and all(node(r).in_memory for r in births)


def _remembers(program: Program) -> bool:
    """Whether a change early in what enters the module is felt late in what leaves it."""
    entering, leaving = module_boundary(program)
    g, length = program.graph, program.length
    timed = [r for r in entering if length in g.shape(r)]
    for r in timed or entering[:1]:
        value = program.base[r].clone()
        if length in g.shape(r):
            early = value.select(g.shape(r).index(length), 1)
            early += program.noise(early)
        else:
            value += program.noise(value)
        held = {other: program.base[other] for other in entering if other != r}
        run = g.run({**held, r: value})
        if any(_moves_late(program, run.new, r, out, leaving) for out in leaving):
            return True
    return False


def _moves_late(program: Program, new: Values, entered: Ref, out: Ref, leaving: list[Ref]) -> bool:
    if out not in new:
        return False
    g, length = program.graph, program.length
    if length in g.shape(out):
        axis = g.shape(out).index(length)
        now, base = new[out], program.base[out]
        return not torch.equal(now.select(axis, length - 2), base.select(axis, length - 2))
    # step by step: something that leaves later than the first
    return length not in g.shape(entered) and out != leaving[0]
