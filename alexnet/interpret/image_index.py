"""The feature vectors of all images in a folder, for nearest-neighbour search (Figure 4 of the paper).

The search is exact: every distance is computed. The index is a file in the cache, one for each network, layer and
folder of images. It stores the vectors with the size, times and sha256 of each file. Each search first checks all files
and computes the vectors of new and changed ones again, so no answer comes from an image that no longer exists.
"""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from alexnet.data.image_bytes import pixel_limit
from alexnet.data.reader_changes import reader
from alexnet.errors import DataError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.predict import find_images
from alexnet.interpret.features import Floats, features
from alexnet.models.network import fingerprint
from alexnet.progress import ProgressCallback, silent
from alexnet.storage.files import cache_folder, disk_errors, file_sha256, parse_json, write_file

FORMAT = 1
ROWS = 256  # number of vectors compared at once, so that the differences stay in the processor's cache
# A file written less than this many nanoseconds before it was read may change again without a new time stamp.
COARSE = 2_000_000_000


@dataclass(frozen=True)
class Entry:
    """One file as it was when its vector was computed."""

    name: str  # relative to the folder; the file name if a single file was given
    size: int
    mtime_ns: int
    ctime_ns: int  # changes with the content even if a program resets mtime
    read_ns: int  # the time at which it was read
    sha256: str
    error: str = ""  # why it has no vector


@dataclass(frozen=True, eq=False)
class Index:
    """The vectors of the images in a folder; files that cannot be read are listed in `unread`."""

    root: Path
    entries: tuple[Entry, ...]
    vectors: Floats  # (N, units), in the order of the entries
    unread: tuple[Entry, ...]
    reused: int = 0
    added: int = 0

    def __repr__(self) -> str:
        return f"Index({self.root}: {len(self.entries):,} images, {len(self.unread)} unread)"

    changed: int = 0
    removed: int = 0

    @property
    def paths(self) -> list[Path]:
        """The paths of the images."""
        return [self.root / entry.name for entry in self.entries]


def index_path(classifier: Classifier, layer: str, root: Path) -> Path:
    """Returns the path of the index of a folder: its name is a hash of everything that determines its content."""
    key = {
        "format": FORMAT,
        "network": fingerprint(classifier.network),
        "config": repr(classifier.network.config),
        "layer": layer,
        "prepare_size": classifier.prepare_size,
        "pictures": str(root.resolve()),
    }
    if classifier.whole:
        key["whole"] = True
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
    return cache_folder() / "similar" / f"{digest[:24]}.safetensors"


def update_index(
    classifier: Classifier,
    root: Path,
    *,
    layer: str,
    progress: ProgressCallback = silent,
) -> Index:
    """Returns the index of all images in a folder as they are now; computes only new and changed ones.

    Args:
        root: a folder, searched with all its subfolders.

    Raises:
        DataError: there is no such folder, or none of its images can be read.
        ResourceError: the index cannot be written.
    """
    if not root.exists():
        raise DataError(f"{root}: no such folder of images", fix="Give --index the folder to search in.", code="E391")
    path = index_path(classifier, layer, root)
    previous, vectors = _load(path)
    files = find_images([str(root)])
    records: list[tuple[Entry, Floats | None]] = []
    outdated: list[tuple[Path, str, bool]] = []
    for file in files:
        name = str(file.relative_to(root)) if file != root else file.name
        known = previous.get(name)
        unchanged = None if known is None else _unchanged(file, known)
        if known is not None and unchanged is not None:
            records.append((unchanged, vectors.get(name)))
        else:
            outdated.append((file, name, known is not None))
    stamps = {file: _stamp(file, name) for file, name, _ in outdated}

    def indexing(stage: str, done: int, total: int) -> None:
        progress("indexing", done, total)

    result = features(classifier, [file for file, _, _ in outdated], layer=layer, progress=indexing)
    computed = dict(zip(result.paths, (values.reshape(-1) for values in result.values), strict=True))
    for file, _, _ in outdated:
        entry = Entry(**{**asdict(stamps[file]), "error": result.errors.get(file, "")})
        records.append((entry, computed.get(file)))
    records.sort(key=lambda pair: pair[0].name)
    entries = tuple(entry for entry, vector in records if vector is not None)
    if not entries:
        first = next((entry.error for entry, _ in records), "")
        raise DataError(
            f"none of the {len(records)} images in {root} can be read: {first}",
            fix="Give a folder with images that can be opened.",
            code="E390",
        )
    stacked_vectors = np.stack([vector for _, vector in records if vector is not None]).astype(np.float32)
    names = {entry.name for entry, _ in records}
    index = Index(
        root if root.is_dir() else root.parent,
        entries,
        stacked_vectors,
        tuple(entry for entry, vector in records if vector is None),
        reused=len(records) - len(outdated),
        added=sum(not known for _, _, known in outdated),
        changed=sum(known for _, _, known in outdated),
        removed=len(previous.keys() - names),
    )
    if outdated or index.removed or [entry for entry, _ in records] != list(previous.values()):
        _save(path, index)
    return index


def same_file(path: Path, query: Path) -> bool:
    """Returns whether two paths lead to the same file, with links followed."""
    return path == query or (path.name == query.name and path.resolve() == query.resolve())


def _stamp(file: Path, name: str) -> Entry:
    """Describes the file as it is now. If it changes while it is read, the next search reads it again."""
    read_ns = time.time_ns()
    try:
        status = file.stat()
        return Entry(name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, read_ns, file_sha256(file))
    except OSError as error:
        return Entry(name, -1, 0, 0, read_ns, "", error.strerror or str(error))


def _unchanged(file: Path, known: Entry) -> Entry | None:
    """Returns the entry with the current times if the file still has the same content, else None."""
    try:
        status = file.stat()
    except OSError:
        return None
    current = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    settled = known.read_ns - max(known.mtime_ns, known.ctime_ns) > COARSE
    if current == (known.size, known.mtime_ns, known.ctime_ns) and settled:
        return known
    if status.st_size != known.size:
        return None
    new = _stamp(file, known.name)
    return Entry(**{**asdict(new), "error": known.error}) if new.sha256 == known.sha256 else None


def _load(path: Path) -> tuple[dict[str, Entry], dict[str, Floats]]:
    """Reads entries and vectors by name; both are empty if there is no index or it cannot be read.

    Files that another reader of images could not read are left out: this one may.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            record = parse_json((file.metadata() or {})["alexnet"])
            matrix = file.get_tensor("vectors")
        entries = [Entry(**each) for each in record["entries"]]
        unread = [Entry(**each) for each in record["unread"] if record.get("reader") == _reader()]
        if hashlib.sha256(matrix.tobytes()).hexdigest() != record["vectors_sha256"]:
            return {}, {}
        vectors = {entry.name: vector for entry, vector in zip(entries, matrix, strict=True)}
    except (OSError, ValueError, TypeError, LookupError, safetensors.SafetensorError):
        return {}, {}  # everything is computed again
    return {entry.name: entry for entry in sorted([*entries, *unread], key=lambda e: e.name)}, vectors


def _reader() -> str:
    return f"{reader()}, {pixel_limit()} pixels"


def _save(path: Path, index: Index) -> None:
    record: dict[str, Any] = {
        "reader": _reader(),
        "entries": [asdict(e) for e in index.entries],
        "unread": [asdict(e) for e in index.unread],
    }
    record["vectors_sha256"] = hashlib.sha256(index.vectors.tobytes()).hexdigest()
    content = safetensors.numpy.save({"vectors": index.vectors}, {"alexnet": json.dumps(record)})
    with disk_errors(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content)
