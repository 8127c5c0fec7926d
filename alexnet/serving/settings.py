"""The settings of the service: its addresses, and its limits of sizes, times and numbers."""

from dataclasses import dataclass

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """Where the service listens, and the limits beyond which it refuses requests."""

    host: str = "127.0.0.1"
    port: int = 8000
    hosts: tuple[str, ...] = ()  # further names by which a browser may call it
    token: str | None = None  # the access token that clients must send; None: no token, for loopback only
    body_bytes: int = 20_000_000  # of one request
    all_bodies_bytes: int = 200_000_000  # of all requests that are being received or wait at one moment
    max_pixels: int = 24_000_000  # of an image; refused from its header
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

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return self.host in LOOPBACK
