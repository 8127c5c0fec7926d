"""From a prepared split to the views of a training batch, the shortest way there is.

`read_views` gives what `augment.training_views` makes of `Split.read`, bit for bit. For crops and centres on a CPU it
takes one pass, straight from the shards in memory or mapped from disk, with a compiled loop; everything else, and all
where numba is missing, goes through PyTorch. So no result depends on which way was taken.
"""

from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.augment import AugmentConfig, ColorStatistics, shifts_at, training_views, windows
from alexnet.dataset import Split
from alexnet.draws import Indices
from alexnet.evaluate import as_batch
from alexnet.shards import read_shard


@lru_cache
def compiled() -> ModuleType | None:
    """The module of compiled loops, or None where numba is missing."""
    try:
        from alexnet import cutting as module
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
        subtract_mean: for networks that do not do it themselves, as all of `alexnet.model` do.

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
            pictures, inside = read_shard(shard, inside, split.size), np.arange(len(here))
        else:
            # A plain array on the same memory: numba looks a memmap up anew at every call.
            pictures = shard.pixels.view(np.ndarray)
        loop(pictures, inside, here, offsets, mirrored, *tail, out)
    return torch.from_numpy(out.reshape(len(samples), size, size, 3)).permute(0, 3, 1, 2)


def _rows(mean: Tensor, size: int) -> NDArray[np.float32]:
    """(3, size, size) or (3, 1, 1) as rows of interleaved channels: (size or 1, 3 * size)."""
    width = size if mean.shape[-1] == 1 else mean.shape[-1]
    rows = mean.expand(3, -1, width).permute(1, 2, 0).reshape(-1, 3 * width)
    return np.ascontiguousarray(rows.numpy(), np.float32)
