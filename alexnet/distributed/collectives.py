"""What the processes of one run tell each other: sums, rows and values, with the bytes that each sends counted."""

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

CHUNK = 2**20  # numbers of each gradient that are gathered at a time in the exact mode; changes no result


class ProcessGroup:
    """The processes of a run as one of them sees them; by default it is alone.

    Args:
        scheme: what is divided among them: nothing, the pictures of a step (data), the network (towers), or the
            pictures up to the fully connected layers and the units of those (hybrid).
        rank: which of them this is; 0 leads: it alone writes and speaks.
        size: how many there are.
        piece: pictures of the micro-batches whose gradients are summed in order, so that the number of processes
            changes no bit; 0: whatever is fastest.

    With more than one, the default process group of torch.distributed must stand.
    """

    def __init__(self, scheme: Scheme = "none", rank: int = 0, size: int = 1, *, micro_batch: int = 0):
        self.scheme, self.rank, self.size, self.micro_batch = scheme, rank, size, micro_batch
        self.sent: Counter[str] = Counter()  # bytes of payload that left this process, by what they were

    def __deepcopy__(self, memo: Any) -> "ProcessGroup":
        return self  # a copy of a network talks to the same processes

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run folder and speaks."""
        return self.rank == 0

    @property
    def is_single(self) -> bool:
        """Whether training is what it is without any of this."""
        return self.size == 1 and not self.micro_batch

    @property
    def described(self) -> str:
        """What the bits of a result hang on."""
        if self.micro_batch:
            return f"any number, exact in pieces of {self.micro_batch}"
        return "1" if self.size == 1 else f"{self.size}, {self.scheme}"

    def part(self, count: int, rank: int | None = None) -> slice:
        """The pictures, units or weights of `count` that fall to a process; None: to this one."""
        rank = self.rank if rank is None else rank
        return slice(count * rank // self.size, count * (rank + 1) // self.size)

    def widths(self, count: int) -> list[int]:
        """How many of `count` fall to each process."""
        return [part.stop - part.start for part in (self.part(count, rank) for rank in range(self.size))]

    def micro_batches(self, count: int) -> list[tuple[int, slice]]:
        """The micro-batches of this process in a batch of `count`: the place of each in the sum, and its rows.

        Without the exact mode it is one.
        """
        if self.scheme not in ("data", "hybrid") and not self.micro_batch:
            return [(0, slice(0, count))]
        if not self.micro_batch:
            return [(self.rank, self.part(count))]
        number = micro_batch_count(count, self.micro_batch)
        mine = range(number * self.rank // self.size, number * (self.rank + 1) // self.size)
        return [(i, slice(i * self.micro_batch, min((i + 1) * self.micro_batch, count))) for i in mine]

    def rows(self, count: int) -> slice:
        """The pictures of a batch of `count` that this process looks at."""
        micro_batches = self.micro_batches(count)
        return slice(micro_batches[0][1].start, micro_batches[-1][1].stop) if micro_batches else slice(0, 0)

    @contextmanager
    def watched(self, what: str) -> Iterator[None]:
        """Within it a call of torch.distributed that fails is a mistake with a name.

        Raises:
            ResourceError: another process died, or did not answer in time.
        """
        try:
            yield
        except RuntimeError as error:
            said = str(error).splitlines()[0]
            slow = "timed out" in said.lower() or "timeout" in said.lower()
            happened = "did not answer in time" if slow else "is gone"
            raise ResourceError(
                f"another process {happened} ({what}, process {self.rank} of {self.size})",
                fix="What was saved stays: alexnet resume RUN goes on, and --max-restarts does it by itself. A process "
                "that only needs longer: a larger --hang-seconds.",
                code="E510",
            ) from error

    def all_reduce(self, tensor: Tensor, what: str = "numbers") -> Tensor:
        """Replaces a tensor by its sum over all processes, and returns it."""
        if self.size > 1:
            self.sent[what] += 2 * (self.size - 1) * tensor.nbytes // self.size
            with self.watched(what):
                dist.all_reduce(tensor)
        return tensor

    def begin_all_reduce(self, tensor: Tensor, what: str) -> list[dist.Work]:
        """Begins to replace a tensor by its sum over all processes; see `finish`."""
        self.sent[what] += 2 * (self.size - 1) * tensor.nbytes // self.size
        with self.watched(what):
            work = dist.all_reduce(tensor, async_op=True)
        return [] if work is None else [work]

    def begin_exchange(
        self, outgoing: Mapping[int, Tensor], incoming: Mapping[int, Tensor], what: str
    ) -> list[dist.Work]:
        """Begins to send a tensor to each process and to fill one from each, by rank; see `finish`.

        Own and empty ones stay where they are. All are contiguous, and not touched until it is finished.
        """
        calls = []
        for operation, tensors in ((dist.isend, outgoing), (dist.irecv, incoming)):
            for rank, tensor in tensors.items():
                if rank != self.rank and tensor.numel():
                    calls.append(dist.P2POp(operation, tensor, rank))
                    self.sent[what] += tensor.nbytes if operation is dist.isend else 0
        with self.watched(what):
            return list(dist.batch_isend_irecv(calls)) if calls else []

    def finish(self, works: Iterable[dist.Work], what: str) -> None:
        """Waits for what was begun."""
        with self.watched(what):
            for work in works:
                work.wait()

    def all_reduce_max(self, *numbers: float) -> list[float]:
        """The largest of each number over all processes."""
        if self.size == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64)
        self.sent["signals"] += 2 * (self.size - 1) * tensor.nbytes // self.size
        with self.watched("signals"):
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [float(number) for number in tensor]

    def all_gather(self, tensor: Tensor, what: str) -> list[Tensor]:
        """The tensors of all processes, of one shape, in order."""
        if self.size == 1:
            return [tensor]
        tensor = tensor.contiguous()
        out = [torch.empty_like(tensor) for _ in range(self.size)]
        self.sent[what] += (self.size - 1) * tensor.nbytes
        with self.watched(what):
            dist.all_gather(out, tensor)
        return out

    def all_gather_objects(self, value: T) -> list[T]:
        """The small values of all processes, in order."""
        if self.size == 1:
            return [value]
        out: list[Any] = [None] * self.size
        with self.watched("settings"):
            dist.all_gather_object(out, value)
        return out

    def broadcast(self, value: T) -> T:
        """The small value of the leader."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        with self.watched("settings"):
            dist.broadcast_object_list(box)
        shared: T = box[0]
        return shared

    def broadcast_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The named tensors of the leader; others give {}."""
        if self.size == 1:
            return tensors
        out = {}
        for name, (shape, dtype) in self.broadcast({n: (t.shape, t.dtype) for n, t in tensors.items()}).items():
            out[name] = tensors[name].contiguous() if self.is_main else torch.empty(shape, dtype=dtype)
            with self.watched("checkpoint"):
                dist.broadcast(out[name], 0)
        return out


def micro_batch_count(count: int, micro_batch: int) -> int:
    """Micro-batches of `micro_batch` pictures in a batch of `count`; the last may be smaller."""
    return -(-count // micro_batch)


def all_reduce_gradients(group: ProcessGroup, parameters: Sequence[Tensor]) -> None:
    """Replaces the gradient of every parameter by its sum over the processes, in one message."""
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    if group.size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    # Flat in the order of memory, so that a channels_last gradient is copied straight.
    flat = torch.cat([in_memory(g) for g in gradients])
    group.all_reduce(flat, "gradients")
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        in_memory(gradient).copy_(part)


@contextmanager
def all_reduce_during_backward(group: ProcessGroup, parameters: Sequence[Tensor]) -> Iterator[None]:
    """Within it a backward pass begins to sum the gradient of each parameter over the processes as soon as it is there.

    Sums must begin in one order everywhere: from the last parameter to the first, as the gradients mostly come.
    """
    waiting = list(parameters)
    works: list[dist.Work] = []

    def arrived(_: Tensor) -> None:
        while waiting and (gradient := waiting[-1].grad) is not None:
            waiting.pop()
            works.extend(group.begin_all_reduce(in_memory(gradient), "gradients"))

    hooks = [p.register_post_accumulate_grad_hook(arrived) for p in parameters]  # type: ignore[no-untyped-call]
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
    """Gives every parameter the sum of the gradients of all pieces, added in the order of the pieces.

    Args:
        pieces: of this process: place in the sum, and a gradient for every parameter.
        number: of pieces of all processes together; process r has those from number * r // size on.
    """
    ends = [number * rank // group.size for rank in range(group.size + 1)]
    most = max(end - start for start, end in pairwise(ends))
    for i, parameter in enumerate(parameters):
        flats = [in_memory(gradients[i]) for _, gradients in micro_batches]
        total = torch.zeros_like(parameter)
        for start in range(0, parameter.numel(), CHUNK):
            length = min(CHUNK, parameter.numel() - start)
            mine = torch.zeros(most, length, dtype=parameter.dtype, device=parameter.device)
            for row, flat in zip(mine, flats, strict=False):
                row.copy_(flat[start : start + length])
            out = in_memory(total)[start : start + length]
            for rank, theirs in enumerate(group.all_gather(mine, "gradients")):
                for row in theirs[: ends[rank + 1] - ends[rank]]:
                    out.add_(row)
        parameter.grad = total


def in_memory(tensor: Tensor) -> Tensor:
    """The numbers of a dense tensor in the order in which they lie in memory: (n,), on the same memory."""
    return tensor.detach().as_strided((tensor.numel(),), (1,), tensor.storage_offset())
