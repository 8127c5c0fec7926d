"""uvicorn with deadlines: a connection that is slow with its headers or its body is answered 408 and closed.

uvicorn itself keeps for ever a silent connection, one that sends a header every few seconds and one that never ends its
body. Here the clock runs from the first moment of a connection (or the first byte of a further request on it) to the
end of the headers, and from there to the end of the body. A refused upload is read and thrown away for a moment, since
a connection closed on unread bytes loses the refusal; and what cannot be sent within that moment after closing is
dropped.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from alexnet.errors import AlexNetError
from alexnet.serving.access import SECURITY_HEADERS
from alexnet.serving.problems import encoded, not_http, too_many_connections, too_slow
from alexnet.serving.settings import Settings


class _Lingering:
    """A transport that, told to close while an upload goes on, first lets the answer through."""

    def __init__(self, transport: asyncio.Transport, seconds: float, uploading: Callable[[], bool]):
        self._transport = transport
        self._seconds = seconds
        self._uploading = uploading
        self.closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.closing or self._transport.is_closing()

    def close(self) -> None:
        if self.closing:
            return
        self.closing = True
        # abort() does nothing to a connection that is closed by then.
        asyncio.get_running_loop().call_later(self._seconds, self._transport.abort)
        if self._uploading() and self._transport.can_write_eof() and not self._transport.is_closing():
            try:
                self._transport.write_eof()
                self._transport.resume_reading()
            except OSError:  # the client has hung up, and asyncio does not know yet
                self._transport.abort()
        else:
            self._transport.close()

    def write(self, data: bytes) -> None:
        if not self.is_closing():
            self._transport.write(data)


def protocol(settings: Settings) -> type[H11Protocol]:
    """The protocol class of uvicorn with the deadlines of these settings."""

    class Protocol(H11Protocol):
        def __init__(self, *arguments: Any, **named: Any):
            super().__init__(*arguments, **named)
            self._timer: asyncio.TimerHandle | None = None
            self._phase: tuple[str, int] | None = None
            self._requests = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(_Lingering(transport, settings.linger_seconds, self._uploading))  # type: ignore[arg-type]
            if len(self.connections) > settings.connections:
                self._refuse(too_many_connections(settings.connections))
            else:
                self._enter("headers", settings.header_seconds)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self._phase is None:
                self._enter("headers", settings.header_seconds)
            super().data_received(data)

        def handle_events(self) -> None:
            cycle = self.cycle
            super().handle_events()
            self._requests += self.cycle is not cycle
            state = self.conn.their_state
            if state is h11.SEND_BODY:
                self._enter("body", settings.body_seconds)
            elif state is h11.IDLE and not self._finished():
                self._enter("headers", settings.header_seconds)
            else:
                self._leave()

        def connection_lost(self, exc: Exception | None) -> None:
            self._leave()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self._refuse(not_http())

        def _uploading(self) -> bool:
            return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

        def _finished(self) -> bool:
            """Whether a request was answered and nothing of the next has come."""
            return self.cycle is not None and self.cycle.response_complete and not self.conn.trailing_data[0]

        def _enter(self, phase: str, seconds: float) -> None:
            if self._phase == (phase, self._requests):
                return
            self._leave()
            self._phase = (phase, self._requests)
            self._timer = self.loop.call_later(seconds, self._late, phase, seconds)

        def _leave(self) -> None:
            self._phase = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _late(self, phase: str, seconds: float) -> None:
            self._refuse(too_slow(phase, seconds))

        def _refuse(self, error: AlexNetError) -> None:
            """Answers from here, without the application, unless it has begun to answer; then closes."""
            self._leave()
            cycle = self.cycle
            if cycle is None or cycle.response_complete or not cycle.response_started:
                status, headers, body = encoded(error, "connection")
                head = f"HTTP/1.1 {status} \r\n" + "".join(
                    f"{name}: {value}\r\n" for name, value in (*headers, *SECURITY_HEADERS, ("connection", "close"))
                )
                self.transport.write(head.encode() + b"\r\n" + body)
            self.transport.close()
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    return Protocol


class Server(uvicorn.Server):
    """uvicorn that tells when it listens, ends with success after SIGTERM and Ctrl-C, and calls `reload` on SIGHUP."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], reload: Callable[[], None]):
        super().__init__(config)
        self._ready = ready
        self._reload = reload

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Within it, signals ask the server to stop or to load anew."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def hang_up(number: int, frame: FrameType | None) -> None:
            self._reload()

        handlers: dict[int, Any] = {signal.SIGINT: self.handle_exit, signal.SIGTERM: self.handle_exit}
        if hasattr(signal, "SIGHUP"):  # not on Windows
            handlers[signal.SIGHUP] = hang_up
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def server(app: Any, settings: Settings, ready: Callable[[], None], reload: Callable[[], None]) -> Server:
    """A server of an application, not yet running: `server.run(sockets=[...])`."""
    config = uvicorn.Config(
        app,
        http=protocol(settings),
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # what a client says of its address is not believed
        timeout_keep_alive=settings.idle_seconds,
        timeout_graceful_shutdown=settings.stop_seconds,
    )
    return Server(config, ready, reload)
