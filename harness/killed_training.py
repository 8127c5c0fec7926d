"""A process that trains, to be killed; started through multiprocessing."""

from pathlib import Path

import torch

from alexnet.data.dataset import open_prepared
from alexnet.runs.run import open_run
from alexnet.training.loop import train


def go_on(folder: str, prepared: str, save_seconds: float) -> None:
    """Trains a run to its end from where it stands."""
    torch.set_num_threads(1)
    run, pictures = open_run(Path(folder)), open_prepared(Path(prepared))
    train(run, pictures, device=torch.device("cpu"), save_seconds=save_seconds)
