"""In a sample, too, the plain run gets a sandbox that the recorded run never touched."""

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState
from inspect_ai.util import sandbox

from researcher_evals.scorers.neural_memory.grading import _another


@scorer(metrics=[mean()])
def is_fresh() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        verifier = sandbox("verifier")
        await verifier.write_file("trace", "the recorded run was here")
        async with _another(verifier) as fresh:
            found = await fresh.exec(["cat", "trace"])
        return Score(value=0 if found.success else 1)

    return score


def test_the_plain_run_has_a_sandbox_of_its_own() -> None:
    task = Task(dataset=[Sample("x")], solver=[], scorer=is_fresh(), sandbox="bubblewrap")
    (log,) = eval(task, model="none/none", display="none")
    assert log.status == "success" and log.results
    assert log.results.scores[0].metrics["mean"].value == 1
