"""Compares two backends that should hold the same network: a run and its ONNX file or exported program."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images import prepare_image
from alexnet.errors import AlexNetError, UntrustedFileError, UsageError
from alexnet.export.backends import Backend, Logits, compute_logits, softmax

TOLERANCE = 1e-4  # absolute for probabilities, relative to the largest logit for logits


@dataclass(frozen=True)
class Parity:
    """The differences between the outputs of two networks for the same images."""

    images: int
    max_probability: float  # largest difference of a probability
    mean_probability: float
    max_logit: float  # largest difference of a logit
    largest_logit: float  # largest logit by absolute value
    agreement: float  # share of the images with the same most probable class, in [0, 1]

    @property
    def equal(self) -> bool:
        """Whether both differences are within the tolerance; False if a number is not finite."""
        return self.max_probability <= TOLERANCE and self.max_logit <= TOLERANCE * max(1.0, self.largest_logit)


def parity(first: Logits, second: Logits) -> Parity:
    """Compares the logits (N, classes) of two networks for the same images."""
    a, b = (logits.astype(np.float64) for logits in (first, second))
    differences = np.abs(softmax(first) - softmax(second))
    return Parity(
        images=len(a),
        max_probability=float(differences.max()),
        mean_probability=float(differences.mean()),
        max_logit=float(np.abs(a - b).max()),
        largest_logit=float(np.abs(a).max()),
        agreement=float((a.argmax(1) == b.argmax(1)).mean()),
    )


def compare_answers(first: Backend, second: Backend, paths: Sequence[Path]) -> tuple[Parity, dict[Path, str]]:
    """Compares both backends on the same files; files that cannot be read are skipped and returned with their reasons.

    Each backend gets the images prepared at its own size, as in normal use.

    Raises:
        UsageError: the classes differ, or no image could be read.
    """
    if first.class_names != second.class_names:
        raise UsageError(
            f"{first.name} and {second.name} do not have the same classes in the same order",
            fix="Compare a run with what was exported from it.",
            code="E243",
        )
    errors: dict[Path, str] = {}
    readable: list[Path] = []
    prepared: dict[tuple[int, bool], list[NDArray[np.uint8]]] = {first.squares: [], second.squares: []}
    for path in paths:
        try:
            squares = {(size, whole): prepare_image(path, size, whole=whole) for size, whole in prepared}
        except AlexNetError as error:
            errors[path] = error.what
            continue
        readable.append(path)
        for how, square in squares.items():
            prepared[how].append(square)
    if not readable:
        raise UsageError(
            f"none of the {len(paths)} images could be read; the first error: {errors[paths[0]]}",
            fix="Give images that can be opened.",
            code="E244",
        )
    stacks = {how: np.stack(squares) for how, squares in prepared.items()}
    answers = [compute_logits(each, stacks[each.squares].__getitem__, len(readable)) for each in (first, second)]
    return parity(*answers), errors


def check_equal(result: Parity, first: Backend, second: Backend) -> None:
    """Checks that two networks gave equal answers.

    Raises:
        UntrustedFileError: the answers differ by more than the tolerance.
    """
    if not result.equal:
        raise UntrustedFileError(
            f"{first.name} and {second.name} give different answers: probabilities differ by up to "
            f"{result.max_probability:.2g}, logits by up to {result.max_logit:.2g}",
            fix="Export the run again, or compare the checkpoint that was exported.",
            code="E663",
        )
