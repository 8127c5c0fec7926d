"""The room that checkpoints take on the disk."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from alexnet.errors import ResourceError

MOST_AT_ONCE = 4  # checkpoints on the disk: the last, the one before it, the best, and one that is being written


def require_room(run: Path, doing: str, *, needed: int, size: int, there: Sequence[str], last: str | None) -> None:
    """Refuses if less is free than is needed now; asks for what all checkpoints of the run take together.

    Whoever makes the room that was asked for can resume the run and is not stopped again.

    Args:
        run: the folder of the run.
        doing: for the message.
        needed: bytes.
        size: bytes of a checkpoint.
        there: the checkpoints that the run has.
        last: the one that it would resume from.

    Raises:
        ResourceError: too little is free.
    """
    free = shutil.disk_usage(run).free
    if free >= needed:
        return
    asked = max(needed, size * (MOST_AT_ONCE - len(there)))
    last_good = f" Last good checkpoint: {last} (intact)." if last else ""
    raise ResourceError(
        f"disk full while {doing}: need {math.ceil(asked / 1e6)} MB, {free / 1e6:.0f} MB free.{last_good}",
        fix=f"Make room, then resume: alexnet resume {run}",
        code="E501",
    )
