"""Whether two things that should be the same network answer alike: a run, its ONNX file, an exported program."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images import prepare_image
from alexnet.errors import AlexNetError, UntrustedFileError, UsageError
from alexnet.export.backends import Backend, Logits, ask, softmax

TOLERANCE = 1e-4  # of probabilities, and of logits beside the largest of them


@dataclass(frozen=True)
class Parity:
    """How far two answers to the same pictures lie apart."""

    images: int
    max_probability: float  # largest difference of a probability
    mean_probability: float
    max_logit: float  # largest difference of a logit
    largest_logit: float  # largest logit by its size
    agreement: float  # share of the pictures with the same most probable class, in [0, 1]

    @property
    def equal(self) -> bool:
        """Whether both lie within the tolerance; not, if a number is not finite."""
        return self.max_probability <= TOLERANCE and self.max_logit <= TOLERANCE * max(1.0, self.largest_logit)


def parity(first: Logits, second: Logits) -> Parity:
    """Compares the logits (N, classes) of two networks for the same pictures."""
    a, b = (logits.astype(np.float64) for logits in (first, second))
    apart = np.abs(softmax(first) - softmax(second))
    return Parity(
        images=len(a),
        max_probability=float(apart.max()),
        mean_probability=float(apart.mean()),
        max_logit=float(np.abs(a - b).max()),
        largest_logit=float(np.abs(a).max()),
        agreement=float((a.argmax(1) == b.argmax(1)).mean()),
    )


def compare_answers(first: Backend, second: Backend, paths: Sequence[Path]) -> tuple[Parity, dict[Path, str]]:
    """Asks both about the same files; those that cannot be read are left out and named with their reasons.

    Each gets the pictures prepared at its own size, as it would be used.

    Raises:
        UsageError: they have other classes, or no picture could be read.
    """
    if first.class_names != second.class_names:
        raise UsageError(
            f"{first.name} and {second.name} do not answer with the same classes in the same order",
            fix="Compare a run with what was exported of it.",
            code="E243",
        )
    errors: dict[Path, str] = {}
    readable: list[Path] = []
    prepared: dict[int, list[NDArray[np.uint8]]] = {first.prepare_size: [], second.prepare_size: []}
    for path in paths:
        try:
            squares = {size: prepare_image(path, size=size) for size in prepared}
        except AlexNetError as error:
            errors[path] = error.what
            continue
        readable.append(path)
        for size, square in squares.items():
            prepared[size].append(square)
    if not readable:
        raise UsageError(
            f"none of the {len(paths)} pictures could be read; the first: {errors[paths[0]]}",
            fix="Name pictures that can be opened.",
            code="E244",
        )
    stacks = {size: np.stack(squares) for size, squares in prepared.items()}
    answers = [ask(each, stacks[each.prepare_size].__getitem__, len(readable)) for each in (first, second)]
    return parity(*answers), errors


def check_equal(found: Parity, first: Backend, second: Backend) -> None:
    """Raises if two networks do not answer alike.

    Raises:
        UntrustedFileError: they do not.
    """
    if not found.equal:
        raise UntrustedFileError(
            f"{first.name} and {second.name} do not answer alike: probabilities differ by up to "
            f"{found.max_probability:.2g}, logits by up to {found.max_logit:.2g}",
            fix="Export the run again, or compare the checkpoint that was exported.",
            code="E663",
        )
