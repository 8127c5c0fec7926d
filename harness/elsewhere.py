"""A device that is not there: every tensor of a run "elsewhere", with shapes and a device but without values.

PyTorch's backend for devices written in Python, under its fake tensors, refuses what a GPU would refuse: operations on
tensors of two devices, `.numpy()` of a tensor that is not on the CPU, and here also float64 and pooling over any grid,
which a Mac's GPU lacks.

`python -m harness.elsewhere RECIPE ...` runs the parts of training and evaluation of each recipe there, and writes a
line of JSON: recipe, and what went wrong. A process of its own, because a backend cannot be taken back.
"""

import json
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

from alexnet.data.dataset import Prepared, Split
from alexnet.data.shards import Shard
from alexnet.evaluation.classifier import Classifier, predict_probabilities
from alexnet.interpret.attribution import METHODS, explain
from alexnet.models.cue_branch import COLOR, LEVELS, SHAPE, CueBranch
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import Recipe, for_classes, override
from alexnet.runs.run import RunFolder
from alexnet.training.check import check_network
from alexnet.training.divergence import first_bad
from alexnet.training.trainer import Trainer

NAME = "elsewhere"
READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.item.default, torch.ops.aten.is_nonzero.default)
POOLING = torch.ops.aten._adaptive_avg_pool2d.default
FUSED = (torch.ops.aten._fused_sgd_.default, torch.ops.aten._fused_adamw_.default)
IMAGES, CLASSES = 6, ("a", "b", "c")


class _Backend(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class _Rules(TorchDispatchMode):
    """Gives a value where one is read from a device, which has none; refuses float64 there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READS:
            kind = args[0].dtype
            return True if kind is torch.bool else 0.5 if kind.is_floating_point else 1
        assert func is not POOLING, "pooling over cells that a Mac's GPU has only for sides that divide"
        if func is torch.ops.aten.bincount.default:  # how many there are depends on the values
            return torch.empty(len(CLASSES), dtype=torch.int64)
        if func in FUSED:  # PyTorch has not written down what they do to shapes: nothing
            lists = [each for each in args if isinstance(each, list)]
            places = {tensor.device.type for tensor in tree_leaves(lists)}
            assert len(places) == 1, f"{func} of tensors on {places}"
            return None
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.device.type == NAME:
                assert leaf.dtype is not torch.float64, f"{func} makes float64 on the device"
        return out


def _numpy(tensor: Tensor, *, force: bool = False) -> Any:
    assert tensor.device.type == "cpu", ".numpy() of a tensor on the device"
    dtype = str(tensor.dtype).removeprefix("torch.")
    return np.full(tuple(tensor.shape), 1, dtype)


def _apply(module: nn.Module, fn: Any, recurse: bool = True) -> nn.Module:
    """`nn.Module._apply` without its way to swap parameters, which fake tensors do not allow."""
    for child in module.children() if recurse else ():
        child._apply(fn)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                module._parameters[name] = nn.Parameter(fn(parameter.detach()), parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = fn(
                buffer if buffer.ndim else torch.zeros((), dtype=buffer.dtype, device=buffer.device)
            )
    return module


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Makes the device, and all tensors in the block fake."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    places: dict[tuple[Any, str], Any] = {
        (Tensor, "numpy"): _numpy,
        (Tensor, "tolist"): lambda tensor: _numpy(tensor.cpu()).tolist(),
        (Tensor, "__deepcopy__"): lambda tensor, memo: torch.empty_like(tensor),
        (nn.Parameter, "__deepcopy__"): lambda tensor, memo: nn.Parameter(torch.empty_like(tensor.detach())),
        (nn.Module, "_apply"): _apply,
    }
    with ExitStack() as stack:
        for (owner, name), value in places.items():
            stack.enter_context(patch.object(owner, name, value))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(_Rules())
        yield torch.device(NAME, 0)


def images_of(size: int) -> Prepared:
    """Prepared images in memory: three for training, and the same for validation."""
    labels = np.arange(IMAGES, dtype=np.int64) % len(CLASSES)
    names = tuple(f"{n}.png" for n in range(IMAGES))
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, size, size, 3), np.uint8)
    shard = Shard(Path(), "", names, labels, pixels, None)
    splits = {name: Split(name, size, labels, names, (shard,)) for name in ("train", "val")}
    ones = np.ones(3)
    mean = np.full((size, size, 3), 127.0, np.float32)
    return Prepared(Path(), "here", size, "raw", CLASSES, splits, mean, ones, ones, ones, np.eye(3), "0" * 64)


def small(name: str, *changes: str) -> Recipe:
    """A recipe with a small batch, and without pretrained weights, which no device changes."""
    recipe = replace(find_recipe(name), weights=None)
    recipe = replace(recipe, optim=replace(recipe.optim, old_lr_factor=1.0))
    return for_classes(override(recipe, ["batch_size=4", *changes]), len(CLASSES))


def cues() -> CueBranch:
    """What color and shape say, with three anchors of each."""
    tensors = {}
    for name, features in ((COLOR, LEVELS**3), (SHAPE, 1764)):
        shapes = {"center": (features,), "anchors": (3, features), "weights": (3, len(CLASSES)), "width": ()}
        tensors |= {f"{name}.{part}": torch.ones(shape) for part, shape in shapes.items()}
    return CueBranch(tensors)


def on_device(tensors: Any, device: torch.device) -> None:
    """Fails if one of these named tensors is not on the device."""
    wrong = [name for name, tensor in tensors.items() if tensor.device.type != device.type]
    assert not wrong, f"not on the device: {wrong}"


def counting(trainer: Trainer) -> Trainer:
    """The trainer with a count of averaged networks that no fake tensor takes for a known number."""
    if trainer.average is not None:
        trainer.average.n_averaged = torch.zeros((), dtype=torch.int64, device=trainer.device)
    return trainer


def run_parts(recipe: Recipe, device: torch.device, *, everything: bool = True) -> None:
    """Construction, a step, restoring and evaluation; every tensor must be where it belongs.

    Args:
        everything: also a check, a step after restoring as a CUDA card takes it, ten views, and explanations.
    """
    prepared = images_of(recipe.prepare_size)
    run = RunFolder(Path(), recipe, CLASSES, {})
    trainer = counting(Trainer(run, prepared, device))
    at = trainer.clock.at(0)
    batch = trainer.batch(trainer.loader.samples(1, 0), at)
    on_device(dict(zip(("images", "targets"), batch, strict=True)), device)
    result = trainer.take_step(*batch, at)
    trainer.advance(result, 1.0)
    if everything:
        check_network(trainer.alone(), *batch, recipe)
    on_device(trainer.tensors(), device)
    stored = {name: tensor.detach().cpu() for name, tensor in trainer.tensors().items()}
    # With batches made on the device and losses that are read later, as on a CUDA card.
    resumed = counting(Trainer(run, prepared, device, images="memory", lag=2))
    resumed._restore(stored, trainer.state)
    on_device(resumed.tensors(), device)
    network = trainer.trained.eval()
    split = prepared.splits["val"]
    predict_probabilities(network, split.read, 1, precision=recipe.precision)
    if not everything:
        return
    made = resumed.batch(resumed.loader.samples(1, 0), at)
    on_device(dict(zip(("images", "targets"), made, strict=True)), device)
    resumed.take_step(*made, at)
    assert resumed.tensors().keys() == trainer.tensors().keys()
    predict_probabilities(network, split.read, len(split), views=10, precision=recipe.precision)
    network.cue = cues().to(device)
    on_device(dict(network.named_buffers()), device)
    predict_probabilities(network, split.read, 1, precision=recipe.precision)
    classifier = Classifier(network, CLASSES, recipe.prepare_size, recipe.precision)
    image = split.read([0])[0]
    explain(classifier, image, METHODS, patch=recipe.model.crop_size)
    classifier.crop_probabilities(image)
    first_bad(trainer.model.train(), batch[0])


def main(named: Iterable[str]) -> None:
    """Runs recipes, given as a name or as name,field=value,...; a line of JSON for each."""
    torch.set_num_threads(1)
    with elsewhere() as device:
        for each in named:
            name, *changes = each.split(";")
            wrong = ""
            try:
                run_parts(small(name, *changes), device, everything=bool(changes))
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)
                own = [
                    f"{Path(f.filename).name}:{f.lineno}"
                    for f in last
                    if "/alexnet/" in f.filename or "harness" in f.filename
                ]
                wrong = f"{type(error).__name__}: {str(error)[:300]} ({' '.join(own[-4:])})"
            print(json.dumps([each, wrong]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
