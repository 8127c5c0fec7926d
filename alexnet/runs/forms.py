"""The form of what a run folder holds: files that alexnet does not write are refused, whatever their checksums say.

A checksum says that a file is as it was when the checksum was made; anybody can make one. So names, types, shapes and
values that the rest relies on are looked at here, once, when a file is read.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet.errors import AlexNetError, UntrustedFileError
from alexnet.models.build import outline
from alexnet.models.cue_branch import COLOR, LEVELS, PARTS, PREFIX, SHAPE
from alexnet.recipes.recipe import Recipe, from_json
from alexnet.storage.files import parse_json
from alexnet.weights.stored import is_temperature

TEXTS = ("source", "prepared", "fingerprint", "labels", "weights")  # of data.json
RECORDS = ("imported", "weights_assumed")
EXCLUDED = {"split", "name", "sha256", "reason"}
FEATURES = {COLOR: LEVELS**3, SHAPE: 1764}  # numbers that describe an image
OPTIMIZERS = {"adamw": {"step", "exp_avg", "exp_avg_sq"}}  # what they keep of a parameter
MOMENTUM = {"momentum_buffer"}  # of all others
WATCHDOG_NUMBERS = 5  # that its memory begins with


def foreign(path: Path, how: str) -> UntrustedFileError:
    """The error for a file that is intact by its checksum and not of the form that alexnet writes."""
    return UntrustedFileError(
        f"{path} is not of the form that alexnet writes: {how}",
        fix="Put it back from a copy, or start a new run.",
        code="E6060",
    )


def recipe_of(path: Path, content: bytes) -> Recipe:
    """The recipe in recipe.json.

    Raises:
        UntrustedFileError: E6060, it holds none.
        UsageError: a later version has written it.
    """
    record_of(path, content)
    try:
        return from_json(content.decode())
    except AlexNetError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        raise foreign(path, str(error).splitlines()[0]) from None


def class_names_of(path: Path, content: bytes, count: int) -> tuple[str, ...]:
    """The names in classes.json, one for each of `count` logits.

    Raises:
        UntrustedFileError: E6060.
    """
    names = _parsed(path, content)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise foreign(path, "it is not a list of names")
    if len(names) != count:
        raise foreign(path, f"it names {len(names)} classes, and the network has {count}")
    return tuple(names)


def data_of(path: Path, content: bytes) -> dict[str, Any]:
    """What data.json says of the images.

    Raises:
        UntrustedFileError: E6060.
    """
    data = record_of(path, content)
    for name in TEXTS:
        if not isinstance(data.get(name, ""), str):
            raise foreign(path, f"{name} is not a text")
    for name in RECORDS:
        if not isinstance(data.get(name, {}), dict):
            raise foreign(path, f"{name} is not a record")
    if type(data.get("max_pixels", 1)) is not int:
        raise foreign(path, "max_pixels is not a whole number")
    excluded = data.get("excluded", [])
    if not isinstance(excluded, list) or not all(map(_is_excluded, excluded)):
        raise foreign(path, "excluded is not a list of images")
    if not is_temperature(data.get("imported", {}).get("temperature", 1)):
        raise foreign(path, "the temperature is no number above zero")
    return data


def check_images(path: Path, data: Mapping[str, Any]) -> None:
    """Refuses the data.json of a run that does not say which images it was trained on.

    Raises:
        UntrustedFileError: E6060.
    """
    if missing := [name for name in TEXTS[:3] if name not in data]:
        raise foreign(path, f"it lacks {', '.join(missing)}")


def _is_excluded(each: Any) -> bool:
    if not isinstance(each, dict) or not {"split", "name"} <= set(each) <= EXCLUDED:
        return False
    return all(isinstance(value, str) for value in each.values())


def record_of(path: Path, content: bytes) -> dict[str, Any]:
    """The record of a file in JSON.

    Raises:
        UntrustedFileError: E6060, it is not JSON, or no record.
    """
    record = _parsed(path, content)
    if not isinstance(record, dict):
        raise foreign(path, "it is not a record in JSON")
    return record


def _parsed(path: Path, content: bytes) -> Any:
    try:
        return parse_json(content.decode())
    except ValueError:
        raise foreign(path, "it is not JSON") from None


def check_progress(path: Path, values: Mapping[str, Any], step: int) -> None:
    """Refuses a training state whose values are of another kind.

    Args:
        values: of state.json, without the conditions.
        step: in the name of its folder.

    Raises:
        UntrustedFileError: E6060.
    """
    whole = ("step", "looks_since_best", "rollbacks")
    for name, value in values.items():
        if name in whole:
            fits = type(value) is int and value >= 0
        elif name.startswith("best_"):  # a loss may be infinite
            fits = value is None or type(value) in ((int,) if name == "best_step" else (int, float))
        else:
            fits = _is_number(value)
        if not fits:
            raise foreign(path, f"{name} is {json.dumps(value)[:40]}")
    if values["step"] != step:
        raise foreign(path, f"it is the state of step {values['step']}")


def check_conditions(path: Path, conditions: Any) -> dict[str, str]:
    """What exactness depends on, in state.json: texts.

    Raises:
        UntrustedFileError: E6060.
    """
    if not isinstance(conditions, dict) or not all(isinstance(value, str) for value in conditions.values()):
        raise foreign(path, "its conditions are not texts")
    if not conditions.get("threads", "1").isdigit():
        raise foreign(path, "its number of threads is no number")
    return conditions


def check_network(path: Path, recipe: Recipe, tensors: Mapping[str, Tensor]) -> None:
    """Refuses tensors that are not those of the network of a recipe, with the cue that it may have.

    Raises:
        UntrustedFileError: E6061.
    """
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}
    _check_same(path, outline(recipe.model).state_dict(), own, "")
    check_cue(path, recipe, {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIX)})


def check_cue(path: Path, recipe: Recipe, tensors: Mapping[str, Tensor]) -> None:
    """Refuses tensors that are not those of the branch of cues of a network.

    Raises:
        UntrustedFileError: E6061.
    """
    for cue in {name.removeprefix(PREFIX).partition(".")[0] for name in tensors}:
        features = FEATURES.get(cue, 0)
        anchors = tensors.get(f"{PREFIX}{cue}.anchors")
        count = len(anchors) if anchors is not None and anchors.ndim else 0
        shapes = ((features,), (count, features), (count, recipe.model.num_classes), ())
        expected = {
            f"{PREFIX}{cue}.{part}": torch.empty(shape, device="meta")
            for part, shape in zip(PARTS, shapes, strict=True)
        }
        found = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{PREFIX}{cue}")}
        _check_same(path, expected if features and count else {}, found, "")


def check_training(path: Path, recipe: Recipe, tensors: Mapping[str, Tensor]) -> None:
    """Refuses tensors to resume from that are not those of a run of this recipe; none at all are those of an import.

    Raises:
        UntrustedFileError: E6061.
    """
    if not tensors:
        return
    network = outline(recipe.model)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}, "": {}}
    for name, tensor in tensors.items():
        part, separator, rest = name.partition("/")
        parts.setdefault(part if separator else "", {})[rest if separator else name] = tensor
    expected = network.state_dict()
    _check_same(path, expected, parts.pop("model"), "model/")
    _check_same(path, expected if recipe.average_decay else {}, parts.pop("average"), "average/")
    _check_optimizer(path, recipe, dict(network.named_parameters()), parts.pop("optimizer"))
    single = parts.pop("")
    if parts or set(single) - {"averaged", "guard"} or ("averaged" in single) != bool(recipe.average_decay):
        raise _unlike(path, "it has tensors of other names, or lacks one")
    if "averaged" in single and single["averaged"].numel() != 1:
        raise _unlike(path, "averaged is not one number")
    memory = single.get("guard")
    if memory is not None and (memory.ndim != 1 or len(memory) < WATCHDOG_NUMBERS or memory.dtype != torch.float64):
        raise _unlike(path, "guard is of another shape or type")
    if memory is not None and not memory[[0, 1, 3, 4]].isfinite().all():
        raise _unlike(path, "guard has a value that is not finite")


def _check_optimizer(
    path: Path, recipe: Recipe, parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    keys = OPTIMIZERS.get(recipe.optim.algorithm, MOMENTUM)
    found: dict[str, set[str]] = {}
    for full_name, tensor in tensors.items():
        key, _, name = full_name.partition("/")
        shape = parameters[name].shape if name in parameters and key != "step" else torch.Size()
        if name not in parameters or key not in keys or tensor.shape != shape or not tensor.is_floating_point():
            raise _unlike(path, f"optimizer/{full_name} is not of this optimizer")
        _check_finite(path, f"optimizer/{full_name}", tensor)
        found.setdefault(name, set()).add(key)
    for name, have in found.items():
        if have != keys:
            raise _unlike(path, f"optimizer/{min(keys - have)}/{name} is missing")


def _check_same(path: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor], prefix: str) -> None:
    for name in expected:
        if name not in found:
            raise _unlike(path, f"{prefix}{name} is missing")
    for name, tensor in found.items():
        wanted = expected.get(name)
        if wanted is None:
            raise _unlike(path, f"{prefix}{name} is not part of it")
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            ours, theirs = (f"{tuple(each.shape)} {str(each.dtype)[6:]}" for each in (wanted, tensor))
            raise _unlike(path, f"{prefix}{name} is {theirs} instead of {ours}")
        _check_finite(path, f"{prefix}{name}", tensor)


def _check_finite(path: Path, name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point() or not tensor.numel():
        return
    # Both ends are NaN where any value is; `isfinite` would make as many truths as there are values.
    if not all(math.isfinite(float(end)) for end in tensor.aminmax()):
        raise _unlike(path, f"{name} has values that are not finite")


def _unlike(path: Path, how: str) -> UntrustedFileError:
    return UntrustedFileError(
        f"{path} does not hold what the recipe of its run describes: {how}",
        fix="Put it back from a copy; `alexnet import FILE` takes weights of another network.",
        code="E6061",
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
