"""The stages put together: what a verb needs before and after its one stage."""

import json
import math
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from alexnet.check import Check, check_network
from alexnet.checkpoint import load_model
from alexnet.dataset import PREPARED, SPLITS, Prepared, epoch_order, open_prepared
from alexnet.errors import DataError, UsageError
from alexnet.evaluate import Evaluation, evaluate
from alexnet.exclusion import Excluded, leave_out
from alexnet.fetching import is_address
from alexnet.files import cache_folder, write_file
from alexnet.identify import identify
from alexnet.prepare import PrepareReport, cache_key, prepare
from alexnet.recipes import Recipe, differences, for_classes
from alexnet.remote import open_place
from alexnet.report import write_report
from alexnet.run import Run, create_run, open_run, sealing
from alexnet.samples import Samples
from alexnet.sources import open_source
from alexnet.terminal import counting
from alexnet.train import Interrupted, Progress, train
from alexnet.trainer import Trainer, epoch_batches, steps_per_epoch
from alexnet.variants import FINETUNE, RECIPES, find_recipe
from alexnet.weights import IMAGENET, fingerprint, trained_network

FEW_STEPS = 1000  # below this a network from scratch is hardly trained; the plan says so


def prepared_for(
    data: str,
    size: int,
    tell: Callable[[PrepareReport], None],
    *,
    held_out: float = 0.2,
    excluded: Sequence[Excluded] = (),
    exclusions: str = "",
) -> Prepared:
    """The prepared pictures of a folder, prepared set, its address or named set; prepared now if they never were.

    Args:
        tell: is given what preparing did.
        held_out: see `open_source`.
        excluded: pictures to leave out.
        exclusions: the file that names them; "" for a run's own, which may be gone by now.

    Raises:
        UsageError: if `data` is a folder that was prepared at another size, or without regard to `excluded`.
    """
    if is_prepared(data):
        if excluded:
            raise UsageError(
                f"{data} is prepared already: its pictures cannot be left out one by one",
                fix=f"alexnet prepare PICTURES OTHER_FOLDER --exclude {exclusions}, and train on that.",
                code="E283",
            )
        prepared = open_place(data)
        if prepared.size != size:
            raise UsageError(
                f"{data} was prepared at {prepared.size} pixels, the recipe wants {size}",
                fix=f"Prepare the pictures anew with --size {size}.",
                code="E257",
            )
        return prepared
    source = open_source(data, held_out=held_out)
    source = leave_out(source, excluded, exclusions or "the run", strict=bool(exclusions))
    out = cache_folder() / "prepared" / f"{_slug(source.name)}-{size}-{cache_key(source, size, 'auto')[:12]}"
    with counting("preparing") as progress:
        report = prepare(source, out, size=size, progress=progress)
    tell(report)
    return open_prepared(out)


def is_prepared(data: str) -> bool:
    """Whether that is a prepared folder, or an address, where nothing else can lie."""
    return is_address(data) or (Path(data).expanduser() / PREPARED).is_file()


def original_files(data: str) -> Samples | None:
    """The training pictures of a folder as they came; None for a prepared folder and for sets that have no files."""
    if is_prepared(data) or not Path(data).expanduser().is_dir():
        return None
    return open_source(data).splits["train"]


def fitted(recipe: Recipe, data: str) -> Recipe:
    """The recipe at the size at which the pictures were prepared, if `data` is a prepared folder."""
    return replace(recipe, prepare_size=open_place(data).size) if is_prepared(data) else recipe


def prepared_of(run: Run, tell: Callable[[PrepareReport], None], *, allow_changed: bool = False) -> Prepared:
    """The pictures that a run was trained on.

    Args:
        allow_changed: whether others of the same classes will do.

    Raises:
        DataError: if they are gone, or are not the same any more.
    """
    if "imported" in run.data:
        raise UsageError(
            f"{run.folder} holds imported weights and has no pictures of its own",
            fix=f"alexnet evaluate {run.folder} PICTURES, or alexnet train PICTURES --weights {run.folder}",
            code="E256",
        )
    if is_prepared(run.data["prepared"]):
        prepared = open_place(run.data["prepared"])
    else:
        excluded = tuple(Excluded(**each) for each in run.data.get("excluded", ()))
        prepared = prepared_for(run.data["source"], run.recipe.prepare_size, tell, excluded=excluded)
    if prepared.class_names != run.class_names:
        raise DataError(
            f"{run.data['source']} has other classes than {run.folder}",
            fix="Put the pictures back, or start a new run.",
            code="E351",
        )
    if prepared.fingerprint != run.data["fingerprint"] and not allow_changed:
        raise DataError(
            f"{run.data['source']} no longer holds the pictures that {run.folder} was trained on",
            fix="Put them back, or start a new run. To train on with others: alexnet resume RUN --allow-inexact.",
            code="E350",
        )
    return prepared


def new_run_folder(data: str) -> Path:
    """A name in runs/ that nobody has, from the time and the data."""
    stem = f"{datetime.now():%Y-%m-%d-%H%M}-{_slug(Path(data).name)}"
    names = [stem, *(f"{stem}-{i}" for i in range(2, 1000))]
    return next(path for name in names if not (path := Path("runs") / name).exists())


def start_run(folder: Path, recipe: Recipe, data: str, prepared: Prepared, excluded: Sequence[Excluded] = ()) -> Run:
    """A new run folder for prepared pictures, which says where they come from and which of them were left out."""
    place = Path(data).expanduser()
    about: dict[str, Any] = {
        "source": str(place.resolve()) if place.exists() else data,
        "prepared": prepared.address or str(prepared.folder.resolve()),
        "fingerprint": prepared.fingerprint,
    }
    if excluded:
        about["excluded"] = [asdict(each) for each in excluded]
    if recipe.weights is not None:
        about["weights"] = fingerprint(trained_network(recipe.weights))
    return create_run(folder, for_classes(recipe, len(prepared.class_names)), prepared.class_names, about)


def begin_or_go_on(
    folder: Path, recipe: Recipe, data: str, prepared: Prepared, excluded: Sequence[Excluded] = ()
) -> Run:
    """The run of a folder: a new one, or the one that the same command has begun there.

    Raises:
        UsageError: the folder holds a run of another recipe or other pictures.
    """
    if not (folder / "recipe.json").is_file():
        return start_run(folder, recipe, data, prepared, excluded)
    run = open_run(folder)
    other = {field: pair for field, pair in differences(recipe, run.recipe).items() if field != "name"}
    told = [f"{field} is {old!r} there and {new!r} here" for field, (old, new) in other.items()]
    if prepared.fingerprint != run.data.get("fingerprint"):
        told.append("its pictures are others")
    if told:
        raise UsageError(
            f"{folder} holds another run: {', '.join(told[:3])}{', ...' * (len(told) > 3)}",
            fix=f"Give the command that began it, or choose another folder with --out. As it is: torchrun ... -m "
            f"alexnet resume {folder}",
            code="E297",
        )
    return run


def recipe_of(name: str) -> Recipe:
    """The recipe of that name, or of that run folder."""
    if name not in RECIPES and Path(name).is_dir():
        return open_run(Path(name)).recipe
    return find_recipe(name)


def fine_tuning(weights: str) -> Recipe:
    """The recipe that goes on from trained weights with the network that they belong to."""
    if weights == IMAGENET and not Path(weights).exists():
        return FINETUNE
    place = str(Path(weights).expanduser().resolve())
    path = Path(place)
    known = open_run(path).recipe if path.is_dir() else identify(path).recipe
    return replace(FINETUNE, model=known.model, prepare_size=known.prepare_size, weights=place)


def run_plan(recipe: Recipe, base: Recipe, prepared: Prepared, device: torch.device) -> dict[str, str]:
    """What is about to happen, in a few lines.

    Args:
        base: the recipe from which this one was changed.
    """
    counts = {name: len(prepared.splits[name]) for name in SPLITS if name in prepared.splits}
    steps = steps_per_epoch(counts["train"], recipe)
    base = replace(for_classes(base, recipe.model.num_classes), prepare_size=recipe.prepare_size)
    changed = differences(recipe, base)
    count = f"{steps} step{'s' * (steps > 1)}"
    plan = {
        "data": f"{len(prepared.class_names)} classes, " + ", ".join(f"{n} {name}" for name, n in counts.items()),
        "recipe": base.name + "".join(f", {field}={new!r} (was {old!r})" for field, (old, new) in changed.items()),
        "training": f"{recipe.epochs} epochs of {count} of {recipe.batch_size} pictures on {device}",
    }
    if recipe.weights is None and steps * recipe.epochs < FEW_STEPS:
        plan["note"] = (
            f"{steps * recipe.epochs} steps may be too few to learn much from so few pictures: "
            f"try epochs={math.ceil(FEW_STEPS / steps)}, or a smaller batch_size"
        )
    return plan


class _Timing:
    """Notes how long each step takes and shows nothing."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.seconds: list[float] = []

    def step(self, progress: Progress) -> None:
        """Notes the time since the last step."""
        now = time.monotonic()
        self.seconds.append(now - self.last)
        self.last = now

    def epoch(self, row: dict[str, Any]) -> None:
        """Leaves the evaluation out of the next step."""
        self.last = time.monotonic()

    def note(self, text: str) -> None:
        """Keeps silent."""


def check_run(recipe: Recipe, prepared: Prepared, device: torch.device, pictures: int = 32) -> Check:
    """The network of a recipe, as training would start it, checked on its first pictures.

    Args:
        pictures: how many of the first batch are looked at.
    """
    recipe = for_classes(recipe, len(prepared.class_names))
    trainer = Trainer(Run(Path(), recipe, prepared.class_names, {}), prepared, device)
    order = epoch_order(len(prepared.splits["train"]), recipe.seed, 1)
    images, targets = trainer.batch(epoch_batches(order, recipe)[0][:pictures], epoch=1, step=0, progress=0.0)
    return check_network(trainer.model, images, targets, recipe)


def rehearse(recipe: Recipe, prepared: Prepared, device: torch.device, steps: int = 4) -> float:
    """Takes a few real steps at every crop size, saves and throws away: the seconds that the whole run would take.

    Looking at the held-out pictures is not in it.
    """
    grown = ((0.0, recipe.model.crop_size), *recipe.growing_crops)
    total = steps_per_epoch(len(prepared.splits["train"]), recipe) * recipe.epochs
    estimate = 0.0
    for (start, size), end in zip(grown, [*(share for share, _ in grown[1:]), 1.0], strict=True):
        if start == end:
            continue
        timing = _Timing()
        crops = replace(recipe, growing_crops=((0.0, size),) if recipe.growing_crops else ())
        with tempfile.TemporaryDirectory() as folder, suppress(Interrupted):
            run = create_run(Path(folder) / "run", crops, prepared.class_names, {})
            train(run, prepared, device=device, monitor=timing, max_steps=steps)
        estimate += statistics.median(timing.seconds) * total * (end - start)
    return estimate


def report_run(run: Run, prepared: Prepared) -> tuple[list[Evaluation], Path]:
    """Evaluates the best network of a run on what was held out and writes report.html.

    One view, and ten where the recipe mirrors its pictures: half of the ten are mirrored, which says nothing of a
    network that never saw a mirror image. Figures go to evaluation.json. The first evaluation, the one that the report
    shows in detail, is with one view of test where there is one, else of val.
    """
    model = load_model(run)
    splits: list[str] = [name for name in ("test", "val") if name in prepared.splits] or ["train"]
    evaluations = []
    with counting("evaluating") as progress:
        for split in splits:
            for views in (1, 10) if run.recipe.augment.flip else (1,):
                evaluations.append(
                    evaluate(
                        model,
                        prepared,
                        split,
                        class_names=run.class_names,
                        views=views,
                        precision=run.recipe.precision,
                        progress=progress,
                    )
                )
    figures = json.dumps([e.summary() for e in evaluations], indent=1, ensure_ascii=False)
    with sealing(run, "evaluation.json", "report.html"):
        write_file(run.folder / "evaluation.json", figures.encode())
        conv1 = model.layers.get_parameter("conv1.weight").detach().cpu().numpy()
        page = write_report(run.folder, evaluations, prepared.splits[splits[0]].read, conv1)
    return evaluations, page


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:50] or "data"
