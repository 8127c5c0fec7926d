"""Reads images one by one, each in its own process, and prints the outcome and the memory that it took.

    python -m harness.measure_reading FILE ...

It prints a line of JSON for each file and function: the outcome ("pixels" or the error message) and the megabytes by
which the peak memory grew. For a process that crashes there is no line.
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

from alexnet.data.images import prepare_image, read_image
from alexnet.errors import DataError


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(path: Path, read: Callable[[Path], object]) -> None:
    start = peak_mb()
    try:
        read(path)
        outcome = "pixels"
    except DataError as error:
        outcome = error.what
    result = {"name": path.name, "call": read.__name__, "outcome": outcome, "mb": peak_mb() - start}
    print(json.dumps(result), flush=True)


def main() -> None:
    warnings.simplefilter("ignore")
    Image.init()
    prepare_image(np.zeros((8, 8, 3), np.uint8))
    for name in sys.argv[1:]:
        for read in (read_image, prepare_image):
            child = os.fork()
            if child == 0:
                measure(Path(name), read)
                os._exit(0)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
