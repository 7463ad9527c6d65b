"""Metrics over attempts: every epoch of a sample is an observation of its own.

Inspect's metrics see one reduced score a sample unless told otherwise; ten epochs of one sample
would be one observation, with no spread.
"""

from inspect_ai.scorer import Metric, ci_wilson, mean, metric, stderr


@metric(scores="unreduced", name="mean")
def attempts_mean() -> Metric:
    """The mean over all attempts."""
    return mean()


@metric(scores="unreduced", name="stderr")
def attempts_stderr() -> Metric:
    """The standard error of the mean over all attempts."""
    return stderr()


@metric(scores="unreduced", name="wilson")
def attempts_wilson() -> Metric:
    """The 95 % Wilson interval of the pass rate over all attempts, `lower` and `upper`."""
    return ci_wilson()
