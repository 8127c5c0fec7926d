"""A run is a frozen, complete record; a variation is an override of its fields.

`alexnet train DATA --recipe photos epochs=20 model.dropout=0.3` changes two fields of a recipe; the run folder keeps
the whole. No number that matters stands anywhere else.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from alexnet.errors import UsageError
from alexnet.recipes.config import (
    MOST,
    AlexNetConfig,
    AugmentConfig,
    CifarNetConfig,
    Count,
    LeNetConfig,
    Natural,
    OptimConfig,
    Record,
    wrong_value,
)
from alexnet.storage.files import parse_json


@dataclass(frozen=True)
class Recipe(Record):
    """Everything that decides what a run does, apart from the images. The defaults are those of 2012.

    Two of 2012 are set by the recipe `alexnet-2012` alone: the fixed order and one crop for 32 consecutive images.

    >>> import alexnet
    >>> recipe = alexnet.recipe("photos", epochs=5)
    >>> recipe.epochs, recipe.model.norm
    (5, 'batch')
    """

    name: str = "alexnet-2012"
    model: Annotated[AlexNetConfig | LeNetConfig | CifarNetConfig, Field(discriminator="architecture")] = field(
        default_factory=AlexNetConfig
    )
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    prepare_size: Annotated[int, Field(ge=8, le=MOST)] = 256  # shorter side of the prepared images, in pixels
    prepare_whole: bool = False  # whole images, stretched to squares, and not their central squares
    weights: str | None = None  # pretrained weights: a file, a run folder, or imagenet; the last layer is new
    epochs: Count = 90
    batch_size: Count = 128
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0  # of initial weights, order, every crop and every dropout mask
    reshuffle: bool = True  # False: every epoch in the order of the first, as in 2012
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["none", "balanced"] = "none"  # balanced: every class counts the same, however few its images
    growing_crops: tuple[tuple[float, int], ...] = ()  # (share of the run, pixels): crop size from there on
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of the moving average of the weights; 0: none
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"  # of convolutions and matrix products
    evaluate_every: Count = 1  # epochs between two evaluations on validation
    cues: Literal["none", "mixed"] = "none"  # mixed: color and shape alone may add to the answers, after training
    fit: Literal["none", "data"] = "none"  # data: what is not given is decided for the images and the time, then none
    patience: Natural = 0  # evaluations without a better network after which the run ends; 0: none
    on_nan: Literal["stop", "rollback"] = (
        "stop"  # rollback: to the last checkpoint at half the learning rate, three times
    )

    def __repr__(self) -> str:
        network = f"{self.model.architecture}, {self.model.num_classes} classes, {self.model.crop_size} pixels"
        training = f"{self.epochs} epochs, batches of {self.batch_size}, seed {self.seed}"
        return f"Recipe({self.name}: {network}; {training})"


FIXED = ("name", "architecture")  # they say which recipe and network it is, so nobody overrides them

_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Recipe)


def to_json(recipe: Recipe) -> str:
    """The recipe as indented JSON, complete."""
    return json.dumps(asdict(recipe), indent=2, ensure_ascii=False)


def from_json(text: str) -> Recipe:
    """The recipe that `to_json` wrote, in this version or an earlier one.

    A field that a later version has added takes its default, which changes nothing by rule.

    Raises:
        UsageError: if a field is unknown or of the wrong kind.
    """
    values = parse_json(text)
    recipe = _validated(values)
    if unknown := _unknown_fields(values, json.loads(to_json(recipe))):
        raise UsageError(
            f"the stored recipe has fields that this version of alexnet does not know: {', '.join(unknown)}",
            fix="Use the version of alexnet that made it.",
            code="E215",
        )
    return recipe


def _unknown_fields(values: dict[str, Any], known: dict[str, Any], prefix: str = "") -> list[str]:
    """Fields of a stored record that the record read from it does not have, or has with another value."""
    out = []
    for name, value in values.items():
        ours = known.get(name, ...)
        if isinstance(value, dict) and isinstance(ours, dict):
            out += _unknown_fields(value, ours, f"{prefix}{name}.")
        elif value != ours:
            out.append(prefix + name)
    return out


def override(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """The recipe with some fields changed, as they are typed.

    Args:
        changes: `field=value`, `--field=value` or `--field value` (two items); names as for `with_fields`,
            hyphens count as underscores. Values are numbers, words or JSON.

    Raises:
        UsageError: unknown field (with the nearest known ones), wrong type, or a value out of range.

    >>> override(Recipe(), ["epochs=20", "--model.dropout", "0.3"]).epochs
    20
    """
    out = recipe
    for name, text in _pairs(changes):
        section, field_name = _located(_full_name(name, recipe), recipe)
        optional = type(None) in get_args(get_type_hints(type(section))[field_name])
        out = with_fields(out, {name: text if text == "none" and not optional else _parsed(text)})
    return out


def with_fields(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with some fields changed.

    Args:
        values: by name; nested fields with dots, `optim.lr`, or by their last part where only one field ends so, `lr`.

    Raises:
        UsageError: unknown field (with the nearest known ones), wrong type, or a value out of range.

    >>> with_fields(Recipe(), {"epochs": 20, "model.dropout": 0.3}).model.dropout
    0.3
    """
    changed: dict[str, Any] = asdict(recipe)
    for given, value in values.items():
        name = _full_name(given, recipe)
        _located(name, recipe)
        *sections, last = name.split(".")
        target = changed
        for section in sections:
            target = target[section]
        target[last] = value
    return _validated(changed)


def named_fields(recipe: Recipe, changes: Sequence[str], values: Mapping[str, Any]) -> frozenset[str]:
    """The full names of the fields that are given, as `override` and `with_fields` take them."""
    return frozenset(_full_name(name, recipe) for name in (*(name for name, _ in _pairs(changes)), *values))


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
                    f"{item!r} is not a change of the recipe",
                    fix="Write field=value, for example epochs=20.",
                    code="E213",
                )
            text = items.pop(0)
        pairs.append((name.replace("-", "_"), text))
    return pairs


def _located(name: str, recipe: Recipe) -> tuple[Any, str]:
    """The record in which a field lies, and its name there.

    Raises:
        UsageError: there is no such field, it is a group of fields, or nobody may change it.
    """
    record: Any = recipe
    *sections, last = name.split(".")
    for section in sections:
        inner = getattr(record, section, None)
        if not is_dataclass(inner):
            raise _unknown(name, last if inner is not None else section, record)
        record = inner
    if last not in {f.name for f in fields(record)} or last in FIXED:
        raise _unknown(name, last, record)
    if is_dataclass(getattr(record, last)):
        names = ", ".join(f"{name}.{f.name}" for f in fields(getattr(record, last)) if f.name not in FIXED)
        raise UsageError(f"{name!r} is a group of fields, not one", fix=f"Give one of: {names}.", code="E212")
    return record, last


def _full_name(name: str, recipe: Recipe) -> str:
    ending = [known for known in flat(recipe) if known.rpartition(".")[2] == name]
    return ending[0] if len(ending) == 1 else name


def _parsed(text: str) -> Any:
    if text in ("none", "None"):
        return None
    try:
        return parse_json(text)
    except ValueError:
        return text


def _validated(values: Any) -> Recipe:
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        raise wrong_value(error) from None


def _unknown(name: str, part: str, record: Any) -> UsageError:
    known = [f.name for f in fields(record) if f.name not in FIXED]
    prefix = name.rpartition(".")[0]
    candidates = {k.rpartition(".")[2]: k for k in flat(record)} if not prefix else {k: f"{prefix}.{k}" for k in known}
    near = difflib.get_close_matches(part, list(candidates), n=1)
    hint = f"; did you mean {candidates[near[0]]!r}?" if near else ""
    shown = ", ".join(f"{prefix}.{k}" if prefix else k for k in known)
    return UsageError(f"no field {name!r} in the recipe{hint}", fix=f"Fields: {shown}.", code="E211")
