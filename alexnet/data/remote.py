"""A prepared set at an address (https://, s3://, ...): fetched shard by shard into the cache, then read like any other.

    CACHE/remote/FINGERPRINT/train-0000.json mean_image.npy   fetched when the set is opened
    CACHE/remote/FINGERPRINT/train-0000.npy                   when a picture of it is first asked for, or before
    CACHE/remote/FINGERPRINT/.train-0000.npy.lock             one thread of one process at a time fetches it

Every file is compared with the sha256 of the index before its first use in a process, whether it has just come or was
there. The order of the pictures has nothing to do with where they lie, so results are those of a local folder.

An epoch visits the pictures in random order, so a batch needs nearly as many shards as it has pictures: a set that the
cache cannot hold as a whole is refused. When other sets fill the cache, shards that were not used for longest go.
"""

import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.dataset import MEAN_IMAGE, PREPARED, SPLITS, Prepared, Split, assemble, check_facts, open_prepared
from alexnet.data.shards import SUFFIXES, Shard, mapped, shard_path
from alexnet.errors import AlexNetError, DataError, ResourceError
from alexnet.storage.download import Patience, check_address, fetch, fetch_small, is_address
from alexnet.storage.files import TEMPORARY, cache_folder, disk_errors, file_sha256
from alexnet.storage.locks import in_turn

LIMIT = "ALEXNET_CACHE_GB"
SHARE_OF_DISK = 0.9  # of what is free or taken by the cache, where no limit is set
MOST_INDEX_BYTES = 1 << 28
CONNECTIONS = 4  # at a time; with several processes on a machine, together
WAIT = 0.2  # seconds, until shards that are being fetched can make room


def open_location(place: str | Path, patience: Patience | None = None) -> Prepared:
    """A prepared set in a folder or at an address.

    Raises:
        UsageError: the address cannot be used.
        DataError: there is no prepared set, or it is damaged.
        ResourceError: the server does not answer, or the cache cannot hold the set.
    """
    if not is_address(place):
        return open_prepared(Path(place))
    address, patience = check_address(str(place)), patience or Patience()
    facts = _index(address, patience)
    try:
        known, small = _files_of(facts)
        folder = cache_folder() / "remote" / f"{int(facts['fingerprint'], 16):064x}"[:16]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _no_index(address, f"{type(error).__name__}: {error}") from error
    needed, limit = sum(size or 0 for _, size in known.values()), cache_limit()
    if needed > limit:
        raise ResourceError(
            f"the shards at {address} have {needed / 1e9:.2f} GB, the cache may take {limit / 1e9:.2f} GB: every batch "
            f"would fetch most of them again",
            fix=f"Set {LIMIT} to at least {math.ceil(needed / 1e8) / 10}, {cache_folder()} to a larger disk with "
            "ALEXNET_CACHE, or prepare with --encoding jpeg.",
            code="E504",
        )
    with disk_errors(f"making {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    arrivals = Arrivals(address, folder, known | small, facts["size"], patience)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(arrivals.fetched, small))
    return assemble(folder, facts, address, arrivals.shard)


class Arrivals:
    """The files of one set in the cache: brought when they are asked for, and known once they were compared.

    Args:
        address: of the set.
        folder: its part of the cache.
        files: sha256, and bytes where they are known, by name.
        size: side of the pictures in pixels.
    """

    def __init__(
        self, address: str, folder: Path, files: dict[str, tuple[str, int | None]], size: int, patience: Patience
    ):
        self.address, self.folder, self.files, self.size, self.patience = address, folder, files, size, patience
        self.compared: set[str] = set()

    def shard(self, shard: Shard) -> Shard:
        """The shard to read from now; it stays readable when its file is removed from the cache."""
        while True:
            path = self.fetched(shard.path.name)
            try:
                found = mapped(shard, self.size)
                os.utime(path)  # the least recently used goes first
                return found
            except FileNotFoundError:
                continue  # another process has just made room

    def fetched(self, name: str) -> Path:
        """A file of the set in the cache, with the right bytes.

        Raises:
            DataError, ResourceError: see `fetching.fetch`.
        """
        path = self.folder / name
        if name in self.compared and path.exists():
            return path
        sha256, size = self.files[name]
        with in_turn(_lock_of(path)):
            if not path.exists() or file_sha256(path) != sha256:
                fetch(f"{self.address}/{name}", path, sha256, self.patience, size, make_room)
        self.compared.add(name)
        return path


@contextmanager
def arriving(prepared: Prepared, order: Sequence[int] | NDArray[np.integer[Any]]) -> Iterator[None]:
    """Within it, threads fetch the shards of train in the order in which its pictures will be read, then the others.

    What goes wrong is told to the reader of that shard, not here. When the block is left, the threads end with the
    shards that they are at, or with the process.

    Args:
        order: positions in train.
    """
    if prepared.address is None:
        yield
        return
    waiting: SimpleQueue[tuple[Split, Shard]] = SimpleQueue()
    train = prepared.splits["train"]
    owners = np.searchsorted(train.starts, np.asarray(order, np.int64), side="right") - 1
    first = dict.fromkeys(owners.tolist()) | dict.fromkeys(range(len(train.shards)))
    for number in first:
        waiting.put((train, train.shards[number]))
    for split in prepared.splits.values():
        for shard in split.shards if split is not train and split.name != "test" else ():
            waiting.put((split, shard))
    stop = Event()

    def work() -> None:
        while not stop.is_set():
            try:
                split, shard = waiting.get_nowait()
                if split.bring is not None:
                    split.bring(shard)
            except Empty:
                return
            except AlexNetError:
                continue

    for _ in range(CONNECTIONS):
        Thread(target=work, name="alexnet-arriving", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def cache_limit() -> int:
    """Bytes that shards in the cache may take together: of $ALEXNET_CACHE_GB, or most of what the disk has.

    Raises:
        ResourceError: the variable is not a size.
    """
    given = os.environ.get(LIMIT)
    if given is None:
        here = next(folder for folder in (cache_folder(), *cache_folder().absolute().parents) if folder.exists())
        taken = sum(size for _, size, _ in _kept(cache_folder() / "remote"))
        return int(SHARE_OF_DISK * (shutil.disk_usage(here).free + taken))
    try:
        limit = float(given)
    except ValueError:
        limit = 0.0
    if not 0 < limit < math.inf:
        raise ResourceError(
            f"{LIMIT}={given} is not a size", fix=f"Give gigabytes, for example {LIMIT}=200.", code="E506"
        )
    return int(limit * 1e9)


def make_room(size: int) -> None:
    """Removes shards that were not used for longest, until `size` bytes more stay within the limit.

    A shard that is being fetched or compared is left alone, and waited for if all others are gone.

    Raises:
        ResourceError: the limit is smaller than `size`.
    """
    folder, limit = cache_folder() / "remote", cache_limit()
    if size > limit:
        raise ResourceError(
            f"a shard has {size / 1e9:.2f} GB, the cache may take {limit / 1e9:.2f} GB",
            fix=f"Set {LIMIT} to more.",
            code="E504",
        )
    while True:
        with in_turn(folder / ".lock"):
            kept = sorted(_kept(folder))
            excess = sum(bytes_ for _, bytes_, _ in kept) + size - limit
            for _, bytes_, path in kept:
                if excess <= 0:
                    break
                name = path.name.removeprefix(".").removesuffix(TEMPORARY)
                with in_turn(_lock_of(path.with_name(name)), 0) as free:
                    if free:
                        path.unlink(missing_ok=True)
                        excess -= bytes_
            if excess <= 0:
                return
        time.sleep(WAIT)


def _kept(folder: Path) -> list[tuple[float, int, Path]]:
    """Every shard in the cache, and what is left of unfinished ones: when it was last used, its bytes, its path."""
    found = []
    for ending in (*SUFFIXES.values(), *(f"{suffix}{TEMPORARY}" for suffix in SUFFIXES.values())):
        for path in folder.glob(f"*/*{ending}"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if path.name != MEAN_IMAGE:
                found.append((status.st_mtime, status.st_size, path))
    return found


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _files_of(facts: dict[str, Any]) -> tuple[dict[str, tuple[str, int | None]], dict[str, tuple[str, int | None]]]:
    """sha256 and size of the shards and of the small files, by name; names are derived, never read."""
    shards: dict[str, tuple[str, int | None]] = {}
    small: dict[str, tuple[str, int | None]] = {MEAN_IMAGE: (facts["mean_image_sha256"], None)}
    for split in SPLITS:
        for number, entry in enumerate(facts["splits"].get(split, {"shards": ()})["shards"]):
            path = shard_path(Path(), split, number, facts["encoding"])
            shards[path.name] = (entry["sha256"], int(entry["bytes"]))
            small[path.with_suffix(".json").name] = (entry["json_sha256"], None)
    return shards, small


def _index(address: str, patience: Patience) -> dict[str, Any]:
    """What prepared.json at an address says; asked for again while its checksum is wrong."""
    for attempt in range(patience.wrong):
        try:
            content = fetch_small(f"{address}/{PREPARED}", patience, MOST_INDEX_BYTES)
            return check_facts(content, address)
        except DataError as error:
            if error.code == "E354":
                raise DataError(
                    f"{address} is not a prepared set (no {PREPARED} there)",
                    fix="Make one: alexnet prepare PICTURES FOLDER, and upload FOLDER; see docs/cluster.md.",
                    code="E353",
                ) from None
            if error.code != "E333" or attempt + 1 == patience.wrong:
                raise _no_index(address, error.what) if error.code == "E333" else error from None
    raise AssertionError("patience.wrong is at least 1")


def _no_index(address: str, why: str) -> DataError:
    return DataError(
        f"{address}/{PREPARED} is not an index that alexnet prepare wrote: {why}",
        fix="Upload the folder again.",
        code="E357",
    )
