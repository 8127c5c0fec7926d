"""The moving parts of a run: network, average, optimiser, the pictures of a step, and the step itself."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from alexnet.augment import ColorStatistics, fade, mix
from alexnet.checkpoint import TrainingState
from alexnet.collectives import Team
from alexnet.config import AlexNetConfig, grid_sizes
from alexnet.dataset import Prepared, batches, epoch_order
from alexnet.divergence import runs_away
from alexnet.errors import UsageError
from alexnet.hybrid import split_hybrid
from alexnet.model import Network, build_model
from alexnet.optim import build_optimizer
from alexnet.recipes import Recipe
from alexnet.run import Run
from alexnet.split import parts_of, whole_of
from alexnet.spread import spread
from alexnet.towers import split_towers
from alexnet.views import read_views
from alexnet.weights import check_fingerprint, last_layer, start_from, trained_network

Tensors = tuple[Tensor, ...] | list[Tensor]


class RunawayLoss(Exception):
    """The loss from which no step leads anywhere."""

    def __init__(self, loss: float):
        super().__init__(f"loss {loss}")
        self.loss = loss


def train_step(
    model: Network,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    class_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of gradient descent.

    Args:
        images: (N, 3, H, W) pixels 0..255.
        targets: (N, classes) probabilities.
        class_weights: (classes,); see `weighted_loss`. None: all alike.

    Returns:
        The mean loss before the step, a scalar, and the logits (N, classes).

    Raises:
        RunawayLoss: the loss is not finite or beyond recovery; no step is taken.
    """
    with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        logits = model(images)
    if class_weights is None:
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    else:
        loss = weighted_loss(logits.float(), targets, class_weights, recipe.label_smoothing)
    if runs_away(value := float(loss.detach()), logits.shape[1]):
        raise RunawayLoss(value)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach(), logits.detach()


def weighted_loss(logits: Tensor, targets: Tensor, class_weights: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy in which class c counts class_weights[c] times, divided by what the targets weigh together.

    For targets that are certain this is `F.cross_entropy(logits, labels, weight=class_weights)`; for probabilities
    PyTorch would divide by the number of pictures, so that a blend of two labels would not lie between the two.

    Args:
        logits: (N, classes).
        targets: (N, classes) probabilities.
    """
    total = F.cross_entropy(logits, targets, class_weights, reduction="sum", label_smoothing=label_smoothing)
    return total / (targets @ class_weights).sum()


def balanced_weights(counts: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """n / (classes * n_c) for classes with n_c of n pictures: (classes,). Over the pictures their mean is 1.

    The "balanced" of scikit-learn, after King and Zeng 2001. A class without pictures gets 0.
    """
    number = np.asarray(counts, np.float64)
    filled = number > 0
    return np.where(filled, number.sum() / (filled.sum() * np.maximum(number, 1)), 0.0)


def crop_size_at(recipe: Recipe, progress: float) -> int:
    """Pixels a side of the training crops when that share of the run is done."""
    reached = [size for start, size in recipe.growing_crops if progress >= start]
    return reached[-1] if reached else recipe.model.crop_size


def epoch_batches(order: npt.NDArray[np.int64], recipe: Recipe) -> list[npt.NDArray[np.int64]]:
    """Batches in order; a single image left over joins the batch before it, for batch norm needs two."""
    parts = batches(order, recipe.batch_size)
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def steps_per_epoch(count: int, recipe: Recipe) -> int:
    """Steps in which an epoch over that many pictures is done."""
    return len(epoch_batches(np.arange(count), recipe))


def check_recipe(recipe: Recipe, prepared: Prepared) -> None:
    """Refuses what could not be trained, before anything is spent.

    Raises:
        UsageError: crops that are larger than the pictures or leave nothing of them, growing crops that the network
            cannot take or that do not grow, shares of mixing above one, a batch too small for batch norm.
    """
    config, grown = recipe.model, recipe.growing_crops
    tested = prepared.size if config.test_size is None else config.test_size
    trained = max(size for _, size in ((0.0, config.crop_size), *grown))
    if recipe.augment.view != "zoom" and trained > prepared.size:
        raise UsageError(
            f"crops of {trained} pixels from pictures prepared at {prepared.size}",
            fix=f"Use model.crop_size={prepared.size} or less, or prepare the pictures at a larger --size.",
            code="E258",
        )
    if not config.crop_size <= tested <= prepared.size:
        raise UsageError(
            f"crops of {config.crop_size} pixels from pictures of {tested} at test time, prepared at {prepared.size}",
            fix="Each must be at least as large as the one before: model.crop_size, model.test_size, prepare_size.",
            code="E258",
        )
    if grown:
        shares = [share for share, _ in grown]
        if shares != sorted(shares) or not 0 <= shares[0] <= shares[-1] < 1:
            raise UsageError(
                f"growing_crops starts at the shares {shares}: they must rise from 0 to less than 1",
                fix="For example growing_crops='[[0, 112], [0.5, 160]]'.",
                code="E259",
            )
        if not isinstance(config, AlexNetConfig) or config.pool5_grid is None:
            raise UsageError(
                "growing_crops needs an AlexNet with model.pool5_grid: other fc layers take one size only",
                fix="Add model.pool5_grid=6, or leave growing_crops out.",
                code="E259",
            )
        if config.input_norm == "mean-image":
            raise UsageError(
                "growing_crops cannot subtract a mean image of one size",
                fix="Use input_norm=mean-pixel.",
                code="E259",
            )
    for size in (config.crop_size, *(size for _, size in grown)):
        grid_sizes(replace(config, crop_size=size))
    if recipe.augment.mixup + recipe.augment.cutmix > 1:
        raise UsageError(
            f"augment.mixup={recipe.augment.mixup} and augment.cutmix={recipe.augment.cutmix} are shares of batches",
            fix="Make them 1 or less together.",
            code="E260",
        )
    if recipe.weights is None and recipe.optim.old_lr_factor != 1.0:
        raise UsageError(
            f"optim.old_lr_factor={recipe.optim.old_lr_factor} is for layers with trained weights, and there are none",
            fix="Add --weights FILE, or use optim.old_lr_factor=1.",
            code="E261",
        )
    batch_norm = isinstance(config, AlexNetConfig) and config.norm == "batch"
    if batch_norm and min(recipe.batch_size, len(prepared.splits["train"])) < 2:
        raise UsageError(
            "batch norm needs at least 2 images in a batch",
            fix="Use norm=lrn or a larger batch_size.",
            code="E262",
        )


def moving_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """a <- d a + (1 - d) w with d = min(decay, (1 + n) / (10 + n)) after n updates: early on it forgets faster."""

    @torch.no_grad()
    def update(averages: Tensors, weights: Tensors, updates: Tensor | int) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, weights)
            return
        n = int(updates)
        torch._foreach_lerp_(averages, weights, 1.0 - min(decay, (1 + n) / (10 + n)))

    return update


def divide(model: Network, team: Team) -> frozenset[str]:
    """Leaves of a network what this process of a team has of it; changed in place.

    Returns:
        The names of the layers of which that is a part.
    """
    return {"towers": split_towers, "hybrid": split_hybrid}.get(team.scheme, spread)(model, team)


class Trainer:
    """The moving parts of a run: network, average, optimiser, and where it stands.

    Args:
        anew: whether the run is at its first step, so that weights to start from are needed.
        team: the processes that train it together; None: this one alone.
    """

    def __init__(
        self, run: Run, prepared: Prepared, device: torch.device, *, anew: bool = True, team: Team | None = None
    ):
        self.run, self.prepared, self.device = run, prepared, device
        self.team = team or Team()
        recipe = run.recipe
        check_recipe(recipe, prepared)
        model = build_model(recipe.model, seed=recipe.seed)
        if recipe.weights is None:
            model.set_input_statistics(prepared.mean_image, prepared.channel_std)
        elif anew:
            trained = trained_network(recipe.weights)
            check_fingerprint(trained, run.data.get("weights"), recipe.weights)
            start_from(model, trained)
        self.colors = ColorStatistics(model.input_mean.clone(), prepared.color_stdevs, prepared.color_vectors)
        self.divided = divide(model, self.team)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.average: AveragedModel | None = None
        if recipe.average_decay:
            self.average = AveragedModel(
                self.model, multi_avg_fn=moving_average(recipe.average_decay), use_buffers=True
            )
        new_layers = () if recipe.weights is None else (last_layer(model),)
        self.optimizer = build_optimizer(self.model, recipe.optim, new_layers)
        self.state = TrainingState(step=0)
        self._planned: tuple[int, list[npt.NDArray[np.int64]]] = (0, [])  # the last epoch asked for
        self.labels = torch.from_numpy(np.asarray(prepared.splits["train"].labels))
        self.class_weights: Tensor | None = None
        if recipe.class_weights == "balanced":
            counts = np.bincount(prepared.splits["train"].labels, minlength=recipe.model.num_classes)
            self.class_weights = torch.from_numpy(balanced_weights(counts).astype(np.float32)).to(device)

    @property
    def trained(self) -> Network:
        """The network to use: the averaged one where the recipe averages."""
        if self.average is None:
            return self.model
        return cast(Network, self.average.module)

    def alone(self) -> Network:
        """The network as it stands, for this process by itself: a copy where others share in it."""
        return self.whole(self.model)

    def whole(self, network: Network) -> Network:
        """A network of the team as one by itself; every process calls it."""
        if self.team.size == 1:
            return network
        copy = build_model(self.run.recipe.model).to(self.device).to(memory_format=torch.channels_last)
        copy.load_state_dict(whole_of(network.state_dict(), self.team, self.divided))
        copy.seed_dropout(self.run.recipe.seed, self.state.step)
        return copy.train(network.training)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold to go on, by name: `model/NAME`, `optimizer/KEY/NAME`, `averaged`."""
        out = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                out[f"optimizer/{key}/{name}"] = value
        if self.average is not None:
            out |= {f"average/{name}": tensor for name, tensor in self.average.module.state_dict().items()}
            out["averaged"] = self.average.n_averaged
        return whole_of(out, self.team, self.divided)

    def restore(self, tensors: dict[str, Tensor], state: TrainingState) -> None:
        """Takes over what `tensors` gave."""
        tensors = parts_of(tensors, self.team, self.divided)
        model = {n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")}
        self.model.load_state_dict(model)
        parameters = dict(self.model.named_parameters())
        for full_name, tensor in tensors.items():
            if full_name.startswith("optimizer/"):
                _, key, name = full_name.split("/", 2)
                parameter = parameters[name]
                # A momentum buffer must lie in memory as its weight does; a step counter is a scalar of its own.
                value = torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor.clone()
                self.optimizer.state[parameter][key] = value.detach()
        if self.average is not None:
            average = {n.removeprefix("average/"): t for n, t in tensors.items() if n.startswith("average/")}
            self.average.module.load_state_dict(average)
            self.average.n_averaged.copy_(tensors["averaged"])
        self.colors = replace(self.colors, mean=self.model.input_mean.cpu().clone())
        self.state = state

    def upcoming(self) -> npt.NDArray[np.int64]:
        """Positions in the training set of the pictures that the epoch under way will still visit, in order."""
        recipe, per_epoch = self.run.recipe, steps_per_epoch(len(self.labels), self.run.recipe)
        epoch, position = self.state.step // per_epoch + 1, self.state.step % per_epoch
        order = epoch_order(len(self.labels), recipe.seed, epoch if recipe.reshuffle else 1)
        return order[position * recipe.batch_size :]

    def samples(self, epoch: int, position: int) -> npt.NDArray[np.int64]:
        """Positions in the training set of the pictures of a batch, over all processes."""
        planned, batches = self._planned
        if planned != epoch:
            recipe = self.run.recipe
            order = epoch_order(len(self.labels), recipe.seed, epoch if recipe.reshuffle else 1)
            batches = epoch_batches(order, recipe)
            self._planned = (epoch, batches)
        return batches[position]

    def batch(
        self, samples: npt.NDArray[np.int64], epoch: int, step: int, progress: float, *, whole: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The pictures and targets of one step, on the device; of a team, the pictures that this process looks at.

        The targets are those of its pictures, but with hybrid of all, for the last layers see all.

        Args:
            whole: also the pictures that others look at.
        """
        recipe, rows = self.run.recipe, slice(None) if whole else self.team.rows(len(samples))
        augment, targets = recipe.augment, F.one_hot(self.labels[samples], self.run.recipe.model.num_classes).float()
        # Then no picture hangs on the others of its batch.
        apart = augment.chunk == 1 and not (augment.fade or augment.mixup or augment.cutmix)
        samples = samples[rows] if apart else samples
        split, size = self.prepared.splits["train"], crop_size_at(recipe, progress)
        views = read_views(split, size, augment, self.colors, seed=recipe.seed, epoch=epoch, samples=samples)
        if not apart:
            views = fade(views, augment, seed=recipe.seed, step=step)
            views, targets = mix(views, targets, augment, seed=recipe.seed, step=step)
            views = views[rows]
        targets = targets if self.team.scheme == "hybrid" else targets[rows]
        return views.to(self.device).contiguous(memory_format=torch.channels_last), targets.to(self.device)
