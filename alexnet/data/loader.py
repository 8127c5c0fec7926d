"""The batches of training: the order of an epoch, the views of a batch by the shortest way, some of them made ahead.

`read_views` gives what `augment.training_views` makes of `Split.read`, bit for bit. For crops and centres on a CPU it
takes one pass, straight from the shards in memory or mapped from disk, with a compiled loop; everything else, and all
where numba is missing, goes through PyTorch. So no result depends on which way was taken.
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
import torch.nn.functional as F
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


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch visits the samples: a permutation of 0..count-1.

    A pure function of its arguments, the same on every machine and with every NumPy: the raw stream of a bit
    generator is guaranteed to stay, what `Generator.permutation` makes of it is not.
    """
    keys = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(count)
    return np.argsort(keys, kind="stable")


def batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """`order` cut into consecutive pieces of `batch_size`; the last may be shorter."""
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def epoch_batches(order: NDArray[np.int64], recipe: Recipe) -> list[NDArray[np.int64]]:
    """Batches in order; a single image left over joins the batch before it, for batch norm needs two."""
    parts = batches(order, recipe.batch_size)
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def steps_per_epoch(count: int, recipe: Recipe) -> int:
    """Steps in which an epoch over that many pictures is done."""
    return len(epoch_batches(np.arange(count), recipe))


@lru_cache
def compiled() -> ModuleType | None:
    """The module of compiled loops, or None where numba is missing."""
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
    """The views of some pictures in one epoch; arguments as in `augment.training_views`.

    Args:
        subtract_mean: for networks that do not do it themselves, as all of `alexnet.models.network` do.

    Returns:
        (N, 3, size, size) in new memory, 0..255; uint8 where nothing changes the pixels, else float32, channels_last.
    """
    module = compiled()
    names: dict[str, Any] = {"seed": seed, "epoch": epoch, "samples": samples}
    if module is None or config.view == "zoom" or config.jitter:
        views = training_views(as_batch(split.read(samples)), size, config, colors, **names)
        return views - colors.mean if subtract_mean else views
    offsets, mirrored = windows(split.size, size, config, **names)
    shifts = shifts_at(config, colors, **names)
    loop = module.cut_bytes
    tail: tuple[Any, ...] = ()
    if shifts is not None or subtract_mean:
        shrinks = shifts is not None and config.color_shrink
        noise = torch.zeros(len(samples), 3) if shifts is None else config.color_noise * shifts
        mean, nothing = _rows(colors.mean, size), np.zeros((1, 3 * size), np.float32)
        # Without any shrinking the mean would be taken away and given back, with two roundings.
        middle, back = mean if shrinks or subtract_mean else nothing, nothing if subtract_mean or not shrinks else mean
        divisor = np.float32(1.0 + config.color_noise if shrinks else 1.0)
        loop, tail = module.cut, (noise.numpy(), middle, back, divisor)
    out = np.empty((len(samples), size, 3 * size), np.float32 if tail else np.uint8)
    for shard, here, inside in split.places(samples):
        if shard.pixels is None:
            images, inside = read_shard(shard, inside, split.size), np.arange(len(here))
        else:
            # A plain array on the same memory: numba looks a memmap up anew at every call.
            images = shard.pixels.view(np.ndarray)
        loop(images, inside, here, offsets, mirrored, *tail, out)
    return torch.from_numpy(out.reshape(len(samples), size, size, 3)).permute(0, 3, 1, 2)


def _rows(mean: Tensor, size: int) -> NDArray[np.float32]:
    """(3, size, size) or (3, 1, 1) as rows of interleaved channels: (size or 1, 3 * size)."""
    width = size if mean.shape[-1] == 1 else mean.shape[-1]
    rows = mean.expand(3, -1, width).permute(1, 2, 0).reshape(-1, 3 * width)
    return np.ascontiguousarray(rows.numpy(), np.float32)


@dataclass(frozen=True, eq=False)
class Loader:
    """The batches of a run, each a function of the recipe and its place in the run; it only remembers two orders."""

    split: Split  # the training images
    recipe: Recipe
    colors: ColorStatistics
    _epochs: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def labels(self) -> Tensor:
        """Of the training images: (N,) int64."""
        return torch.from_numpy(np.asarray(self.split.labels))

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return steps_per_epoch(len(self.split), self.recipe)

    def samples(self, epoch: int, position: int) -> NDArray[np.int64]:
        """Positions in the training set of the images of a batch.

        Args:
            epoch: counted from 1.
            position: of the batch in its epoch, from 0.
        """
        return self.epoch(epoch)[position]

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """The batches of an epoch as positions in the training set; every image once."""
        number = epoch if self.recipe.reshuffle else 1
        if number not in self._epochs:
            order = epoch_order(len(self.split), self.recipe.seed, number)
            self._epochs[number] = epoch_batches(order, self.recipe)
            # The batches made ahead may lie in the epoch after the one that is trained on.
            self._epochs.pop(number - 2, None)
        return self._epochs[number]

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
        """The views of some training images and what they are: (n, 3, size, size) in 0..255 and (n, classes).

        Args:
            samples: (N,) positions in the training set, in the order of the batch.
            epoch: counted from 1; crops, flips and color noise follow from (seed, epoch, sample).
            step: of the run, counted from 0; blends follow from (seed, step).
            size: pixels a side of the views.
            rows: of the batch; only these are made where no image depends on the others.
            all_targets: whether the targets are those of the whole batch all the same.
        """
        augment, seed = self.recipe.augment, self.recipe.seed
        targets = F.one_hot(self.labels[samples], self.recipe.model.num_classes).float()
        independent = augment.chunk == 1 and not (augment.fade or augment.mixup or augment.cutmix)
        chosen = samples[rows] if independent else samples
        views = read_views(self.split, size, augment, self.colors, seed=seed, epoch=epoch, samples=chosen)
        if not independent:
            views = fade(views, augment, seed=seed, step=step)
            views, targets = mix(views, targets, augment, seed=seed, step=step)
            views = views[rows]
        return views, targets if all_targets else targets[rows]


@contextmanager
def prefetch(items: Iterator[T], depth: int) -> Iterator[Iterator[T]]:
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
