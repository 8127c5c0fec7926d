"""Reads folders by one rule: which files are images, and which files and folders are nobody's images.

Not looked at, wherever images are searched: what is hidden (a name that begins with a dot, AppleDouble files among
them); what an operating system, a NAS or a notebook puts beside images; and what this program writes itself: runs,
findings of the doctor, prepared images, exported networks, the cache. What lies in a folder that was named is another
matter: the name of that folder is never judged.

Links are followed, but every real folder is visited once below a start, so loops of links end.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alexnet.data.image_files import EXTENSIONS
from alexnet.errors import DataError
from alexnet.storage.files import cache_folder
from alexnet.text import listed

JUNK = frozenset(
    (
        *("__macosx", "desktop.ini", "icon\r", "network trash folder", "temporary items"),  # macOS, Windows
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "$recycle.bin", "recycler", "recycled"),
        *("system volume information", "found.000", "lost+found", "lost.dir"),
        *("@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "@tmp", "@__thumb"),  # Synology, QNAP
        *("__pycache__", "node_modules"),
    )
)
# A folder is this program's own, or a Python environment, if it holds all files of a line.
OWN_FILES = (
    ("recipe.json", "classes.json"),  # a run
    ("classes.json", "environment.json"),  # a run that was stopped while it was made
    ("doctor.json", "exclude.jsonl"),
    ("prepared.json",),
    ("preparing.json",),
    ("config.json", "model.safetensors"),  # alexnet export --to hf
    ("rows.jsonl", "runs"),  # an ablation
    ("pyvenv.cfg",),
)


def nfc(name: str) -> str:
    """The name in Unicode's composed form (NFC), in which names of classes are compared."""
    return unicodedata.normalize("NFC", name)


def is_image(name: str) -> bool:
    """Whether the ending of a file name is that of an image."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def is_foreign(name: str) -> bool:
    """Whether a file or folder of this name is hidden or put there by a system."""
    return name.startswith(".") or name.lower() in JUNK


def holds_own_files(names: Iterable[str]) -> bool:
    """Whether a folder with these entries was written by this program, or is a Python environment."""
    present = set(names)
    return any(present.issuperset(files) for files in OWN_FILES)


def has_foreign_part(path: str) -> bool:
    """Whether a relative path with slashes is hidden or put there by a system, or leads through such a folder."""
    return any(is_foreign(part) for part in path.split("/") if part not in ("", ".", ".."))


def without_foreign(paths: Iterable[str], root: Path) -> tuple[list[str], list[str]]:
    """Leaves out of relative paths with slashes those that are foreign or lie in a folder that is; says so in words.

    Args:
        root: what the paths lie in, as it is called in the sentence.
    """
    kept: list[tuple[str, list[str]]] = []
    hidden = 0
    tree: dict[str, Any] = {}  # name -> what lies in that folder; a path may be of many thousand parts
    for path in paths:
        if has_foreign_part(path):
            hidden += is_image(path)
            continue
        kept.append((path, [part for part in path.split("/") if part not in ("", ".", "..")]))
        folder = tree
        for part in kept[-1][1]:
            folder = folder.setdefault(part, {})
    used: list[str] = []
    own: dict[tuple[str, ...], None] = {}
    known: dict[int, bool] = {id(tree): False}
    for path, parts in kept:
        folder = tree
        for depth, part in enumerate(parts):
            if id(folder) not in known:
                known[id(folder)] = holds_own_files(set(folder))
            if known[id(folder)]:
                own[tuple(parts[:depth])] = None
                break
            folder = folder[part]
        else:
            used.append(path)
    return used, not_used(hidden, [root.joinpath(*folder) for folder in own], root)


@dataclass(frozen=True)
class Entries:
    """What lies directly in a folder."""

    folders: dict[str, Path]  # name -> path, sorted
    images: tuple[str, ...]
    other: tuple[str, ...]  # files that are no images
    hidden: tuple[Path, ...]  # hidden files and folders, and those of systems
    own: tuple[Path, ...]  # folders that this program wrote


@dataclass
class Found:
    """The images at any depth below a folder, and what else is there."""

    images: list[Path] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)  # ending of other files -> their number
    hidden: int = 0  # images that are hidden, or in hidden folders
    own: list[Path] = field(default_factory=list)  # folders that this program wrote


class Tree:
    """Folders of a disk, each read once however often it is asked for."""

    def __init__(self) -> None:
        self._raw: dict[Path, tuple[list[str], list[str]]] = {}
        self._entries: dict[Path, Entries] = {}
        self._has_images: dict[Path, bool] = {}

    def entries(self, folder: Path) -> Entries:
        """What lies directly in a folder.

        Raises:
            DataError: it cannot be listed.
        """
        if folder not in self._entries:
            subfolders, files = self._read(folder)
            hidden = [folder / name for name in (*subfolders, *files) if is_foreign(name)]
            folders = {name: folder / name for name in subfolders if not is_foreign(name)}
            own = [name for name, path in folders.items() if self._is_own(path)]
            images = tuple(name for name in files if is_image(name) and not is_foreign(name))
            other = tuple(name for name in files if not is_image(name) and not is_foreign(name))
            own_paths = tuple(folders.pop(name) for name in own)
            self._entries[folder] = Entries(folders, images, other, tuple(hidden), own_paths)
        return self._entries[folder]

    def has_images(self, folder: Path) -> bool:
        """Whether there is an image at any depth below a folder."""
        if folder not in self._has_images:
            self._has_images[folder] = self._search(folder)
        return self._has_images[folder]

    def _search(self, folder: Path) -> bool:
        visited: set[str] = set()
        waiting = [folder]
        while waiting:
            path = waiting.pop()
            real = os.path.realpath(path)
            if real not in visited:
                visited.add(real)
                entries = self.entries(path)
                if entries.images:
                    return True
                waiting += entries.folders.values()
        return False

    def with_images(self, folder: Path) -> dict[str, Path]:
        """The sub-folders of a folder that have images at any depth."""
        return {name: path for name, path in self.entries(folder).folders.items() if self.has_images(path)}

    def below(self, folder: Path) -> Found:
        """Lists all images at any depth below a folder, in no order, and counts what else is there."""
        found, visited, waiting = Found(), set[str](), [folder]
        while waiting:
            path = waiting.pop()
            real = os.path.realpath(path)
            if real in visited:
                continue
            visited.add(real)
            entries = self.entries(path)
            found.images += [path / name for name in entries.images]
            found.other.update(os.path.splitext(name)[1].lower() for name in entries.other)
            found.hidden += sum(map(self.hidden_images, entries.hidden))
            found.own += entries.own
            waiting += reversed(entries.folders.values())
        return found

    def is_foreign_below(self, path: Path, fixed: int) -> bool:
        """Whether a path leads, after its first `fixed` parts, into a folder or to a file that is not looked at.

        A name that begins with a dot was typed: neither a shell nor a pattern makes it of a star. But AppleDouble files
        (._1.jpg), which a list of files may name, are never images.
        """
        for depth in range(fixed, len(path.parts)):
            name, inner = path.parts[depth], Path(*path.parts[: depth + 1])
            if name in (".", "..") or name == path.anchor:
                continue
            if (
                name.startswith("._")
                or (is_foreign(name) and not name.startswith("."))
                or (inner.is_dir() and self._is_own(inner))
            ):
                return True
        return False

    def hidden_images(self, path: Path) -> int:
        """Counts the images that a hidden file or folder is or holds; a folder that cannot be listed has none."""
        if not path.is_dir():
            return int(is_image(path.name))
        return sum(is_image(file) for _, _, files in os.walk(path) for file in files)

    def _is_own(self, folder: Path) -> bool:
        """Whether this program wrote a folder, or all that is in it: then it holds some such folder and no image."""
        try:
            subfolders, files = self._read(folder)
            if holds_own_files((*subfolders, *files)) or _is_cache(folder):
                return True
            if any(is_image(file) and not is_foreign(file) for file in files):
                return False
            inner = [folder / name for name in subfolders if not is_foreign(name)]
            return any(holds_own_files([*f, *g]) for f, g in map(self._read, inner)) and not self.has_images(folder)
        except DataError:
            return False  # what reads the folder itself says so

    def _read(self, folder: Path) -> tuple[list[str], list[str]]:
        """The names of the sub-folders and of the files, each sorted; links count as what they lead to."""
        if folder not in self._raw:
            subfolders: list[str] = []
            files: list[str] = []
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        (subfolders if _is_folder(entry) else files).append(entry.name)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise DataError(
                    f"{error.filename}: {reason}", fix="Make the folder readable, or move it elsewhere.", code="E320"
                ) from error
            self._raw[folder] = (sorted(subfolders), sorted(files))
        return self._raw[folder]


def not_used(hidden: int, own: Iterable[Path], root: Path) -> list[str]:
    """Says in one sentence what was left out because it is hidden or of this program; nothing if nothing was."""
    names = sorted({os.path.relpath(path, root) for path in own})
    parts = [f"{hidden} image{'s' * (hidden > 1)} in hidden files and folders"] if hidden else []
    if names:
        folders = "a folder" if len(names) == 1 else f"{len(names)} folders"
        parts.append(f"{folders} that alexnet or Python wrote ({listed(names, most=3)})")
    return [f"not used of {root}: {' and '.join(parts)}"] if parts else []


def _is_cache(folder: Path) -> bool:
    cache = cache_folder()
    return folder.name == cache.name and os.path.realpath(folder) == os.path.realpath(cache)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself
