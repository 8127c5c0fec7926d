"""The next batch is made while the network works on this one: a thread that runs a few items ahead of its reader."""

from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def ahead(items: Iterator[T], depth: int) -> Iterator[Iterator[T]]:
    """Within it, the same items in the same order, made by one thread before they are asked for.

    An exception of `items` is raised to the reader in the place of the item. When the block is left, however, the
    thread finishes the item it is at and is gone.

    Args:
        items: used by the thread alone, from the first item on.
        depth: most items that are made, or in the making, and not yet taken; 0 makes each when it is asked for.
    """
    if depth == 0:
        yield items
        return
    room, stop = Semaphore(depth), Event()
    ready: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()

    def work() -> None:
        try:
            while True:
                room.acquire()
                if stop.is_set():
                    return
                ready.put((next(items), None))
        except BaseException as error:  # the end of the items as well
            ready.put((None, error))

    def taken() -> Iterator[T]:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            room.release()
            yield item  # type: ignore[misc]  # None only beside an error

    # A daemon: if even the wait for its end is cut off by Ctrl-C, the process still ends.
    thread = Thread(target=work, name="alexnet-prefetch", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stop.set()
        room.release()
        thread.join()
