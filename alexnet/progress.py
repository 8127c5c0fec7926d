"""How a long job tells how far it is: a function that is given a stage, what is done, and of how much."""

from collections.abc import Callable

ProgressCallback = Callable[[str, int, int], None]  # ("preparing", 120, 3409)


def silent(stage: str, done: int, total: int) -> None:
    """Tells nothing; the default everywhere."""
