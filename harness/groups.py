"""Process groups that train one run: starting them, and comparing their checkpoints."""

import json
import os
import subprocess
import sys
from pathlib import Path

from alexnet.runs.checkpoint import load_checkpoint
from alexnet.runs.run import open_run
from harness import ROOT


def start_teams(folder: Path, jobs: dict[int, list]) -> dict[int, list[list]]:
    """Runs jobs in process groups of several sizes, the smallest first.

    The groups use the same processes, because starting a process takes longer than its jobs.

    Args:
        jobs: by world size.

    Returns:
        By world size: for each process, the result of each job.
    """
    sizes = sorted(jobs)
    (folder / "jobs.json").write_text(json.dumps([(size, jobs[size]) for size in sizes]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "harness.group_worker"]
    processes = [
        subprocess.Popen([*command, str(rank), str(folder)], env=environment, cwd=ROOT, stderr=subprocess.PIPE)
        for rank in range(sizes[-1])
    ]
    errors = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * sizes[-1], errors
    return {
        size: [json.loads((folder / f"results-{size}-{rank}.json").read_text()) for rank in range(size)]
        for size in sizes
    }


def start_team(folder: Path, size: int, jobs: list) -> list[list]:
    """Runs jobs in one process group; returns for each process the result of each job."""
    return start_teams(folder, {size: jobs})[size]


def stored(folder: Path):
    checkpoint = load_checkpoint(open_run(folder))
    assert checkpoint is not None
    return checkpoint


def farthest(one: Path, other: Path) -> float:
    """The largest difference between tensors of two checkpoints, relative to the largest value of the tensor."""
    ours, theirs = stored(one).tensors, stored(other).tensors
    assert ours.keys() == theirs.keys()
    differences = [
        float((t.double() - theirs[name].double()).abs().max() / t.double().abs().max().clamp(min=1e-6))
        for name, t in ours.items()
        if name != "guard"
    ]
    return max(differences)
