"""Steps whose loss the host reads later, so that the device never waits for the host.

What a step decides about the next one stays on the device: a loss from which a run cannot recover sets a flag there,
and from then on no update writes anything. So the network is still as it was before that step when the host, some steps
later, reads the loss and stops the run.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from alexnet.distributed.collectives import ProcessGroup
from alexnet.kernels.precision import autocast, rounding
from alexnet.models.network import Network
from alexnet.recipes.recipe import Recipe
from alexnet.training.divergence import highest_loss
from alexnet.training.graphs import Recorder, StepGraphs
from alexnet.training.optim import update_average
from alexnet.training.schedule import Moment
from alexnet.training.step import weighted_loss

LAG = 2  # steps; changes no result


def lag_for(device: torch.device, group: ProcessGroup) -> int:
    """Returns after how many more steps a loss is read: on a CUDA card, by a single process, some; elsewhere none."""
    return LAG if device.type == "cuda" and group.is_single else 0


class Reading:
    """The loss and the number of errors of a step, on their way from the device.

    Args:
        numbers: both, or a tensor (2,) of them, which may change as soon as this returns.
    """

    def __init__(self, numbers: tuple[float, float] | Tensor):
        self._arrived: Any = None  # an event
        if isinstance(numbers, tuple):
            self._numbers: tuple[float, float] | Tensor = numbers
        elif numbers.device.type == "cuda":
            self._numbers = torch.empty(2, pin_memory=True).copy_(numbers, non_blocking=True)
            self._arrived = torch.cuda.current_stream(numbers.device).record_event()
        else:
            self._numbers = numbers.to("cpu", copy=True)

    def values(self) -> tuple[float, float]:
        """Returns the loss, the mean over the batch before the step, and the number of errors."""
        if self._arrived is not None:
            self._arrived.synchronize()
        if isinstance(self._numbers, tuple):
            return self._numbers
        loss, wrong = self._numbers.tolist()
        return loss, wrong


@dataclass(frozen=True, eq=False)
class BegunStep:
    """A step that the device takes or has taken."""

    at: Moment
    images: Tensor  # kept for a report, if the loss is not finite, and for a check of the network
    targets: Tensor
    count: int  # images of the whole batch
    lr: float  # of the weights
    reading: Reading


class LateSteps:
    """Takes the steps of a single process without waiting for the device.

    Args:
        lag: how many steps may be begun before the loss of one is read.
        recorder: records passes, which are repeated from then on; None: each is computed operation by operation.
    """

    def __init__(
        self,
        model: Network,
        optimizer: torch.optim.Optimizer,
        average: AveragedModel | None,
        recipe: Recipe,
        class_weights: Tensor | None,
        lag: int = LAG,
        recorder: Recorder | None = None,
    ):
        self.lag = lag
        self._model, self._optimizer, self._average = model, optimizer, average
        self._recipe, self._class_weights = recipe, class_weights
        self._stopped = torch.zeros((), device=model.input_mean.device)  # above 0 after a loss that is too high
        self._graphs: StepGraphs | None = None
        if recorder is not None:
            changed = (self._stopped,)
            self._graphs = StepGraphs(model, recorder, recipe.batch_size, self.gradients, changed)
        self._noted = False
        self._averaged: int | None = None  # how often the average was updated; None: the average knows

    def take(self, images: Tensor, targets: Tensor) -> Reading:
        """Begins a step on a batch; arguments as for `train_step`."""
        optimizer: Any = self._optimizer
        with rounding(images.device, self._recipe.precision):
            if self._graphs is not None and self._graphs.fits(images):
                numbers = self._graphs.run(images, targets)
            else:
                optimizer.zero_grad(set_to_none=True)
                numbers = self.gradients(images, targets)
            optimizer.found_inf, optimizer.grad_scale = self._stopped, None
            optimizer.step()
        if self._average is not None:
            if self._averaged is None:
                self._averaged = int(self._average.n_averaged)
            update_average(self._average, self._model, self._recipe.average_decay, self._averaged)
            self._averaged += 1
        return Reading(numbers)

    def take_note(self) -> str | None:
        """Returns once why no pass is recorded; None if all that could be were."""
        failure = None if self._graphs is None else self._graphs.failure
        if failure is None or self._noted:
            return None
        self._noted = True
        return f"graph: steps are computed operation by operation, which may be slower: {failure}"

    def gradients(self, images: Tensor, targets: Tensor) -> Tensor:
        """Computes loss and gradients, sets the flag if the loss is too high, and returns loss and errors: (2,)."""
        recipe = self._recipe
        with autocast(images.device, recipe.precision):
            logits = self._model(images, check_range=False)
        if self._class_weights is None:
            loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
        else:
            loss = weighted_loss(logits.float(), targets, self._class_weights, recipe.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        detached = loss.detach()
        sound = detached <= highest_loss(logits.shape[1])  # false for NaN, too
        self._stopped.copy_(torch.maximum(self._stopped, 1.0 - sound.float()))
        wrong = (logits.detach().argmax(1) != targets.argmax(1)).sum()
        return torch.stack([detached, wrong.float()])
