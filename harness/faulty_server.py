"""A file server that fails on purpose, to test downloads."""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# Faults of one request. The next request for the same file gets the next fault of its list, or the file.
PASSING = (
    *("500", "502", "503", "503 and a date", "429", "408"),
    *("reset at once", "reset in the middle", "silent", "silent in the middle", "trickle"),
    *("cut short", "cut short without length", "one bit", "one byte more", "other file", "empty"),
)
LASTING = ("404", "403", "401", "400")


class FailingServer:
    """Settings and counters of a server for the files of a folder; `serving` starts it at `address`.

    Args:
        faults: by file name, in the order of the requests for that file.
    """

    def __init__(self, folder: Path, faults: dict[str, list[str]] | None = None):
        self.folder, self.faults = folder, {name: list(plan) for name, plan in (faults or {}).items()}
        self.requests: Counter[str] = Counter()
        self.planted: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.needs: str | None = None  # Authorization header that every request must have
        self.stopping, self.stalled = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.address = ""

    def next_fault(self, name: str) -> str | None:
        """The fault for this request, or None."""
        with self.lock:
            self.requests[name] += 1
            plan = self.faults.get(name)
            fault = plan.pop(0) if plan else None
            if fault:
                self.planted[fault] += 1
            return fault


@contextmanager
def serving(folder: Path, faults: dict[str, list[str]] | None = None) -> Iterator[FailingServer]:
    """Runs the server during the block, each request in its own thread."""
    state = FailingServer(folder, faults)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.headers.append(dict(self.headers))
            name = self.path.rpartition("/")[2]
            fault = state.next_fault(name)
            path = state.folder / name
            if state.needs is not None and self.headers.get("Authorization") != state.needs:
                self.refuse(401)
            elif fault is not None and fault.split()[0].isdecimal():
                later = "0" if fault == "503" else format_datetime(datetime.now(UTC) + timedelta(seconds=-5))
                self.refuse(int(fault[:3]), {"Retry-After": later} if fault.startswith(("503", "429")) else {})
            elif not path.is_file():
                self.refuse(404)
            else:
                self.answer(path.read_bytes(), fault)

        def refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": "0", **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()

        def answer(self, content: bytes, fault: str | None) -> None:
            if fault in ("reset at once", "silent"):
                self.reset() if fault == "reset at once" else self.wait()
                return
            if fault == "one bit":
                content = content[:-1] + bytes([content[-1] ^ 4])
            elif fault == "one byte more":
                content += b"\0"
            elif fault == "other file":
                content = b"<html>" + bytes(max(0, len(content) - 6))
            elif fault == "empty":
                content = b""
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            if fault == "cut short without length":
                self.send_header("Connection", "close")
            else:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            half = content[: len(content) // 2]
            if fault in ("reset in the middle", "silent in the middle", "cut short", "cut short without length"):
                self.wfile.write(half)
                self.wfile.flush()
                if fault == "reset in the middle":
                    self.reset()
                elif fault == "silent in the middle":
                    self.wait()
                self.close_connection = True
            elif fault == "trickle":
                for byte in content:
                    if state.stopping.wait(0.02):
                        break
                    try:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                    except OSError:
                        break
                self.close_connection = True
            else:
                self.wfile.write(content)

        def reset(self) -> None:
            # With linger 0 the system resets the connection (RST) instead of closing it.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

        def wait(self) -> None:
            state.stalled.set()
            state.stopping.wait(60)
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the client closed the connection, as expected

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        state.address = f"http://127.0.0.1:{server.server_address[1]}/prepared"
        try:
            yield state
        finally:
            state.stopping.set()
            server.shutdown()
            thread.join()
