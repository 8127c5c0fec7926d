"""The exclusion list: which images are left out, and why. `alexnet doctor` writes it, people edit it, and
`alexnet train --exclude` and `alexnet prepare --exclude` read it.

It is a text file with one JSON object per line; empty lines and lines that begin with # are ignored:

    {"split": "train", "name": "train/cat/17.jpg", "sha256": "9f86...", "reason": "the same file as val/cat/3.jpg"}

`split` and `name` (as in `Samples.names`) identify the image. `sha256` of its file, if given, must still match, so that
an image that was repaired in the meantime is not left out silently. `reason` is for people.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from alexnet.data.samples import Samples, Source
from alexnet.errors import DataError
from alexnet.storage.files import disk_errors, file_sha256, parse_json, write_file
from alexnet.text import listed

HEADER = """\
# Images to leave out: alexnet train DATA --exclude THIS_FILE. Nothing was deleted; delete a line to keep its image.
"""
KEYS = ("split", "name", "sha256", "reason")


@dataclass(frozen=True)
class Excluded:
    """One image to leave out."""

    split: str
    name: str  # relative to the root of the source, with forward slashes
    sha256: str = ""  # hexadecimal, of the file or, without a file, of the pixels; "": unknown, not compared
    reason: str = ""


def write_exclusions(path: Path, excluded: Iterable[Excluded]) -> None:
    """Writes an exclusion list, one line per image.

    Raises:
        ResourceError: the file cannot be written.
    """
    lines = [json.dumps(asdict(image), ensure_ascii=False) + "\n" for image in excluded]
    with disk_errors(f"writing {path}"):
        # A file name that is not UTF-8 arrives as lone surrogates, which JSON can hold as escapes but UTF-8 cannot.
        write_file(path, (HEADER + "".join(lines)).encode("utf-8", "backslashreplace"))


def read_exclusions(path: Path) -> tuple[Excluded, ...]:
    """Reads the images that an exclusion list names.

    Raises:
        DataError: the file cannot be read, or a line of it is not in the format above.
    """
    try:
        text = path.read_text("utf-8-sig")
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
    return tuple(_parse_line(path, number, line) for number, line in lines if line.strip() and line.lstrip()[0] != "#")


def _parse_line(path: Path, number: int, line: str) -> Excluded:
    try:
        fields = parse_json(line)
    except ValueError:
        fields = None
    if (
        not isinstance(fields, dict)
        or not {"split", "name"} <= set(fields) <= set(KEYS)
        or not all(isinstance(value, str) for value in fields.values())
    ):
        raise DataError(
            f"{path}, line {number}: not an image to leave out: {line.strip()[:80]}",
            fix='Write {"split": "train", "name": "cat/17.jpg"}; "sha256" and "reason" may be added.',
            code="E381",
        )
    return Excluded(**fields)


def leave_out(source: Source, excluded: Sequence[Excluded], list_name: str, *, strict: bool = True) -> Source:
    """Removes some images from a source. The splits stay as they are: the other images are not divided again.

    Args:
        excluded: from `read_exclusions`.
        list_name: the name of the list, for messages and for the notes of the source.
        strict: whether an image that does not exist or has changed is an error; if False it is ignored.

    Raises:
        DataError: an image does not exist or has changed, or a class or split would lose all its images.
    """
    if not excluded:
        return source
    indices = {split: {name: i for i, name in enumerate(samples.names)} for split, samples in source.splits.items()}
    missing = [image for image in excluded if image.name not in indices.get(image.split, {})]
    if strict and missing:
        raise _missing_images(missing, indices, list_name)
    keep_masks = {split: np.ones(len(samples), bool) for split, samples in source.splits.items()}
    for image in excluded:
        index = indices.get(image.split, {}).get(image.name)
        if index is None:
            continue
        if strict and image.sha256 and image_sha256(source.splits[image.split], index) != image.sha256:
            raise DataError(
                f"{list_name}: {image.split} image {image.name} is not the one that was examined: "
                "its sha256 has changed",
                fix="Run alexnet doctor again, or delete the line if the new image is good.",
                code="E383",
            )
        keep_masks[image.split][index] = False
    splits = {split: samples.take(keep_masks[split]) for split, samples in source.splits.items()}
    _refuse_emptied(source, splits, list_name)
    count = sum(int((~mask).sum()) for mask in keep_masks.values())
    note = f"{count} image{'s' * (count != 1)} left out, as {list_name} says"
    return replace(source, splits=splits, notes=(*source.notes, note))


def image_sha256(samples: Samples, index: int) -> str:
    """Hashes the file of a sample (sha256), or its pixels if it has no file; "" if the file cannot be read."""
    image = samples.image(index)
    if isinstance(image, np.ndarray):
        return hashlib.sha256(image.tobytes()).hexdigest()
    try:
        # A pipe or a device would be read without an end.
        return file_sha256(image) if image.is_file() else ""
    except OSError:
        return ""


def _missing_images(missing: list[Excluded], indices: dict[str, dict[str, int]], list_name: str) -> DataError:
    first = missing[0]
    other_splits = [split for split, names in indices.items() if first.name in names]
    hint = f" (it is in {other_splits[0]})" if other_splits else ""
    more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
    return DataError(
        f"{list_name} names an image that was not found: {first.name} in {first.split}{hint}{more}",
        fix="Give the folder that alexnet doctor examined, run it again, or delete the lines of missing images.",
        code="E382",
    )


def _refuse_emptied(source: Source, splits: dict[str, Samples], list_name: str) -> None:
    """Raises a DataError if a class of train, or a whole split, has lost all its images, which nobody intends."""
    for split, samples in splits.items():
        before, after = set(source.splits[split].labels.tolist()), set(samples.labels.tolist())
        lost = sorted(source.class_names[label] for label in before - after)
        if lost and (split == "train" or not len(samples)):
            raise DataError(
                f"{list_name} leaves no image of {listed(lost)} in {split}",
                fix="Delete some of its lines.",
                code="E384",
            )
