"""The queue of the service: pictures of many requests computed together by one thread, and none for clients who left.

    async with queue.room(pictures) as room:      # ResourceError E520 if that many more do not fit
        picture = await queue.decode(function)    # on one of a few threads
        answer = await room.compute(key, items, function)

Waiting pictures that have the same `key` go to one call of `function(items)`, up to `max_batch`; key None goes alone.
The thread does not wait for a batch to fill unless pictures that will arrive within a moment are being decoded, so a
single request on an idle server is answered at once.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from alexnet.serving.counters import Counters
from alexnet.serving.problems import full
from alexnet.serving.settings import Settings

Compute = Callable[[list[Any]], Any]  # as many answers as items, in their order


@dataclass(eq=False)
class _Job:
    """Some pictures of one request, and where their answers go."""

    key: Hashable | None
    items: Sequence[Any]
    compute: Compute
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]" = field(init=False)

    def __post_init__(self) -> None:
        self.future = self.loop.create_future()


class Queue:
    """A bounded queue with the one thread that computes, and a few that decode."""

    def __init__(self, settings: Settings, counters: Counters):
        self.settings = settings
        self.counters = counters
        self.taken = 0  # pictures for which there is room promised; only the event loop changes it
        self._coming = 0  # of these, not yet in the queue
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._decoders = ThreadPoolExecutor(settings.decoders, thread_name_prefix="decode")
        self._thread = threading.Thread(target=self._work, name="compute", daemon=True)
        self._thread.start()

    def check(self, images: int = 1) -> None:
        """Refuses when there is no room.

        Raises:
            ResourceError: E520.
        """
        if self.taken + images > self.settings.queue:
            raise full(self.taken)

    def room(self, images: int = 1) -> "Room":
        """Room for some pictures, while one is within it.

        Raises:
            ResourceError: E520, on entering.
        """
        return Room(self, images)

    async def decode(self, function: Callable[[], Any]) -> Any:
        """What a function gives that needs no network, on a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, function)

    def stop(self) -> None:
        """Ends the threads; what waits is still computed."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        self._decoders.shutdown()

    def announce(self, images: int) -> None:
        """Some pictures will come, or (negative) have come or will not."""
        with self._changed:
            self._coming += images
            self._changed.notify_all()

    def put(self, job: _Job) -> None:
        """Hands a job to the thread."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    def drop(self, job: _Job) -> None:
        """Takes a job whose client has gone out of the queue, if it is still there."""
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)
                self.counters.add("alexnet_gone_total", len(job.items))

    def _work(self) -> None:
        while batch := self._gather():
            # Whoever is gone by now is not computed.
            waiting = [job for job in batch if not job.future.cancelled()]
            gone = sum(len(job.items) for job in batch) - sum(len(job.items) for job in waiting)
            if gone:
                self.counters.add("alexnet_gone_total", gone)
            if waiting:
                self._answer(waiting)

    def _answer(self, jobs: list[_Job]) -> None:
        items = [item for job in jobs for item in job.items]
        self.counters.add("alexnet_pictures_total", len(items))
        self.counters.observe("alexnet_batch_pictures", len(items))
        try:
            answers = jobs[0].compute(items)
        except Exception as error:
            for job in jobs:
                _tell(job, error)
            return
        start = 0
        for job in jobs:
            _tell(job, answers[start : start + len(job.items)])
            start += len(job.items)

    def _gather(self) -> list[_Job]:
        """The next jobs of one key, oldest first; empty at the end."""
        with self._changed:
            while not self._jobs:
                if self._stopping:
                    return []
                self._changed.wait()
            until = time.monotonic() + self.settings.max_wait_ms / 1000
            while self._coming > 0 and self._jobs[0].key is not None and not self._stopping:
                left = until - time.monotonic()
                if left <= 0 or sum(len(job.items) for job in self._jobs) >= self.settings.max_batch:
                    break
                self._changed.wait(left)
            first = self._jobs.popleft()
            batch, images, others = [first], len(first.items), deque[_Job]()
            while self._jobs and first.key is not None:
                job = self._jobs.popleft()
                fits = job.key == first.key and images + len(job.items) <= self.settings.max_batch
                if fits:
                    batch.append(job)
                    images += len(job.items)
                else:
                    others.append(job)
            self._jobs.extendleft(reversed(others))
            return batch


class Room:
    """Places in a queue that one request holds."""

    def __init__(self, queue: Queue, images: int):
        self.queue = queue
        self.images = images
        self._announced = 0

    async def __aenter__(self) -> Self:
        self.queue.check(self.images)
        self.queue.taken += self.images
        self._announced = self.images
        self.queue.announce(self.images)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.queue.taken -= self.images
        self._arrived()

    async def compute(self, key: Hashable | None, items: Sequence[Any], compute: Compute) -> Any:
        """What `compute` gives for these items, of a batch with those of others; cancelled, it is not computed."""
        job = _Job(key, items, compute, asyncio.get_running_loop())
        self.queue.put(job)
        self._arrived()
        try:
            return await job.future
        except asyncio.CancelledError:
            self.queue.drop(job)
            raise

    def _arrived(self) -> None:
        if self._announced:
            self.queue.announce(-self._announced)
            self._announced = 0


def _tell(job: _Job, answer: Any) -> None:
    """Gives a job its answer, from the thread that computed it."""

    def tell() -> None:
        if not job.future.done():
            if isinstance(answer, Exception):
                job.future.set_exception(answer)
            else:
                job.future.set_result(answer)

    # The loop is closed when the server was stopped by force; nobody waits then.
    if not job.loop.is_closed():
        job.loop.call_soon_threadsafe(tell)
