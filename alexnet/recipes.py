"""A run is a frozen, complete record; a variation is an override of its fields.

`alexnet train DATA --recipe photos epochs=20 model.dropout=0.3` changes two fields of a recipe; the run folder keeps
the whole. No number that matters stands anywhere else.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from alexnet.augment import AugmentConfig
from alexnet.errors import UsageError
from alexnet.model import AlexNetConfig, LeNetConfig
from alexnet.optim import OptimConfig


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run does, apart from the pictures. The defaults are those of 2012."""

    name: str = "alexnet-2012"
    model: Annotated[AlexNetConfig | LeNetConfig, Field(discriminator="architecture")] = field(
        default_factory=AlexNetConfig
    )
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    prepare_size: Annotated[int, Field(ge=8)] = 256  # shorter side of the prepared pictures, in pixels
    epochs: Annotated[int, Field(ge=1)] = 90
    batch_size: Annotated[int, Field(ge=1)] = 128
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0  # of the weights, the order, every crop and every mask
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    growing_crops: tuple[tuple[float, int], ...] = ()  # (share of the run, pixels): crop size from there on
    average_decay: Annotated[float, Field(ge=0, lt=1)] = (
        0.0  # of the moving average of the weights that is kept; 0: none
    )
    precision: Literal["float32", "bfloat16"] = "float32"
    evaluate_every: Annotated[int, Field(ge=1)] = 1  # epochs between two looks at the held-out pictures


ALEXNET_2012 = Recipe()
"""The network and the training of 2012, on pictures prepared at 256 pixels.

alexnet train /data/ILSVRC2012 --recipe alexnet-2012

Published: 40.7 % top-1 and 18.2 % top-5 error on ILSVRC-2012 validation, ten views, after 90 epochs (section 6.1). Not
measured here: that takes a GPU and the pictures.
"""

PHOTOS = Recipe(
    name="photos",
    model=AlexNetConfig(
        crop_size=160,
        test_size=160,
        channels=(64, 192, 384, 256, 256),
        fc_features=(1024, 1024),
        towers=1,
        conv1_padding=2,
        pool5_grid=3,
        norm="batch",
        dropout_place="before",
        dropout_scale_at_test=False,
        init="kaiming",
        input_norm="standardise",
    ),
    augment=AugmentConfig(
        view="zoom",
        color_noise=0.1,
        color_noise_until=None,
        color_shrink=False,
        min_area=0.35,
        max_aspect=4 / 3,
        rotation=10.0,
        jitter=0.3,
        mixup=0.5,
        mixup_alpha=0.2,
        cutmix=0.5,
    ),
    optim=OptimConfig(
        algorithm="adamw", lr=0.002, bias_lr_factor=1.0, weight_decay=0.1, schedule="one-cycle", warmup=0.1
    ),
    prepare_size=192,
    epochs=64,
    batch_size=64,
    label_smoothing=0.1,
    growing_crops=((0.0, 96), (0.4, 128), (0.8, 160)),
    average_decay=0.998,
    evaluate_every=4,
)
"""AlexNet as one would train it today on a few thousand pictures and a laptop; the default of `alexnet train PHOTOS`.

Against 2012: batch norm in place of LRN, one tower of the widths of 2014, narrow fc layers on a 3x3 grid so that crops
of any size fit, He's initialisation, AdamW on one cycle, label smoothing, random parts of the picture instead of
shifted windows, mixup or cutmix in every batch, crops that grow from 96 to 160 pixels, and an average of the weights.

alexnet train photos/

Measured on 3,068 clothing photos of 10 classes: 85.2 % on validation, 82.4 % on test, mean of three seeds, in 12.7
minutes on two cores (benchmarks/results/photos.json).
"""

LENET = Recipe(
    name="lenet",
    model=LeNetConfig(),
    augment=AugmentConfig(view="crop", flip=False, color_noise=0.0),
    optim=OptimConfig(algorithm="adamw", lr=0.004, bias_lr_factor=1.0, schedule="one-cycle", warmup=0.1),
    prepare_size=32,
    epochs=80,
    batch_size=64,
    evaluate_every=10,
)
"""LeNet-5 with the sigmoids and average pooling of 1998, on small grey pictures; half of the demo.

alexnet train digits --recipe lenet

Measured: 99.4 % on the test digits in 8 seconds (benchmarks/results/demo.json).
"""

DEMO = Recipe(
    name="demo",
    model=AlexNetConfig(
        crop_size=28,
        width=0.125,
        conv1_kernel=5,
        conv1_stride=1,
        conv1_padding=2,
        init="kaiming",
        input_norm="standardise",
        dropout_scale_at_test=False,
    ),
    augment=AugmentConfig(view="crop", flip=False, color_noise=0.0),
    optim=OptimConfig(algorithm="adamw", lr=0.002, bias_lr_factor=1.0, schedule="one-cycle", warmup=0.1),
    prepare_size=32,
    epochs=20,
    batch_size=64,
    evaluate_every=5,
)
"""AlexNet with everything of 2012 in it, an eighth as wide and on crops of 28 pixels; the other half of the demo.

alexnet train digits --recipe demo

Measured: 99.4 % on the test digits in 16 seconds (benchmarks/results/demo.json).
"""

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (PHOTOS, ALEXNET_2012, DEMO, LENET)}

FIXED = ("name", "architecture")  # they say which recipe and network it is, so nobody overrides them

_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Recipe)


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UsageError: if there is none; it lists those there are.
    """
    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}{_did_you_mean(name, RECIPES)}", fix=f"Recipes: {', '.join(RECIPES)}.")
    return RECIPES[name]


def to_json(recipe: Recipe) -> str:
    """The recipe as indented JSON, complete."""
    return json.dumps(asdict(recipe), indent=2, ensure_ascii=False)


def from_json(text: str) -> Recipe:
    """The recipe that `to_json` wrote.

    Raises:
        UsageError: if a field is unknown, missing or of the wrong kind.
    """
    values = json.loads(text)
    recipe = _validated(values)
    if json.loads(to_json(recipe)) != values:
        raise UsageError("the stored recipe has fields that this version of alexnet does not know, or lacks some")
    return recipe


def override(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """The recipe with some fields changed.

    Args:
        changes: what stands on the command line: `field=value`, `--field=value` or `--field value` (two items), nested
            fields with dots, `optim.lr=0.1`, or by their last part where only one field ends so, `lr=0.1`. Values are
            numbers, words or JSON; hyphens in names count as underscores.

    Raises:
        UsageError: unknown field (with the nearest known ones), wrong type, or a value out of range.
    """
    values: dict[str, Any] = asdict(recipe)
    for given, text in _pairs(changes):
        name = _full_name(given, recipe)
        target: Any = values
        record: Any = recipe
        *sections, last = name.split(".")
        for section in sections:
            if not isinstance(target.get(section), dict):
                raise _unknown(name, section if section not in target else last, record)
            target, record = target[section], getattr(record, section)
        if last not in target or last in FIXED:
            raise _unknown(name, last, record)
        if isinstance(target[last], dict):
            names = ", ".join(f"{name}.{f.name}" for f in fields(getattr(record, last)) if f.name not in FIXED)
            raise UsageError(f"{name!r} is a group of fields, not one", fix=f"Give one of: {names}.")
        target[last] = _parsed(text)
    return _validated(values)


def differences(recipe: Recipe, base: Recipe) -> dict[str, tuple[Any, Any]]:
    """Fields in which two recipes differ: dotted name -> (value in base, value in recipe)."""
    ours, theirs = flat(recipe), flat(base)
    return {name: (theirs.get(name), value) for name, value in ours.items() if theirs.get(name) != value}


def flat(record: Any, prefix: str = "") -> dict[str, Any]:
    """All fields of a nested record with dotted names, in order."""
    out: dict[str, Any] = {}
    for f in fields(record):
        value = getattr(record, f.name)
        if is_dataclass(value):
            out.update(flat(value, f"{prefix}{f.name}."))
        else:
            out[prefix + f.name] = value
    return out


def for_classes(recipe: Recipe, num_classes: int) -> Recipe:
    """The recipe with as many outputs as there are classes."""
    return replace(recipe, model=replace(recipe.model, num_classes=num_classes))


def _pairs(changes: Sequence[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    items = list(changes)
    while items:
        item = items.pop(0)
        flagged = item.startswith("--")
        name, equals, text = item.lstrip("-").partition("=")
        if not equals:
            if not flagged or not items:
                raise UsageError(
                    f"{item!r} is not a change of the recipe", fix="Write field=value, for example epochs=20."
                )
            text = items.pop(0)
        pairs.append((name.replace("-", "_"), text))
    return pairs


def _full_name(name: str, recipe: Recipe) -> str:
    ending = [known for known in flat(recipe) if known.rpartition(".")[2] == name]
    return ending[0] if len(ending) == 1 else name


def _parsed(text: str) -> Any:
    if text in ("none", "None"):
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _validated(values: Any) -> Recipe:
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"] if part not in ("alexnet", "lenet"))
        raise UsageError(f"{name}={first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def _unknown(name: str, part: str, record: Any) -> UsageError:
    known = [f.name for f in fields(record) if f.name not in FIXED]
    prefix = name.rpartition(".")[0]
    candidates = {k.rpartition(".")[2]: k for k in flat(record)} if not prefix else {k: f"{prefix}.{k}" for k in known}
    near = difflib.get_close_matches(part, list(candidates), n=1)
    hint = f"; did you mean {candidates[near[0]]!r}?" if near else ""
    shown = ", ".join(f"{prefix}.{k}" if prefix else k for k in known)
    return UsageError(f"no field {name!r} in the recipe{hint}", fix=f"Fields: {shown}.")


def _did_you_mean(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
