"""Finds out which network a file of weights holds, and builds that network with these weights.

The order of the colors, the mean and the scale that the network was trained with go into the first layer and the input
buffers, so the same image gives the same answer as in the framework that wrote the file. What the file does not say is
assumed, and listed.
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from alexnet.errors import AlexNetError, DataError, DivergedError, UntrustedFileError, UsageError
from alexnet.models.build import build_model
from alexnet.models.cue_branch import PREFIX
from alexnet.models.layers import LocalResponseNorm, WithinMapNorm
from alexnet.models.network import Network, attach_cue
from alexnet.models.shapes import grid_sizes
from alexnet.recipes.config import AlexNetConfig
from alexnet.recipes.recipe import Recipe, from_json
from alexnet.storage.files import parse_json
from alexnet.weights.draft import Draft, settle
from alexnet.weights.families import ACTIVATIONS, draft_of, shape_words
from alexnet.weights.published import is_published
from alexnet.weights.read import read_stored
from alexnet.weights.settings import Assumption, Settings
from alexnet.weights.stored import StoredLayer, StoredNetwork, is_temperature

KINDS: dict[type[nn.Module], str] = {nn.Conv2d: "conv", nn.Linear: "fc", nn.ReLU: "relu", nn.Sigmoid: "sigmoid"}
KINDS |= {nn.Tanh: "tanh", nn.MaxPool2d: "maxpool", nn.AvgPool2d: "avgpool"}
KINDS |= {LocalResponseNorm: "lrn", WithinMapNorm: "map_norm"}
BATCH_NORMS = nn.BatchNorm1d | nn.BatchNorm2d
WITHOUT_EFFECT = ("dropout", "softmax")  # on the order of the answers in testing


@dataclass(frozen=True)
class Identified:
    """A network that was read from a file."""

    kind: str  # of the file
    variant: str  # name of the recipe whose network it is
    recipe: Recipe  # this recipe with the configuration of the network in the file
    network: Network  # with the weights, in evaluation mode
    class_names: tuple[str, ...]
    notes: tuple[str, ...]  # what was converted
    assumed: tuple[Assumption, ...] = ()  # what the file does not say
    given: dict[str, str] = field(default_factory=dict)  # what the user said in its place, or was chosen by accuracy
    check: dict[str, Any] = field(default_factory=dict)  # images, accuracy, accuracy as it was assumed first
    temperature: float = 1.0  # of the probabilities; only a file of this package says it

    def __repr__(self) -> str:
        counted = f"{len(self.class_names)} classes, {len(self.assumed)} things assumed"
        return f"Identified({self.kind}: the network of {self.variant}, {counted})"

    def record(self) -> dict[str, Any]:
        """What is stored of it in a run folder: what was converted, assumed, set and checked."""
        return {
            "kind": self.kind,
            "notes": list(self.notes),
            "assumed": {each.topic: each.value for each in self.assumed},
            "given": self.given,
            "check": self.check,
            **({} if self.temperature == 1 else {"temperature": self.temperature}),
        }


def identify(path: Path, settings: Settings | None = None) -> Identified:
    """Builds the network from a file of trained weights: of alexnet, PyTorch, Caffe, NumPy or ONNX.

    Args:
        settings: what the user says in the place of what the file leaves open.

    Raises:
        UsageError: there is no such file, or it says something else than `settings`.
        UntrustedFileError: it is damaged, or it does more than hold weights.
        DataError: it is something else, or its layers fit no known network; the message says how they differ.
        DivergedError: E430, some of its weights are not finite.
    """
    found = understand(path, settings or Settings())
    return found if isinstance(found, Identified) else built(found, path)


def understand(path: Path, settings: Settings) -> Draft | Identified:
    """Reads a file; a file of this package says everything itself, of another the network is still a draft.

    Raises:
        As `identify`.
    """
    stored = read_stored(path)
    if "recipe" in stored.metadata:
        if settings:
            raise UsageError(
                f"{path} was written by alexnet and says itself what its network is",
                fix="Leave these settings out; only what a file does not say can be set.",
                code="E206",
            )
        return _from_our_file(path, stored)
    draft = draft_of(path, stored)
    if is_published(path, draft.config.num_classes):
        draft = replace(draft, unknown=frozenset())
    return settle(draft, settings, str(path))


def built(draft: Draft, path: Path) -> Identified:
    """Builds the network of a draft with the weights of the file.

    Raises:
        DataError: E347, shapes or operations differ from those of the network.
    """
    config = draft.config
    network = build_model(config)
    misfits = _misfits(network, draft)
    if misfits:
        raise DataError(
            f"{path} ({draft.stored.kind}) is nearest to {draft.recipe.name}, but {'; '.join(misfits)}",
            fix=f"alexnet summary {draft.recipe.name} shows the layers that it must have.",
            code="E347",
        )
    notes = _copy_weights(network, draft)
    _refuse_not_finite(network, path)
    network.input_mean.copy_(_tensor(np.asarray(draft.mean)).reshape(3, *np.shape(draft.mean)[1:] or (1, 1)))
    network.input_scale.copy_(_tensor(np.asarray(draft.scale)).view(3, 1, 1))
    return Identified(
        draft.stored.kind,
        draft.recipe.name,
        draft.recipe,
        network.eval(),
        class_names_of(config.num_classes),
        tuple(notes),
        draft.assumptions(),
        draft.settings(),
    )


def class_names_of(count: int) -> tuple[str, ...]:
    """Returns class names for a file that has none: those of ImageNet for 1,000 outputs, otherwise 0, 1, 2 ..."""
    if count == 1000:
        from torchvision.models import AlexNet_Weights

        return tuple(AlexNet_Weights.IMAGENET1K_V1.meta["categories"])
    return tuple(str(i) for i in range(count))


def _from_our_file(path: Path, stored: StoredNetwork) -> Identified:
    try:
        recipe = from_json(stored.metadata["recipe"])
        _compare_shapes(recipe, path)  # before memory is taken for what the header says
        network = build_model(recipe.model)
        network.load_state_dict(attach_cue(network, safetensors.torch.load_file(path)))
        _refuse_not_finite(network, path)
        temperature = parse_json(stored.metadata.get("temperature", "1"))
        if not is_temperature(temperature):
            raise ValueError(f"its temperature is {temperature}")
        classes = _class_names(stored.metadata.get("classes", "[]"), recipe.model.num_classes)
    except DivergedError:
        raise
    except (
        *(ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError, RuntimeError),
        *(AlexNetError, safetensors.SafetensorError),
    ) as error:
        raise UntrustedFileError(
            f"{path} does not hold the network that its header describes: {error}",
            fix="Save it again with alexnet, or restore it from a copy.",
            code="E613",
        ) from None
    names = classes or class_names_of(recipe.model.num_classes)
    return Identified("alexnet", recipe.name, recipe, network.eval(), names, (), temperature=float(temperature))


def _compare_shapes(recipe: Recipe, path: Path) -> None:
    """Raises ValueError unless the file has the tensors of the network of a recipe; allocates none of them."""
    with torch.device("meta"):
        expected = {name: list(values.shape) for name, values in build_model(recipe.model).state_dict().items()}
    with safetensors.safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if not name.startswith(PREFIX)]  # noqa: SIM118
        present = {name: file.get_slice(name).get_shape() for name in names}
    for name in sorted(expected.keys() | present.keys()):
        if expected.get(name) != present.get(name):
            raise ValueError(f"{name} is {present.get(name)} there, {expected.get(name)} in its recipe")


def _class_names(text: str, count: int) -> tuple[str, ...]:
    names = parse_json(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("its classes are no list of names")
    if len(names) not in (0, count):
        raise ValueError(f"it names {len(names):,} classes, and the network has {count:,}")
    return tuple(names)


def _refuse_not_finite(network: Network, path: Path) -> None:
    """Refuses weights with which every answer would be nan."""
    for name, values in network.state_dict().items():
        wrong = int(values.numel() - values.isfinite().sum())
        if wrong:
            raise DivergedError(
                f"{path} holds weights that are not finite: {wrong:,} of {values.numel():,} numbers of "
                f"{name.removeprefix('layers.')} are nan or infinite",
                fix="Its training has diverged, or a conversion to 16 bits has overflowed: give an earlier checkpoint.",
                code="E430",
            )


def _layers_with_weights(network: Network) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    return [(n, m) for n, m in network.layers.named_children() if isinstance(m, nn.Conv2d | nn.Linear)]


def _misfits(network: Network, draft: Draft) -> list[str]:
    """Describes where shapes and operations in the file differ from those of the network."""
    misfits = []
    modules = _layers_with_weights(network)
    for (name, module), layer in zip(modules, draft.layers, strict=True):
        if tuple(module.weight.shape) != layer.weight.shape:
            ours, theirs = shape_words(tuple(module.weight.shape)), shape_words(layer.weight.shape)
            misfits.append(f"{layer.name} is {theirs} where {name} is {ours}")
    return misfits or _without_norm(network, draft) or _other_operations(network, draft)


def _without_norm(network: Network, draft: Draft) -> list[str]:
    """Names the layers that have batch normalization in the network, and none in the file to fill it with."""
    norms = {name for name, module in network.layers.named_children() if isinstance(module, BATCH_NORMS)}
    layers = zip(_layers_with_weights(network), draft.layers, strict=True)
    without = [layer.name for (name, _), layer in layers if _norm_name(name) in norms and layer.norm is None]
    return [f"norm=batch needs batch normalization, and {', '.join(without)} have none"] if without else []


def _other_operations(network: Network, draft: Draft) -> list[str]:
    """Describes where the operations in the file, if it has them, differ from those of the network."""
    stored = draft.stored
    if not stored.chain:
        return []
    kinds = [next((KINDS[kind] for kind in KINDS if isinstance(m, kind)), "") for m in network.layers]
    ours, theirs = _in_one_order([kind for kind in kinds if kind]), _in_one_order(list(stored.chain))
    if ours != theirs:
        at = next(
            (i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
            min(len(ours), len(theirs)),
        )
        here, there = (" ".join(ops[max(at - 2, 0) : at + 2]) or "the end" for ops in (ours, theirs))
        return [f"its operations {there} stand where the network has {here}"]
    misfits = []
    for number, (name, module) in enumerate(_layers_with_weights(network), 1):
        facts = stored.facts.get(f"conv{number}")
        if facts and isinstance(module, nn.Conv2d):
            pad = module.padding[0]
            right_bottom = number == 1 and getattr(draft.config, "conv1_padding", 0) == "right-bottom"
            if facts["stride"] != module.stride[0] or (facts["pad"] != pad and not right_bottom):
                theirs_are = f"{facts['stride']} and {facts['pad']}"
                misfits.append(f"{name} has stride {module.stride[0]} and padding {pad}, in the file {theirs_are}")
    pools = [m for m in network.layers if isinstance(m, nn.MaxPool2d | nn.AvgPool2d)]
    for number, (pool, (kernel, stride)) in enumerate(zip(pools, stored.facts.get("pools", ()), strict=False), 1):
        if (pool.kernel_size, pool.stride) != (kernel, stride):
            misfits.append(
                f"pooling {number} is over {pool.kernel_size} / {pool.stride}, in the file {kernel} / {stride}"
            )
    return misfits or _other_windows(draft)


def _other_windows(draft: Draft) -> list[str]:
    """Describes which poolings of the file are padded so that their windows are not those of the network.

    Padding at the right and the bottom that adds no more windows than rounding up changes no answer.
    """
    sizes, facts = grid_sizes(draft.config), draft.stored.facts
    stages = [name.removeprefix("pool") for name in sizes if name.startswith("pool")]
    rounded = math.ceil if facts.get("pool_ceil") else math.floor
    misfits = []
    stored = zip(stages, facts.get("pools", ()), facts.get("pool_pads", ()), strict=False)
    for number, (stage, (kernel, stride), pads) in enumerate(stored, 1):
        before, after = sizes[f"conv{stage}"], sizes[f"pool{stage}"]
        counts = {1 + rounded((before + pad - kernel) / stride) for pad in pads[2:]}
        if any(pads[:2]) or (any(pads[2:]) and counts != {after}):
            top, left, bottom, right = pads
            misfits.append(
                f"pooling {number} has padding in the file (top {top}, left {left}, bottom {bottom}, right {right}), "
                "which the network has not"
            )
    return misfits


def _in_one_order(operations: list[str]) -> list[str]:
    """The operations without those that change no answer; an increasing activation comes before a maximum."""
    operations = [op for op in operations if op not in WITHOUT_EFFECT]
    for i in range(len(operations) - 1):
        if operations[i] == "maxpool" and operations[i + 1] in ACTIVATIONS:
            operations[i], operations[i + 1] = operations[i + 1], operations[i]
    return operations


@torch.no_grad()
def _copy_weights(network: Network, draft: Draft) -> list[str]:
    """Copies the weights into the network; the first layer is reordered from blue, green, red to red, green, blue."""
    is_batch = isinstance(draft.config, AlexNetConfig) and draft.config.norm == "batch"
    for (name, module), layer in zip(_layers_with_weights(network), draft.layers, strict=True):
        weight = layer.weight[:, ::-1] if draft.bgr and name == "conv1" else layer.weight
        module.weight.copy_(_tensor(weight))
        if module.bias is not None:
            module.bias.copy_(torch.zeros(len(weight)) if layer.bias is None else _tensor(layer.bias))
        if is_batch and layer.norm is not None:
            _copy_norm(network.layers.get_submodule(_norm_name(name)), layer)
    notes = [f"the input channels of conv1 were reordered to {'red, green, blue'}"] if draft.bgr else []
    if any(layer.norm is not None for layer in draft.stored.layers) and not is_batch:
        notes.append(
            "batch normalization was multiplied into the weights, as if it stood directly after each layer"
            if draft.stored.facts.get("norms_by_name")
            else "batch normalization was multiplied into the weights: the same answers, and nothing to train in it"
        )
    return notes


def _norm_name(name: str) -> str:
    """The name of the batch normalization behind a layer of our networks."""
    return name.replace("conv", "bn").replace("fc", "bn")


def _copy_norm(module: nn.Module, layer: StoredLayer) -> None:
    """Copies batch normalization; a bias before it, which ours has not, is subtracted from the mean."""
    norm = layer.norm
    assert norm is not None
    assert isinstance(module, BATCH_NORMS)
    assert module.running_mean is not None
    assert module.running_var is not None
    module.weight.copy_(_tensor(norm.scale))
    module.bias.copy_(_tensor(norm.shift))
    module.running_mean.copy_(_tensor(norm.mean if layer.bias is None else norm.mean - layer.bias))
    module.running_var.copy_(_tensor(norm.variance) + (norm.epsilon - module.eps))


def _tensor(values: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
