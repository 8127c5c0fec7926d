"""What the speed benchmarks share: interleaved rounds, medians, and a record of where they were taken."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from alexnet.runs.environment import commit, processor_name

RESULTS = Path(__file__).parent / "results"
WRITTEN = ("benchmarks/results", "benchmarks/RESULTS.md")  # by the benchmarks themselves


def interleaved(
    variants: Mapping[str, Callable[[], float]], rounds: int, enough: Callable[[], bool] = lambda: False
) -> dict[str, float]:
    """Median seconds of each, one after the other in every round, so that a slow minute hits all alike.

    Each function returns its own seconds; the first round warms up and does not count.

    Args:
        enough: asked after every round that counts, whether to stop before there are `rounds` of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            seconds[name].append(run())
        if number and enough():
            break
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def machine() -> dict[str, Any]:
    """Processor, versions and commit."""
    import numba

    cpu = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numba": numba.__version__,
        "python": platform.python_version(),
        "commit": commit(WRITTEN),
    }


def report(name: str, rows: list[dict[str, Any]], out: Path | None) -> None:
    """Prints the rows as a table and writes them with the machine to results/NAME.json."""
    columns = list(rows[0])
    texts = [columns, *([f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows)]
    widths = [max(len(text[i]) for text in texts) for i in range(len(columns))]
    for text in texts:
        print("  ".join(cell.ljust(width) for cell, width in zip(text, widths, strict=True)).rstrip())
    path = out or RESULTS / f"{name}.json"
    rounded = [{k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    path.write_text(json.dumps({"machine": machine(), "rows": rounded}, indent=2) + "\n")


def circumstances() -> dict[str, Any]:
    """Where and when a row of a result file is measured."""
    return {
        "threads": torch.get_num_threads(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "commit": commit(["benchmarks/results"]),
        "date": time.strftime("%Y-%m-%d"),
    }
