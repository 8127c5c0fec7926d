"""What a file of weights does not say: what is assumed in its place, and what the user says instead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, Literal

from alexnet.errors import UsageError
from alexnet.recipes.config import Activation, Finite, Record

Numbers = float | str | Sequence[float]
Triple = tuple[float, float, float]
Pooling = Literal["max", "average", "overlapping", "plain"]
Channels = Literal["rgb", "bgr"]


@dataclass(frozen=True)
class Assumption:
    """One thing that a file of weights does not say, what was assumed, and which option says otherwise."""

    topic: str
    value: str
    option: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.value} ({self.option})"


def assumed_words(file: object, assumed: Mapping[str, str]) -> str:
    """Says of a file of weights that is used as it is what was assumed: topic and value each."""
    listed = "; ".join(f"{topic}: {value}" for topic, value in assumed.items())
    return (
        f"{file} does not say everything, and this was assumed: {listed}. Where that is wrong, answers may be no "
        f"better than chance: alexnet import {file} RUN takes what you know, or chooses with --check IMAGES"
    )


@dataclass(frozen=True)
class Settings(Record):
    """What the user says about a file of weights; None: nothing.

    Mean and standard deviation are one number or three (red, green, blue), as numbers or as text ("0.5,0.5,0.5",
    "1/255"). Where none of them exceeds 1, they are those of pixels in 0..1, as torchvision.transforms.Normalize takes
    them; otherwise those of pixels 0..255. The scale is what pixels 0..255 are multiplied by, after the mean, as in
    Caffe.
    """

    mean: Any = None  # Numbers
    std: Any = None
    scale: Any = None
    activation: Activation | None = None
    pooling: Pooling | None = None
    channels: Channels | None = None
    lrn_k: Finite | None = None
    changes: tuple[str, ...] = ()  # fields of the network, as one types them: "norm1=after-pool"

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) not in (None, ()) for f in fields(self))

    def pixels(self) -> tuple[Triple | None, Triple | None]:
        """Reads mean and scale: what is subtracted from pixels 0..255, and what the rest is multiplied by.

        Raises:
            UsageError: E208, a value is no number, or the two do not belong together; E234, scale and std are given.
        """
        mean, std, scale = (
            None if value is None else _triple(f"--{name}", value)
            for name, value in (("mean", self.mean), ("std", self.std), ("scale", self.scale))
        )
        if std is not None and scale is not None:
            raise UsageError(
                "--std and --scale both say what pixels are multiplied by",
                fix="Give --mean and --std as torchvision.transforms.Normalize takes them, in 0..1, or --mean in gray "
                "levels and --scale.",
                code="E234",
            )
        for name, values in (("--std", std), ("--scale", scale)):
            if values is not None and 0 in values:
                raise _wrong(name, "is 0, and pixels cannot be divided or multiplied by it")
        levels = any(abs(value) > 1 for value in mean or ()), any(abs(value) > 1 for value in std or ())
        is_mixed = levels[0] and std is not None and min(map(abs, std)) < 1
        if is_mixed or (levels[1] and not levels[0] and any(mean or ())):
            raise _wrong("--mean", "and --std are not of the same pixels: one is in 0..1, the other in 0..255")
        unit = not any(levels)
        if mean is not None and unit:
            mean = _times(mean, 255)
        if std is not None:
            scale = _inverse(_times(std, 255) if unit else std)
        return mean, scale


def _triple(name: str, value: Numbers) -> Triple:
    parts: Sequence[Any]
    if isinstance(value, str):
        parts = [part for part in value.replace(",", " ").strip("()[] ").split() if part]
    else:
        parts = [value] if isinstance(value, int | float) else list(value)
    try:
        numbers = [float(Fraction(part)) if isinstance(part, str) else float(part) for part in parts]
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        raise _wrong(name, f"is {value!r}, which is no number") from None
    if len(numbers) not in (1, 3) or not all(abs(number) < 1e9 for number in numbers):
        raise _wrong(name, f"has {len(numbers)} numbers" if len(numbers) not in (1, 3) else "is not finite")
    first, *rest = numbers
    return (first, rest[0], rest[1]) if rest else (first, first, first)


def _times(values: Triple, factor: float) -> Triple:
    return values[0] * factor, values[1] * factor, values[2] * factor


def _inverse(values: Triple) -> Triple:
    return 1 / values[0], 1 / values[1], 1 / values[2]


def _wrong(name: str, what: str) -> UsageError:
    return UsageError(
        f"{name} {what}",
        fix="Give one number or three (red, green, blue): --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 for pixels "
        "in 0..1, or --mean 123,117,104 --scale 1 for pixels in 0..255.",
        code="E208",
    )
