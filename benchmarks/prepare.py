"""Photos on disk -> squares of 256 pixels, with two cores: `alexnet prepare` beside torchvision's usual way.

    python benchmarks/prepare.py PHOTOS [--images 3000] [--rounds 3] [--out benchmarks/results/prepare.json]

PHOTOS is a folder with a sub-folder of images for each class, of which the first are taken. torchvision decodes,
resizes and cuts them by ImageFolder, Resize(256), CenterCrop(256) and a DataLoader with two workers, and throws them
away; `alexnet prepare` also writes them, takes their statistics and checks what it has written.

The last columns are the mean absolute differences, in gray levels, of the finished squares to Pillow's: the image
decoded whole, and its central square resized bicubically (`to_bicubic`) or by Lanczos (`to_lanczos`), both with
antialiasing.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from measuring import interleaved, report
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from alexnet.data.folders import EXTENSIONS
from alexnet.data.images import prepare_image
from alexnet.data.prepare import prepare
from alexnet.data.samples import Samples, Source
from alexnet.kernels.device import keep_memory

SIZE, CORES = 256, 2
THEIRS, OURS = "torchvision, 2 workers", "alexnet prepare, 2 threads"


def links(photos: Path, count: int, folder: Path) -> tuple[Source, Path]:
    """`count` of the images, for both: as a source, and as a folder of links."""
    classes = sorted(path for path in photos.iterdir() if path.is_dir())
    files = [[f for f in sorted(path.iterdir()) if f.suffix.lower() in EXTENSIONS] for path in classes]
    share = -(-count // len(classes))
    chosen = [(path, label) for label, paths in enumerate(files) for path in paths[:share]]
    for path, label in chosen:
        place = folder / classes[label].name
        place.mkdir(parents=True, exist_ok=True)
        (place / path.name).symlink_to(path.resolve())
    names = tuple(f"{classes[label].name}/{path.name}" for path, label in chosen)
    samples = Samples(names, np.array([label for _, label in chosen]), root=folder)
    return Source("photos", tuple(path.name for path in classes), {"train": samples}), folder


def square(path: Path, method: Image.Resampling) -> NDArray[np.uint8]:
    """An image as Pillow prepares it: decoded whole, its central square resized."""
    with Image.open(path) as image:
        whole = image.convert("RGB")
    width, height = whole.size
    side = min(width, height)
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    return np.asarray(whole.resize((SIZE, SIZE), method, box=box))


def difference(ours: Callable[[Path], NDArray[np.uint8]], method: Image.Resampling, paths: Iterable[Path]) -> float:
    """Mean absolute difference to Pillow's squares, in gray levels."""
    each = [np.abs(ours(path).astype(np.int16) - square(path, method)).mean() for path in paths]
    return float(np.mean(each))


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_memory()  # as the command line does
    with tempfile.TemporaryDirectory() as scratch:
        source, folder = links(options.photos, options.images, Path(scratch) / "photos")
        total = len(source.splits["train"].names)
        transform = v2.Compose([v2.ToImage(), v2.Resize(SIZE, antialias=True), v2.CenterCrop(SIZE)])
        loader = DataLoader(ImageFolder(str(folder), transform), 64, num_workers=CORES)

        def theirs() -> float:
            begin = time.perf_counter()
            assert sum(len(images) for images, _ in loader) == total
            return time.perf_counter() - begin

        def ours() -> float:
            with tempfile.TemporaryDirectory() as out:
                begin = time.perf_counter()
                prepare(source, Path(out) / "prepared", size=SIZE, encoding="raw", threads=CORES)
                return time.perf_counter() - begin

        medians = interleaved({THEIRS: theirs, OURS: ours}, options.rounds)
        paths = [folder / name for name in source.splits["train"].names[:: max(1, total // 200)]]

        def torchvisions(path: Path) -> NDArray[np.uint8]:
            with Image.open(path) as image:
                return np.asarray(transform(image.convert("RGB")).permute(1, 2, 0))

        squares: dict[str, Callable[[Path], NDArray[np.uint8]]] = {THEIRS: torchvisions, OURS: prepare_image}
        rows = [
            {
                "what": name,
                "against": THEIRS,
                "images_per_second": total / medians[name],
                "ratio": medians[THEIRS] / medians[name],
                "target": 0.95 if name == OURS else "",
                "to_bicubic": difference(squares[name], Image.Resampling.BICUBIC, paths),
                "to_lanczos": difference(squares[name], Image.Resampling.LANCZOS, paths),
            }
            for name in medians
        ]
    report("prepare", rows, options.out)


if __name__ == "__main__":
    main()
