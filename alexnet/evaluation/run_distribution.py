"""RUN/distribution.safetensors: what the training images of a run are like, measured once after training.

It belongs to certain weights, as calibration.json does; with others, in a run without it, and with a validation split
too small to set a threshold on, nothing is called none of these.
"""

from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from alexnet.data.dataset import Prepared
from alexnet.errors import UntrustedFileError
from alexnet.evaluation.classifier import answers_and_vectors
from alexnet.evaluation.out_of_distribution import Description, Floats, TrainingImages, describe, images_needed
from alexnet.models.network import Network, fingerprint
from alexnet.progress import ProgressCallback, silent
from alexnet.runs.run import RunFolder, read_sealed, sealing
from alexnet.storage.files import parse_json, write_file

FILE = "distribution.safetensors"
MOST_IMAGES = 1000  # of the training and of the validation split that are measured; more say little more


def measure_distribution(
    run: RunFolder, model: Network, prepared: Prepared, progress: ProgressCallback = silent
) -> TrainingImages | None:
    """Measures what the training images of a run are like and writes it; None if validation images are too few."""
    if "val" not in prepared.splits or len(prepared.splits["val"]) < images_needed():
        return None

    def vectors(split: str) -> list[Floats]:
        data = prepared.splits[split]
        chosen = np.sort(np.random.default_rng(0).permutation(len(data))[:MOST_IMAGES])

        def read(positions: NDArray[np.int64]) -> NDArray[np.uint8]:
            return data.read(chosen[positions])

        return answers_and_vectors(
            model, read, len(chosen), precision=run.recipe.precision, progress=progress, stage="comparing"
        )[1]

    found = describe(vectors("train"), vectors("val"))
    tensors: dict[str, NDArray[Any]] = {"validation": found.validation}
    for number, one in enumerate(found.descriptions):
        tensors |= {
            f"{number}.mean": one.mean,
            f"{number}.directions": one.directions.astype(np.float16),
            f"{number}.variances": one.variances,
            f"{number}.numbers": np.array([one.rest, one.center, one.scale]),
        }
    about = {"weights": fingerprint(model), "descriptions": str(len(found.descriptions))}
    with sealing(run, FILE):
        write_file(run.folder / FILE, safetensors.numpy.save(tensors, about))
    return found


def distribution_of(run: RunFolder, model: Network) -> TrainingImages | None:
    """Reads what the training images of a run are like; None if it was not measured, or for other weights than these.

    Raises:
        UntrustedFileError: E651, the file is damaged.
    """
    content = read_sealed(run, FILE)
    if content is None:
        return None
    try:
        length = int.from_bytes(content[:8], "little")
        about = parse_json(content[8 : 8 + length])["__metadata__"]
        tensors = safetensors.numpy.load(content)
        descriptions = tuple(_description(tensors, number) for number in range(int(about["descriptions"])))
        found, weights = TrainingImages(descriptions, tensors["validation"]), str(about["weights"])
        usable = len(descriptions) > 0 and found.validation.ndim == 1 and len(found.validation) > 0
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError):
        usable = False
    if not usable:
        raise UntrustedFileError(
            f"{run.folder / FILE} is not of a form that this version reads",
            fix="Remove it; then no image is called none of these.",
            code="E651",
        )
    return found if weights == fingerprint(model) else None


def _description(tensors: dict[str, NDArray[Any]], number: int) -> Description:
    mean, directions, variances = (tensors[f"{number}.{name}"] for name in ("mean", "directions", "variances"))
    rest, center, scale = map(float, tensors[f"{number}.numbers"])
    if directions.shape != (*variances.shape, *mean.shape) or min(rest, scale, *variances.tolist()) <= 0:
        raise ValueError(f"description {number} is of another form")
    return Description(mean, directions.astype(np.float32), variances, rest, center, scale)
