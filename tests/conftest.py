"""What the tests share: no writing outside of pytest's folders, tiny images, tiny networks, one trained run."""

import dataclasses
import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from alexnet.data.dataset import Prepared, open_prepared
from alexnet.data.prepare import prepare
from alexnet.data.samples import Samples, Source
from alexnet.kernels.device import wait_politely
from alexnet.recipes.config import AlexNetConfig
from alexnet.recipes.recipe import Recipe, for_classes, override
from alexnet.runs.run import RunFolder, create_run
from alexnet.training import bench, bench_layers
from alexnet.training.loop import train
from harness import missing_packages  # noqa: F401 - packages that are said to be missing are so from here on
from harness.slow_tests import is_slow, listed
from harness.small_runs import CLASSES, SIZE, TINY, Outcome, Recording, call, colored, write_photos

# How long an example takes says something of the machine, nothing of the code; and a run of the tests says the same
# about the same code each time. HYPOTHESIS_PROFILE=search looks at new examples.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Thousands of tests are listed, which no collection of garbage should look through while they are, or ever after.
gc.disable()

# Hundreds of processes are started by tests; without the compiled files each of them compiles the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Processes that tests start share few processors.
wait_politely()

# These files take longest; started first, they do not leave one process with work when the others have none.
LONG = (
    "distributed/test_faults.py",
    "distributed/test_commands.py",
    "project/test_deploy.py",
    "distributed/test_groups.py",
    "lessons/test_lessons.py",
    "explorer/test_page.py",
    "kernels/test_operators.py",
    "kernels/test_triton.py",
    "elsewhere/test_elsewhere.py",
    "training/test_loop.py",
    "training/test_exact.py",
    "training/test_watchdog.py",
)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two more than cores: a slow test waits a third of its time for processes that it has started.

    The fast ones do not, and where seconds are taken down two processes should not share a core.
    """
    alone = config.option.markexpr == "not slow" or config.pluginmanager.hasplugin("harness.slow_tests")
    return (os.cpu_count() or 1) + (0 if alone else 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; `make test` hands files out in this order. Marks what `make test-fast` omits."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONG))
    lines = listed()
    for item in items:
        file = item.path.relative_to(Path(__file__).parent).as_posix()
        if is_slow(file, getattr(item, "originalname", item.name), lines):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """What exists by now exists to the end."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _save_requests_are_not_ignored() -> None:
    """The command line ignores SIGUSR1 for its whole process, here that of all tests and of what they start."""
    if hasattr(signal, "SIGUSR1"):  # not on Windows
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _disks_are_not_waited_for() -> Iterator[None]:
    """No test pulls the plug: that a file is synced, and in which order, shows without the seconds that a disk takes.

    A descriptor that is closed or none still fails.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: os.fstat(descriptor) and None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _short_timings() -> Iterator[None]:
    """`alexnet bench` repeats each part for seconds, so that its figures are steady; no test looks at how steady."""
    repeated = bench.repeated
    with pytest.MonkeyPatch.context() as patch:
        for module in (bench, bench_layers):
            patch.setattr(module, "repeated", lambda call, seconds: repeated(call, seconds / 40))
        yield


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where prepared images go, those of fixtures of a module too, instead of the user's home."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALEXNET_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def cache(_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where prepared images go in this test; and help as wide as it wants."""
    monkeypatch.setenv("ALEXNET_CACHE", str(_cache))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("ALEXNET_LANG", "en")
    return _cache


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """26 training, 7 val and 5 test images of three colors, 24 pixels a side."""
    splits = {}
    for seed, (name, count) in enumerate({"train": 26, "val": 7, "test": 5}.items()):
        labels = np.arange(count, dtype=np.int64) % len(CLASSES)
        names = tuple(f"{name}/{i}" for i in range(count))
        splits[name] = Samples(names, labels, arrays=colored(labels, seed))
    out = tmp_path_factory.mktemp("prepared") / "out"
    prepare(Source("colors", CLASSES, splits), out, size=SIZE)
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
def start(prepared: Prepared, tiny: Recipe, tmp_path: Path) -> Callable[..., RunFolder]:
    """Makes a new run folder for `prepared`: (name, *changes of the tiny recipe)."""

    def make(name: str, *changes: str) -> RunFolder:
        about = {"source": "colors", "prepared": str(prepared.folder), "fingerprint": prepared.fingerprint}
        return create_run(tmp_path / name, override(tiny, changes), prepared.class_names, about)

    return make


@pytest.fixture
def fit(prepared: Prepared) -> Callable[..., Recording]:
    """Trains a run on `prepared`, quietly."""

    def go(run: RunFolder, max_steps: int | None = None) -> Recording:
        monitor = Recording()
        train(run, prepared, device=torch.device("cpu"), monitor=monitor, max_steps=max_steps)
        return monitor

    return go


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A fresh folder of images that a test may change."""
    return write_photos(tmp_path / "photos")


@pytest.fixture
def alexnet() -> Callable[..., Outcome]:
    """Calls the command line: alexnet("train", folder, ...) -> (code, out, err)."""
    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/ and run/, trained by the command line; not to be changed."""
    root = tmp_path_factory.mktemp("trained")
    photos = write_photos(root / "photos")
    outcome = call("train", photos, *TINY, "--out", root / "run", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    return root
