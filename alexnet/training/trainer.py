"""The moving parts of a run: network, average, optimiser, the pictures of a step, and the step itself."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from alexnet.data.augment import ColorStatistics, fade, mix
from alexnet.data.dataset import Prepared
from alexnet.data.loader import epoch_batches, epoch_order, read_views, steps_per_epoch
from alexnet.data.samples import balanced_weights
from alexnet.distributed.collectives import Team
from alexnet.distributed.data_parallel import spread
from alexnet.distributed.hybrid import split_hybrid
from alexnet.distributed.tensor_parallel import parts_of, whole_of
from alexnet.distributed.towers import split_towers
from alexnet.models.build import build_model
from alexnet.models.network import Network, last_layer
from alexnet.runs.checkpoint import Checkpoint, TrainingState, load_checkpoint
from alexnet.runs.pretrained import check_fingerprint, start_from, trained_network
from alexnet.runs.run import Run
from alexnet.training.optim import build_optimizer
from alexnet.training.schedule import check_recipe, crop_size_at

Tensors = tuple[Tensor, ...] | list[Tensor]


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


def shared_checkpoint(run: Run, team: Team) -> Checkpoint | None:
    """The newest whole checkpoint, read by the leader alone; of a single process its own."""
    stored = load_checkpoint(run) if team.leads else None
    if team.size == 1:
        return stored
    rest = team.share(None if stored is None else stored._replace(tensors={}))
    tensors = team.share_tensors({} if stored is None else stored.tensors)
    return None if rest is None else rest._replace(tensors=tensors)
