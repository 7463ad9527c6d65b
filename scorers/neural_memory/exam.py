"""Does the grader say what a labelled file is? The solver and the scorer of `grader_exam`.

Failure policy: a file that the grader cannot follow is wrong in each criterion that holds; a
failure of the grader itself raises.
"""

from inspect_ai.model import ChatMessageAssistant, ChatMessageTool
from inspect_ai.scorer import Score, Scorer, Target, frequency, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.tool import ToolCall

from researcher_evals.tools.submit import SUBMIT_TOOL, submitted_answer

from .finding import CRITERIA
from .grading import grade_submission
from .scorer import evidence, explain

CELLS = ("TP", "FN", "FP", "TN")


@solver
def hand_in() -> Solver:
    """Submits the sample's input as a model would."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        call = ToolCall(id="exam", function=SUBMIT_TOOL, arguments={"answer": state.input_text})
        state.messages.append(ChatMessageAssistant(content="", tool_calls=[call]))
        state.messages.append(
            ChatMessageTool(content=state.input_text, tool_call_id="exam", function=SUBMIT_TOOL)
        )
        state.completed = True
        return state

    return solve


@scorer(metrics={"*": [frequency(CELLS, normalize=False)]})
def exam_scorer() -> Scorer:
    """Compares each criterion, and the pass, with the label: TP, FN, FP or TN."""

    async def score(state: TaskState, target: Target) -> Score:
        grade = await grade_submission(submitted_answer(state.messages))
        label: dict[str, int] = state.metadata["label"]
        want = {**label, "passed": state.metadata["passed"]}
        have = {**grade.criteria, "passed": int(grade.passed)}
        value = {c: cell(have[c], want[c]) for c in (*CRITERIA, "passed")}
        wrong = [c for c, v in value.items() if v in ("FN", "FP")]
        said = f"wrong: {', '.join(wrong)}" if wrong else "as labelled"
        return Score(
            value=value,
            explanation=f"{said}\n{state.metadata['note']}\n\n{explain(grade)}",
            metadata={"wrong": wrong, "label": label, **evidence(grade)},
        )

    return score


def cell(have: int, want: int) -> str:
    """Where a verdict stands in the confusion table."""
    return ("T" if have == want else "F") + ("P" if have else "N")
