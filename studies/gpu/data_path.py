"""`data`: how many images a second come from memory to the device, and what training makes of them end to end.

Noise in the size of ImageNet, prepared as `alexnet prepare` does it, so that nothing has to be carried. "end to end" is
the loop of `alexnet train` without its evaluations: batches made ahead by a thread, then the step.
"""

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet.data.crops import as_batch
from alexnet.data.dataset import Prepared, open_prepared
from alexnet.data.device_images import described
from alexnet.data.loader import PREFETCHED, prefetch, read_views
from alexnet.data.prepare import prepare
from alexnet.data.samples import Samples, Source
from alexnet.kernels.device import finish, keep_memory
from alexnet.recipes.recipe import Recipe, for_classes
from alexnet.runs.run import RunFolder
from alexnet.training.late import BegunStep
from alexnet.training.trainer import Trainer
from studies.gpu.ladder import our_recipe
from studies.gpu.session import Session, attempt, timed
from studies.gpu.smoke import precisions
from studies.gpu.speed import in_turns

COLUMNS = ("what", "images/s", "ratio", "target")
IMAGES, CLASSES, BATCH = 2048, 16, 128
STEPS, UNCOUNTED = 60, 10  # of training end to end; those that warm up
RATE = 60_000  # images a second, the target


def measure(session: Session) -> tuple[str, ...]:
    """Adds a row for each part of the way and for training over all of it."""
    keep_memory()
    with tempfile.TemporaryDirectory() as folder, prepared_noise(Path(folder), session.tiny) as prepared:
        recipe = recipe_for(prepared, session.tiny)
        trainer = Trainer(RunFolder(Path(folder) / "run", recipe, prepared.class_names, {}), prepared, session.device)
        parts(session, trainer)
        for precision in precisions():
            if session.over():
                break
            attempt(
                session,
                f"end to end, {precision}",
                lambda p=precision: end_to_end(session, prepared, replace(recipe, precision=p), Path(folder)),
            )
    return COLUMNS


@contextmanager
def prepared_noise(folder: Path, tiny: bool) -> Iterator[Prepared]:
    """Images of noise of 256 pixels, in memory after the first look at them."""
    count = 32 if tiny else IMAGES
    pixels = np.random.default_rng(0).integers(0, 256, (count, 256, 256, 3), np.uint8)
    names = tuple(f"train/{i}" for i in range(count))
    samples = Samples(names, np.arange(count, dtype=np.int64) % CLASSES, arrays=pixels)
    prepare(Source("noise", tuple(f"class {i}" for i in range(CLASSES)), {"train": samples}), folder / "data", size=256)
    yield open_prepared(folder / "data")


def recipe_for(prepared: Prepared, tiny: bool) -> Recipe:
    """The recipe of 2012 for these images; a trial takes a smaller batch."""
    recipe = replace(our_recipe(tiny, "float32"), batch_size=8 if tiny else BATCH)
    return for_classes(recipe, len(prepared.class_names))


def parts(session: Session, trainer: Trainer) -> None:
    """Augmentation with one thread and with all, in PyTorch, and the ways to the device."""
    recipe, split = trainer.run.recipe, trainer.prepared.splits["train"]
    batches = trainer.loader.epoch(1)
    batch, cores = len(batches[0]), os.cpu_count() or 1
    size = recipe.model.crop_size

    def views(number: int) -> torch.Tensor:
        samples = batches[number % len(batches)]
        return read_views(
            split, size, recipe.augment, trainer.loader.colors, seed=recipe.seed, epoch=1, samples=samples
        )

    pool = ThreadPoolExecutor(cores)
    floats, raw = views(0), as_batch(split.read(batches[0]))
    pinned = session.device.type == "cuda"
    variants: dict[str, tuple[Callable[[], Any], int]] = {
        "augmented, one thread": (lambda: views(0), 1),
        f"augmented, {cores} threads": (lambda: list(pool.map(views, range(cores))), cores),
        "read only": (lambda: split.read(batches[0]), 1),
        "float32 views to the device": (lambda: floats.to(session.device, copy=True), 1),
        "uint8 images to the device": (lambda: raw.to(session.device, copy=True), 1),
        "batches as training makes them": (lambda: trainer.batch(batches[0], trainer.clock.at(0)), 1),
    }
    if pinned:
        held = raw.pin_memory()
        variants["uint8 images to the device, pinned"] = (lambda: held.to(session.device, non_blocking=True), 1)
    seconds = in_turns(session, "data", {name: timed(call, session.device) for name, (call, _) in variants.items()})
    pool.shutdown()
    session.facts["images"] = described(split, batch, session.device) or "batches are made on the host"
    first = seconds.get("augmented, one thread")
    for name, value in seconds.items():
        row = {"what": name, "against": "augmented, one thread", "images/s": variants[name][1] * batch / value}
        row["ratio"] = None if first is None else first / value * variants[name][1]
        if name.startswith("batches"):
            row |= {"at least images/s": RATE, "met": row["images/s"] >= RATE}
        session.row(**row)


def end_to_end(session: Session, prepared: Prepared, recipe: Recipe, folder: Path) -> None:
    """Steps of a run over images in memory, each with its batch; the first ones do not count."""
    trainer = Trainer(RunFolder(folder / "run", recipe, prepared.class_names, {}), prepared, session.device)
    steps, uncounted = (3, 1) if session.tiny else (STEPS, UNCOUNTED)
    count, began = 0, 0.0
    begun: deque[BegunStep] = deque()

    def read_one() -> None:
        trainer.advance(trainer.result(begun[0]), 0.0)
        begun.popleft()

    with prefetch(trainer.arrivals(0, steps), PREFETCHED) as arrivals:
        for number in range(steps):
            if number == uncounted:
                finish(session.device)
                began = time.perf_counter()
            images, targets = next(arrivals).wait()
            begun.append(trainer.begin_step(images, targets, trainer.clock.at(number)))
            count += len(images) * (number >= uncounted)
            while begun and not trainer.may_wait(begun):
                read_one()
            if session.over() and number > uncounted:
                break
        while begun:
            read_one()
        finish(session.device)
        seconds = time.perf_counter() - began
    session.row(what=f"training end to end, {recipe.precision}", **{"images/s": count / seconds})
