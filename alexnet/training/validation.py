"""The validation split during a run: its predictions must be finite."""

import math
from typing import Any

from alexnet.data.dataset import Prepared, validation_split
from alexnet.distributed.collectives import ProcessGroup
from alexnet.evaluation.evaluate import Evaluation, evaluate
from alexnet.models.network import Network
from alexnet.runs.run import RunFolder
from alexnet.training.divergence import diverged, first_bad_tensor
from alexnet.training.step import group_predictor


def validation_images(prepared: Prepared) -> int | None:
    """The number of images that choose the best checkpoint; None if there are none."""
    split = validation_split(prepared)
    return None if split is None else len(prepared.splits[split])


def validated(
    network: Network, prepared: Prepared, split: str, run: RunFolder, group: ProcessGroup, facts: dict[str, Any]
) -> Evaluation:
    """The evaluation of a network at the end of an epoch.

    Args:
        facts: step and epoch, for the report of a run that diverged.

    Raises:
        DivergedError: the predictions are not finite.
    """
    result = evaluate(
        network,
        prepared,
        split,
        class_names=run.class_names,
        precision=run.recipe.precision,
        predict=group_predictor(group),
    )
    if not math.isfinite(result.log_loss):
        what = f"the predictions on {split} are not finite after epoch {facts['epoch']}"
        bad = first_bad_tensor(dict(network.named_parameters()))
        raise diverged(run.folder, what, bad, facts, run.recipe.optim.lr)
    return result
