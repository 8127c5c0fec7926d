"""Reports the progress of a long job: a function that receives the stage, the work done and the total."""

from collections.abc import Callable

ProgressCallback = Callable[[str, int, int], None]  # for example ("preparing", 120, 3409)


def silent(stage: str, done: int, total: int) -> None:
    """Reports nothing; the default everywhere."""
