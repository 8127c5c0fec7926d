"""The search for a learning rate that the studies share: a grid by steps of three that grows where an end wins."""

from collections.abc import Callable, Mapping

from alexnet.experiments.results import Row
from alexnet.experiments.runner import Job
from studies.paper.study import Options

STEPS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
FIRST_STEPS = (2, 6)  # where the search begins and ends, until an end wins


def tried(errors: Mapping[float, float]) -> list[float]:
    """The rates of the search, given the errors of those tried so far: one step more where an end is the best."""
    low, high = FIRST_STEPS
    while all(rate in errors for rate in STEPS[low:high]):
        best = best_rate({rate: errors[rate] for rate in STEPS[low:high]})
        if best == STEPS[low] and low > 0:
            low -= 1
        elif best == STEPS[high - 1] and high < len(STEPS):
            high += 1
        else:
            break
    return list(STEPS[low:high])


def best_rate(errors: Mapping[float, float]) -> float:
    """The rate of the lowest error; of equals the lowest."""
    return min(sorted(errors), key=lambda rate: errors[rate])


def search(
    options: Options, jobs: Callable[[float], list[Job]], error: Callable[[Row], float]
) -> tuple[list[Job], float | None]:
    """The short runs of a search so far, and once all have a row, the rate.

    Args:
        jobs: rate -> the runs that try it; the best of them counts.
        error: what a run is judged by; less is better.
    """
    errors = {}
    for rate in STEPS:
        rows = options.done(jobs(rate))
        if len(rows) == len(jobs(rate)):
            errors[rate] = min(error(row) for row in rows)
    rates = tried(errors)
    found = best_rate({rate: errors[rate] for rate in rates}) if all(rate in errors for rate in rates) else None
    return [job for rate in rates for job in jobs(rate)], found
