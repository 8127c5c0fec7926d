"""Groups of processes that train one run, started and compared."""

import json
import os
import subprocess
import sys
from pathlib import Path

from alexnet.runs.checkpoint import load_checkpoint
from alexnet.runs.run import open_run
from harness import ROOT


def start_teams(folder: Path, jobs: dict[int, list]) -> dict[int, list[list]]:
    """Runs jobs in so many processes, the smallest team first; what each process says.

    The teams share processes: to start one costs more than what it then does.
    """
    sizes = sorted(jobs)
    (folder / "jobs.json").write_text(json.dumps([(size, jobs[size]) for size in sizes]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "harness.group_worker"]
    processes = [
        subprocess.Popen([*command, str(rank), str(folder)], env=environment, cwd=ROOT, stderr=subprocess.PIPE)
        for rank in range(sizes[-1])
    ]
    said = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * sizes[-1], said
    return {
        size: [json.loads((folder / f"said-{size}-{rank}.json").read_text()) for rank in range(size)] for size in sizes
    }


def start_team(folder: Path, size: int, jobs: list) -> list[list]:
    """Runs jobs in `size` processes; what each of them says."""
    return start_teams(folder, {size: jobs})[size]


def stored(folder: Path):
    checkpoint = load_checkpoint(open_run(folder))
    assert checkpoint is not None
    return checkpoint


def farthest(one: Path, other: Path) -> float:
    """The largest difference of a tensor of two checkpoints, over its largest number."""
    ours, theirs = stored(one).tensors, stored(other).tensors
    assert ours.keys() == theirs.keys()
    differences = [
        float((t.double() - theirs[name].double()).abs().max() / t.double().abs().max().clamp(min=1e-6))
        for name, t in ours.items()
        if name != "guard"
    ]
    return max(differences)
