"""Every legal value of every field works or is refused in words: two steps and an evaluation on tiny images.

The values come from the types and ranges of the records themselves, their ends and values near them most of all. An
exception without a code, and a network with values that are not finite, fail the test.
"""

import itertools
import math
import types
from dataclasses import replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from alexnet.data.dataset import open_prepared
from alexnet.data.prepare import prepare
from alexnet.data.samples import Samples, Source
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.evaluate import evaluate
from alexnet.models import memory
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import Recipe, flat, for_classes, override, with_fields
from alexnet.runs.run import RunFolder
from alexnet.training.trainer import Trainer
from harness.small_runs import CLASSES, SIZE, colored

SMALL = {"prepare_size": SIZE, "batch_size": 8, "epochs": 2, "evaluate_every": 1, "crop_size": 20}
BASES = {
    name: for_classes(with_fields(find_recipe(name), {**SMALL, **fields}), len(CLASSES))
    for name, fields in {
        "demo": {"width": 1 / 16},
        "lenet": {"width": 0.5},
        "cifar-18pct": {"width": 0.125, "layer_decay": []},
        "cifar-11pct": {"width": 0.125, "layer_decay": []},
        "photos": {
            "width": 1 / 16,
            "test_size": SIZE,
            "conv1_stride": 1,
            "conv1_kernel": 5,
            "growing_crops": [[0, 16], [0.5, 20]],
        },
    }.items()
}
# Not drawn: what names a recipe, the images, or a file; and the classes, which are those of the images.
KEPT = ("name", "architecture", "weights", "prepare_size", "num_classes")
HUGE = 10**30  # of an integer without a bound


def values(kind: Any, limits: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Legal values of a type as the records write it, the ends of its range among them."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return values(parts[0], parts[1:])
    if origin is Literal:
        return st.sampled_from(parts)
    if origin in (Union, types.UnionType):
        return st.one_of([values(part) for part in parts])
    if origin is tuple:
        if parts[-1] is Ellipsis:
            return st.lists(values(parts[0]), max_size=3)
        return st.tuples(*map(values, parts)).map(list)
    if kind is type(None):
        return st.none()
    if kind is bool:
        return st.booleans()
    if kind is str:  # layers
        return st.sampled_from(["conv1", "conv2", "fc4", "fc8", "conv9"])
    low, open_low, high, open_high = bounds(limits)
    if kind is int:
        first = -3 if low is None else low
        last = HUGE if high is None else high - open_high
        return st.one_of(st.integers(first, first + 16), st.sampled_from([first, first + 1, last - 1, last]))
    assert kind is float, kind
    usual = st.sampled_from([-1.0, -0.5, 0.0, 1e-6, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999, 1.0, 1.5, 2.0, 10.0])
    extremes = st.sampled_from([5e-324, 1e-300, 1e-30, 1e10, 1e30, 3e38, -1e-30, -3e38, math.nextafter(1, 0)])
    return st.one_of(usual, usual, extremes).filter(
        lambda x: (
            (low is None or x > low or (x == low and not open_low))
            and (high is None or x < high or (x == high and not open_high))
        )
    )


def bounds(limits: tuple[Any, ...]) -> tuple[Any, bool, Any, bool]:
    """The ends of a range as `Field` declares them, each with whether it is left out; None: no end."""
    low, open_low, high, open_high = None, False, None, False
    for end in (end for limit in limits for end in getattr(limit, "metadata", [limit])):
        match end:
            case annotated_types.Ge(ge):
                low = ge
            case annotated_types.Gt(gt):
                low, open_low = gt, True
            case annotated_types.Le(le):
                high = le
            case annotated_types.Lt(lt):
                high, open_high = lt, True
    return low, open_low, high, open_high


def fields_of(recipe: Recipe) -> dict[str, Any]:
    """Field -> its type, with dotted names."""
    groups = {"": recipe, "model.": recipe.model, "augment.": recipe.augment, "optim.": recipe.optim}
    hints = {
        prefix + name: kind
        for prefix, record in groups.items()
        for name, kind in get_type_hints(type(record), include_extras=True).items()
    }
    return {name: hints[name] for name in flat(recipe) if name.rpartition(".")[2] not in KEPT}


@st.composite
def changed(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A base and legal values for one to six of its fields."""
    base = draw(st.sampled_from(sorted(BASES)))
    fields = fields_of(BASES[base])
    names = draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=6, unique=True))
    return base, {name: draw(values(fields[name])) for name in names}


@pytest.fixture(scope="module", autouse=True)
def _small_machine():
    """A machine with little memory, so that what just fits into a large one is no part of this test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "machine_bytes", lambda: 1e8)
        yield


@pytest.fixture(scope="module")
def go(tmp_path_factory):
    """Takes two steps and evaluates; gives the metrics of the epoch and the network."""
    folder, number, splits = tmp_path_factory.mktemp("legal"), itertools.count(), {}
    for seed, (name, count) in enumerate({"train": 16, "val": 7}.items()):
        labels = np.arange(count, dtype=np.int64) % len(CLASSES)
        splits[name] = Samples(tuple(f"{name}/{i}" for i in range(count)), labels, arrays=colored(labels, seed))
    prepare(Source("colors", CLASSES, splits), folder / "prepared", size=SIZE)
    prepared = open_prepared(folder / "prepared")

    def take(recipe: Recipe) -> tuple[dict[str, Any], torch.nn.Module]:
        run = RunFolder(folder / f"run-{next(number)}", recipe, CLASSES, {})
        run.folder.mkdir()
        trainer = Trainer(run, prepared, torch.device("cpu"))
        for step, (images, targets) in enumerate(trainer.batches(0, 2)):
            at = trainer.clock.at(step)
            result = trainer.take_step(images, targets, at)
            trainer.watch(result, images, targets, at)
            trainer.advance(result, 0.1)
        row, _ = trainer.end_epoch(replace(at, ends_epoch=True))
        if "val_loss" not in row:
            row |= evaluate(trainer.trained, prepared, "val", class_names=CLASSES, precision=recipe.precision).summary()
        return row, trainer.trained

    return take


@settings(suppress_health_check=list(HealthCheck))
@given(changed())
@example(("cifar-18pct", {"model.norm_size": 4}))
@example(("cifar-18pct", {"model.norm_size": 10**9}))
@example(("cifar-11pct", {"model.norm_size": 4}))
@example(("cifar-11pct", {"model.norm_size": 10**9}))
@example(("demo", {"model.lrn_size": 2, "model.lrn_beta": 0.5}))
@example(("demo", {"model.lrn_k": -3.0}))
@example(("demo", {"model.bias": 3e38, "model.init": "source"}))
@example(("demo", {"model.conv1_padding": 10**9}))
@example(("demo", {"model.channels": [10**9] * 5}))
@example(("demo", {"model.width": 3e38}))
@example(("lenet", {"model.fc_features": [10**9, 10**9]}))
@example(("photos", {"growing_crops": [[0.0, -5]], "model.conv1_padding": 16, "augment.view": "zoom"}))
@example(("photos", {"growing_crops": [[0.0, 10**9]], "augment.view": "zoom"}))
@example(("photos", {"augment.mixup": 1.0, "augment.cutmix": 0.0, "augment.mixup_alpha": 5e-324}))
@example(("photos", {"augment.chunk": 10**9, "augment.fade": 1.0}))
@example(("photos", {"optim.schedule": "dexp", "optim.dexp_factor": 5e-324, "optim.dexp_steps": 10**9}))
@example(("demo", {"optim.schedule": "drops", "optim.drop_epochs": [-1] * 400, "optim.conv1_drop_epochs": [-1] * 400}))
@example(("demo", {"optim.algorithm": "sgd-2012", "optim.lr": 3e38, "optim.bias_lr_factor": 3e38}))
@example(("photos", {"precision": "bfloat16"}))
@example(("cifar-11pct", {"precision": "bfloat16", "model.norm_size": 4}))
@example(("photos", {"epochs": 10**9, "seed": 2**63 - 1}))
def test_every_legal_value_works_or_is_refused_in_words(go, case):
    base, fields = case
    try:
        row, network = go(with_fields(BASES[base], fields))
    except AlexNetError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert (refused.code != "", refused.fix != "") == (True, True)
        return
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())
    assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))


@pytest.mark.parametrize("name", sorted(BASES))
def test_the_bases_themselves_work(go, name):
    row, _ = go(BASES[name])
    assert math.isfinite(row["val_loss"])


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ("demo", "epochs=nan"),
        ("demo", "width=nan"),
        ("demo", "epochs=10000000000"),
        ("demo", "batch_size=10000000000"),
        ("demo", "lr=1e39"),
        ("demo", "bias=-1e39"),
        ("demo", "lrn_alpha=inf"),
        ("photos", "patience=-1"),
        ("cifar-18pct", "norm_size=0"),
    ],
)
def test_what_no_library_can_count_is_refused_when_it_is_typed(base, change):
    with pytest.raises(UsageError, match="E214"):
        override(BASES[base], [change])


@pytest.mark.parametrize("change", ["lr=10000000000", "width=10000000000", "lrn_alpha=-1", "epochs=1000000000"])
def test_a_large_value_that_can_be_counted_is_taken(change):
    assert override(BASES["demo"], [change]) != BASES["demo"]
