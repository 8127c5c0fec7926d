"""What the tests share: no writing outside of pytest's folders, tiny pictures, tiny networks, one trained run."""

import dataclasses
import io
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from alexnet.cli import main
from alexnet.config import AlexNetConfig
from alexnet.dataset import Prepared, open_prepared
from alexnet.files import file_sha256
from alexnet.prepare import prepare
from alexnet.recipes import Recipe, for_classes, override
from alexnet.run import Run, create_run
from alexnet.sources import Samples, Source
from alexnet.sums import SUMS, lines, read_sums
from alexnet.train import train

# How long an example takes says something of the machine, nothing of the code; and a run of the tests says the same
# about the same code each time. HYPOTHESIS_PROFILE=search looks at new examples.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

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
    """What a call of the command line did."""

    code: int
    out: str
    err: str


class Silent:
    """A monitor that keeps what it is told."""

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


def coloured(labels: np.ndarray, seed: int, size: int = SIZE) -> np.ndarray:
    """Noise in which the channel of the class is brighter: (n, size, size, 3) uint8."""
    noise = np.random.default_rng(seed).integers(0, 120, (len(labels), size, size, 3))
    noise[np.arange(len(labels)), :, :, labels] += 100
    return noise.astype(np.uint8)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where prepared pictures go in this test, instead of the user's home; and help as wide as it wants."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("ALEXNET_CACHE", str(folder))
    monkeypatch.setenv("COLUMNS", "160")
    return folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """26 training, 7 val and 5 test pictures of three colours, 24 pixels a side."""
    splits = {}
    for seed, (name, count) in enumerate({"train": 26, "val": 7, "test": 5}.items()):
        labels = np.arange(count, dtype=np.int64) % len(CLASSES)
        names = tuple(f"{name}/{i}" for i in range(count))
        splits[name] = Samples(names, labels, arrays=coloured(labels, seed))
    out = tmp_path_factory.mktemp("prepared") / "out"
    prepare(Source("colours", CLASSES, splits), out, size=SIZE)
    return open_prepared(out)


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """AlexNet a sixteenth as wide on crops of 20 pixels; 4 steps an epoch on `prepared`, 3 epochs."""
    recipe = dataclasses.replace(
        Recipe(),
        model=AlexNetConfig(
            crop_size=20, width=1 / 16, conv1_kernel=5, conv1_stride=1, conv1_padding=2, init="kaiming"
        ),
        prepare_size=SIZE,
        epochs=3,
        batch_size=8,
    )
    return for_classes(recipe, len(CLASSES))


@pytest.fixture
def start(prepared: Prepared, tiny: Recipe, tmp_path: Path) -> Callable[..., Run]:
    """Makes a new run folder for `prepared`: (name, *changes of the tiny recipe)."""

    def make(name: str, *changes: str) -> Run:
        about = {"source": "colours", "prepared": str(prepared.folder), "fingerprint": prepared.fingerprint}
        return create_run(tmp_path / name, override(tiny, changes), prepared.class_names, about)

    return make


@pytest.fixture
def fit(prepared: Prepared) -> Callable[..., Silent]:
    """Trains a run on `prepared`, quietly."""

    def go(run: Run, max_steps: int | None = None) -> Silent:
        monitor = Silent()
        train(run, prepared, device=torch.device("cpu"), monitor=monitor, max_steps=max_steps)
        return monitor

    return go


def write_photos(root: Path, per_class: int = 10) -> Path:
    """A folder with a sub-folder of PNG files for each colour, 26 x 30 pixels."""
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        pixels = coloured(np.full(per_class, label), seed=label, size=30)[:, :26]
        for i, picture in enumerate(pixels):
            Image.fromarray(picture).save(root / name / f"{i}.png")
    return root


def reseal(run: Path) -> None:
    """Gives the small files of a run, which a test has changed, checksums that fit."""
    (run / SUMS).write_bytes(lines({name: file_sha256(run / name) for name in read_sums(run)}))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A fresh folder of pictures that a test may change."""
    return write_photos(tmp_path / "photos")


def call(*arguments: object, stdin: str = "") -> Outcome:
    """The command line in this process; an exception that leaves it is a test failure by itself."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Cyclopts application invoked without tokens")  # it notices pytest
        patch.setattr(sys, "argv", ["alexnet", *map(str, arguments)])
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            main()
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture
def alexnet() -> Callable[..., Outcome]:
    """Calls the command line: alexnet("train", folder, ...) -> (code, out, err)."""
    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/ and run/, trained by the command line; not to be changed."""
    root = tmp_path_factory.mktemp("trained")
    photos = write_photos(root / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALEXNET_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        outcome = call("train", photos, *TINY, "--out", root / "run", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    return root
