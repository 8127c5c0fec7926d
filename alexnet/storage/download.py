"""One file from an address, through fsspec: asked for again with growing pauses, and only ever whole and right.

An address is SCHEME://HOST/FOLDER, of any scheme that fsspec knows. What a server may do wrong and what is done then:

refuses (401, 403, other 4xx), has no such file (404)        said at once, since asking again changes nothing
busy or broken (408, 429, 5xx), connection lost or reset,
silent, slower than `Patience.bytes_per_second`, cut off     asked again, `Patience.attempts` times in all, after the
                                                             pause that Retry-After names if it names one
other bytes than the sha256 says, more or fewer              asked again, `Patience.wrong` times in all
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
NEEDS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs", "sftp": "paramiko"}
HTTP = ("http", "https")
ASK_AGAIN = (408, 425, 429)


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for. None of it changes a result."""

    attempts: int = 6  # requests for one file that get no answer or half of one
    wrong: int = 3  # answers for one file whose bytes are not the right ones
    first_pause: float = 0.5  # seconds before the second attempt; doubled each time
    longest_pause: float = 60.0  # seconds, whatever Retry-After says
    silence: float = 30.0  # seconds without a byte
    bytes_per_second: float = 65536.0  # the least, once `silence` has passed
    sleep: Callable[[float], None] = time.sleep


class _Unfinished(Exception):
    """An attempt that may be repeated, and the pause that the server asks for."""

    def __init__(self, why: str, pause: float | None = None):
        super().__init__(why)
        self.pause = pause


class _OtherBytes(_Unfinished):
    """The whole file came, with other bytes."""


def is_address(data: object) -> bool:
    """Whether that names something beyond the file system."""
    return "://" in str(data)


def check_address(address: str) -> str:
    """The address of a folder without slash at its end.

    Raises:
        UsageError: it has a query, a fragment or a password.
    """
    scheme, _, rest = address.partition("://")
    host = rest.partition("/")[0]
    if any(sign in rest for sign in "?#") or ("@" in host and scheme in HTTP):
        shown = address.partition("?")[0].partition("#")[0].replace(host, host.rpartition("@")[2], 1)
        raise UsageError(
            f"the address of {shown} has a password or a query, which would stand in every run folder",
            fix="Give the plain address of the folder; names and passwords belong into ~/.netrc or fsspec's own files.",
            code="E278",
        )
    return address.rstrip("/")


def open_address(address: str, silence: float) -> Any:
    """A file object that streams what lies at an address.

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
        package = NEEDS.get(scheme, "'alexnet[remote]'")
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
    # With a size and no blocks a file is streamed by one GET, without asking for its length first.
    return system.open(address, "rb", **({"block_size": 0, "size": 1} if scheme in HTTP else {}))


def fetch(
    address: str,
    to: Path,
    sha256: str,
    patience: Patience,
    size: int | None = None,
    room: Callable[[int], None] | None = None,
) -> None:
    """Fetches one file into `to`, which appears only whole and with the right sha256.

    Args:
        size: in bytes, if it is known.
        room: called with `size` before the first byte is written, to make room.

    Raises:
        DataError: it is not there, the server refuses, or its bytes are wrong each time.
        ResourceError: it did not come in `patience.attempts` attempts; the disk refuses.
    """

    def attempt() -> None:
        with writing(to) as file:
            if size is not None and room is not None:
                room(size)
                file.truncate(size)  # so that others see what this will take
            found = _into(file, address, size, patience)
            file.truncate()
            if found != sha256:
                raise _OtherBytes(found)

    with disk_errors(f"writing {to}"):
        try:
            _again(attempt, address, patience)
        except _OtherBytes as error:
            raise DataError(
                f"{address} holds other bytes than the index says, {patience.wrong} times: sha256 {error} instead of "
                f"{sha256}",
                fix="Upload this file again, from the folder that alexnet prepare wrote.",
                code="E356",
            ) from None


def fetch_small(address: str, patience: Patience, most: int) -> bytes:
    """A small file whose sha256 is not known, as bytes.

    Args:
        most: bytes it may have.

    Raises:
        DataError: it is not there, the server refuses, or it is longer.
        ResourceError: it did not come in `patience.attempts` attempts.
    """
    content = bytearray()

    def attempt() -> None:
        content.clear()
        for piece in _pieces(address, patience):
            content.extend(piece)
            if len(content) > most:
                raise DataError(
                    f"{address} is longer than {most / 1e6:.0f} MB, which no index is",
                    fix="Give the address of a folder that alexnet prepare wrote.",
                    code="E357",
                )

    _again(attempt, address, patience)
    return bytes(content)


def _again(attempt: Callable[[], None], address: str, patience: Patience) -> None:
    """Calls `attempt` until it is not unfinished any more, or patience is at its end."""
    failed, wrong, pause = 0, 0, patience.first_pause
    while True:
        try:
            attempt()
            return
        except _OtherBytes:
            wrong += 1
            if wrong == patience.wrong:
                raise
            asked = None
        except _Unfinished as error:
            failed += 1
            if failed == patience.attempts:
                raise ResourceError(
                    f"{address} did not come in {failed} attempts; the last: {error}",
                    fix="Look at the server and the network, then do it again: what has come is kept.",
                    code="E505",
                ) from None
            asked = error.pause
        # Many processes that lost the same server must not come back in the same moment.
        spread = pause * random.SystemRandom().uniform(0.5, 1.0)
        patience.sleep(min(max(spread, asked or 0.0), patience.longest_pause))
        pause = min(2 * pause, patience.longest_pause)


def _into(file: IO[bytes], address: str, size: int | None, patience: Patience) -> str:
    """Writes what comes from the address from the start of `file` on; its sha256."""
    digest, length = hashlib.sha256(), 0
    file.seek(0)
    for piece in _pieces(address, patience):
        length += len(piece)
        if size is not None and length > size:
            raise _OtherBytes(f"of what is longer than {size:,} bytes")
        digest.update(piece)
        file.write(piece)
    return digest.hexdigest()


def _pieces(address: str, patience: Patience) -> Iterator[bytes]:
    """The bytes at an address as they come; every trouble is an `_Unfinished` or an error in words."""
    started, length = time.monotonic(), 0
    try:
        with open_address(address, patience.silence) as stream:
            while piece := stream.read(CHUNK):
                yield piece
                length += len(piece)
                if time.monotonic() - started > patience.silence + length / patience.bytes_per_second:
                    raise _Unfinished(f"slower than {patience.bytes_per_second / 1e3:.0f} kB a second")
    except (_Unfinished, AlexNetError):
        raise
    except FileNotFoundError:
        raise DataError(
            f"{address} is not there",
            fix="Look at the address; upload all files that alexnet prepare wrote, prepared.json last.",
            code="E354",
        ) from None
    except PermissionError as error:
        raise _refused(address, str(error)) from None
    except Exception as error:  # every file system of fsspec has kinds of its own
        raise _trouble(address, error) from None


def _trouble(address: str, error: Exception) -> Exception:
    """What to make of the answer of a server, or of there being none."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and status >= 400:
        if status < 500 and status not in ASK_AGAIN:
            return _refused(address, f"HTTP {status}")
        headers = getattr(error, "headers", None) or {}
        return _Unfinished(f"HTTP {status}", _seconds(headers.get("Retry-After", "")))
    return _Unfinished(f"{type(error).__name__} {error}".rstrip())


def _refused(address: str, how: str) -> DataError:
    return DataError(
        f"the server refuses {address}: {how}",
        fix="Look at the rights of the folder there, and whether this machine has the credentials.",
        code="E355",
    )


def _seconds(retry_after: str) -> float | None:
    """The pause that Retry-After asks for: seconds, or a date (RFC 9110, 10.2.3)."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
