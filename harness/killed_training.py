"""Training in a process that a test kills; started with multiprocessing."""

from pathlib import Path

import torch

from alexnet.data.dataset import open_prepared
from alexnet.runs.run import open_run
from alexnet.training.loop import train


def go_on(folder: str, prepared: str, save_seconds: float, device: str = "cpu") -> None:
    """Trains a run from its last checkpoint to its end."""
    torch.set_num_threads(1)
    run, images = open_run(Path(folder)), open_prepared(Path(prepared))
    train(run, images, device=torch.device(device), save_seconds=save_seconds)
