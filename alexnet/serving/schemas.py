"""The answers of the service as records, from which its OpenAPI description is made."""

from enum import IntEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class Reply(BaseModel):
    """Base of all answers: nothing but what is declared."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Views(IntEnum):
    """From how many views of a picture it is judged."""

    ONE = 1
    TEN = 10


class ClassProbability(Reply):
    """A class and how probable it is."""

    index: int
    name: str
    probability: float


class Problem(Reply):
    """A mistake: what is wrong, where, and what to do; docs/errors.md explains each code."""

    status: int
    title: str
    code: str
    what: str
    where: str
    fix: str


class From(Reply):
    """Which weights have answered."""

    run: str
    model: str  # sha256 of the weights


class Prediction(From):
    """The most probable classes of a picture, most probable first."""

    views: Views
    top: list[ClassProbability]


class PictureAnswer(Reply):
    """The answer for one picture of many, or why there is none."""

    name: str
    top: list[ClassProbability] | None = None
    error: Problem | None = None


class Predictions(From):
    """The answers for many pictures, in their order."""

    views: Views
    pictures: list[PictureAnswer]


class Neighbour(Reply):
    """A picture of the index and how far away it is in the last hidden layer."""

    path: str  # below the folder of the index
    distance: float


class Neighbours(From):
    """The pictures most like one, nearest first, exactly."""

    layer: str
    pictures: int  # in the index
    found: list[Neighbour]


class Activations(From):
    """What a layer gives for the central view of a picture."""

    layer: str
    shape: list[int]
    values: list[Any]  # nested as `shape` says


class RunReply(From):
    """One run that is served."""

    classes: list[str]
    layers: list[str]
    views: list[Views]


class Runs(Reply):
    """All runs that are served; the first is asked where none is named."""

    runs: list[RunReply]


class Reloaded(Reply):
    """The runs whose weights are others than before, and what answers now."""

    changed: list[str]
    runs: list[From]
