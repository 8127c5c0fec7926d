"""The settings of the service: its addresses, who may ask it, and its limits of sizes, times and numbers."""

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from alexnet.data.image_bytes import pixel_limit
from alexnet.errors import UntrustedFileError, UsageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY_ORIGIN = "*"
# A JPEG of four times as many, as the largest sensors of phones give, is decoded at half its size.
SENT_PIXELS = 27_000_000
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Settings:
    """Where the service listens, and the limits beyond which it refuses requests.

    Raises:
        UsageError: E203, an origin or a path prefix that is none.
        UntrustedFileError: E673, all origins together with a token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    hosts: tuple[str, ...] = ()  # further names by which a browser may call it
    origins: tuple[str, ...] = ()  # pages of other sites that may call it: "https://app.example", or "*"
    root_path: str = ""  # the prefix that a proxy passes on: "/user/ann/proxy/8000"
    token: str | None = None  # the access token that clients must send; None: no token, for loopback only
    body_bytes: int = 20_000_000  # of one request
    all_bodies_bytes: int = 200_000_000  # of all requests that are being received or wait at one moment
    max_pixels: int = field(default_factory=lambda: pixel_limit(SENT_PIXELS))  # of an image; refused from its header
    header_seconds: float = 10.0  # from the start of a connection, or the first byte of a further request
    body_seconds: float = 20.0  # from the end of the headers
    idle_seconds: int = 5  # how long a connection without a request stays open
    linger_seconds: float = 2.0  # how long a refused upload is read and discarded, so that the response arrives
    stop_seconds: int = 9  # from SIGTERM until requests that still run are dropped
    connections: int = 1000  # further ones are refused
    queue: int = 64  # images that wait or are being computed
    max_batch: int = 32  # images computed in one batch; also the maximum in one batch request
    max_wait_ms: float = 5.0  # how long a batch waits for images that are being decoded
    decoders: int = 2  # threads that decode images

    def __post_init__(self) -> None:
        object.__setattr__(self, "origins", tuple(map(_origin, self.origins)))
        object.__setattr__(self, "root_path", _root_path(self.root_path))
        if ANY_ORIGIN in self.origins and self.token is not None:
            raise UntrustedFileError(
                "a service with an access token cannot allow the pages of all sites (--cors-origin '*')",
                fix="Name each site: --cors-origin https://app.example.",
                code="E673",
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return self.host in LOOPBACK


def _origin(text: str) -> str:
    """An origin as browsers write it: in small letters, without a path, and without the usual port."""
    if text == ANY_ORIGIN:
        return text
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
        host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    except ValueError:  # UnicodeError is one
        parts, host, port = urlsplit(""), "", None
    whole = parts.scheme in DEFAULT_PORTS and re.fullmatch(r"\[[0-9a-f:.]+\]|[\w.-]+", host, re.ASCII)
    if not whole or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError(
            f"--cors-origin {text!r} is no origin",
            fix="Give scheme and host of the page, and its port if the address shows one: https://app.example, "
            "http://localhost:3000",
            code="E203",
        )
    return f"{parts.scheme}://{host}" + ("" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}")


def _root_path(text: str) -> str:
    """A prefix of paths, decoded, with a slash in front and none behind; empty for the root."""
    path = "/" + unquote(text.strip()).strip("/")
    if "://" in text or re.search(r"[?#\\\x00-\x1f\x7f]|//", path) or {".", ".."} & set(path.split("/")):
        raise UsageError(
            f"--root-path {text!r} is no prefix of a path",
            fix=f"Give the part of the address before the page, without host: {_example(text)}",
            code="E203",
        )
    return path.rstrip("/")


def _example(text: str) -> str:
    try:
        path = urlsplit(text).path if "://" in text else ""
    except ValueError:
        path = ""
    return quote(path.rstrip("/")) or "/user/ann/proxy/8000"
