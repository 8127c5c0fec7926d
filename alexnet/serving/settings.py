"""What the service allows: sizes, times and numbers, each a setting with its reason."""

from dataclasses import dataclass

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """How the service listens and where it says no."""

    host: str = "127.0.0.1"
    port: int = 8000
    hosts: tuple[str, ...] = ()  # further names under which a browser may ask for it
    token: str | None = None  # who has it may ask; None: no token, for loopback only
    body_bytes: int = 20_000_000  # of one request
    all_bodies_bytes: int = 200_000_000  # of all requests that are read or wait at one moment
    max_pixels: int = 24_000_000  # of a picture, refused from its header
    header_seconds: float = 10.0  # from the first moment of a connection, or the first byte of a further request
    body_seconds: float = 20.0  # from the end of the headers
    idle_seconds: int = 5  # a connection without a request
    linger_seconds: float = 2.0  # how long a refused upload is read and thrown away, so that the refusal arrives
    stop_seconds: int = 9  # from SIGTERM until requests still going on are dropped
    connections: int = 1000  # more than this are refused
    queue: int = 64  # pictures that wait or are computed
    max_batch: int = 32  # pictures computed at once; also the most in one batch request
    max_wait_ms: float = 5.0  # how long a batch waits for pictures that are being decoded
    decoders: int = 2  # threads that decode pictures

    @property
    def loopback(self) -> bool:
        """Whether only this machine can ask."""
        return self.host in LOOPBACK
