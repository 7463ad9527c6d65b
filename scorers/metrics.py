"""Metrics over attempts: every epoch of a sample is an observation of its own.

Inspect's metrics see one reduced score a sample unless told otherwise; ten epochs of one sample
would be one observation, with no spread.
"""

from inspect_ai._util.registry import registry_info
from inspect_ai.scorer import Metric, ci_wilson, mean, stderr


def over_attempts(metric: Metric) -> Metric:
    """An Inspect metric, under its own name, computed over all attempts instead of samples."""
    registry_info(metric).metadata["scores"] = "unreduced"
    return metric


def rate() -> list[Metric]:
    """The share of attempts that meet a criterion, with its standard error."""
    return [over_attempts(mean()), over_attempts(stderr())]


def pass_rate() -> list[Metric]:
    """The headline: the share of attempts that pass, with the 95 % Wilson interval."""
    return [*rate(), over_attempts(ci_wilson())]
