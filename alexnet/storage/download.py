"""Downloads one file from an address through fsspec: retries with growing pauses, keeps only complete, correct files.

An address is SCHEME://HOST/FOLDER, with any scheme that fsspec knows. What can go wrong on a server, and the reaction:

access refused (401, 403, other 4xx), no such file (404)     an error at once, since a retry changes nothing
busy or broken (408, 429, 5xx), connection lost or reset,
silent, slower than `Patience.bytes_per_second`, cut off     a retry, up to `Patience.attempts` requests in total, after
                                                             the pause in Retry-After if the server sends one
content that does not match the sha256, or another length    a retry, up to `Patience.wrong` downloads in total
"""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any

from alexnet.errors import AlexNetError, DataError, ResourceError, UsageError
from alexnet.storage.files import disk_errors, writing

CHUNK = 1 << 20
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs", "sftp": "paramiko"}
HTTP = ("http", "https")
RETRY_STATUS = (408, 425, 429)


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server and how often to try again. None of it changes a result."""

    attempts: int = 6  # requests for one file that fail or are cut off
    wrong: int = 3  # complete downloads of one file with the wrong content
    first_pause: float = 0.5  # seconds before the second attempt; doubles each time
    longest_pause: float = 60.0  # seconds, also where Retry-After asks for more
    silence: float = 30.0  # seconds without a byte before the attempt fails
    bytes_per_second: float = 65536.0  # slowest accepted speed, once `silence` has passed
    sleep: Callable[[float], None] = time.sleep


class _Unfinished(Exception):
    """A failed attempt that may be repeated, and the pause that the server asks for, in seconds."""

    def __init__(self, reason: str, pause: float | None = None):
        super().__init__(reason)
        self.pause = pause


class _WrongContent(_Unfinished):
    """A complete download whose sha256 or length is wrong."""


def is_address(data: object) -> bool:
    """Whether this is an address (SCHEME://...) and not a path of the file system."""
    return "://" in str(data)


def check_address(address: str) -> str:
    """Returns the address of a folder without the slash at its end.

    Raises:
        UsageError: the address has a query, a fragment or a password.
    """
    scheme, _, rest = address.partition("://")
    host = rest.partition("/")[0]
    if any(mark in rest for mark in "?#") or ("@" in host and scheme in HTTP):
        public_part = address.partition("?")[0].partition("#")[0].replace(host, host.rpartition("@")[2], 1)
        raise UsageError(
            f"the address of {public_part} has a password or a query, which would be stored in every run folder",
            fix="Give the plain address of the folder; names and passwords belong in ~/.netrc or fsspec's own files.",
            code="E278",
        )
    return address.rstrip("/")


def open_address(address: str, silence: float) -> Any:
    """Opens the file at an address as a stream.

    Raises:
        UsageError: the scheme is unknown, or its package is missing.
    """
    scheme = address.partition("://")[0]
    try:
        import fsspec

        options: dict[str, Any] = {}
        if scheme in HTTP:
            import aiohttp

            limits = aiohttp.ClientTimeout(total=None, sock_connect=silence, sock_read=silence)
            options = {"client_kwargs": {"timeout": limits, "trust_env": True}}
        system = fsspec.filesystem(scheme, **options)
    except ImportError as error:
        package = PACKAGES.get(scheme, "'alexnet[remote]'")
        raise UsageError(
            f"{scheme}:// cannot be read here: {str(error).splitlines()[0]}",
            fix=f"pip install {package}",
            code="E277",
        ) from None
    except ValueError as error:
        raise UsageError(
            f"{address}: {str(error).splitlines()[0]}",
            fix="Use https://, s3://, gs:// or another scheme of fsspec, or a folder on this machine.",
            code="E279",
        ) from None
    # With a size and without blocks, fsspec streams the file with one GET and does not ask for its length first.
    return system.open(address, "rb", **({"block_size": 0, "size": 1} if scheme in HTTP else {}))


def fetch(
    address: str,
    to: Path,
    sha256: str,
    patience: Patience,
    size: int | None = None,
    room: Callable[[int], None] | None = None,
) -> None:
    """Downloads one file to `to`, which appears only when it is complete and has the right sha256.

    Args:
        size: of the file in bytes, if it is known.
        room: called with `size` before the first byte is written, to free that much space.

    Raises:
        DataError: the file does not exist, the server refuses access, or the content is wrong each time.
        ResourceError: all `patience.attempts` attempts failed, or the file cannot be written.
    """

    def attempt() -> None:
        with writing(to) as file:
            if size is not None and room is not None:
                room(size)
                file.truncate(size)  # so that other processes see how much space this file will need
            received = _download_into(file, address, size, patience)
            file.truncate()
            if received != sha256:
                raise _WrongContent(received)

    with disk_errors(f"writing {to}"):
        try:
            _retry(attempt, address, patience)
        except _WrongContent as error:
            raise DataError(
                f"{address} did not match the index in {patience.wrong} downloads: sha256 {error} instead of {sha256}",
                fix="Upload this file again from the folder that alexnet prepare wrote.",
                code="E356",
            ) from None


def fetch_small(address: str, patience: Patience, most: int) -> bytes:
    """Downloads a small file whose sha256 is not known, and returns its bytes.

    Args:
        most: the largest length accepted, in bytes.

    Raises:
        DataError: the file does not exist, the server refuses access, or the file is longer.
        ResourceError: all `patience.attempts` attempts failed.
    """
    content = bytearray()

    def attempt() -> None:
        content.clear()
        for block in _blocks(address, patience):
            content.extend(block)
            if len(content) > most:
                raise DataError(
                    f"{address} is longer than {most / 1e6:.0f} MB, which is too long for an index",
                    fix="Give the address of a folder that alexnet prepare wrote.",
                    code="E357",
                )

    _retry(attempt, address, patience)
    return bytes(content)


def _retry(attempt: Callable[[], None], address: str, patience: Patience) -> None:
    """Calls `attempt` until it succeeds, or until it has failed as often as `patience` allows."""
    failed, wrong, pause = 0, 0, patience.first_pause
    while True:
        try:
            attempt()
            return
        except _WrongContent:
            wrong += 1
            if wrong == patience.wrong:
                raise
            requested_pause = None
        except _Unfinished as error:
            failed += 1
            if failed == patience.attempts:
                raise ResourceError(
                    f"{address} could not be downloaded in {failed} attempts; the last error: {error}",
                    fix="Check the server and the network, then run the command again: finished downloads are kept.",
                    code="E505",
                ) from None
            requested_pause = error.pause
        # A random factor, so that many processes that lost the same server do not all return at the same moment.
        random_pause = pause * random.SystemRandom().uniform(0.5, 1.0)
        patience.sleep(min(max(random_pause, requested_pause or 0.0), patience.longest_pause))
        pause = min(2 * pause, patience.longest_pause)


def _download_into(file: IO[bytes], address: str, size: int | None, patience: Patience) -> str:
    """Writes the content of the address to `file`, from its first byte on, and returns the sha256."""
    digest, length = hashlib.sha256(), 0
    file.seek(0)
    for block in _blocks(address, patience):
        length += len(block)
        if size is not None and length > size:
            raise _WrongContent(f"of more than {size:,} bytes")
        digest.update(block)
        file.write(block)
    return digest.hexdigest()


def _blocks(address: str, patience: Patience) -> Iterator[bytes]:
    """Yields the bytes at an address as they arrive; raises `_Unfinished` or an error for the user if that fails."""
    started, length = time.monotonic(), 0
    try:
        with open_address(address, patience.silence) as stream:
            while block := stream.read(CHUNK):
                yield block
                length += len(block)
                if time.monotonic() - started > patience.silence + length / patience.bytes_per_second:
                    raise _Unfinished(f"slower than {patience.bytes_per_second / 1e3:.0f} kB a second")
    except (_Unfinished, AlexNetError):
        raise
    except FileNotFoundError:
        raise DataError(
            f"{address} does not exist",
            fix="Check the address; upload all files that alexnet prepare wrote, prepared.json last.",
            code="E354",
        ) from None
    except PermissionError as error:
        raise _refused(address, str(error)) from None
    except Exception as error:  # every file system of fsspec raises its own kinds
        raise _server_error(address, error) from None


def _server_error(address: str, error: Exception) -> Exception:
    """Returns the error to raise for a failed request: `_Unfinished` if a retry may help, else one for the user."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and status >= 400:
        if status < 500 and status not in RETRY_STATUS:
            return _refused(address, f"HTTP {status}")
        headers = getattr(error, "headers", None) or {}
        return _Unfinished(f"HTTP {status}", _retry_after_seconds(headers.get("Retry-After", "")))
    return _Unfinished(f"{type(error).__name__} {error}".rstrip())


def _refused(address: str, reason: str) -> DataError:
    return DataError(
        f"the server refuses {address}: {reason}",
        fix="Check the permissions of the folder on the server, and whether this machine has the credentials.",
        code="E355",
    )


def _retry_after_seconds(retry_after: str) -> float | None:
    """Reads the pause that Retry-After asks for: seconds, or a date (RFC 9110, 10.2.3)."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
