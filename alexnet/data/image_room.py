"""Bounds what all images that are being decoded at once take, whatever the number of threads.

One image may take what its size needs, up to a gigabyte; sixteen of them at once would take sixteen. So those that are
large wait for one another. Ordinary photos never do.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ROOM = 1 << 30  # bytes; an image that needs more is decoded alone

_free = ROOM
_changed = threading.Condition()


@contextmanager
def room_for(need: int) -> Iterator[None]:
    """Waits until so many bytes are free among the images that are being decoded, and holds them."""
    global _free
    taken = min(need, ROOM)
    with _changed:
        _changed.wait_for(lambda: _free >= taken)
        _free -= taken
    try:
        yield
    finally:
        with _changed:
            _free += taken
            _changed.notify_all()


def _anew() -> None:
    """In a copy of this process: the threads that held bytes, or the lock, are not there."""
    global _free, _changed
    _free, _changed = ROOM, threading.Condition()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)
