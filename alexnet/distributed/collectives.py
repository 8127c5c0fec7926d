"""Collective operations between the processes of one run: all-reduce, gather and broadcast, with bytes sent counted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from alexnet.errors import ResourceError

Scheme = Literal["none", "data", "towers", "hybrid"]
T = TypeVar("T")

CHUNK = 2**20  # elements of a gradient that are gathered at a time in the exact mode; changes no result


class ProcessGroup:
    """The processes that train one run, as seen by one of them; by default a single process.

    Args:
        scheme: what is divided among the processes: nothing, the images of a step (data), the network (towers), or
            the images up to the fully connected layers and the units from there on (hybrid).
        rank: number of this process. Rank 0 is the main process: only it writes files and prints messages.
        size: world size, the number of processes.
        micro_batch: images in a micro-batch. The gradients of micro-batches are summed in a fixed order, so that the
            number of processes changes no bit. 0: no micro-batches, the fastest order.

    With a world size above 1, the default process group of torch.distributed must exist.
    """

    def __init__(self, scheme: Scheme = "none", rank: int = 0, size: int = 1, *, micro_batch: int = 0):
        self.scheme, self.rank, self.size, self.micro_batch = scheme, rank, size, micro_batch
        self.sent: Counter[str] = Counter()  # bytes of payload that this process sent, by what they hold

    def __deepcopy__(self, memo: Any) -> "ProcessGroup":
        return self  # a copy of a network uses the same processes

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, which writes the run folder and prints messages."""
        return self.rank == 0

    @property
    def is_single(self) -> bool:
        """Whether training is that of one process, without micro-batches."""
        return self.size == 1 and not self.micro_batch

    @property
    def described(self) -> str:
        """What the bits of a result depend on, in words.

        Checkpoints store it among their conditions, and a resumed run compares it: the words must stay as they are.
        """
        if self.micro_batch:
            return f"any number, exact in pieces of {self.micro_batch}"
        return "1" if self.size == 1 else f"{self.size}, {self.scheme}"

    def part(self, count: int, rank: int | None = None) -> slice:
        """The slice of `count` images, units or weights that a process has; rank None: this process."""
        rank = self.rank if rank is None else rank
        return slice(count * rank // self.size, count * (rank + 1) // self.size)

    def widths(self, count: int) -> list[int]:
        """How many of `count` each process has, by rank."""
        return [part.stop - part.start for part in (self.part(count, rank) for rank in range(self.size))]

    def micro_batches(self, count: int) -> list[tuple[int, slice]]:
        """The micro-batches of this process in a batch of `count`: position in the sum, and rows of the batch.

        Without the exact mode a process has one.
        """
        if self.scheme not in ("data", "hybrid") and not self.micro_batch:
            return [(0, slice(0, count))]
        if not self.micro_batch:
            return [(self.rank, self.part(count))]
        number = micro_batch_count(count, self.micro_batch)
        positions = range(number * self.rank // self.size, number * (self.rank + 1) // self.size)
        return [(i, slice(i * self.micro_batch, min((i + 1) * self.micro_batch, count))) for i in positions]

    def rows(self, count: int) -> slice:
        """The images of a batch of `count` that this process computes."""
        micro_batches = self.micro_batches(count)
        return slice(micro_batches[0][1].start, micro_batches[-1][1].stop) if micro_batches else slice(0, 0)

    @contextmanager
    def watched(self, what: str) -> Iterator[None]:
        """Turns a failed call of torch.distributed inside the block into an error with a code.

        Args:
            what: what is being sent.

        Raises:
            ResourceError: another process died, or did not answer in time.
        """
        try:
            yield
        except RuntimeError as error:
            message = str(error).splitlines()[0].lower()
            reason = "did not answer in time" if "timed out" in message or "timeout" in message else "is gone"
            raise ResourceError(
                f"another process {reason} ({what}, process {self.rank} of {self.size})",
                fix="The saved checkpoints are kept. Resume with alexnet resume RUN; --max-restarts does it "
                "automatically. If a process only needs more time, use a larger --hang-seconds.",
                code="E510",
            ) from error

    def all_reduce(self, tensor: Tensor, what: str = "tensor") -> Tensor:
        """Replaces a tensor with its sum over all processes, and returns it."""
        if self.size > 1:
            self.sent[what] += 2 * (self.size - 1) * tensor.nbytes // self.size
            with self.watched(what):
                dist.all_reduce(tensor)
        return tensor

    def begin_all_reduce(self, tensor: Tensor, what: str) -> list[dist.Work]:
        """Starts to replace a tensor with its sum over all processes; `finish` waits for it."""
        self.sent[what] += 2 * (self.size - 1) * tensor.nbytes // self.size
        with self.watched(what):
            work = dist.all_reduce(tensor, async_op=True)
        return [] if work is None else [work]

    def begin_exchange(
        self, outgoing: Mapping[int, Tensor], incoming: Mapping[int, Tensor], what: str
    ) -> list[dist.Work]:
        """Starts to send a tensor to each process and to receive one from each; `finish` waits for it.

        Args:
            outgoing: tensors to send, by rank.
            incoming: tensors to receive into, by rank.

        The tensor for this process itself and empty tensors are not sent. All tensors must be contiguous, and must not
        be read or written until the exchange is finished.
        """
        operations = []
        for operation, tensors in ((dist.isend, outgoing), (dist.irecv, incoming)):
            for rank, tensor in tensors.items():
                if rank != self.rank and tensor.numel():
                    operations.append(dist.P2POp(operation, tensor, rank))
                    self.sent[what] += tensor.nbytes if operation is dist.isend else 0
        with self.watched(what):
            return list(dist.batch_isend_irecv(operations)) if operations else []

    def finish(self, works: Iterable[dist.Work], what: str) -> None:
        """Waits for operations that were started."""
        with self.watched(what):
            for work in works:
                work.wait()

    def all_reduce_max(self, *numbers: float) -> list[float]:
        """The maximum of each number over all processes."""
        if self.size == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64)
        self.sent["signals"] += 2 * (self.size - 1) * tensor.nbytes // self.size
        with self.watched("signals"):
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [float(number) for number in tensor]

    def all_gather(self, tensor: Tensor, what: str) -> list[Tensor]:
        """The tensors of all processes, in order of rank; all have the same shape."""
        if self.size == 1:
            return [tensor]
        tensor = tensor.contiguous()
        out = [torch.empty_like(tensor) for _ in range(self.size)]
        self.sent[what] += (self.size - 1) * tensor.nbytes
        with self.watched(what):
            dist.all_gather(out, tensor)
        return out

    def all_gather_objects(self, value: T) -> list[T]:
        """The values of all processes, in order of rank; for small objects."""
        if self.size == 1:
            return [value]
        out: list[Any] = [None] * self.size
        with self.watched("settings"):
            dist.all_gather_object(out, value)
        return out

    def broadcast(self, value: T) -> T:
        """The value of the main process; for small objects."""
        if self.size == 1:
            return value
        values: list[Any] = [value]
        with self.watched("settings"):
            dist.broadcast_object_list(values)
        received: T = values[0]
        return received

    def broadcast_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the main process, by name; the other processes pass {}."""
        if self.size == 1:
            return tensors
        out = {}
        for name, (shape, dtype) in self.broadcast({n: (t.shape, t.dtype) for n, t in tensors.items()}).items():
            out[name] = tensors[name].contiguous() if self.is_main else torch.empty(shape, dtype=dtype)
            with self.watched("checkpoint"):
                dist.broadcast(out[name], 0)
        return out


def micro_batch_count(count: int, micro_batch: int) -> int:
    """Number of micro-batches of `micro_batch` images in a batch of `count`; the last may be smaller."""
    return -(-count // micro_batch)


def all_reduce_gradients(group: ProcessGroup, parameters: Sequence[Tensor]) -> None:
    """Replaces the gradient of every parameter with its sum over the processes, in one message."""
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    if group.size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    # Flattened in memory order, so that a channels_last gradient is copied without reordering.
    flat = torch.cat([in_memory(g) for g in gradients])
    group.all_reduce(flat, "gradients")
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        in_memory(gradient).copy_(part)


@contextmanager
def all_reduce_during_backward(group: ProcessGroup, parameters: Sequence[Tensor]) -> Iterator[None]:
    """Sums each gradient over the processes during a backward pass inside the block, as soon as it is computed.

    All processes must start these sums in the same order: from the last parameter to the first, which is roughly the
    order in which a backward pass computes the gradients.
    """
    pending = list(parameters)
    works: list[dist.Work] = []

    def begin_sums(_: Tensor) -> None:
        while pending and (gradient := pending[-1].grad) is not None:
            pending.pop()
            works.extend(group.begin_all_reduce(in_memory(gradient), "gradients"))

    hooks = [p.register_post_accumulate_grad_hook(begin_sums) for p in parameters]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    group.finish(works, "gradients")


def all_reduce_in_order(
    group: ProcessGroup,
    parameters: Sequence[Tensor],
    micro_batches: Sequence[tuple[int, Sequence[Tensor]]],
    number: int,
) -> None:
    """Gives every parameter the sum of the gradients of all micro-batches, added in the order of the micro-batches.

    Args:
        micro_batches: those of this process: position in the sum, and a gradient for every parameter.
        number: micro-batches of all processes together; process r has those from number * r // size on.
    """
    ends = [number * rank // group.size for rank in range(group.size + 1)]
    largest_count = max(end - start for start, end in pairwise(ends))
    for i, parameter in enumerate(parameters):
        flats = [in_memory(gradients[i]) for _, gradients in micro_batches]
        total = torch.zeros_like(parameter)
        for start in range(0, parameter.numel(), CHUNK):
            length = min(CHUNK, parameter.numel() - start)
            own_chunks = torch.zeros(largest_count, length, dtype=parameter.dtype, device=parameter.device)
            for chunk, flat in zip(own_chunks, flats, strict=False):
                chunk.copy_(flat[start : start + length])
            out = in_memory(total)[start : start + length]
            for rank, chunks in enumerate(group.all_gather(own_chunks, "gradients")):
                for chunk in chunks[: ends[rank + 1] - ends[rank]]:
                    out.add_(chunk)
        parameter.grad = total


def in_memory(tensor: Tensor) -> Tensor:
    """The elements of a dense tensor in memory order: (n,), a view of the same memory."""
    return tensor.detach().as_strided((tensor.numel(),), (1,), tensor.storage_offset())
