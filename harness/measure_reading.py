"""Reads images one by one, each in its own process, and prints the outcome, the memory and the processor time of each.

    python -m harness.measure_reading [--once] FILE ...

With --once only `read_image` reads them. It prints a line of JSON for each file and function: the outcome ("pixels"
or the error message), the megabytes by which the peak memory grew, of the process or of one that it has started,
whichever is more, and the processor seconds of both. For a process that crashes there is no line.
"""

import json
import os
import resource
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet.data.image_guard import stop_guards
from alexnet.data.images import prepare_image, read_image
from alexnet.errors import DataError
from harness.image_files import saved

START_MB = 45  # of the process that decodes, before it decodes anything


def peak_mb(who: int = resource.RUSAGE_SELF) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def cost_of(call: Callable[[], object]) -> dict[str, object]:
    """What a call says, and what it costs; in a process that has done nothing else."""
    start, seconds = peak_mb(), cpu_seconds()
    try:
        call()
        outcome = "pixels"
    except DataError as error:
        outcome = error.what
    stop_guards()
    megabytes = max(peak_mb() - start, peak_mb(resource.RUSAGE_CHILDREN) - START_MB)
    return {"outcome": outcome, "mb": round(megabytes, 1), "cpu": round(cpu_seconds() - seconds, 2)}


def measure(path: Path, read: Callable[[Path], object]) -> None:
    result = {"name": path.name, "call": read.__name__} | cost_of(lambda: read(path))
    print(json.dumps(result), flush=True)


def main() -> None:
    warnings.simplefilter("ignore")
    Image.init()
    prepare_image(np.zeros((8, 8, 3), np.uint8))
    prepare_image(saved(Image.new("L", (8, 8)), "PNG"))  # before the first measurement
    once = sys.argv[1:2] == ["--once"]
    for name in sys.argv[1 + once :]:
        for read in (read_image,) if once else (read_image, prepare_image):
            child = os.fork()
            if child == 0:
                measure(Path(name), read)
                os._exit(0)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
