"""Prepared images -> a batch of 128 views, crop 224 from 256, mirror, color noise, mean, on one core: images/s.

    python benchmarks/data.py PHOTOS [--rounds 5] [--out benchmarks/results/data.json]

PHOTOS is a folder with a sub-folder of images for each class. torchvision's ImageFolder reads the prepared images
as JPEG files of quality 90, with transforms.v2 and a DataLoader without workers; `alexnet` reads them as `alexnet
prepare` writes them, without compression. `ratio` is images/s over those of torchvision.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import interleaved, report
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from alexnet.data.augment import ColorStatistics, training_views
from alexnet.data.crops import as_batch, center_crop
from alexnet.data.dataset import Prepared, open_prepared
from alexnet.data.loader import epoch_order, read_views
from alexnet.data.prepare import prepare
from alexnet.data.sources import open_source
from alexnet.kernels.device import keep_memory
from alexnet.recipes.config import AugmentConfig

SIZE, CROP, BATCH, BATCHES = 256, 224, 128, 4
CONFIG = AugmentConfig()


def as_jpegs(prepared: Prepared, folder: Path) -> Path:
    """The training images as ImageFolder wants them."""
    split = prepared.splits["train"]
    for index, label in enumerate(split.labels.tolist()):
        path = folder / str(label) / f"{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(split.read([index])[0]).save(path, quality=90)
    return folder


def loader(folder: Path, prepared: Prepared) -> DataLoader[Any]:
    """torchvision's way to the same views: PCA color noise in a lambda, then Normalize."""
    scale = torch.from_numpy(prepared.color_stdevs / 255).float()
    vectors = torch.from_numpy(prepared.color_vectors).float()
    transform = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomCrop(CROP),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Lambda(lambda image: image + (vectors @ (scale * torch.randn(3) * CONFIG.color_noise)).view(3, 1, 1)),
            v2.Normalize(
                [float(m) / 255 for m in prepared.channel_mean], [float(s) / 255 for s in prepared.channel_std]
            ),
        ]
    )
    return DataLoader(ImageFolder(str(folder), transform), BATCH, shuffle=True, drop_last=True)


def seconds_of(batches: Any) -> float:
    """Seconds for BATCHES batches; what comes before the first is not counted."""
    iterator = iter(batches)
    begin = time.perf_counter()
    count = sum(len(batch) for batch in islice(iterator, BATCHES))
    assert count == BATCH * BATCHES
    return time.perf_counter() - begin


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_memory()  # as the command line does
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        prepare(open_source(options.photos), Path(scratch) / "prepared", size=SIZE, encoding="raw")
        prepared = open_prepared(Path(scratch) / "prepared")
        split = prepared.splits["train"]
        mean = center_crop(torch.from_numpy(prepared.mean_image).permute(2, 0, 1), CROP).contiguous()
        colors = ColorStatistics(mean, prepared.color_stdevs, prepared.color_vectors)
        theirs = loader(as_jpegs(prepared, Path(scratch) / "jpegs"), prepared)
        epoch = 0

        def ours(views: Callable[..., torch.Tensor]) -> float:
            nonlocal epoch
            epoch += 1
            order = epoch_order(len(split), 0, epoch)
            chosen = [order[i * BATCH : (i + 1) * BATCH] for i in range(BATCHES)]
            return seconds_of(views(samples, epoch % 60 + 1) for samples in chosen)

        def compiled(samples: np.ndarray, number: int) -> torch.Tensor:
            return read_views(split, CROP, CONFIG, colors, seed=0, epoch=number, samples=samples, subtract_mean=True)

        def plain(samples: np.ndarray, number: int) -> torch.Tensor:
            images = as_batch(split.read(samples))
            return training_views(images, CROP, CONFIG, colors, seed=0, epoch=number, samples=samples) - mean

        def raw(samples: np.ndarray, number: int) -> torch.Tensor:
            return read_views(split, CROP, CONFIG, colors, seed=0, epoch=number, samples=samples)

        variants: dict[str, Callable[[], float]] = {
            "torchvision ImageFolder, JPEG": lambda: seconds_of(images for images, _ in theirs),
            "alexnet in PyTorch": lambda: ours(plain),
            "alexnet, views without the mean": lambda: ours(compiled),
            "alexnet, views as training makes them": lambda: ours(raw),
        }
        medians = interleaved(variants, options.rounds)
    speeds = {name: BATCH * BATCHES / seconds for name, seconds in medians.items()}
    base = speeds["torchvision ImageFolder, JPEG"]
    report(
        "data",
        [
            {
                "what": name,
                "against": "torchvision ImageFolder, JPEG",
                "images_per_second": speed,
                "ratio": speed / base,
                "target": 15.0 if name.startswith("alexnet, views") else "",
            }
            for name, speed in speeds.items()
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
