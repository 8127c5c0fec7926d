"""Uint8 images on a device: a whole split in its memory where it fits, else batch by batch through pinned memory.

A batch of uint8 images is a third to a quarter of the bytes of its augmented crops in float32, and what lies in the
memory of the device crosses once in a run. Work on the way runs on a stream of its own, beside the network.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.data.dataset import Split
from alexnet.data.shards import read_shard
from alexnet.kernels.device import finish

Placement = Literal["host", "memory", "ring"]
SHARE = 0.4  # of the free memory of a device that images may take; the rest is the network's
RING = 3  # batches in pinned memory: one is filled while another crosses
READERS = 4  # threads that copy images into pinned memory
DECODERS = 8  # threads that decode JPEGs


class DeviceImages(Protocol):
    """Where a batch finds its images on the device."""

    def batch(self, samples: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.int64]]:
        """Returns images on the device, (M, H, W, 3) uint8, and which of them are the samples: (n,)."""


def pixel_bytes(split: Split, count: int | None = None) -> int:
    """Returns the bytes of so many images of a split, by default of all, as uint8 pixels."""
    return (len(split) if count is None else count) * split.size**2 * 3


def placement_for(split: Split, device: torch.device) -> Placement:
    """Returns where images are for a training run: in the memory of a CUDA card if they fit, else behind a ring.

    Other devices get augmented batches of the host, as before.
    """
    if device.type != "cuda":
        return "host"
    free, _ = torch.cuda.mem_get_info(device)
    return "memory" if pixel_bytes(split) <= SHARE * free else "ring"


def described(split: Split, batch_size: int, device: torch.device) -> str | None:
    """Returns in words where the images are for a run on this device; None where they stay on the host."""
    placement = placement_for(split, device)
    if placement == "host":
        return None
    if placement == "memory":
        return f"{pixel_bytes(split) / 1e6:,.0f} MB of pixels in the memory of {device}, augmented there"
    each = pixel_bytes(split, batch_size) / 1e6
    return f"{RING} batches of {each:,.0f} MB in pinned memory on their way to {device}, augmented there"


class InMemory:
    """All images of a split in the memory of a device. Each crosses when a batch first needs it.

    So a run starts at once, and the shards of a remote set are needed in the order in which they arrive.
    """

    def __init__(self, split: Split, device: torch.device):
        self._split = split
        self._pixels = torch.empty((len(split), split.size, split.size, 3), dtype=torch.uint8, device=device)
        self._here = np.zeros(len(split), np.bool_)
        self._ring = Ring(split, device)
        self._filled: Any = None  # an event on the stream that wrote last
        finish(device)  # what used this memory before has ended

    def batch(self, samples: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.int64]]:
        """Returns all images of the split, among them the samples."""
        cuda = self._pixels.device.type == "cuda"
        if self._filled is not None:
            torch.cuda.current_stream(self._pixels.device).wait_event(self._filled)
        if len(missing := np.unique(samples[~self._here[samples]])):
            arrived, _ = self._ring.batch(missing)
            self._pixels[torch.from_numpy(missing).to(self._pixels.device)] = arrived
            self._here[missing] = True
            self._filled = torch.cuda.current_stream(self._pixels.device).record_event() if cuda else None
        return self._pixels, samples


class Ring:
    """Pinned buffers that threads fill with uint8 images, which then cross to the device."""

    def __init__(self, split: Split, device: torch.device):
        self._split, self._device = split, device
        self._buffers: list[Tensor | None] = [None] * RING
        self._copied: list[Any] = [None] * RING  # events: the buffer may be filled again
        self._next = 0
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="alexnet-ring")

    def batch(self, samples: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.int64]]:
        """Returns exactly the samples, in new memory of the device."""
        slot, cuda = self._next, self._device.type == "cuda"
        self._next = (slot + 1) % RING
        if self._copied[slot] is not None:
            self._copied[slot].synchronize()
        buffer = self._buffers[slot]
        if buffer is None or len(buffer) < len(samples):
            shape = (len(samples), self._split.size, self._split.size, 3)
            buffer = self._buffers[slot] = torch.empty(shape, dtype=torch.uint8, pin_memory=cuda)
        part = buffer[: len(samples)]
        fill(self._split, samples, part.numpy(), self._pool)
        arrived = part.to(self._device, non_blocking=True, copy=True)
        if cuda:
            self._copied[slot] = torch.cuda.current_stream(self._device).record_event()
        return arrived, np.arange(len(samples))


def fill(split: Split, samples: NDArray[np.int64], out: NDArray[np.uint8], pool: ThreadPoolExecutor) -> None:
    """Reads images of a split into `out`, (n, size, size, 3), in the order of the samples."""
    jobs: list[Any] = []
    for shard, rows, positions in split.places(samples):
        if shard.pixels is None:
            out[rows] = read_shard(shard, positions, split.size, DECODERS)
            continue
        pixels = shard.pixels.view(np.ndarray)
        for some, where in zip(np.array_split(rows, READERS), np.array_split(positions, READERS), strict=True):
            if len(some):
                jobs.append(pool.submit(_copy, pixels, where, out, some))
    for job in jobs:
        job.result()


def _copy(pixels: NDArray[np.uint8], positions: Any, out: NDArray[np.uint8], rows: Any) -> None:
    for row, position in zip(rows.tolist(), positions.tolist(), strict=True):
        out[row] = pixels[position]


class Arrival:
    """A batch on its way to a device, made on a stream of its own where the device has streams.

    Args:
        make: makes the tensors of the batch; called at once.
        stream: None: on the current stream, or on a device without streams.
    """

    def __init__(self, make: Callable[[], tuple[Tensor, Tensor]], stream: Any = None):
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            self._tensors = make()
        self._made = None if stream is None else stream.record_event()

    def wait(self) -> tuple[Tensor, Tensor]:
        """Returns images and targets; what the current stream does with them waits until they are there."""
        if self._made is not None:
            current = torch.cuda.current_stream(self._tensors[0].device)
            current.wait_event(self._made)
            for tensor in self._tensors:
                tensor.record_stream(current)  # its memory is not given away before that work has ended
        return self._tensors


def side_stream(device: torch.device) -> Any:
    """Returns a new stream of a CUDA card; None for other devices."""
    stream: Any = torch.cuda.Stream  # without types
    return stream(device) if device.type == "cuda" else None
