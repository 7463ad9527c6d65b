"""How a model hands in its answer: the submit tool that every task of the suite shares."""

from inspect_ai.agent import AgentSubmit
from inspect_ai.model import ChatMessage, ChatMessageTool

SUBMIT_TOOL = "submit_answer"
"""Name of the submit tool. Its one argument is `answer`."""


def submit_answer() -> AgentSubmit:
    """The submit tool for Inspect's `react` agent: the sample's output is the answer alone.

    The call stays in the messages, so that a log shows what was handed in, and so that a later
    grader can tell an answer from a last message that never was one (see `submitted_answer`).
    """
    return AgentSubmit(name=SUBMIT_TOOL, answer_only=True, keep_in_messages=True)


def submitted_answer(messages: list[ChatMessage]) -> str | None:
    """The answer handed in with `submit_answer`, or None where the model never submitted.

    Args:
        messages: A sample's messages, live or out of a log.

    Returns:
        The answer as the model wrote it. With several submits in one turn the first counts, as it
        does in `react`; a call that failed (say, with no `answer`) is not a submit.
    """
    return next(
        (
            message.text
            for message in messages
            if isinstance(message, ChatMessageTool)
            and message.function == SUBMIT_TOOL
            and message.error is None
        ),
        None,
    )
