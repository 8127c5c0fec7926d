"""Training: from a recipe and prepared pictures to a run folder, step by step, stopped and gone on with at any step.

All randomness is a function of (seed, epoch, sample) or (seed, step), so a run that was interrupted and resumed takes
the same steps as one that was not.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from alexnet.augment import ColorStatistics, mix, training_views
from alexnet.dataset import Prepared, batches, epoch_order
from alexnet.errors import DivergedError, UsageError
from alexnet.evaluate import as_batch, evaluate
from alexnet.model import Network, build_model, center
from alexnet.optim import build_optimizer, set_rates
from alexnet.recipes import Recipe
from alexnet.run import (
    Run,
    TrainingState,
    append_metrics,
    forget_metrics_after,
    load_checkpoint,
    save_checkpoint,
)

Tensors = tuple[Tensor, ...] | list[Tensor]

SAVE_SECONDS = 60.0  # between two checkpoints that are not the best; changes no result


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever shows it."""

    epoch: int  # counted from 1
    epochs: int
    step: int  # of the whole run, counted from 1
    steps: int
    steps_per_epoch: int
    loss: float  # running mean over the epoch
    top1_error: float  # on the augmented training pictures, in [0, 1]
    lr: float
    images_per_second: float


class Monitor(Protocol):
    """What training tells while it goes on."""

    def step(self, progress: Progress) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None: ...


class Interrupted(Exception):
    """Training was asked to stop and has saved where it stands."""

    def __init__(self, step: int, signal_number: int):
        super().__init__(f"stopped at step {step}")
        self.step = step
        self.signal_number = signal_number


def choose_device(name: str = "auto") -> torch.device:
    """A torch device by name; "auto" takes a GPU where there is one.

    Raises:
        UsageError: if the device is not there.
    """
    if name == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(kind)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"no device {name!r} here: {str(error).splitlines()[0]}", fix="--device auto chooses one."
        ) from None
    return device


def train_step(
    model: Network, optimizer: torch.optim.Optimizer, images: Tensor, targets: Tensor, recipe: Recipe
) -> tuple[Tensor, Tensor]:
    """One step of gradient descent.

    Args:
        images: (N, 3, H, W) pixels 0..255.
        targets: (N, classes) probabilities.

    Returns:
        The mean loss before the step, a scalar, and the logits (N, classes).
    """
    with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        logits = model(images)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach(), logits.detach()


def crop_size_at(recipe: Recipe, progress: float) -> int:
    """Pixels a side of the training crops when that share of the run is done."""
    reached = [size for start, size in recipe.growing_crops if progress >= start]
    return reached[-1] if reached else recipe.model.crop_size


def held_out_split(prepared: Prepared) -> str | None:
    """The split that chooses the best checkpoint."""
    return next((name for name in ("val", "test") if name in prepared.splits), None)


def check_recipe(recipe: Recipe, prepared: Prepared) -> None:
    """Refuses what could not be trained, before anything is spent.

    Raises:
        UsageError: crops larger than the pictures, a batch too small for batch norm, growing crops without a grid.
    """
    config = recipe.model
    tested = config.test_size or prepared.size
    if recipe.augment.view != "zoom" and max((config.crop_size, *(s for _, s in recipe.growing_crops))) > prepared.size:
        raise UsageError(f"crops of {config.crop_size} pixels from pictures prepared at {prepared.size}")
    if config.crop_size > tested:
        raise UsageError(f"model.crop_size={config.crop_size} is larger than the pictures at test time ({tested})")
    if recipe.growing_crops and config.architecture == "alexnet" and config.pool5_grid is None:
        raise UsageError("growing_crops needs model.pool5_grid: without it fc6 takes crops of one size only")
    if getattr(config, "norm", "") == "batch" and min(recipe.batch_size, len(prepared.splits["train"])) < 2:
        raise UsageError(
            "batch norm needs at least 2 images in a batch", fix="Use model.norm=lrn or a larger batch_size."
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


class Trainer:
    """The moving parts of a run: network, average, optimiser, and where it stands."""

    def __init__(self, run: Run, prepared: Prepared, device: torch.device):
        self.run, self.prepared, self.device = run, prepared, device
        recipe = run.recipe
        check_recipe(recipe, prepared)
        model = build_model(recipe.model, seed=recipe.seed)
        model.set_input_statistics(prepared.mean_image, prepared.channel_std)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.average: AveragedModel | None = None
        if recipe.average_decay:
            self.average = AveragedModel(
                self.model, multi_avg_fn=moving_average(recipe.average_decay), use_buffers=True
            )
        self.optimizer = build_optimizer(self.model, recipe.optim)
        self.state = TrainingState(step=0)
        mean = torch.from_numpy(np.ascontiguousarray(prepared.mean_image)).permute(2, 0, 1)
        if recipe.model.input_norm == "mean-image":
            mean = center(mean, recipe.model.crop_size)
        else:
            mean = mean.mean((1, 2), keepdim=True)
        self.colors = ColorStatistics(mean, prepared.color_stdevs, prepared.color_vectors)
        self.labels = torch.from_numpy(np.asarray(prepared.splits["train"].labels))

    @property
    def trained(self) -> Network:
        """The network to use: the averaged one where the recipe averages."""
        if self.average is None:
            return self.model
        return cast(Network, self.average.module)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold to go on, by name: `model/NAME`, `optimizer/KEY/NAME`, `averaged`."""
        out = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                out[f"optimizer/{key}/{name}"] = value
        if self.average is not None:
            out |= {f"average/{name}": tensor for name, tensor in self.average.module.state_dict().items()}
            out["averaged"] = self.average.n_averaged
        return out

    def restore(self, tensors: dict[str, Tensor], state: TrainingState) -> None:
        """Takes over what `tensors` gave."""
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
        self.state = state

    def batch(self, samples: npt.NDArray[np.int64], epoch: int, step: int, progress: float) -> tuple[Tensor, Tensor]:
        """The pictures and targets of one step, on the device."""
        recipe = self.run.recipe
        images = as_batch(self.prepared.splits["train"].read(samples))
        size = crop_size_at(recipe, progress)
        views = training_views(
            images, size, recipe.augment, self.colors, seed=recipe.seed, epoch=epoch, samples=samples
        )
        targets = F.one_hot(self.labels[samples], recipe.model.num_classes).float()
        views, targets = mix(views, targets, recipe.augment, seed=recipe.seed, step=step)
        return views.to(self.device).contiguous(memory_format=torch.channels_last), targets.to(self.device)


def train(
    run: Run, prepared: Prepared, *, device: torch.device, monitor: Monitor, max_steps: int | None = None
) -> Network:
    """Trains a run to its end, from its newest checkpoint if it has one, and returns the network of the last step.

    Args:
        max_steps: stop after that many steps of this call, as if interrupted.

    Raises:
        DivergedError: when the loss is not finite; what was saved before stays.
        Interrupted: when asked to stop (Ctrl-C, SIGTERM); where it stands is saved.
    """
    recipe = run.recipe
    trainer = Trainer(run, prepared, device)
    stored = load_checkpoint(run)
    if stored is not None:
        trainer.restore(*stored)
    forget_metrics_after(run, trainer.state.step)
    count = len(prepared.splits["train"])
    steps_per_epoch = len(_batches(np.arange(count), recipe))
    steps = steps_per_epoch * recipe.epochs
    first = trainer.state.step
    last_save = time.monotonic()
    with stop_signals() as stopped_by:
        for epoch in range(first // steps_per_epoch + 1, recipe.epochs + 1):
            epoch_batches = _batches(epoch_order(count, recipe.seed, epoch), recipe)
            for position in range(trainer.state.step - (epoch - 1) * steps_per_epoch, steps_per_epoch):
                started = time.monotonic()
                step = trainer.state.step
                progress = step / steps
                lr = set_rates(trainer.optimizer, recipe.optim, epoch, progress)
                images, targets = trainer.batch(epoch_batches[position], epoch, step, progress)
                trainer.model.train()
                trainer.model.seed_dropout(recipe.seed, step)
                loss, logits = train_step(trainer.model, trainer.optimizer, images, targets, recipe)
                if trainer.average is not None:
                    trainer.average.update_parameters(trainer.model)
                trainer.state = _after_step(trainer.state, loss, logits, targets, lr, epoch, time.monotonic() - started)
                state = trainer.state
                speed = len(images) / max(time.monotonic() - started, 1e-9)
                monitor.step(
                    Progress(
                        epoch,
                        recipe.epochs,
                        state.step,
                        steps,
                        steps_per_epoch,
                        state.loss_sum / state.images,
                        state.errors / state.images,
                        lr,
                        speed,
                    )
                )
                ended = position + 1 == steps_per_epoch
                best = False
                if ended:
                    row, best = _end_epoch(trainer, epoch, lr, crop_size_at(recipe, progress))
                    append_metrics(run, row)
                    monitor.epoch(row)
                stopping = stopped_by() or (max_steps is not None and trainer.state.step - first >= max_steps)
                done = trainer.state.step == steps
                if best or done or stopping or time.monotonic() - last_save > SAVE_SECONDS:
                    save_checkpoint(run, trainer.trained, trainer.tensors(), trainer.state, best=best)
                    last_save = time.monotonic()
                if stopping and not done:
                    raise Interrupted(trainer.state.step, stopped_by() or signal.SIGINT)
    return trainer.trained


def _after_step(
    state: TrainingState, loss: Tensor, logits: Tensor, targets: Tensor, lr: float, epoch: int, seconds: float
) -> TrainingState:
    value = float(loss)
    if not math.isfinite(value):
        raise DivergedError(
            f"the loss became {value} at step {state.step + 1} (epoch {epoch}, rate {lr:.3g})",
            fix=f"The weights have run away. Start again with a lower rate, for example lr={lr / 10:.2g}.",
        )
    wrong = float((logits.argmax(1) != targets.argmax(1)).sum())
    return replace(
        state,
        step=state.step + 1,
        loss_sum=state.loss_sum + value * len(logits),
        errors=state.errors + wrong,
        images=state.images + len(logits),
        seconds=state.seconds + seconds,
    )


def _end_epoch(trainer: Trainer, epoch: int, lr: float, crop_size: int) -> tuple[dict[str, Any], bool]:
    """The metrics row of an epoch and whether it is the best so far; the sums of the state start anew."""
    recipe, state = trainer.run.recipe, trainer.state
    row: dict[str, Any] = {
        "kind": "epoch",
        "epoch": epoch,
        "step": state.step,
        "crop_size": crop_size,
        "lr": lr,
        "train_loss": state.loss_sum / state.images,
        "train_top1_error": state.errors / state.images,
    }
    started = time.monotonic()
    split = held_out_split(trainer.prepared)
    best = False
    state = replace(state, loss_sum=0.0, errors=0.0, images=0)
    if split is not None and (epoch % recipe.evaluate_every == 0 or epoch == recipe.epochs):
        result = evaluate(
            trainer.trained, trainer.prepared, split, class_names=trainer.run.class_names, precision=recipe.precision
        )
        row |= {"val_loss": result.log_loss, "val_top1_error": result.top1_error, "val_top5_error": result.top5_error}
        score = (result.top1_error, result.log_loss)
        known = state.best_error is not None and state.best_loss is not None
        if not math.isfinite(result.log_loss):
            raise DivergedError(f"the network's answers are not finite after epoch {epoch}", fix="Use a lower rate.")
        best = not known or score < (state.best_error, state.best_loss)
        if best:
            state = replace(state, best_error=score[0], best_loss=score[1])
    trainer.state = replace(state, seconds=state.seconds + time.monotonic() - started)
    row["seconds"] = trainer.state.seconds
    row["images_per_second"] = epoch * len(trainer.labels) / trainer.state.seconds
    return row, best


def _batches(order: npt.NDArray[np.int64], recipe: Recipe) -> list[npt.NDArray[np.int64]]:
    """Batches in order; a single image left over joins the batch before it, for batch norm needs two."""
    parts = batches(order, recipe.batch_size)
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


@contextmanager
def stop_signals() -> Iterator[Callable[[], int | None]]:
    """Within it, Ctrl-C and SIGTERM only raise a flag (the number of the signal); a second Ctrl-C leaves at once."""
    seen: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: seen[0] if seen else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
