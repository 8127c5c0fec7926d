"""Fits a recipe to the images and to the clock before a run begins, where the recipe asks for it (`fit=data`)."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from alexnet.cues.facts import facts_of_prepared, typical_side
from alexnet.data.dataset import Prepared
from alexnet.data.loader import steps_per_epoch
from alexnet.data.open import is_prepared
from alexnet.errors import UsageError
from alexnet.progress import ProgressCallback, silent
from alexnet.recipes.fitting import (
    FEW_OF_A_CLASS,
    LOOKS,
    PATIENCE,
    Candidate,
    Decision,
    Facts,
    apply,
    choose_candidate,
    data_decisions,
    size_decision,
    step_decisions,
    wanted_epochs,
)
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import Recipe, differences, with_fields
from alexnet.runs.run import RunFolder, sealing
from alexnet.storage.files import write_file
from alexnet.text import duration
from alexnet.training.pace import FORWARD, looks, seconds_at, seconds_per_image
from alexnet.training.search import COST, declared_settings, search
from alexnet.weights.published import describe_published

MINUTES = 15.0  # that a run takes at most if nobody says how many; on two cores it is enough for a few thousand photos
SPARE = 0.92  # of the time, that is planned: the start of the program, checkpoints and the report take the rest
SEARCH = "search.jsonl"
SIZES = frozenset(
    {"prepare_size", "growing_crops"}
    | {f"model.{name}" for name in ("crop_size", "test_size", "conv1_kernel", "conv1_stride", "conv1_padding")}
)
LEAST_SECONDS = 5.0  # of training, however little time is left


def given_fields(base: Recipe, named: frozenset[str]) -> frozenset[str]:
    """The fields that a user decided: those named, and those in which a record differs from the recipe of its name."""
    known = RECIPES.get(base.name)
    return named if known is None else named | frozenset(differences(base, known))


def unchanged(base: Recipe, before: Recipe, after: Recipe) -> Recipe:
    """The base with what was fitted set in it, so that a plan names as overrides only what a user has changed."""
    fitted_fields = {name: value for name, (_, value) in differences(after, before).items()}
    return with_fields(base, {name: value for name, value in fitted_fields.items() if name != "model.num_classes"})


@dataclass
class Fitting:
    """What is decided for a run, first from the files, then from the prepared images and the clock."""

    given: frozenset[str]
    minutes: float | None = None
    tries: int = 0  # settings of a search before the run; 0: none
    measures: bool = True  # False: several processes must decide the same, so the clock has no say
    began: float = field(default_factory=time.monotonic)
    side: int = 0
    decisions: list[Decision] = field(default_factory=list)
    rows: tuple[Mapping[str, Any], ...] = ()  # of the search

    def __post_init__(self) -> None:
        if self.given & SIZES:
            self.given |= SIZES  # they must fit one another, so who gives one gives all
        if self.minutes is not None and not 0.05 <= self.minutes <= 1e6:
            raise UsageError(
                f"minutes={self.minutes:g} is no time in which a network can be trained",
                fix="Give a number of minutes, such as 10.",
                code="E2020",
            )
        if self.tries:
            declared_settings(RECIPES["photos"], self.tries)  # a wrong number is refused before anything is done
        if (self.minutes is not None or self.tries) and not self.measures:
            raise UsageError(
                "minutes and search are for one process: several, of torchrun, would each measure and search",
                fix="Give epochs=N instead.",
                code="E2021",
            )
        if self.minutes is not None and "epochs" in self.given:
            raise UsageError("minutes and epochs both say how long a run is", fix="Give one of them.", code="E2022")

    def before(self, recipe: Recipe, data: str, labels: Path | None) -> Recipe:
        """Decides at which size images are prepared, and conv1 with it.

        Raises:
            UsageError: E2023, minutes were given for a recipe that says itself how long it is.
        """
        if recipe.fit != "data":
            if self.minutes is not None:
                raise UsageError(
                    f"the recipe {recipe.name} says itself how long a run is: {recipe.epochs} epochs",
                    fix="Leave minutes out and give epochs=N, or use the recipe photos, which plans for the time.",
                    code="E2023",
                )
            return recipe
        prepared = is_prepared(data)
        self.side = recipe.prepare_size if prepared else typical_side(data, labels)
        if not self.side:
            return recipe  # no image can be read; preparing says so
        decision = size_decision(self.side)
        keep = frozenset({"prepare_size"}) if prepared else frozenset()
        return self._apply(recipe, [decision], keep)

    def after(
        self, recipe: Recipe, prepared: Prepared, device: torch.device, progress: ProgressCallback = silent
    ) -> Recipe:
        """Decides the rest; the recipe that it returns is fitted, and can be repeated."""
        if recipe.fit != "data":
            return self._searched(recipe, prepared, device, progress)
        facts = facts_of_prepared(prepared, self.side or prepared.size, progress)
        recipe = self._apply(recipe, data_decisions(facts))
        recipe = self._timed(recipe, prepared, facts, device, progress)
        steps = steps_per_epoch(facts.images, recipe) * recipe.epochs
        recipe = self._apply(recipe, step_decisions(recipe, facts.images, steps))
        return self._searched(replace(recipe, fit="none"), prepared, device, progress)

    def lines(self) -> dict[str, str]:
        """What was decided and why, one line each."""
        return {decision.topic: decision.text for decision in self.decisions}

    def _searched(self, recipe: Recipe, prepared: Prepared, device: torch.device, progress: ProgressCallback) -> Recipe:
        if not self.tries:
            return recipe
        found = search(recipe, prepared, device, self.tries, progress, self.given)
        self.rows = found.rows
        return self._apply(recipe, [Decision("search", found.line(), found.fields)])

    def _apply(self, recipe: Recipe, found: Sequence[Decision], keep: frozenset[str] = frozenset()) -> Recipe:
        recipe, told = apply(recipe, found, self.given | keep)
        self.decisions += told
        return recipe

    def _timed(
        self, recipe: Recipe, prepared: Prepared, facts: Facts, device: torch.device, progress: ProgressCallback
    ) -> Recipe:
        """Decides width, crops and epochs for the time that there is."""
        wanted = wanted_epochs(facts.images)
        most = wanted if self.minutes is None else PATIENCE * wanted
        if "epochs" in self.given:
            most = recipe.epochs
        total = (MINUTES if self.minutes is None else self.minutes) * 60 * SPARE

        timed = self.measures and "epochs" not in self.given  # else the clock has no say

        def settled(candidate: Candidate) -> Recipe:
            return apply(recipe, [Decision("time", "", candidate.fields())], self.given)[0]

        known: dict[Recipe, tuple[float, float]] = {}  # of those that differ, where width or crops are given

        def seconds(candidate: Candidate, *, exact: bool = False) -> tuple[float, float]:
            """Of one epoch, and of all that images are only asked in a run and after it."""
            if not timed:
                return 1.0, 0.0  # so that nothing is measured, and the first fits
            one = settled(candidate)
            if one not in known or exact:
                known[one] = measured(one, exact)
            return known[one]

        def measured(one: Recipe, exact: bool) -> tuple[float, float]:
            progress("measuring how fast this machine is", 0, 1)
            sizes = [size for _, size in one.growing_crops] or [one.model.crop_size]
            area = sum(share * size**2 for share, size in zip(_shares(one.growing_crops) or [1.0], sizes, strict=True))
            if exact:
                each = seconds_per_image(one, prepared, device)
            else:
                each = seconds_at(one, prepared, device, sizes[0]) * area / sizes[0] ** 2
            progress("measuring how fast this machine is", 1, 1)
            look = FORWARD * each * one.model.crop_size**2 / area  # at one image
            asked = looks(prepared, LOOKS, views=2 if one.augment.flip else 1)
            return each * facts.images, look * asked

        def left() -> float:
            return total - (time.monotonic() - self.began)

        room = left() if timed else float(most)
        candidate, epochs, each = choose_candidate(facts.images, recipe.prepare_size, room, seconds, most=most)
        asking = 0.0
        if timed:
            each, asking = seconds(candidate, exact=True)
            share = 1 + COST if self.tries else 1.0  # of a run with its search
            epochs = max(1, min(most, int(max(left() - asking, LEAST_SECONDS) / each / share)))
        fields = {**candidate.fields(), "epochs": epochs}
        one = settled(candidate)
        crops = ", ".join(str(size) for _, size in one.growing_crops) or str(one.model.crop_size)
        takes = duration(epochs * each + asking)
        if not timed:
            why = "for the number of images"
        elif epochs == most and self.minutes is not None:
            why = f"about {takes}; more epochs than {most} gain little from {facts.images:,} images"
        elif epochs == most:
            why = f"about {takes} on this machine; --minutes changes it"
        else:
            why = f"what this machine can do in {self.minutes or MINUTES:g} minutes"
            why += "" if self.minutes else f"; with more time (--minutes) up to {PATIENCE * wanted}"
        text = f"{epochs} epochs, width {one.model.width:g}, crops of {crops} pixels: {why}"
        return self._apply(recipe, [Decision("time", text, fields)])


def write_search(run: RunFolder, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the short runs of a search into a new run folder, one row each: search.jsonl."""
    if not (run.folder / SEARCH).exists():
        with sealing(run, SEARCH):
            write_file(run.folder / SEARCH, "".join(json.dumps(dict(row)) + "\n" for row in rows).encode())


def _shares(growing: tuple[tuple[float, int], ...]) -> list[float]:
    starts = [share for share, _ in growing]
    return [end - start for start, end in zip(starts, [*starts[1:], 1.0], strict=True)] if starts else []


def few_images(recipe: Recipe, prepared: Prepared) -> dict[str, str]:
    """What pretrained weights would gain where classes have few images, and how to get them; {} elsewhere."""
    labels = prepared.splits["train"].labels
    typical = len(labels) // max(len(prepared.class_names), 1)
    if recipe.weights is not None or typical >= FEW_OF_A_CLASS:
        return {}
    return {
        "few images": f"about {typical:,} a class. Pretrained weights gain most there: with 30 images a class an "
        "AlexNet reached 46.5 % on Caltech-101 from scratch and 86.5 % after ImageNet (Zeiler and Fergus 2014). Add "
        f"--weights imagenet: {describe_published()}"
    }
