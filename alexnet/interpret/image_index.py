"""The pictures most like one, by the distance of their vectors in the last hidden layer (Figure 4 of the paper).

The search is exact: every distance is computed. The index is a file in the cache, one for each network, layer and
folder of pictures. It holds the vectors with the size, times and sha256 of each file; each search looks at all files
first and computes anew what has been added or changed, so no answer comes from pictures that are no longer there.
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

from alexnet.errors import DataError
from alexnet.evaluation.predict import find_images
from alexnet.interpret.features import Floats, features
from alexnet.models.network import Network, fingerprint
from alexnet.progress import ProgressCallback, silent
from alexnet.storage.files import cache_folder, disk_errors, file_sha256, write_file

FORMAT = 1
ROWS = 256  # vectors whose distances are computed at once, so that the differences stay in the processor's cache
# A file written within so many nanoseconds before it was read may change again without a new time stamp.
COARSE = 2_000_000_000


@dataclass(frozen=True)
class Entry:
    """One file as it was when its vector was computed."""

    name: str  # below the folder, or as it was named
    size: int
    mtime_ns: int
    ctime_ns: int  # changes with the content even where a program sets mtime back
    read_ns: int  # when it was read
    sha256: str
    error: str = ""  # why it has no vector


@dataclass(frozen=True, eq=False)
class Index:
    """The vectors of a folder of pictures; those without one stand in `unread`."""

    root: Path
    entries: tuple[Entry, ...]
    vectors: Floats  # (N, units), in the order of the entries
    unread: tuple[Entry, ...]
    reused: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0

    @property
    def paths(self) -> list[Path]:
        """Where the pictures are."""
        return [self.root / entry.name for entry in self.entries]


def index_path(model: Network, layer: str, prepare_size: int, root: Path) -> Path:
    """Where the index of a folder is kept: named after all that decides what is in it."""
    key = {
        "format": FORMAT,
        "network": fingerprint(model),
        "config": repr(model.config),
        "layer": layer,
        "prepare_size": prepare_size,
        "pictures": str(root.resolve()),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
    return cache_folder() / "similar" / f"{digest[:24]}.safetensors"


def update_index(
    model: Network,
    root: Path,
    *,
    layer: str,
    prepare_size: int,
    progress: ProgressCallback = silent,
) -> Index:
    """The index of all pictures in a folder as they are now; only what is new or changed is computed.

    Args:
        root: a folder, searched to the bottom.

    Raises:
        DataError: there is no such folder, or no picture in it that can be read.
        ResourceError: the index cannot be written.
    """
    if not root.exists():
        raise DataError(f"{root}: no such folder of pictures", fix="Give --index the folder to search in.", code="E391")
    path = index_path(model, layer, prepare_size, root)
    before, vectors = _load(path)
    files = find_images([str(root)])
    kept: list[tuple[Entry, Floats | None]] = []
    missing: list[tuple[Path, str, bool]] = []
    for file in files:
        name = str(file.relative_to(root)) if file != root else file.name
        known = before.get(name)
        same = None if known is None else _unchanged(file, known)
        if known is not None and same is not None:
            kept.append((same, vectors.get(name)))
        else:
            missing.append((file, name, known is not None))
    stamps = {file: _stamp(file, name) for file, name, _ in missing}

    def indexing(stage: str, done: int, total: int) -> None:
        progress("indexing", done, total)

    found = features(model, [file for file, _, _ in missing], layer=layer, prepare_size=prepare_size, progress=indexing)
    computed = dict(zip(found.paths, (values.reshape(-1) for values in found.values), strict=True))
    for file, _, _ in missing:
        entry = Entry(**{**asdict(stamps[file]), "error": found.errors.get(file, "")})
        kept.append((entry, computed.get(file)))
    kept.sort(key=lambda pair: pair[0].name)
    entries = tuple(entry for entry, vector in kept if vector is not None)
    if not entries:
        first = next((entry.error for entry, _ in kept), "")
        raise DataError(
            f"none of the {len(kept)} pictures in {root} can be read: {first}",
            fix="Name a folder with pictures that can be opened.",
            code="E390",
        )
    stacked = np.stack([vector for _, vector in kept if vector is not None]).astype(np.float32)
    names = {entry.name for entry, _ in kept}
    index = Index(
        root if root.is_dir() else root.parent,
        entries,
        stacked,
        tuple(entry for entry, vector in kept if vector is None),
        reused=len(kept) - len(missing),
        added=sum(not known for _, _, known in missing),
        changed=sum(known for _, _, known in missing),
        removed=len(before.keys() - names),
    )
    if missing or index.removed or [entry for entry, _ in kept] != list(before.values()):
        _save(path, index)
    return index


def same_file(path: Path, query: Path) -> bool:
    """Whether two paths name one file, links followed."""
    return path == query or (path.name == query.name and path.resolve() == query.resolve())


def _stamp(file: Path, name: str) -> Entry:
    """The file as it is now; its checksum is of the same bytes, or else the next search reads it again."""
    read = time.time_ns()
    try:
        status = file.stat()
        return Entry(name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, read, file_sha256(file))
    except OSError as error:
        return Entry(name, -1, 0, 0, read, "", error.strerror or str(error))


def _unchanged(file: Path, known: Entry) -> Entry | None:
    """The entry, with the times as they are now, if the file still has the content that it speaks of."""
    try:
        status = file.stat()
    except OSError:
        return None
    now = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    settled = known.read_ns - max(known.mtime_ns, known.ctime_ns) > COARSE
    if now == (known.size, known.mtime_ns, known.ctime_ns) and settled:
        return known
    if status.st_size != known.size:
        return None
    fresh = _stamp(file, known.name)
    return Entry(**{**asdict(fresh), "error": known.error}) if fresh.sha256 == known.sha256 else None


def _load(path: Path) -> tuple[dict[str, Entry], dict[str, Floats]]:
    """Entries and vectors by name; nothing where there is no index, or none that can be read."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {})["alexnet"])
            stored = file.get_tensor("vectors")
        entries = [Entry(**each) for each in about["entries"]]
        unread = [Entry(**each) for each in about["unread"]]
        if hashlib.sha256(stored.tobytes()).hexdigest() != about["vectors_sha256"]:
            return {}, {}
        vectors = {entry.name: vector for entry, vector in zip(entries, stored, strict=True)}
    except (OSError, ValueError, TypeError, LookupError, safetensors.SafetensorError):
        return {}, {}  # computed anew
    return {entry.name: entry for entry in sorted([*entries, *unread], key=lambda e: e.name)}, vectors


def _save(path: Path, index: Index) -> None:
    about: dict[str, Any] = {"entries": [asdict(e) for e in index.entries], "unread": [asdict(e) for e in index.unread]}
    about["vectors_sha256"] = hashlib.sha256(index.vectors.tobytes()).hexdigest()
    content = safetensors.numpy.save({"vectors": index.vectors}, {"alexnet": json.dumps(about)})
    with disk_errors(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content)
