"""The object that owns everything that changes in a run: network, average, optimizer, watchdog and state."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from alexnet.data.augment import ColorStatistics
from alexnet.data.dataset import Prepared, validation_split
from alexnet.data.device_images import Arrival, side_stream
from alexnet.data.device_loader import loader_for
from alexnet.data.loader import Loader
from alexnet.data.samples import balanced_weights
from alexnet.distributed.collectives import ProcessGroup
from alexnet.distributed.launch import divide
from alexnet.distributed.tensor_parallel import own_parts, whole_tensors
from alexnet.errors import DivergedError
from alexnet.evaluation.compare import error_to_choose_by
from alexnet.kernels.device import memory_format
from alexnet.models.build import build_model
from alexnet.models.network import Network, last_layer
from alexnet.runs.checkpoint import Checkpoint, TrainingState, file_to_resume, save_checkpoint
from alexnet.runs.forms import check_training
from alexnet.runs.kernel_history import save_kernels
from alexnet.runs.metrics import BALANCED_ERROR, read_metrics
from alexnet.runs.pretrained import check_fingerprint, start_from, trained_network
from alexnet.runs.run import RunFolder
from alexnet.training.check import Check, check_network
from alexnet.training.divergence import SLOWER, diverged, first_bad, first_bad_tensor, runs_away
from alexnet.training.graphs import recorder_for
from alexnet.training.late import BegunStep, LateSteps, Reading, lag_for
from alexnet.training.optim import build_optimizer, moving_average, set_learning_rates, told_rate
from alexnet.training.schedule import Clock, Moment, check_recipe, crop_size_at
from alexnet.training.state import load_state, state_tensors, unmade_bytes
from alexnet.training.step import RunawayLoss, StepResult, group_step, train_step
from alexnet.training.validation import validated, validation_images
from alexnet.training.watchdog import Watchdog

WATCHDOG = "guard"  # the name of its memory among the tensors of a checkpoint; stored, so it stays


class Trainer:
    """Network, average, optimizer, watchdog and state of a run; only this object changes them.

    Args:
        stored: the checkpoint to resume from; None: start with the first step.
        group: the processes that train the run together; None: a single process.
        images: where batches are made; see `alexnet.data.device_loader.loader_for`.
        lag: after how many more steps the loss of a step is read; None: as is best on the device.

    Raises:
        UsageError: the recipe cannot be trained on these images.
        DataError: the pretrained weights have changed since the run was created.
        UntrustedFileError: E6061, the checkpoint is of another network or optimizer.
    """

    def __init__(
        self,
        run: RunFolder,
        prepared: Prepared,
        device: torch.device,
        *,
        stored: Checkpoint | None = None,
        group: ProcessGroup | None = None,
        images: str = "auto",
        lag: int | None = None,
    ):
        self.run, self.prepared, self.device = run, prepared, device
        self.group = group or ProcessGroup()
        recipe = run.recipe
        check_recipe(recipe, prepared)
        model = build_model(recipe.model, seed=recipe.seed)
        if recipe.weights is None:
            model.set_input_statistics(prepared.mean_image, prepared.channel_std)
        elif stored is None:
            trained = trained_network(recipe.weights)
            check_fingerprint(trained, run.data.get("weights"), recipe.weights)
            start_from(model, trained)
        colors = ColorStatistics(model.input_mean.clone(), prepared.color_stdevs, prepared.color_vectors)
        self.loader = loader_for(Loader(prepared.splits["train"], recipe, colors), device, images)
        self.clock = Clock(self.loader.steps_per_epoch, recipe.epochs)
        self.divided = divide(model, self.group)
        self.model = model.place(device)
        self.average: AveragedModel | None = None
        if recipe.average_decay:
            self.average = AveragedModel(
                self.model, multi_avg_fn=moving_average(recipe.average_decay), use_buffers=True
            )
        new_layers = () if recipe.weights is None else (last_layer(model),)
        self.optimizer = build_optimizer(self.model, recipe.optim, new_layers)
        self.watchdog = Watchdog.of(recipe, self.loader.labels, self.clock.steps_per_epoch, validation_images(prepared))
        self.state = TrainingState(step=0)
        self.class_weights: Tensor | None = None
        if recipe.class_weights == "balanced":
            counts = np.bincount(prepared.splits["train"].labels, minlength=recipe.model.num_classes)
            self.class_weights = torch.from_numpy(balanced_weights(counts).astype(np.float32)).to(device)
        self.late: LateSteps | None = None
        if (lag := lag_for(device, self.group) if lag is None else lag) > 0:
            parts = (self.model, self.optimizer, self.average, recipe, self.class_weights)
            self.late = LateSteps(*parts, lag, recorder_for(device))
        if stored is not None:
            check_training(file_to_resume(run, stored.state.step), recipe, stored.tensors)
            self._restore(stored.tensors, stored.state)
            self.watchdog.restore(stored.tensors.get(WATCHDOG), read_metrics(run))

    @property
    def trained(self) -> Network:
        """The network to use: the one with averaged weights if the recipe averages."""
        if self.average is None:
            return self.model
        return cast(Network, self.average.module)

    @property
    def out_of_patience(self) -> bool:
        """Whether `patience` evaluations in a row gave no better network, so that the run ends early."""
        patience = self.run.recipe.patience
        return patience > 0 and self.state.looks_since_best >= patience

    def batches(self, first: int, end: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The images and targets of the steps from `first` up to `end`, without it; see `batch`."""
        for arrival in self.arrivals(first, end):
            yield arrival.wait()

    def arrivals(self, first: int, end: int) -> Iterator[Arrival]:
        """The batches of the steps from `first` up to `end`, on their way to the device; for a thread that makes them.

        They are made on a stream of their own, beside the steps on those before.
        """
        stream = side_stream(self.device)
        for step in range(first, end):
            at = self.clock.at(step)
            samples = self.loader.samples(at.epoch, at.position)
            yield Arrival(partial(self.batch, samples, at), stream)

    def batch(self, samples: NDArray[np.int64], at: Moment, *, whole: bool = False) -> tuple[Tensor, Tensor]:
        """The images and targets of one step, on the device; in a process group, those of this process.

        With hybrid, the targets are those of the whole batch, because the last layers see all images.

        Args:
            samples: positions in the training split of the images of the whole batch.
            whole: also the images of other processes.
        """
        images, targets = self.loader.batch(
            samples,
            epoch=at.epoch,
            step=at.step,
            size=crop_size_at(self.run.recipe, at.progress),
            rows=slice(None) if whole else self.group.rows(len(samples)),
            all_targets=self.group.scheme == "hybrid",
        )
        return self.on_device(images), targets.to(self.device)

    def on_device(self, images: Tensor) -> Tensor:
        """Images as the network takes them: on its device, in its memory layout."""
        return images.to(self.device).contiguous(memory_format=memory_format(self.device))

    def upcoming(self) -> NDArray[np.int64]:
        """Positions in the training split of the images that remain in the current epoch, in order."""
        at = self.clock.at(self.state.step)
        batches = self.loader.epoch(at.epoch)[at.position :]
        return np.concatenate(batches) if batches else np.empty(0, np.int64)

    def take_step(self, images: Tensor, targets: Tensor, at: Moment) -> StepResult:
        """Updates the weights and their average with one batch; call `advance` with the result.

        Raises:
            DivergedError: the loss is not finite; a report is in the run folder.
        """
        return self.result(self.begin_step(images, targets, at))

    def begin_step(self, images: Tensor, targets: Tensor, at: Moment) -> BegunStep:
        """Begins to update the weights and their average; on some devices the loss is read later, by `result`.

        Raises:
            DivergedError: as for `take_step`, where the loss is read at once.
        """
        recipe = self.run.recipe
        lr = set_learning_rates(self.optimizer, recipe.optim, at.epoch, at.progress, SLOWER**self.state.rollbacks)
        self.model.train()
        self.model.seed_dropout(recipe.seed, at.step)
        count = len(images)
        if self.late is not None:
            return BegunStep(at, images, targets, count, lr, self.late.take(images, targets))
        parts = (self.model, self.optimizer, images, targets, recipe, self.class_weights)
        try:
            if self.group.is_single:
                loss, logits = train_step(*parts)
                value = float(loss)
                wrong = float((logits.argmax(1) != targets.argmax(1)).sum())
            else:
                count = len(self.loader.samples(at.epoch, at.position))
                value, wrong = group_step(self.group, *parts, count=count, step=at.step)
        except RunawayLoss as error:
            raise self._diverged(error.loss, images, at, lr) from None
        if self.average is not None:
            self.average.update_parameters(self.model)
        return BegunStep(at, images, targets, count, lr, Reading((value, wrong)))

    def result(self, begun: BegunStep) -> StepResult:
        """The result of a step; waits for the device where it must.

        Raises:
            DivergedError: as for `take_step`. Steps that were begun after it have changed no weight.
        """
        loss, wrong = begun.reading.values()
        if runs_away(loss, self.run.recipe.model.num_classes):
            raise self._diverged(loss, begun.images, begun.at, begun.lr)
        return StepResult(loss, wrong, begun.count, begun.lr)

    def may_wait(self, begun: Sequence[BegunStep]) -> bool:
        """Whether the losses of these steps, the newest last, may be read later."""
        if self.late is None or not begun:
            return False
        return len(begun) <= self.late.lag and not self.watchdog.may_check(begun[-1].at.step + 1, len(begun))

    def watch(self, result: StepResult, images: Tensor, targets: Tensor, at: Moment) -> str | None:
        """The warning of the watchdog after a step, or None."""
        if result.count < 2:
            return None  # a check compares images

        def examine() -> Check:
            batch = (images, targets)
            if not self.group.is_single:
                batch = self.batch(self.loader.samples(at.epoch, at.position), at, whole=True)
            return check_network(self.alone(), *batch, self.run.recipe)

        return self.watchdog.step(at.step + 1, result.loss, result.wrong / result.count, examine)

    def advance(self, result: StepResult, seconds: float) -> None:
        """Adds a step that was taken to the state."""
        self.state = replace(
            self.state,
            step=self.state.step + 1,
            loss_sum=self.state.loss_sum + result.loss * result.count,
            errors=self.state.errors + result.wrong,
            images=self.state.images + result.count,
            seconds=self.state.seconds + seconds,
        )

    def end_epoch(self, at: Moment) -> tuple[dict[str, Any], bool]:
        """Ends the epoch of step `at`: its metrics row, and whether its network is the best so far.

        Raises:
            DivergedError: the predictions on the validation split are not finite.
        """
        recipe, state = self.run.recipe, self.state
        row: dict[str, Any] = {
            "kind": "epoch",
            "epoch": at.epoch,
            "step": state.step,
            "crop_size": crop_size_at(recipe, at.progress),
            "lr": told_rate(recipe.optim, at.epoch, at.progress, SLOWER**state.rollbacks),
            "train_loss": state.loss_sum / state.images,
            "train_top1_error": state.errors / state.images,
        }
        started = time.monotonic()
        split, best = validation_split(self.prepared), False
        state = replace(state, loss_sum=0.0, errors=0.0, images=0)
        if split is not None and (at.epoch % recipe.evaluate_every == 0 or at.epoch == recipe.epochs):
            facts = {"step": self.state.step, "epoch": at.epoch}
            result = validated(self.trained, self.prepared, split, self.run, self.group, facts)
            row |= {
                "val_loss": result.log_loss,
                "val_top1_error": result.top1_error,
                "val_top5_error": result.top5_error,
            }
            score = (error_to_choose_by(result, recipe.class_weights), result.log_loss)
            row |= {BALANCED_ERROR: score[0]} if recipe.class_weights == "balanced" else {}
            has_best = state.best_error is not None and state.best_loss is not None
            best = not has_best or score < (state.best_error, state.best_loss)
            state = replace(state, looks_since_best=0 if best else state.looks_since_best + 1)
            if best:
                state = replace(state, best_error=score[0], best_loss=score[1], best_step=state.step)
        self.state = replace(state, seconds=state.seconds + time.monotonic() - started)
        row["seconds"] = self.state.seconds
        row["images_per_second"] = at.epoch * len(self.loader.labels) / self.state.seconds
        row |= save_kernels(self.run, at.epoch, self.whole(self.trained))
        return row, best

    def save(self, conditions: Mapping[str, str], *, best: bool) -> None:
        """Writes a checkpoint of the current state; every process calls it, the main process writes.

        Raises:
            DivergedError: a value in it is not finite.
            ResourceError: writing failed; the previous checkpoint is undamaged.
        """
        tensors = {**self.tensors(), WATCHDOG: self.watchdog.memory()}
        if bad := first_bad_tensor(tensors):
            step = self.state.step
            what = f"the weights are not finite after step {step}"
            raise diverged(self.run.folder, what, bad, {"step": step}, self.run.recipe.optim.lr)
        network = self.whole(self.trained)
        if self.group.is_main:
            save_checkpoint(self.run, network, tensors, self.state, best=best, conditions=conditions)

    def note_rollbacks(self, rollbacks: int) -> None:
        """Sets how often the run went back to a checkpoint; each rollback halves the learning rate."""
        self.state = replace(self.state, rollbacks=max(rollbacks, self.state.rollbacks))

    @property
    def checkpoint_bytes(self) -> int:
        """Approximate size of a checkpoint on the disk, in bytes."""
        tensors = self.tensors()
        coming = unmade_bytes(self.model, self.optimizer, tensors)
        return coming + sum(tensor.nbytes for tensor in (*tensors.values(), *self.trained.parameters()))

    def alone(self) -> Network:
        """The current network, complete in this process: a copy if it is divided among processes."""
        return self.whole(self.model)

    def whole(self, network: Network) -> Network:
        """A complete copy of a network that is divided among processes; every process calls it."""
        if self.group.size == 1:
            return network
        copy = build_model(self.run.recipe.model).place(self.device)
        copy.load_state_dict(whole_tensors(network.state_dict(), self.group, self.divided))
        copy.seed_dropout(self.run.recipe.seed, self.state.step)
        return copy.train(network.training)

    def tensors(self) -> dict[str, Tensor]:
        """The complete tensors that a checkpoint needs to resume, by name; see `state_tensors`."""
        return whole_tensors(state_tensors(self.model, self.optimizer, self.average), self.group, self.divided)

    def _restore(self, tensors: dict[str, Tensor], state: TrainingState) -> None:
        """Loads tensors that `tensors` returned, and the state."""
        load_state(self.model, self.optimizer, self.average, own_parts(tensors, self.group, self.divided))
        colors = replace(self.loader.colors, mean=self.model.input_mean.cpu().clone())
        self.loader = replace(self.loader, colors=colors)
        self.state = state

    def _diverged(self, loss: float, images: Tensor, at: Moment, lr: float) -> DivergedError:
        recipe = self.run.recipe
        self.model.seed_dropout(recipe.seed, at.step)
        names = self.prepared.splits["train"].names
        batch = [names[i] for i in self.loader.samples(at.epoch, at.position)]
        return diverged(
            self.run.folder,
            f"the loss became {loss:.3g} at step {at.step + 1} (epoch {at.epoch}, learning rate {lr:.3g})",
            first_bad(self.alone(), images),
            {"step": at.step + 1, "epoch": at.epoch, "rate": lr, "pictures": batch},
            recipe.optim.lr,
        )
