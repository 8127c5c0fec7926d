"""Locks that let only one process work in a run folder, or on a file of the cache, at a time."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from alexnet.errors import UsageError
from alexnet.storage.files import disk_errors, parse_json

LOCK = ".lock"
OWNER = ".owner"  # names the process that holds the lock, for the error message only


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder; the operating system releases it when the process ends, even after a crash.

    Raises:
        UsageError: another process holds the lock.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    with disk_errors(f"locking {folder}"):
        try:
            lock.acquire()
        except Timeout:
            raise UsageError(
                f"{folder} is in use by another process{_owner_text(folder)}",
                fix="Wait for it, stop it with Ctrl-C or kill, or choose another folder with --out.",
                code="E251",
            ) from None
        (folder / OWNER).write_text(json.dumps({"pid": os.getpid(), "host": platform.node()}))
    try:
        yield
    finally:
        (folder / OWNER).unlink(missing_ok=True)
        lock.release()


@contextmanager
def in_turn(lock: Path, seconds: float = -1) -> Iterator[bool]:
    """Holds a lock file; other threads and processes that ask for the same file wait until it is released.

    Args:
        seconds: the longest time to wait; -1: no limit.

    Yields:
        whether the lock was acquired.
    """
    file_lock, acquired = FileLock(lock, timeout=seconds), True
    with disk_errors(f"locking {lock}"):
        try:
            file_lock.acquire()
        except Timeout:
            acquired = False
    try:
        yield acquired
    finally:
        if acquired:
            file_lock.release()


def _owner_text(folder: Path) -> str:
    try:
        owner = parse_json((folder / OWNER).read_text())
        return f" (process {owner['pid']} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def owner_of(folder: Path) -> dict[str, Any] | None:
    """Reads which process and machine last took the lock of a run folder; `holds_lock` tells whether they still do."""
    try:
        owner = parse_json((folder / OWNER).read_text())
        return {"pid": int(owner["pid"]), "host": str(owner["host"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def holds_lock(folder: Path, owner: dict[str, Any]) -> bool:
    """Whether this process runs on this machine and has the lock file of the run open right now.

    Only Linux can tell; on other systems the answer is always False.
    """
    if owner["host"] != platform.node() or owner["pid"] <= 0:
        return False
    lock_file = (folder / LOCK).resolve()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{owner['pid']}/fd").iterdir():
            with suppress(OSError):
                if os.path.samefile(os.readlink(descriptor), lock_file):
                    return True
    return False
