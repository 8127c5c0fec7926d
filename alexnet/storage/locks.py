"""One process at a time in a run folder, or at a file of the cache."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from alexnet.errors import UsageError
from alexnet.storage.files import disk_errors

LOCK = ".lock"
OWNER = ".owner"  # who holds the lock, for the message; it decides nothing


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Within it no other process can enter; the system lets go of the lock when a process ends, however it ends.

    Raises:
        UsageError: another process is in it.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    with disk_errors(f"locking {folder}"):
        try:
            lock.acquire()
        except Timeout:
            raise UsageError(
                f"{folder} is in use by another process{_owner(folder)}",
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
    """Within it no other thread or process can be in a block with the same lock file; those that come wait.

    Args:
        seconds: to wait at the most; -1: for as long as it takes.

    Yields:
        whether the turn came.
    """
    waiting, came = FileLock(lock, timeout=seconds), True
    with disk_errors(f"locking {lock}"):
        try:
            waiting.acquire()
        except Timeout:
            came = False
    try:
        yield came
    finally:
        if came:
            waiting.release()


def _owner(folder: Path) -> str:
    try:
        owner = json.loads((folder / OWNER).read_text())
        return f" (process {owner['pid']} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def owner_of(folder: Path) -> dict[str, Any] | None:
    """The process and machine that say they hold the lock of a run folder; whether they do is another question."""
    try:
        owner = json.loads((folder / OWNER).read_text())
        return {"pid": int(owner["pid"]), "host": str(owner["host"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def holds_lock(folder: Path, owner: dict[str, Any]) -> bool:
    """Whether that process is one of this machine that has the lock file of this run open right now.

    Only Linux tells; elsewhere the answer is no.
    """
    if owner["host"] != platform.node() or owner["pid"] <= 0:
        return False
    wanted = (folder / LOCK).resolve()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{owner['pid']}/fd").iterdir():
            with suppress(OSError):
                if os.path.samefile(os.readlink(descriptor), wanted):
                    return True
    return False
