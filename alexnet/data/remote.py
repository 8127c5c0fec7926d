"""Opens a prepared dataset at an address (https://, s3://, ...) by fetching its shards into the cache.

    CACHE/remote/FINGERPRINT/train-0000.json mean_image.npy   fetched when the dataset is opened
    CACHE/remote/FINGERPRINT/train-0000.npy                   fetched when one of its images is first read, or before
    CACHE/remote/FINGERPRINT/.train-0000.npy.lock             held by the one thread of one process that fetches it

Every file is compared with the sha256 of the index before its first use in a process, also if it was in the cache
already. The order of the images does not depend on where they are stored, so results are equal to those of a local
folder.

An epoch visits the images in random order, so a batch needs nearly as many shards as it has images. Therefore a dataset
that does not fit into the cache is refused. When other datasets fill the cache, the least recently used shards are
removed.
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
SHARE_OF_DISK = 0.9  # of the space that is free or used by the cache, if no limit is set
MOST_INDEX_BYTES = 1 << 28
CONNECTIONS = 4  # shards fetched at a time by each process; all processes of a machine share the cache
WAIT = 0.2  # seconds before the next attempt to make room, while the remaining shards are in use


def open_location(location: str | Path, patience: Patience | None = None) -> Prepared:
    """Opens a prepared dataset in a folder or at an address.

    Raises:
        UsageError: the address cannot be used.
        DataError: there is no prepared dataset, or it is damaged.
        ResourceError: the server does not respond, or the cache cannot hold the dataset.
    """
    if not is_address(location):
        return open_prepared(Path(location))
    address, patience = check_address(str(location)), patience or Patience()
    facts = _read_index(address, patience)
    try:
        shards, small = _files_of(facts)
        folder = cache_folder() / "remote" / f"{int(facts['fingerprint'], 16):064x}"[:16]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _invalid_index(address, f"{type(error).__name__}: {error}") from error
    needed, limit = sum(size or 0 for _, size in shards.values()), cache_limit()
    if needed > limit:
        raise ResourceError(
            f"the shards at {address} need {needed / 1e9:.2f} GB, the cache may use {limit / 1e9:.2f} GB: every batch "
            f"would download most of them again",
            fix=f"Set {LIMIT} to at least {math.ceil(needed / 1e8) / 10}, move {cache_folder()} to a larger disk with "
            "ALEXNET_CACHE, or prepare with --encoding jpeg.",
            code="E504",
        )
    with disk_errors(f"making {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    arrivals = Arrivals(address, folder, shards | small, facts["size"], patience)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(arrivals.fetched, small))
    return assemble(folder, facts, address, arrivals.shard)


class Arrivals:
    """The cached files of one remote dataset. A file is fetched when it is needed and compared with its sha256 once.

    Args:
        address: of the dataset.
        folder: its folder in the cache.
        files: name -> sha256 and, if known, the length in bytes.
        size: side of the images in pixels.
    """

    def __init__(
        self, address: str, folder: Path, files: dict[str, tuple[str, int | None]], size: int, patience: Patience
    ):
        self.address, self.folder, self.files, self.size, self.patience = address, folder, files, size, patience
        self.compared: set[str] = set()

    def shard(self, shard: Shard) -> Shard:
        """Fetches a shard if necessary and maps it; it stays readable after its file is removed from the cache."""
        while True:
            path = self.fetched(shard.path.name)
            try:
                mapped_shard = mapped(shard, self.size)
                os.utime(path)  # marks it as recently used
                return mapped_shard
            except FileNotFoundError:
                continue  # another process has just removed it to make room

    def fetched(self, name: str) -> Path:
        """Fetches a file of the dataset into the cache, unless it is there with the right content; returns its path.

        Raises:
            DataError, ResourceError: see `alexnet.storage.download.fetch`.
        """
        path = self.folder / name
        if name in self.compared and path.exists():
            return path
        sha256, size = self.files[name]
        with in_turn(_lock_path(path)):
            if not path.exists() or file_sha256(path) != sha256:
                fetch(f"{self.address}/{name}", path, sha256, self.patience, size, make_room)
        self.compared.add(name)
        return path


@contextmanager
def arriving(prepared: Prepared, order: Sequence[int] | NDArray[np.integer[Any]]) -> Iterator[None]:
    """Fetches shards ahead in threads within a `with` block: those of train in the order of use, then those of val.

    Errors are not raised here; the reader of the shard meets them again. When the block ends, each thread stops after
    its current shard, or with the process.

    Args:
        order: positions in train, in the order in which they will be read.
    """
    if prepared.address is None:
        yield
        return
    queue: SimpleQueue[tuple[Split, Shard]] = SimpleQueue()
    train = prepared.splits["train"]
    shard_numbers = np.searchsorted(train.starts, np.asarray(order, np.int64), side="right") - 1
    # Each shard once, in the order of its first use; then those that `order` does not need.
    distinct_numbers = dict.fromkeys(shard_numbers.tolist()) | dict.fromkeys(range(len(train.shards)))
    for number in distinct_numbers:
        queue.put((train, train.shards[number]))
    for split in prepared.splits.values():
        for shard in split.shards if split is not train and split.name != "test" else ():
            queue.put((split, shard))
    stop = Event()

    def work() -> None:
        while not stop.is_set():
            try:
                split, shard = queue.get_nowait()
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
    """The number of bytes that all shards in the cache may use: $ALEXNET_CACHE_GB, or most of the free disk space.

    Raises:
        ResourceError: the variable is not a size.
    """
    given = os.environ.get(LIMIT)
    if given is None:
        existing = next(folder for folder in (cache_folder(), *cache_folder().absolute().parents) if folder.exists())
        used = sum(size for _, size, _ in _cached_shards(cache_folder() / "remote"))
        return int(SHARE_OF_DISK * (shutil.disk_usage(existing).free + used))
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
    """Removes the least recently used shards until `size` more bytes fit into the limit.

    A shard that is being fetched or compared is not removed; if only such shards are left, the function waits.

    Raises:
        ResourceError: the limit is smaller than `size`.
    """
    folder, limit = cache_folder() / "remote", cache_limit()
    if size > limit:
        raise ResourceError(
            f"a shard needs {size / 1e9:.2f} GB, the cache may use {limit / 1e9:.2f} GB",
            fix=f"Set {LIMIT} to a larger value.",
            code="E504",
        )
    while True:
        with in_turn(folder / ".lock"):
            cached = sorted(_cached_shards(folder))
            excess = sum(length for _, length, _ in cached) + size - limit
            for _, length, path in cached:
                if excess <= 0:
                    break
                name = path.name.removeprefix(".").removesuffix(TEMPORARY)
                with in_turn(_lock_path(path.with_name(name)), 0) as is_unused:
                    if is_unused:
                        path.unlink(missing_ok=True)
                        excess -= length
            if excess <= 0:
                return
        time.sleep(WAIT)


def _cached_shards(folder: Path) -> list[tuple[float, int, Path]]:
    """Lists the shards in the cache, unfinished ones included: time of the last use, length in bytes, path."""
    shards = []
    for ending in (*SUFFIXES.values(), *(f"{suffix}{TEMPORARY}" for suffix in SUFFIXES.values())):
        for path in folder.glob(f"*/*{ending}"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if path.name != MEAN_IMAGE:
                shards.append((status.st_mtime, status.st_size, path))
    return shards


def _lock_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _files_of(facts: dict[str, Any]) -> tuple[dict[str, tuple[str, int | None]], dict[str, tuple[str, int | None]]]:
    """Lists the shards and the small files: name -> sha256 and size. Names are computed, never read from the index."""
    shards: dict[str, tuple[str, int | None]] = {}
    small: dict[str, tuple[str, int | None]] = {MEAN_IMAGE: (facts["mean_image_sha256"], None)}
    for split in SPLITS:
        for number, entry in enumerate(facts["splits"].get(split, {"shards": ()})["shards"]):
            path = shard_path(Path(), split, number, facts["encoding"])
            shards[path.name] = (entry["sha256"], int(entry["bytes"]))
            small[path.with_suffix(".json").name] = (entry["json_sha256"], None)
    return shards, small


def _read_index(address: str, patience: Patience) -> dict[str, Any]:
    """Fetches prepared.json from an address and checks it; fetches it again while its checksum is wrong."""
    for attempt in range(patience.wrong):
        try:
            content = fetch_small(f"{address}/{PREPARED}", patience, MOST_INDEX_BYTES)
            return check_facts(content, address)
        except DataError as error:
            if error.code == "E354":
                raise DataError(
                    f"{address} is not a prepared dataset (no {PREPARED} there)",
                    fix="Make one: alexnet prepare IMAGES FOLDER, and upload FOLDER; see docs/cluster.md.",
                    code="E353",
                ) from None
            if error.code != "E333" or attempt + 1 == patience.wrong:
                raise _invalid_index(address, error.what) if error.code == "E333" else error from None
    raise AssertionError("patience.wrong is at least 1")


def _invalid_index(address: str, reason: str) -> DataError:
    return DataError(
        f"{address}/{PREPARED} is not an index that alexnet prepare wrote: {reason}",
        fix="Upload the folder again.",
        code="E357",
    )
