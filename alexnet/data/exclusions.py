"""The exclusion manifest: which pictures are left out, and why. Written by `alexnet doctor`, edited by hand, read by
`alexnet train --exclude` and `alexnet prepare --exclude`.

A text file, one JSON object a line; empty lines and those that begin with # say nothing:

    {"split": "train", "name": "train/cat/17.jpg", "sha256": "9f86...", "reason": "the same file as val/cat/3.jpg"}

`split` and `name` (as in `Samples.names`) say which picture. `sha256` of its file, if given, must still be right: a
picture that was repaired since is not left out silently. `reason` is for people.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from alexnet.data.samples import Samples, Source
from alexnet.errors import DataError
from alexnet.storage.files import disk_errors, file_sha256, write_file
from alexnet.text import listed

HEAD = """\
# Pictures to leave out: alexnet train DATA --exclude THIS_FILE. Nothing was deleted; delete a line to keep its picture.
"""
KEYS = ("split", "name", "sha256", "reason")


@dataclass(frozen=True)
class Excluded:
    """One picture to leave out."""

    split: str
    name: str  # relative to the root of the source, with forward slashes
    sha256: str = ""  # of the file (of the pixels where there is no file), in hexadecimal; "": not known, not compared
    reason: str = ""


def write_exclusions(path: Path, excluded: Iterable[Excluded]) -> None:
    """Writes a manifest, one line a picture.

    Raises:
        ResourceError: it cannot be written.
    """
    lines = [json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in excluded]
    with disk_errors(f"writing {path}"):
        # A file name that is no UTF-8 reaches us as lone surrogates; JSON can say them, UTF-8 cannot.
        write_file(path, (HEAD + "".join(lines)).encode("utf-8", "backslashreplace"))


def read_exclusions(path: Path) -> tuple[Excluded, ...]:
    """The pictures that a manifest names.

    Raises:
        DataError: there is no such file, or a line of it says nothing that can be understood.
    """
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not text in UTF-8: {error.reason} at byte {error.start}",
            fix="Give the exclude.jsonl that alexnet doctor wrote, or save the file as UTF-8.",
            code="E380",
        ) from None
    except OSError as error:
        raise DataError(
            f"{path}: {(error.strerror or str(error)).lower()}", fix="alexnet doctor DATA writes one.", code="E380"
        ) from None
    lines = enumerate(text.split("\n"), start=1)
    return tuple(_parsed(path, number, line) for number, line in lines if line.strip() and line.lstrip()[0] != "#")


def _parsed(path: Path, number: int, line: str) -> Excluded:
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    if (
        not isinstance(fields, dict)
        or not {"split", "name"} <= set(fields) <= set(KEYS)
        or not all(isinstance(value, str) for value in fields.values())
    ):
        raise DataError(
            f"{path}, line {number}: not a picture to leave out: {line.strip()[:80]}",
            fix='Write {"split": "train", "name": "cat/17.jpg"}; "sha256" and "reason" may be added.',
            code="E381",
        )
    return Excluded(**fields)


def leave_out(source: Source, excluded: Sequence[Excluded], where: str, *, strict: bool = True) -> Source:
    """The source without some of its pictures. What was held out stays held out: splits are made before.

    Args:
        excluded: from `read_exclusions`.
        where: what names them, for messages and the source's notes.
        strict: a picture that is not there, or not the same any more, is an error; otherwise it does not matter.

    Raises:
        DataError: a picture is not there or has changed; a class or a split would lose all its pictures.
    """
    if not excluded:
        return source
    places = {split: {name: i for i, name in enumerate(samples.names)} for split, samples in source.splits.items()}
    missing = [each for each in excluded if each.name not in places.get(each.split, {})]
    if strict and missing:
        raise _not_there(missing, places, where)
    kept = {split: np.ones(len(samples), bool) for split, samples in source.splits.items()}
    for each in excluded:
        index = places.get(each.split, {}).get(each.name)
        if index is None:
            continue
        if strict and each.sha256 and image_sha256(source.splits[each.split], index) != each.sha256:
            raise DataError(
                f"{where}: {each.split} picture {each.name} is not the one that was judged: its sha256 has changed",
                fix="Run alexnet doctor again, or delete the line if the new picture is good.",
                code="E383",
            )
        kept[each.split][index] = False
    splits = {split: samples.take(kept[split]) for split, samples in source.splits.items()}
    _refuse_emptied(source, splits, where)
    count = sum(int((~mask).sum()) for mask in kept.values())
    note = f"{count} picture{'s' * (count != 1)} left out, as {where} says"
    return Source(source.name, source.class_names, splits, (*source.notes, note))


def image_sha256(samples: Samples, index: int) -> str:
    """sha256 of the file of a sample, or of its pixels where there is no file; "" if the file cannot be read."""
    image = samples.image(index)
    if isinstance(image, np.ndarray):
        return hashlib.sha256(image.tobytes()).hexdigest()
    try:
        return file_sha256(image)
    except OSError:
        return ""


def _not_there(missing: list[Excluded], places: dict[str, dict[str, int]], where: str) -> DataError:
    first = missing[0]
    elsewhere = [split for split, names in places.items() if first.name in names]
    hint = f" (it is in {elsewhere[0]})" if elsewhere else ""
    more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
    return DataError(
        f"{where} names a picture that is not there: {first.name} in {first.split}{hint}{more}",
        fix="Give the folder that alexnet doctor looked at, run it again, or delete lines of pictures that are gone.",
        code="E382",
    )


def _refuse_emptied(source: Source, splits: dict[str, Samples], where: str) -> None:
    """A class that nobody can learn, or a split without pictures, is never what was meant."""
    for split, samples in splits.items():
        before, after = set(source.splits[split].labels.tolist()), set(samples.labels.tolist())
        lost = sorted(source.class_names[label] for label in before - after)
        if lost and (split == "train" or not len(samples)):
            raise DataError(
                f"{where} leaves no picture of {listed(lost)} in {split}",
                fix="Delete some of its lines, or remove the class folders.",
                code="E384",
            )
