"""What files of weights and requests cost: processor seconds and peak memory, beside those of something harmless."""

import contextlib
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from alexnet.errors import AlexNetError
from alexnet.weights.identify import identify
from harness.measure_reading import cpu_seconds, peak_mb
from harness.service_process import Process, answer_of, connect
from harness.service_process import in_a_process as service
from harness.weights_bombs import saved
from studies.robustness.service_seen import CPU, small

Wanted = Sequence[tuple[str, Any, int]]  # name, how it is made, whether it is innocent
Measured = Iterator[tuple[str, bool, dict[str, Any]]]


def in_a_process(work: Callable[[], object]) -> Any:
    """What a call returns that is made in a copy of this process; None if that died."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            content = pickle.dumps(work())
            with os.fdopen(writes, "wb") as file:
                file.write(content)
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as file:
        content = file.read()
    os.waitpid(child, 0)
    return pickle.loads(content) if content else None


# --- weights ---------------------------------------------------------------------------------------------------------


def of_weights(wanted: Wanted) -> Measured:
    """Reads each file as `alexnet identify` does, in a process of its own.

    Pickles are opened by a further process, which imports PyTorch first; what that costs for a file of nothing is not
    counted.
    """
    import resource

    def cost(path: Path, start: float) -> dict[str, Any]:
        own, seconds = peak_mb(), cpu_seconds()
        try:
            identify(path)
            outcome = "weights"
        except AlexNetError as error:
            # That it is no network that we know is found when all has been read.
            outcome = "weights" if error.code.startswith("E2") else error.what.replace(str(path), "the file")
        children = peak_mb(resource.RUSAGE_CHILDREN)
        megabytes = max(peak_mb() - own, children - start if children else 0)
        return {"outcome": outcome[:200], "mb": round(megabytes, 1), "cpu": round(cpu_seconds() - seconds, 2)}

    with tempfile.TemporaryDirectory() as folder:
        nothing = Path(folder) / "nothing.pth"
        nothing.write_bytes(saved(1, 1))
        idle = in_a_process(lambda: cost(nothing, 0))
        for name, (ending, make), innocent in wanted:
            path = Path(folder) / f"file{ending}"
            in_a_process(lambda path=path, make=make: path.write_bytes(make()))  # type: ignore[misc]
            found = in_a_process(lambda path=path: cost(path, idle["mb"]))  # type: ignore[misc]
            if ending in (".pth", ".npy"):
                found["cpu"] = round(max(0.0, found["cpu"] - idle["cpu"]), 2)
            yield name, bool(innocent), {"bytes": path.stat().st_size, **found}


# --- requests --------------------------------------------------------------------------------------------------------


def of_requests(wanted: Wanted) -> Measured:
    """Sends each request to one service."""
    with tempfile.TemporaryDirectory() as folder, service(small(Path(folder)), *CPU) as server:
        for _, make, innocent in wanted:
            if innocent:
                _sent(server, make())  # the first loads what the next have ready
        for name, make, innocent in wanted:
            content = make()
            yield name, bool(innocent), {"bytes": len(content), **_cost_of_request(server, content)}


def _sent(server: Process, content: bytes) -> str:
    """The status of the answer; "closed" if there is none."""
    with connect(server.port) as connection:
        with contextlib.suppress(OSError):  # it was answered before all was read
            connection.sendall(content)
        try:
            return str(answer_of(connection).status)
        except (OSError, IndexError):
            return "closed"


def _cost_of_request(server: Process, content: bytes) -> dict[str, Any]:
    processes = _family(server.process.pid)
    for pid in processes:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # sets the peak back to what it has
    before = {pid: _resident(pid, "VmRSS") for pid in processes}
    seconds = _processor_seconds(server.process.pid)
    outcome = _sent(server, content)
    after = _family(server.process.pid)
    grown = sum(max(0.0, _resident(pid, "VmHWM") - before.get(pid, 0.0)) for pid in after)
    used = _processor_seconds(server.process.pid) - seconds
    return {"outcome": outcome, "mb": round(grown, 1), "cpu": round(used, 2)}


def _family(pid: int) -> list[int]:
    """A process and those that it has started."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(each for path in children for child in path.read_text().split() for each in _family(int(child)))]


def _resident(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def _processor_seconds(pid: int) -> float:
    """Of a process, those that it has started, and those that have ended."""
    total = 0.0
    for number, each in enumerate(_family(pid)):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks = fields[11:15] if number == 0 else fields[11:13]  # user, system; of children that have ended
        total += sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return total
