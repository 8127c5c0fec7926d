"""The forward and backward pass of a step recorded once for each size, and repeated as one piece of work.

A card is faster than Python can hand it a step operation by operation. A recording has fixed memory for images, targets
and keys of dropout, which is filled before each repetition, and for the gradients, which each repetition overwrites.
Every step of a size is a repetition, the first too: so a run that resumes computes what one without interruption does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from alexnet.data.device_images import side_stream
from alexnet.models.layers import Dropout
from alexnet.models.network import Network

WARM_UPS = 3  # passes before one is recorded: libraries choose algorithms and get their memory in the first ones
Replay = Callable[[], Any]


class Recorder(Protocol):
    """Records work on a device."""

    def record(self, work: Callable[[], list[Tensor]]) -> tuple[Replay, list[Tensor]]:
        """Records work; returns what repeats it, and the tensors that each repetition overwrites."""


class CudaRecorder:
    """Records CUDA graphs, which share their memory, as only one of them runs at a time."""

    def __init__(self, device: torch.device):
        self._device = device
        self._pool: Any = None

    def record(self, work: Callable[[], list[Tensor]]) -> tuple[Replay, list[Tensor]]:
        """Does the work some times beside the current stream, then records it."""
        current, beside = torch.cuda.current_stream(self._device), side_stream(self._device)
        beside.wait_stream(current)
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                work()
        current.wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # The thread that makes batches uses the card meanwhile, on a stream of its own, which is no part of this.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outputs = work()
        self._pool = graph.pool()
        return graph.replay, outputs


def recorder_for(device: torch.device) -> Recorder | None:
    """Returns a recorder for a CUDA card; None for other devices."""
    return CudaRecorder(device) if device.type == "cuda" else None


@dataclass(frozen=True, eq=False)
class _Recording:
    images: Tensor
    targets: Tensor
    keys: list[Tensor]  # of each dropout layer
    replay: Replay
    numbers: Tensor
    gradients: list[tuple[Tensor, Tensor]]  # of each parameter that has one


class StepGraphs:
    """The recordings of one network.

    Args:
        batch_size: of the batches that are worth a recording; the last one of an epoch may be shorter.
        gradients: computes the gradients of a batch and returns its numbers.
        also: tensors that it changes, besides the buffers of the network.
    """

    def __init__(
        self,
        model: Network,
        recorder: Recorder,
        batch_size: int,
        gradients: Callable[[Tensor, Tensor], Tensor],
        also: tuple[Tensor, ...] = (),
    ):
        self._model, self._recorder, self._batch_size = model, recorder, batch_size
        self._gradients, self._also = gradients, also
        self._recordings: dict[Any, _Recording] = {}
        self.failure: str | None = None  # why nothing is recorded any more

    def fits(self, images: Tensor) -> bool:
        """Whether a batch is of the full size, and nothing in the network wants to see its values at every step."""
        if self.failure is not None or len(images) != self._batch_size:
            return False
        hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        keyed = all(isinstance(m.key, Tensor) and m.rows is None for m in self._dropouts() if m.p > 0)
        return keyed and not any(getattr(module, hook) for module in self._model.modules() for hook in hooks)

    def run(self, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the gradients of a batch, sets them, and returns its numbers; see `fits`."""
        key = (images.shape, images.dtype, images.stride(), targets.shape)
        if key not in self._recordings:
            try:
                self._recordings[key] = self._record(images, targets)
            except RuntimeError as error:
                self.failure = str(error).strip().partition("\n")[0]
                self._clear()
                return self._gradients(images, targets)
        found = self._recordings[key]
        found.images.copy_(images)
        found.targets.copy_(targets)
        for fixed, layer in zip(found.keys, self._dropouts(), strict=True):
            if isinstance(layer.key, Tensor):
                fixed.copy_(layer.key)
        found.replay()
        self._clear()
        for parameter, gradient in found.gradients:
            parameter.grad = gradient
        return found.numbers

    def _record(self, images: Tensor, targets: Tensor) -> _Recording:
        parameters = [p for p in self._model.parameters() if p.requires_grad]
        changed = [*self._model.buffers(), *self._also]
        before = [tensor.clone() for tensor in changed]
        fixed = images.clone(memory_format=torch.preserve_format), targets.clone()
        drawn = [layer.key for layer in self._dropouts()]
        keys = [torch.zeros((), dtype=torch.int64, device=images.device) for _ in drawn]
        with_gradient: list[Tensor] = []

        def work() -> list[Tensor]:
            self._clear()
            numbers = self._gradients(*fixed)
            with_gradient[:] = [p for p in parameters if p.grad is not None]
            return [numbers, *(p.grad for p in with_gradient if p.grad is not None)]

        try:
            for layer, key in zip(self._dropouts(), keys, strict=True):
                layer.key = key
            replay, (numbers, *gradients) = self._recorder.record(work)
        finally:
            for layer, old in zip(self._dropouts(), drawn, strict=True):
                layer.key = old
            with torch.no_grad():
                for tensor, value in zip(changed, before, strict=True):
                    tensor.copy_(value)
        return _Recording(*fixed, keys, replay, numbers, list(zip(with_gradient, gradients, strict=True)))

    def _clear(self) -> None:
        for parameter in self._model.parameters():
            parameter.grad = None

    def _dropouts(self) -> list[Dropout]:
        return [module for module in self._model.modules() if isinstance(module, Dropout)]
