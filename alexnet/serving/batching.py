"""The queue of the service: one thread computes the images of many requests in batches.

    async with queue.reserve(images) as places:   # ResourceError E520 if so many more images do not fit
        image = await queue.decode(function)      # on one of a few decoding threads
        result = await places.compute(key, items, function)

Waiting images with the same `key` go to one call of `function(items)`, up to `max_batch`; a job with key None is
computed alone. The thread waits for a batch to fill only while other images are being decoded, and only for a moment,
so a single request on an idle server is answered at once. Images of clients that have disconnected are not computed.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from types import TracebackType
from typing import Any, Self

from alexnet.serving.counters import Counters
from alexnet.serving.problems import queue_full
from alexnet.serving.settings import Settings

Compute = Callable[[list[Any]], Any]  # gives one result for each item, in their order


@dataclass(eq=False)
class _Job:
    """Images of one request, and the future that receives their results."""

    key: Hashable | None
    items: Sequence[Any]
    compute: Compute
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]" = field(init=False)

    def __post_init__(self) -> None:
        self.future = self.loop.create_future()


class Queue:
    """A bounded queue with one thread that computes, and a few that decode images."""

    def __init__(self, settings: Settings, counters: Counters):
        self.settings = settings
        self.counters = counters
        self.taken = 0  # places that requests have reserved, one for each image; only the event loop changes it
        self._expected = 0  # images with a reserved place that are not yet in the queue
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._decoders = ThreadPoolExecutor(settings.decoders, thread_name_prefix="decode")
        self._thread = threading.Thread(target=self._run, name="compute", daemon=True)
        self._thread.start()

    def check(self, images: int = 1) -> None:
        """Refuses more images than there are free places.

        Raises:
            ResourceError: E520.
        """
        if self.taken + images > self.settings.queue:
            raise queue_full(self.taken)

    def reserve(self, images: int = 1) -> "Reservation":
        """Places for these images, held within an `async with` block.

        Raises:
            ResourceError: E520, on entering the block.
        """
        return Reservation(self, images)

    async def decode(self, function: Callable[[], Any]) -> Any:
        """The result of a function that needs no network, computed on a decoding thread."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, function)

    def stop(self) -> None:
        """Ends the threads; jobs that wait are still computed."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        self._decoders.shutdown()

    def expect(self, images: int) -> None:
        """Adds to the number of images that will arrive; negative when they have arrived, or will not."""
        with self._changed:
            self._expected += images
            self._changed.notify_all()

    def put(self, job: _Job) -> None:
        """Hands a job to the computing thread."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    def drop(self, job: _Job) -> None:
        """Removes a job whose client has disconnected from the queue, if it is still there."""
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)
                self.counters.add("alexnet_gone_total", len(job.items))

    def _run(self) -> None:
        while batch := self._next_batch():
            # Jobs of clients that have disconnected by now are not computed.
            waiting = [job for job in batch if not job.future.cancelled()]
            dropped = sum(len(job.items) for job in batch) - sum(len(job.items) for job in waiting)
            if dropped:
                self.counters.add("alexnet_gone_total", dropped)
            if waiting:
                self._compute(waiting)

    def _compute(self, jobs: list[_Job]) -> None:
        items = [item for job in jobs for item in job.items]
        self.counters.add("alexnet_images_total", len(items))
        self.counters.observe("alexnet_batch_images", len(items))
        try:
            results = jobs[0].compute(items)
            ends = list(accumulate(len(job.items) for job in jobs))
            parts = [results[end - len(job.items) : end] for job, end in zip(jobs, ends, strict=True)]
        except Exception as error:
            for job in jobs:
                _deliver(job, error)
            return
        for job, part in zip(jobs, parts, strict=True):
            _deliver(job, part)

    def _next_batch(self) -> list[_Job]:
        """The next jobs of one key, oldest first; empty when the queue has stopped."""
        with self._changed:
            while not self._jobs:
                if self._stopping:
                    return []
                self._changed.wait()
            deadline = time.monotonic() + self.settings.max_wait_ms / 1000
            while self._expected > 0 and self._jobs[0].key is not None and not self._stopping:
                remaining = deadline - time.monotonic()
                if remaining <= 0 or sum(len(job.items) for job in self._jobs) >= self.settings.max_batch:
                    break
                self._changed.wait(remaining)
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


class Reservation:
    """The places in a queue that one request holds."""

    def __init__(self, queue: Queue, images: int):
        self.queue = queue
        self.images = images
        self._expected = 0

    async def __aenter__(self) -> Self:
        self.queue.check(self.images)
        self.queue.taken += self.images
        self._expected = self.images
        self.queue.expect(self.images)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.queue.taken -= self.images
        self._arrived()

    async def compute(self, key: Hashable | None, items: Sequence[Any], compute: Compute) -> Any:
        """The results of `compute` for these items, in one batch with other requests; if cancelled, not computed."""
        job = _Job(key, items, compute, asyncio.get_running_loop())
        self.queue.put(job)
        self._arrived()
        try:
            return await job.future
        except asyncio.CancelledError:
            self.queue.drop(job)
            raise

    def _arrived(self) -> None:
        if self._expected:
            self.queue.expect(-self._expected)
            self._expected = 0


def _deliver(job: _Job, result: Any) -> None:
    """Gives a job its results, or the exception, from the thread that computed it."""

    def set_future() -> None:
        if not job.future.done():
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    # The loop is closed, perhaps at this moment, if the server was stopped by force; then no client waits.
    with suppress(RuntimeError):
        job.loop.call_soon_threadsafe(set_future)
