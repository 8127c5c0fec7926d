"""Process groups that train one run: starting them, and comparing their checkpoints."""

import json
import os
import sys
from pathlib import Path

from alexnet.runs.checkpoint import load_checkpoint
from alexnet.runs.run import open_run
from harness.forking import Copy


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
    command = (sys.executable, "-m", "harness.group_worker")
    said = [folder / f"said-{rank}" for rank in range(sizes[-1])]
    processes = [
        Copy((*command, str(rank), str(folder)), path, {**environment, "RANK": str(rank)})
        for rank, path in enumerate(said)
    ]
    codes = [process.wait() for process in processes]
    assert codes == [0] * sizes[-1], [path.read_text() for path in said]
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
