"""Small images, a small network for them, and the command line in this process."""

import io
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from alexnet.cli.main import main
from alexnet.data.samples import Samples, Source
from alexnet.storage.checksums import SUMS, lines, read_sums
from alexnet.storage.files import file_sha256

SIZE = 24
CLASSES = ("red", "green", "blue")
TINY = (
    "prepare_size=24",
    "model.crop_size=20",
    "model.test_size=none",
    "model.width=0.0625",
    "model.conv1_kernel=5",
    "model.conv1_stride=1",
    "model.conv1_padding=2",
    "model.pool5_grid=1",
    "growing_crops=[[0, 16], [0.5, 20]]",
    "epochs=2",
    "batch_size=8",
)


class Outcome(NamedTuple):
    """The result of a call of the command line."""

    code: int
    out: str
    err: str


class Recording:
    """A monitor that records everything it receives."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.rows: list[dict[str, Any]] = []
        self.notes: list[str] = []

    def step(self, progress: Any) -> None:
        self.steps.append(progress)

    def epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def note(self, text: str) -> None:
        self.notes.append(text)


def colored(labels: np.ndarray, seed: int, size: int = SIZE) -> np.ndarray:
    """Noise in which the color channel of the class is brighter: (n, size, size, 3) uint8."""
    noise = np.random.default_rng(seed).integers(0, 120, (len(labels), size, size, 3))
    noise[np.arange(len(labels)), :, :, labels] += 100
    return noise.astype(np.uint8)


def noise(count: int, seed: int = 0, size: int = 16) -> Source:
    """Noise in two classes: `count` training images, of which the first four are also the validation split."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    labels = np.arange(count, dtype=np.int64) % 2
    names = tuple(f"{i}" for i in range(count))
    first_four = Samples(names[:4], labels[:4], arrays=pixels[:4])
    return Source("made", ("even", "odd"), {"train": Samples(names, labels, arrays=pixels), "val": first_four})


def write_photos(root: Path, per_class: int = 10) -> Path:
    """Writes a folder with a sub-folder of PNG files for each color, 26 x 30 pixels."""
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        pixels = colored(np.full(per_class, label), seed=label, size=30)[:, :26]
        for i, image in enumerate(pixels):
            Image.fromarray(image).save(root / name / f"{i}.png")
    return root


def reseal(run: Path) -> None:
    """Rewrites the checksums of the small files of a run, after a test has changed them."""
    (run / SUMS).write_bytes(lines({name: file_sha256(run / name) for name in read_sums(run)}))


def call(*arguments: object, stdin: str | bytes = "") -> Outcome:
    """Runs the command line in this process; an exception that it raises fails the test."""
    typed = io.StringIO(stdin) if isinstance(stdin, str) else io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Cyclopts application invoked without tokens")  # a warning under pytest
        patch.setattr(sys, "argv", ["alexnet", *map(str, arguments)])
        patch.setattr(sys, "stdin", typed)
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            main()
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())
