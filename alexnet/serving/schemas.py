"""The responses of the service as records; its OpenAPI description is made from them."""

from enum import IntEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class ResponseModel(BaseModel):
    """Base of all responses: it allows only declared fields."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Views(IntEnum):
    """The number of views of an image whose probabilities are averaged."""

    ONE = 1
    TEN = 10


class ClassProbability(ResponseModel):
    """A class and its probability."""

    index: int
    name: str
    probability: float


class Problem(ResponseModel):
    """An error: what is wrong, where, and how to fix it; docs/errors.md explains each code."""

    status: int
    title: str
    code: str
    what: str
    where: str
    fix: str


class From(ResponseModel):
    """The run and the weights that a response comes from."""

    run: str
    model: str  # sha256 of the weights


class Prediction(From):
    """The most probable classes of an image, most probable first."""

    views: Views
    top: list[ClassProbability]
    none_of_these: bool | None = None  # whether it is unlike the training images; null if these were not measured
    likeness: float | None = None  # share of validation images that are at least as unlike them, in (0, 1]
    sure: bool | None = None  # whether the first is an answer; null unless min_precision was given
    prediction_set: list[str] | None = None  # classes that hold the right one; null unless coverage was given
    promise: list[str] = []  # what min_precision and coverage promise, and how often there is an answer


class ImagePrediction(ResponseModel):
    """The most probable classes of one image of many, or the error that prevented them."""

    name: str
    top: list[ClassProbability] | None = None
    none_of_these: bool | None = None
    likeness: float | None = None
    sure: bool | None = None
    prediction_set: list[str] | None = None
    error: Problem | None = None


class Predictions(From):
    """The predictions for many images, in their order."""

    views: Views
    images: list[ImagePrediction]
    promise: list[str] = []
    notes: list[str] = []  # what is in the archive and was not looked at: hidden files, folders of systems, runs


class Neighbor(ResponseModel):
    """An image of the index and its distance in the last hidden layer."""

    path: str  # relative to the folder of the index
    distance: float


class Neighbors(From):
    """The images nearest to one, nearest first, by exact search."""

    layer: str
    images: int  # in the index
    found: list[Neighbor]
    notes: list[str] = []  # what is in the folder of the index and was not looked at


class Activations(From):
    """The output of a layer for the central view of an image."""

    layer: str
    shape: list[int]
    values: list[Any]  # nested lists of the form `shape`


class RunDescription(From):
    """One run that is served."""

    classes: list[str]
    layers: list[str]
    views: list[Views]


class Runs(ResponseModel):
    """All runs that are served; the first is used if a request names none."""

    runs: list[RunDescription]


class Reloaded(ResponseModel):
    """The names of the runs whose weights have changed, and the present weights of all runs."""

    changed: list[str]
    runs: list[From]
