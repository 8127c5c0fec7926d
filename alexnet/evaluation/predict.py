"""What is on a picture: the most probable classes of files, folders and globs, by the same path as evaluation."""

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet.data.sources import EXTENSIONS
from alexnet.errors import AlexNetError, DataError, UsageError
from alexnet.evaluation.classifier import Classifier


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture, or why there is none."""

    path: Path
    top: tuple[tuple[str, float], ...]  # (class, probability), most probable first
    error: str = ""


def find_images(arguments: Iterable[str]) -> list[Path]:
    """The picture files that paths, folders (searched to the bottom) and glob patterns name, in order, each once.

    Raises:
        UsageError: there are none.
        DataError: one names nothing.
    """
    found: dict[Path, None] = {}
    named = list(arguments)
    if not named:
        raise UsageError(
            "no pictures given",
            fix="Name files, folders or patterns, or - to read paths from standard input.",
            code="E264",
        )
    for argument in named:
        path = Path(argument)
        if path.exists():
            matches = [path]
        else:
            if argument.startswith("-"):
                raise UsageError(f"unknown option {argument}", fix="alexnet predict --help lists them.", code="E201")
            matches = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]
        if not matches:
            raise DataError(
                f"{argument}: no such file, folder or pattern",
                fix="Give a picture, a folder, or a pattern such as 'holiday/*.jpg'.",
                code="E308",
            )
        inside = [path for match in matches for path in _images(match)]
        if not inside:
            raise DataError(
                f"no pictures in {argument}", fix=f"Looked for {', '.join(sorted(EXTENSIONS))}.", code="E309"
            )
        found |= dict.fromkeys(inside)
    return list(found)


def refuse_unread(unread: int, count: int) -> None:
    """Ends a command that did what it could.

    Raises:
        DataError: some of the pictures could not be read.
    """
    if unread:
        raise DataError(
            f"{unread} of {count} pictures could not be read; their reasons stand above",
            fix="Replace them, or leave them out.",
            code="E352",
        )


def _images(path: Path) -> list[Path]:
    """A file as it is; of a folder all the pictures to the bottom, in order."""
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())


def predict(
    classifier: Classifier, paths: Sequence[Path], *, views: int = 1, k: int = 5, batch_size: int = 32
) -> Iterator[Prediction]:
    """The k most probable classes of each file, in order; a file that cannot be read gives its reason."""
    for start in range(0, len(paths), batch_size):
        chunk = paths[start : start + batch_size]
        images, errors = {}, {}
        for path in chunk:
            try:
                images[path] = classifier.prepare(path)
            except AlexNetError as error:
                errors[path] = error.what
        rows = classifier.probabilities(np.stack(list(images.values())), views, batch_size) if images else ()
        answers = dict(zip(images, rows, strict=True))
        for path in chunk:
            if path in errors:
                yield Prediction(path, (), errors[path])
            else:
                yield Prediction(
                    path, tuple((each.name, each.probability) for each in classifier.top(answers[path], k))
                )
