"""Loads training batches: the order of an epoch, the augmented images of a batch, and prefetching by a thread.

`read_views` returns the same pixels as `augment.training_views` applied to `Split.read`, bit for bit. Random crops and
center crops are made in one pass by a compiled loop, straight from the shards in memory or mapped from disk. All other
cases, and all cases without numba, use PyTorch. Results do not depend on which of the two is used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.data.augment import ColorStatistics, fade, mix, shifts_at, training_views, windows
from alexnet.data.crops import as_batch
from alexnet.data.dataset import Split
from alexnet.data.shards import read_shard
from alexnet.recipes.config import AugmentConfig
from alexnet.recipes.recipe import Recipe
from alexnet.rng import Indices

T = TypeVar("T")

PREFETCHED = 2  # batches that are made while the network trains on another; changes no result


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Computes the order in which an epoch visits the samples: a permutation of 0..count-1.

    It is a pure function of its arguments, the same on every machine and with every version of NumPy: NumPy guarantees
    the raw numbers of a bit generator, but not the result of `Generator.permutation`.
    """
    keys = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(count)
    return np.argsort(keys, kind="stable")


def batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Cuts `order` into consecutive batches of `batch_size`; the last one may be shorter."""
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def epoch_batches(order: NDArray[np.int64], recipe: Recipe) -> list[NDArray[np.int64]]:
    """Cuts an epoch into batches. A last batch of one image joins the one before: batch normalization needs two."""
    result = batches(order, recipe.batch_size)
    if len(result) > 1 and len(result[-1]) == 1:
        result[-2:] = [np.concatenate(result[-2:])]
    return result


def steps_per_epoch(count: int, recipe: Recipe) -> int:
    """Counts the steps of an epoch over `count` images."""
    return len(epoch_batches(np.arange(count), recipe))


@lru_cache
def compiled() -> ModuleType | None:
    """Imports the module of compiled loops; None if numba is not installed."""
    try:
        from alexnet.kernels import crop_loops as module
    except ImportError:
        return None
    return module


def read_views(
    split: Split,
    size: int,
    config: AugmentConfig,
    colors: ColorStatistics,
    *,
    seed: int,
    epoch: int,
    samples: Indices,
    subtract_mean: bool = False,
) -> Tensor:
    """Reads images of a split and augments them for one epoch; arguments as in `augment.training_views`.

    Args:
        subtract_mean: for networks that do not subtract the mean themselves; those of `alexnet.models.network` do.

    Returns:
        (N, 3, size, size) in new memory, 0..255, channels_last: uint8 if the pixel values stay unchanged, otherwise
        float32.
    """
    module = compiled()
    sample_keys: dict[str, Any] = {"seed": seed, "epoch": epoch, "samples": samples}
    if module is None or config.view == "zoom" or config.jitter:
        views = training_views(as_batch(split.read(samples)), size, config, colors, **sample_keys)
        return views - colors.mean if subtract_mean else views
    offsets, flipped = windows(split.size, size, config, **sample_keys)
    shifts = shifts_at(config, colors, **sample_keys)
    loop = module.cut_bytes
    noise_arguments: tuple[Any, ...] = ()
    if shifts is not None or subtract_mean:
        shrinks = shifts is not None and config.color_shrink
        noise = torch.zeros(len(samples), 3) if shifts is None else config.color_noise * shifts
        mean, zeros = _interleaved_rows(colors.mean, size), np.zeros((1, 3 * size), np.float32)
        # Without shrinking, subtracting the mean and adding it again would only round twice.
        subtracted = mean if shrinks or subtract_mean else zeros
        added = zeros if subtract_mean or not shrinks else mean
        divisor = np.float32(1.0 + config.color_noise if shrinks else 1.0)
        loop, noise_arguments = module.cut, (noise.numpy(), subtracted, added, divisor)
    out = np.empty((len(samples), size, 3 * size), np.float32 if noise_arguments else np.uint8)
    for shard, rows, positions in split.places(samples):
        if shard.pixels is None:
            images, positions = read_shard(shard, positions, split.size), np.arange(len(rows))
        else:
            # A plain array on the same memory: numba would examine the type of a memmap again at every call.
            images = shard.pixels.view(np.ndarray)
        loop(images, positions, rows, offsets, flipped, *noise_arguments, out)
    return torch.from_numpy(out.reshape(len(samples), size, size, 3)).permute(0, 3, 1, 2)


def _interleaved_rows(mean: Tensor, size: int) -> NDArray[np.float32]:
    """Turns a mean (3, size, size) or (3, 1, 1) into rows of interleaved channels: (size or 1, 3 * size)."""
    width = size if mean.shape[-1] == 1 else mean.shape[-1]
    rows = mean.expand(3, -1, width).permute(1, 2, 0).reshape(-1, 3 * width)
    return np.ascontiguousarray(rows.numpy(), np.float32)


@dataclass(frozen=True, eq=False)
class Loader:
    """Makes the batches of a run. Each depends only on the recipe and its position in the run.

    The only state is a cache: the batches of the last two epochs as sample positions.
    """

    split: Split  # the training split
    recipe: Recipe
    colors: ColorStatistics
    _epochs: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def labels(self) -> Tensor:
        """The labels of the training images: (N,) int64."""
        return torch.from_numpy(np.asarray(self.split.labels))

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches in an epoch."""
        return steps_per_epoch(len(self.split), self.recipe)

    def samples(self, epoch: int, position: int) -> NDArray[np.int64]:
        """The positions in the training split of the images of a batch: (n,).

        Args:
            epoch: counted from 1.
            position: of the batch in its epoch, counted from 0.
        """
        return self.epoch(epoch)[position]

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """The batches of an epoch as positions in the training split; every image occurs once."""
        number = epoch if self.recipe.reshuffle else 1
        if number not in self._epochs:
            order = epoch_order(len(self.split), self.recipe.seed, number)
            self._epochs[number] = epoch_batches(order, self.recipe)
            # Prefetched batches may belong to the epoch after the current one, so two epochs are kept.
            self._epochs.pop(number - 2, None)
        return self._epochs[number]

    def targets(self, samples: NDArray[np.int64]) -> Tensor:
        """One-hot targets: (n, classes)."""
        classes = self.recipe.model.num_classes
        # Not one_hot, which first makes 64-bit integers, twice the size of what is wanted.
        return torch.zeros(len(samples), classes).scatter_(1, self.labels[samples].unsqueeze(1), 1.0)

    def views(self, samples: NDArray[np.int64], *, epoch: int, size: int) -> Tensor:
        """The augmented images, before those of a batch are blended with each other: (n, 3, size, size)."""
        recipe = self.recipe
        return read_views(self.split, size, recipe.augment, self.colors, seed=recipe.seed, epoch=epoch, samples=samples)

    def batch(
        self,
        samples: NDArray[np.int64],
        *,
        epoch: int,
        step: int,
        size: int,
        rows: slice = slice(None),
        all_targets: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Makes the augmented images and the targets of a batch: (n, 3, size, size) in 0..255 and (n, classes).

        Args:
            samples: (N,) positions in the training split, in the order of the batch.
            epoch: counted from 1; crops, flips and color noise depend on (seed, epoch, sample).
            step: of the run, counted from 0; blends depend on (seed, step).
            size: side of the augmented images in pixels.
            rows: the rows of the batch to return. The other rows are made only if images depend on each other.
            all_targets: whether to return the targets of all rows nevertheless.
        """
        augment, seed = self.recipe.augment, self.recipe.seed
        targets = self.targets(samples)
        independent = augment.chunk == 1 and not (augment.fade or augment.mixup or augment.cutmix)
        needed = samples[rows] if independent else samples
        views = self.views(needed, epoch=epoch, size=size)
        if not independent:
            views = fade(views, augment, seed=seed, step=step)
            views, targets = mix(views, targets, augment, seed=seed, step=step)
            views = views[rows]
        return views, targets if all_targets else targets[rows]


@contextmanager
def prefetch(items: Iterator[T], depth: int) -> Iterator[Iterator[T]]:
    """Provides the same items in the same order within a `with` block, made ahead by one thread.

    An exception in `items` is raised to the reader at the position of the failed item. When the block ends, for any
    reason, the thread finishes its current item and stops.

    Args:
        items: used only by the thread, from the first item on.
        depth: the most items made, or being made, that the reader has not taken; 0 makes each item on request.
    """
    if depth == 0:
        yield items
        return
    free_slots, stop = Semaphore(depth), Event()
    ready: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()

    def work() -> None:
        try:
            while True:
                free_slots.acquire()
                if stop.is_set():
                    return
                ready.put((next(items), None))
        except BaseException as error:  # StopIteration at the end of the items, too
            ready.put((None, error))

    def read() -> Iterator[T]:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            free_slots.release()
            yield item  # type: ignore[misc]  # None only together with an error

    # A daemon thread: the process can end even if Ctrl-C interrupts the wait for the thread.
    thread = Thread(target=work, name="alexnet-prefetch", daemon=True)
    thread.start()
    try:
        yield read()
    finally:
        stop.set()
        free_slots.release()
        thread.join()
