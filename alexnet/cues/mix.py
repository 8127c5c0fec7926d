"""Adds to a trained network what color and shape alone say, with weights that the validation images choose.

On few images a kernel classifier of colors or outlines may know what a network has not learned yet. The classifiers are
fitted on training images; how much each counts beside the network are two numbers, fitted on validation images by the
log loss. Where that gains nothing, nothing is added.
"""

import json
import math
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.cues.kernel import Choice, fit, squared_distances, typical_distance
from alexnet.cues.measure import MOST_TRAIN, chosen
from alexnet.data.dataset import Prepared, Split
from alexnet.evaluation.calibration import logarithms
from alexnet.evaluation.classifier import predict_probabilities
from alexnet.evaluation.views import central_view
from alexnet.models.cue_branch import FEATURES, PREFIX, kernel, square
from alexnet.models.network import Network
from alexnet.progress import ProgressCallback, silent
from alexnet.runs.checkpoint import CUE, load_model
from alexnet.runs.forms import foreign
from alexnet.runs.run import RunFolder, read_sealed, sealing
from alexnet.storage.files import parse_json, write_file
from alexnet.text import percent

FEWEST = 20  # validation images; two numbers fitted on fewer do harm too often (benchmarks/few_validation.py)
MOST_IMAGES = 2000  # of the validation images that are asked
GAIN = 2.0  # of the sum of the log loss, that each number has to earn (twice the one of Akaike's criterion)
LEAST_TRUST = 0.05  # of the factor of the network's logits; a network that knows nothing would ask for 0
# A narrow kernel and a firm penalty: others are no better, and ask for weights whose sums float32 does not hold well.
CHOICE = Choice(width=4.0, penalty=0.3, left_out=math.nan)
BLOCK = 100  # images described at once, which limits the memory


@dataclass(frozen=True)
class Mix:
    """What a cue adds to a network, and what came of it on the validation images."""

    weights: dict[str, float]  # color, shape: factor of what each says, beside the logits of the network; 0: nothing
    images: int  # validation images they were fitted on
    alone: float  # accuracy of the network there, in [0, 1]
    mixed: float

    def line(self) -> str:
        """What was decided, in one line."""
        used = " and ".join(name for name, weight in self.weights.items() if weight)
        if not used:
            return f"color and shape alone add nothing to the network ({self.images:,} validation images)"
        return (
            f"what {used} alone says is added to the network's answers: {percent(self.alone)} without, "
            f"{percent(self.mixed)} with, on the {self.images:,} validation images that chose how much"
        )


def mix_run(
    run: RunFolder, prepared: Prepared, *, device: torch.device | None = None, progress: ProgressCallback = silent
) -> Mix | None:
    """Fits the cues to the best network of a run and stores them, if its recipe says so and there are images enough."""
    classes = len(prepared.class_names)
    if run.recipe.cues != "mixed" or "val" not in prepared.splits or classes < 2:
        return None
    held_out = prepared.splits["val"]
    if len(held_out) < FEWEST or prepared.address is not None:
        return None
    network = load_model(run).place(device or torch.device("cpu"))
    network.cue = None
    train, precision = prepared.splits["train"], run.recipe.precision
    tensors, mix = mixed(*asked_of(network, train, held_out, classes, precision, progress))
    about = json.dumps({"weights": mix.weights, "images": mix.images, "alone": mix.alone, "mixed": mix.mixed})
    with sealing(run, CUE):
        write_file(run.folder / CUE, safetensors.torch.save(tensors, {"mix": about}))
    return mix


def mix_of(run: RunFolder) -> Mix | None:
    """What was added to the network of a run; None if that was not tried.

    Raises:
        UntrustedFileError: E651, the file is damaged; E6060, it is of another form.
    """
    content = read_sealed(run, CUE)
    if content is None:
        return None
    try:
        header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
        mix = Mix(**parse_json(header["__metadata__"]["mix"]))
        mix.line()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise foreign(run.folder / CUE, str(error)) from None
    return mix


def asked_of(
    network: Network,
    train: Split,
    held_out: Split,
    classes: int,
    precision: str = "float32",
    progress: ProgressCallback = silent,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, NDArray[np.float64]], NDArray[np.float64], NDArray[np.int64]]:
    """Fits the classifiers on training images and asks them and the network about validation images.

    Returns:
        cue -> the tensors of its classifier; cue -> what it says (N, classes); what the network says, as logarithms of
        probabilities (N, classes); the classes of the images (N,). N is 2,000 at most.
    """
    rows = chosen(train.labels, MOST_TRAIN)
    asked = np.sort(np.random.default_rng(0).permutation(len(held_out))[:MOST_IMAGES])
    seen, known = _described(network, train, rows, progress), _described(network, held_out, asked, progress)
    probabilities = predict_probabilities(
        network, lambda some: held_out.read(asked[some]), len(asked), precision=precision, progress=progress
    )
    labels, truth = train.labels[rows], held_out.labels[asked]
    says: dict[str, NDArray[np.float64]] = {}
    tensors: dict[str, dict[str, Tensor]] = {}
    for name, features in seen.items():
        distances = squared_distances(features, features)
        typical = typical_distance(distances)
        model = fit(distances / typical, labels, classes, CHOICE)
        width = CHOICE.width / typical
        weights = torch.from_numpy(np.asarray(model.weights - model.weights.mean(1, keepdims=True), np.float32))
        center = torch.from_numpy(features).mean(0)
        anchors = torch.from_numpy(features) - center
        says[name] = np.asarray(kernel(torch.from_numpy(known[name]) - center, anchors, width) @ weights, np.float64)
        tensors[name] = {"center": center, "anchors": anchors, "weights": weights, "width": torch.tensor(width)}
    return tensors, says, logarithms(probabilities), truth


def mixed(
    tensors: dict[str, dict[str, Tensor]],
    says: dict[str, NDArray[np.float64]],
    logits: NDArray[np.float64],
    labels: NDArray[np.int64],
) -> tuple[dict[str, Tensor], Mix]:
    """Finds what each cue of `asked_of` counts; returns the tensors of the branch, {} if it adds nothing."""
    factors = mixing_weights(logits, says, labels)
    total = logits + sum(factor * says[name] for name, factor in factors.items())
    stored: dict[str, Tensor] = {}
    for name, parts in tensors.items():
        if factors[name]:
            scaled = parts | {"weights": parts["weights"] * factors[name]}
            stored |= {f"{PREFIX}{name}.{part}": value.float().contiguous() for part, value in scaled.items()}
    alone, together = (float((answers.argmax(1) == labels).mean()) for answers in (logits, total))
    return stored, Mix(factors, len(labels), alone, together)


def mixing_weights(
    network: NDArray[np.float64], says: dict[str, NDArray[np.float64]], labels: NDArray[np.int64]
) -> dict[str, float]:
    """Finds how much each cue counts beside the logits (N, classes) of a network; 0 where it earns too little.

    The log loss of softmax(b * network + sum of c_i * cue_i) is convex in b and c, so Newton's steps find its minimum;
    a cue is added if it lowers the sum of the loss by `GAIN`, the better one first. What is returned is c / b.
    """
    parts: list[str] = []
    best, factors = _least_loss([network], labels)
    while len(parts) < len(says):
        tried = {}
        for name in says:
            if name not in parts:
                tried[name] = _least_loss([network, *(says[each] for each in (*parts, name))], labels)
        name = min(tried, key=lambda each: tried[each][0])
        if tried[name][0] > best - GAIN or tried[name][1][1:].min() <= 0:
            break
        parts.append(name)
        best, factors = tried[name]
    trust = max(float(factors[0]), LEAST_TRUST)
    return {name: float(factors[1 + parts.index(name)]) / trust if name in parts else 0.0 for name in says}


def _least_loss(parts: list[NDArray[np.float64]], labels: NDArray[np.int64]) -> tuple[float, NDArray[np.float64]]:
    """The least sum of the log loss over the images, and the factors of the parts at which it lies."""
    stacked = np.stack([part - part.mean(1, keepdims=True) for part in parts], -1)  # (N, classes, parts)
    true_class = stacked[np.arange(len(labels)), labels]
    factors = np.zeros(len(parts))
    ridge = 1e-3 * np.eye(len(parts))

    def loss_at(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = stacked @ values
        most = logits.max(1, keepdims=True)
        exponentials = np.exp(logits - most)
        total = exponentials.sum(1, keepdims=True)
        own = logits[np.arange(len(labels)), labels]
        loss = float((np.log(total[:, 0]) + most[:, 0] - own).sum() + 0.5 * values @ ridge @ values)
        return loss, exponentials / total

    loss, shares = loss_at(factors)
    for _ in range(100):
        means = np.einsum("nc,ncp->np", shares, stacked)
        slope = (means - true_class).sum(0) + ridge @ factors
        second = np.einsum("nc,ncp,ncq->pq", shares, stacked, stacked) - means.T @ means + ridge
        step = np.linalg.solve(second, slope)
        scale = 1.0
        while scale > 1e-6:
            following, found = loss_at(factors - scale * step)
            if following < loss:
                break
            scale /= 2
        else:
            break
        factors, gained = factors - scale * step, loss - following
        loss, shares = following, found
        if gained < 1e-9:
            break
    return loss, factors


def _described(
    network: Network, split: Split, rows: NDArray[np.int64], progress: ProgressCallback
) -> dict[str, NDArray[np.float32]]:
    """Describes images as the network sees them in their central view, by all features."""
    found: dict[str, list[Tensor]] = {name: [] for name in FEATURES}
    with torch.inference_mode():
        for start in range(0, len(rows), BLOCK):
            squares = square(central_view(network, split.read(rows[start : start + BLOCK])))
            for name, of in FEATURES.items():
                found[name].append(of(squares).cpu())
            progress("looking at color and shape", min(start + BLOCK, len(rows)), len(rows))
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}
