"""What Inspect finds by name: imported through the `inspect_ai` entry point."""

from researcher_evals.evals.grader_exam import grader_exam
from researcher_evals.evals.neural_memory import neural_memory
from researcher_evals.tools.replay import ReplayAPI
from researcher_evals.tools.sandbox import BubblewrapSandboxEnvironment

__all__ = ["BubblewrapSandboxEnvironment", "ReplayAPI", "grader_exam", "neural_memory"]
