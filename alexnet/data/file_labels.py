"""Reads labels that are not names of folders: from a table, from the names of the files; and lists of splits.

A table (`--labels FILE`) has a column of files and one of labels, or a column of 0 and 1 for each class; columns are
known by their names, or by what is in them, in any order. A column "split" with train, val and test is used if it is
there. Files are named relative to the folder, by their name alone where that is enough, with or without ending.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from alexnet.data.folders import nfc
from alexnet.data.split_names import is_filler, plain, split_kinds
from alexnet.errors import DataError
from alexnet.text import listed

FILE_COLUMNS = """
    filename file filepath path image images imagename imageid imagepath imagefile img imgname imgid imgpath fname name
    id picture photo 文件 文件名 图片 图像 图片名 ファイル名 파일 archivo imagen fichier datei bild файл
"""
LABEL_COLUMNS = """
    label labels class classname classlabel category target species breed labelname y tag type diagnosis variety
    类别 标签 类 分类 種類 ラベル クラス 라벨 클래스 etiqueta clase categoria classe etiquette klasse kategorie
    метка класс
"""
SPLIT_COLUMNS = "split set subset partition usage dataset fold 划分"
# Cameras and programs call their files so: no class is meant.
GENERIC = frozenset(
    (
        *("img", "dsc", "dscf", "dscn", "dcim", "p", "pxl", "vid", "mvimg", "sam", "gopr", "dji", "imag", "wp", "pict"),
        *(
            "frame",
            "screenshot",
            "screen",
            "shot",
            "scan",
            "untitled",
            "download",
            "whatsapp",
            "snapchat",
            "fb",
            "copy",
        ),
        *("capture", "cam", "camera", "file", "unnamed", "item", "mask", "crop", "tile", "patch", "page", "snap", "at"),
    )
)
SPLITS = ("train", "val", "test")
MOST_CELLS = 8  # columns that are looked at without a name


@dataclass(frozen=True)
class Table:
    """The labels of a table: for every image its class, and its split where the table says it."""

    classes: dict[str, str]  # image -> class
    splits: dict[str, str]  # image -> train, val or test
    notes: list[str]


def labels_in_names(images: Iterable[str]) -> dict[str, list[str]] | None:
    """Class -> images, from names such as cat.0.jpg, dog-12.png, Abyssinian_7.jpg; None if names are no such names.

    A label ends at the number that ends the name. Names of cameras (IMG_0001) and of splits (train_01) are no labels.
    """
    classes: dict[str, list[str]] = {}
    for image in images:
        stem = nfc(PurePosixPath(image).stem)
        match = re.fullmatch(r"(.*?)(?:[\s._-]*\(\d+\)|[\s._-]+\d+|(?<=[^\W\d_])\d+)+", stem)
        label = match[1].strip(" ._-") if match else ""
        if not re.search(r"[^\W\d_]", label):
            return None
        classes.setdefault(label, []).append(image)
    words = {label: {word for word in re.split(r"[\W\d_]+", plain(label)) if word} for label in classes}
    generic = any(is_filler(label) or word <= GENERIC for label, word in words.items())
    if generic or split_kinds(classes) or len(classes) < 2 or 2 * len(classes) > sum(map(len, classes.values())):
        return None
    return classes


def read_table(path: Path, images: Sequence[str]) -> Table:
    """Reads the table of labels of some images.

    Args:
        images: paths relative to the folder, with forward slashes.

    Raises:
        DataError: the file cannot be read, has no such columns, names no image, or gives an image two labels.
    """
    rows = _rows(path)
    known = _References(images)
    header, body = _header(rows, known)
    file_column, labels = _columns(path, header, body, known)
    split_column = _named(header, SPLIT_COLUMNS)
    classes: dict[str, str] = {}
    words: dict[str, set[str]] = {}  # image -> what the column of splits says
    missing: list[str] = []
    for row in body:
        name, label = row[file_column].strip(), labels(row)
        image = known.find(name)
        if image is None:
            missing += [name] if name else []
        elif label:
            if classes.setdefault(image, label) != label:
                raise DataError(
                    f"{path} gives {image} two labels: {classes[image]} and {label}",
                    fix="Keep one line for each image: a network learns one class of each.",
                    code="E371",
                )
            if split_column is not None:
                words.setdefault(image, set()).add(row[split_column].strip())
    if not classes:
        raise DataError(
            f"{path} names no image that is there; its first is {missing[0] if missing else 'missing'}",
            fix="Give the folder in which these files lie; names are relative to it.",
            code="E370",
        )
    notes = [f"labels are from {path}: {len(classes)} images of {len(set(classes.values()))} classes"]
    if missing:
        notes.append(f"{len(missing)} lines of {path.name} name images that are not there: {listed(missing, 3)}")
    if len(classes) < len(images):
        notes.append(f"{len(images) - len(classes)} images are not in {path.name} and are not used")
    splits = _splits(path, words)
    if words and not splits:
        notes.append(f"the column {header[split_column or 0]} of {path.name} names no splits and is not used")
    return Table(classes, splits, notes)


def _splits(path: Path, words: Mapping[str, set[str]]) -> dict[str, str]:
    """The split of each image; none if the column names no split at all.

    Raises:
        DataError: it names splits, but not of every image exactly one: which images are held out must not be guessed.
    """
    kinds = split_kinds(sorted(set().union(*words.values())))
    found = {image: {kinds.get(word) for word in said} for image, said in words.items()}
    if not any(kind in SPLITS for said in found.values() for kind in said):
        return {}
    for image, said in sorted(found.items()):
        if len(said) > 1 or not said <= set(SPLITS):
            raise DataError(
                f"{path} does not say one of train, val and test of {image}: {listed(sorted(map(repr, words[image])))}",
                fix="Write one of them in each line, or rename the column, for example to group: then it is not used.",
                code="E378",
            )
    return {image: str(next(iter(said))) for image, said in found.items()}


def read_lists(folders: Iterable[Path], images: Sequence[str]) -> tuple[dict[str, str], str]:
    """Split of each image, from train.txt, val.txt and test.txt in one of some folders; and that folder, for a note.

    Empty unless a list of training images and another one are there, and all they name are images.
    """
    known = _References(images)
    for folder in folders:
        found: dict[str, str] = {}
        for path in sorted(folder.glob("*.txt")):
            kind = split_kinds([path.stem]).get(path.stem)
            if kind not in SPLITS:
                continue
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            listed_images = [known.find(line.strip()) or known.find(line.split()[0]) for line in lines if line.strip()]
            if None in listed_images:
                found.clear()
                break
            found |= {image: kind for image in listed_images if image is not None}
        if len(set(found.values())) > 1 and "train" in found.values():
            return found, str(folder)
    return {}, ""


class _References:
    """Finds an image by any name that is enough: its path, with or without ending, or the end of its path."""

    def __init__(self, images: Sequence[str]):
        self._by_name: dict[str, str | None] = {}
        for image in images:
            path = PurePosixPath(nfc(image))
            for depth in range(len(path.parts)):
                tail = PurePosixPath(*path.parts[depth:])
                for name in {tail.as_posix(), tail.with_suffix("").as_posix()}:
                    exact = name == path.as_posix()
                    self._by_name[name] = image if exact or name not in self._by_name else None
        self._paths = {nfc(image): image for image in images}
        self._by_name |= self._paths

    def find(self, name: str) -> str | None:
        """The image, or None if none or several are called so; a path from elsewhere must end with the whole path."""
        parts = [part for part in nfc(name).replace("\\", "/").split("/") if part not in ("", ".")]
        tails = ["/".join(parts[depth:]) for depth in range(1, len(parts))]
        image = self._by_name.get("/".join(parts))
        return image or next((self._paths[tail] for tail in tails if tail in self._paths), None)


def _rows(path: Path) -> list[list[str]]:
    try:
        if path.exists() and not path.is_file():  # a pipe or a device has no end
            raise OSError("it is not a file")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text in UTF-8", fix="Save the table as CSV in UTF-8.", code="E369") from None
    except OSError as error:
        raise DataError(
            f"{path}: {(error.strerror or str(error)).lower()}",
            fix="Give a CSV file with a line 'filename,label' for each image.",
            code="E369",
        ) from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    if not first.count(delimiter):
        delimiter = " "
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{path} is not a table: {error}", fix="Save the table as CSV.", code="E369") from None
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    width = max(map(len, rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows]


def _header(rows: list[list[str]], known: _References) -> tuple[list[str], list[list[str]]]:
    """The names of the columns, empty if the first row has none, and the other rows."""
    if rows and any(known.find(cell.strip()) for cell in rows[0] if cell.strip()):
        return [""] * len(rows[0]), rows
    return (rows[0], rows[1:]) if rows else ([], [])


def _named(header: Sequence[str], words: str) -> int | None:
    """The column with the first of some names."""
    cells = [re.sub(r"[\W_]+", "", plain(cell)) for cell in header]
    return next((cells.index(word) for word in map(plain, words.split()) if word in cells), None)


def _columns(
    path: Path, header: list[str], body: list[list[str]], known: _References
) -> tuple[int, Callable[[list[str]], str]]:
    """The number of the column of files, and a function that takes the label from a row."""
    columns = range(len(header))
    hits = [sum(known.find(row[column].strip()) is not None for row in body) for column in columns]
    files = _named(header, FILE_COLUMNS)
    if (files is None or not hits[files]) and any(hits):
        files = hits.index(max(hits))
    split = _named(header, SPLIT_COLUMNS)
    rest = [column for column in columns if column not in (files, split)]
    label = _named(["" if column not in rest else name for column, name in enumerate(header)], LABEL_COLUMNS)
    if label is None and len(rest) == 1:
        (label,) = rest
    if files is not None and label is not None:
        return files, lambda row: nfc(row[label].strip())
    if files is not None and len(rest) > 1 and all(_one_hot([row[column] for column in rest]) for row in body):
        return files, lambda row: next(nfc(header[column].strip()) for column in rest if float(row[column]))
    names = listed([name or f"column {number + 1}" for number, name in enumerate(header)], MOST_CELLS)
    what = "file names" if files is None else "labels"
    raise DataError(
        f"{path} has no column of {what} that can be told from the others: {names or 'it is empty'}",
        fix="Write a line 'filename,label' at the top, and call the two columns so.",
        code="E369",
    )


def _one_hot(cells: Sequence[str]) -> bool:
    try:
        return sorted(map(float, cells)) == [0.0] * (len(cells) - 1) + [1.0]
    except ValueError:
        return False


def by_class(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Class -> its images, sorted."""
    classes: dict[str, list[str]] = {}
    for image in sorted(labels):
        classes.setdefault(labels[image], []).append(image)
    return classes
