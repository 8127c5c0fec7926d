"""Runs uvicorn with deadlines: a connection that sends its headers or its body too slowly gets 408 and is closed.

uvicorn by itself keeps a silent connection open without limit, and also one that sends a header every few seconds or
never finishes its body. Here one deadline runs from the start of a connection (or the first byte of a further request
on it) to the end of the headers, and another from there to the end of the body. A refused upload is read and discarded
for a moment, because a connection that is closed with unread bytes loses the response. Data that cannot be sent within
that moment is dropped.

What the service does before it listens and after its last response runs here, and not in the lifespan protocol, where
uvicorn would write a mistake to the log as a traceback and exit with a code of its own.
"""

import asyncio
import contextlib
import errno
import logging
import math
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from alexnet.errors import AlexNetError
from alexnet.serving.access import SECURITY_HEADERS
from alexnet.serving.problems import (
    encode_problem,
    not_available,
    not_http,
    too_many_chunks,
    too_many_connections,
    too_slow,
)
from alexnet.serving.settings import Settings

SLOWEST_BYTES_PER_SECOND = 10_000  # at which a client may take a response
SPARE_FILES = 100  # descriptors for everything but connections
BACKLOG = 128  # connections that may wait; asyncio accepts as many at once
# A chunk of a body takes some lines; more than one in so many bytes is work without content.
CHUNK_LINES, BYTES_PER_LINE = 500, 64
CHUNKED = b"chunked"
GONE = (errno.ENOTCONN, errno.EHOSTUNREACH, errno.ENETUNREACH)  # of a connection whose client is no longer there


class _Lingering:
    """A transport whose close() during an upload first lets the response reach the client."""

    def __init__(self, transport: asyncio.Transport, seconds: float, uploading: Callable[[], bool]):
        self._transport = transport
        self._seconds = seconds
        self._uploading = uploading
        self.closing = False
        self._lingering: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.closing or self._transport.is_closing()

    def close(self) -> None:
        if self.closing:
            return
        self.closing = True
        self._lingering = asyncio.get_running_loop().call_later(self._seconds, self._abort, self._unsent())
        if self._uploading() and self._transport.can_write_eof() and not self._transport.is_closing():
            try:
                self._transport.write_eof()
                self._transport.resume_reading()
            except OSError:  # the client has disconnected, and asyncio has not noticed yet
                self._transport.abort()
        else:
            self._transport.close()

    def _unsent(self) -> int:
        """Bytes that the client has not taken, counting those that the system holds; 0 when it has all of them."""
        waiting = self._transport.get_write_buffer_size()
        return waiting and waiting + _not_acknowledged(self._transport.get_extra_info("socket"))

    def _abort(self, before: int) -> None:
        """Ends the connection, unless its client has taken enough of the response since the last look."""
        unsent = self._unsent()
        if 0 < unsent <= before - self._seconds * SLOWEST_BYTES_PER_SECOND:
            self._lingering = asyncio.get_running_loop().call_later(self._seconds, self._abort, unsent)
        else:
            self._transport.abort()

    def lost(self) -> None:
        """Ends the timer of a connection that is gone: asyncio cannot always abort one that is (python/cpython)."""
        self.closing = True
        if self._lingering is not None:
            self._lingering.cancel()

    def write(self, data: bytes) -> None:
        if not self.is_closing():
            self._transport.write(data)


def protocol(settings: Settings) -> type[H11Protocol]:
    """The HTTP protocol class for uvicorn with the deadlines of these settings."""
    most = most_connections(settings.connections)

    class Protocol(H11Protocol):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            self._timer: asyncio.TimerHandle | None = None
            self._phase: tuple[str, int] | None = None
            self._requests = 0
            self._chunked = False  # whether a body of the connection may come in chunks
            self._seen, self._lines, self._bytes = b"", 0, 0  # the last bytes; what has come of the request

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(_Lingering(transport, settings.linger_seconds, self._uploading))  # type: ignore[arg-type]
            if len(self.connections) > most:
                self._refuse(too_many_connections(most))
            else:
                self._start_phase("headers", settings.header_seconds)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self._phase is None:
                self._start_phase("headers", settings.header_seconds)
            if not self._chunked:
                seen = self._seen + data
                self._chunked, self._seen = CHUNKED in seen.lower(), seen[1 - len(CHUNKED) :]
            self._lines, self._bytes = self._lines + data.count(b"\r\n"), self._bytes + len(data)
            if self._chunked and self._lines > CHUNK_LINES + self._bytes // BYTES_PER_LINE:
                self._refuse(too_many_chunks())
                return
            super().data_received(data)

        def handle_events(self) -> None:
            cycle = self.cycle
            super().handle_events()
            if self.cycle is not cycle:
                self._requests, self._lines, self._bytes = self._requests + 1, 0, 0
                self._chunked = any(name == b"transfer-encoding" for name, _ in self.headers)
            state = self.conn.their_state
            if state is h11.SEND_BODY:
                self._start_phase("body", settings.body_seconds)
            elif state is h11.IDLE and not self._finished():
                self._start_phase("headers", settings.header_seconds)
            else:
                self._end_phase()

        def connection_lost(self, exc: Exception | None) -> None:
            self._end_phase()
            if isinstance(self.transport, _Lingering):
                self.transport.lost()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self._refuse(not_http())

        def _uploading(self) -> bool:
            return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

        def _finished(self) -> bool:
            """Whether a request was answered and no byte of the next has arrived."""
            return self.cycle is not None and self.cycle.response_complete and not self.conn.trailing_data[0]

        def _start_phase(self, phase: str, seconds: float) -> None:
            if self._phase == (phase, self._requests):
                return
            self._end_phase()
            self._phase = (phase, self._requests)
            self._timer = self.loop.call_later(seconds, self._on_deadline, phase, seconds)

        def _end_phase(self) -> None:
            self._phase = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _on_deadline(self, phase: str, seconds: float) -> None:
            self._refuse(too_slow(phase, seconds))

        def _refuse(self, error: AlexNetError) -> None:
            """Sends an error without the application, unless that has begun to respond; then closes the connection."""
            self._end_phase()
            cycle = self.cycle
            if cycle is None or cycle.response_complete or not cycle.response_started:
                status, headers, body = encode_problem(error, "connection")
                head = f"HTTP/1.1 {status} \r\n" + "".join(
                    f"{name}: {value}\r\n" for name, value in (*headers, *SECURITY_HEADERS, ("connection", "close"))
                )
                self.transport.write(head.encode() + b"\r\n" + body)
            self.transport.close()
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    return Protocol


def _not_acknowledged(connection: Any) -> int:
    """Bytes that the system holds for a client; 0 where it does not say."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        from fcntl import ioctl
        from termios import TIOCOUTQ

        return int.from_bytes(ioctl(connection.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
    return 0


def most_connections(limit: int) -> int:
    """As many connections as are allowed and as this process may have open files, some left for everything else."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return limit
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit if files == resource.RLIM_INFINITY else min(limit, max(1, files - SPARE_FILES - BACKLOG))


class Server(uvicorn.Server):
    """uvicorn that exits with 0 after SIGTERM and Ctrl-C, and raises what goes wrong before it listens.

    Args:
        prepare: is called on a thread before the server listens.
        ready: is called when it listens.
        reload: is called on SIGHUP.
        finish: is called on a thread after the last response.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        prepare: Callable[[], None],
        ready: Callable[[], None],
        reload: Callable[[], None],
        finish: Callable[[], None],
    ):
        super().__init__(config)
        self._prepare, self._ready, self._reload, self._finish = prepare, ready, reload, finish

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Prepares, begins to listen, then calls `ready`.

        Raises:
            AlexNetError: of `prepare`; E524, another process has begun to listen at the address meanwhile.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_on_loop_error)
        try:
            await loop.run_in_executor(None, self._prepare)
            try:
                await super().startup(sockets)
            except OSError as error:
                host, port, *_ = sockets[0].getsockname() if sockets else (self.config.host, self.config.port)
                raise not_available(host, port, error) from None
            self._ready()
        except BaseException:
            await loop.run_in_executor(None, self._finish)
            raise

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers what has been received, then finishes; at once after a second Ctrl-C."""
        stopping = asyncio.create_task(super().shutdown(sockets))
        while not (await asyncio.wait({stopping}, timeout=0.2))[0]:
            if self.force_exit:  # from Python 3.12 on asyncio itself waits until no client is connected
                stopping.cancel()
        if not stopping.cancelled():
            await stopping
        if not self.force_exit:
            await asyncio.get_running_loop().run_in_executor(None, self._finish)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals within the block: they stop the server, or reload the weights."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def hang_up(number: int, frame: FrameType | None) -> None:
            self._reload()

        handlers: dict[int, Any] = {signal.SIGINT: self.handle_exit, signal.SIGTERM: self.handle_exit}
        if hasattr(signal, "SIGHUP"):  # not on Windows
            handlers[signal.SIGHUP] = hang_up
        previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class _OncePerSecond:
    """Lets a line into the log once a second: what the system refuses, it refuses for each of a thousand clients."""

    def __init__(self) -> None:
        self._last = -math.inf

    def may_write(self, now: float) -> bool:
        if now - self._last < 1:
            return False
        self._last = now
        return True


_LOG = _OncePerSecond()


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Writes an error in a callback to the log: not that a client is gone, and in one line what the system refuses."""
    error = context.get("exception")
    if not isinstance(error, OSError):
        loop.default_exception_handler(context)
    elif (
        not isinstance(error, ConnectionError | TimeoutError)
        and error.errno not in GONE
        and _LOG.may_write(loop.time())
    ):
        logging.getLogger("uvicorn.error").error("%s: %s", context.get("message"), error.strerror)


def server(
    app: Any,
    settings: Settings,
    ready: Callable[[], None],
    reload: Callable[[], None],
    *,
    prepare: Callable[[], None] = lambda: None,
    finish: Callable[[], None] = lambda: None,
) -> Server:
    """A server for an application, not yet running; start it with `run(sockets=[...])`. Arguments as for `Server`."""
    config = uvicorn.Config(
        app,
        http=protocol(settings),
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="error",  # its warnings are about what clients send, and they are told
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the address that a client claims is not trusted
        backlog=BACKLOG,
        timeout_keep_alive=settings.idle_seconds,
        timeout_graceful_shutdown=settings.stop_seconds,
    )
    return Server(config, prepare, ready, reload, finish)
