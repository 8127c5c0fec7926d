"""A service on a free port for tests and studies: in a thread of this process, or in its own process."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from alexnet.explorer.routes import add_explorer
from alexnet.serving.app import create_app
from alexnet.serving.models import ServedModels
from alexnet.serving.server import server
from alexnet.serving.service import Service
from alexnet.serving.settings import Settings
from alexnet.serving.start import listen


class Running(NamedTuple):
    """A running service."""

    port: int
    service: Service

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def in_a_thread(
    *runs: Path, index: Path | None = None, adding: Callable[[Any, Service], None] | None = None, **changes: Any
) -> Iterator[Running]:
    """Serves these runs during the block, with changed settings."""
    settings = Settings(**{"port": 0, **changes})
    service = Service(ServedModels(runs, device="cpu"), settings, index)
    started = threading.Event()
    app = create_app(service)
    if adding is not None:
        adding(app, service)
    http_server = server(app, settings, started.set, lambda: None, prepare=service.warm_up, finish=service.stop)
    listener = listen(settings)
    thread = threading.Thread(target=http_server.run, kwargs={"sockets": [listener]})
    thread.start()
    assert started.wait(60)
    try:
        yield Running(listener.getsockname()[1], service)
    finally:
        http_server.should_exit = True
        thread.join()


def exploring(
    *runs: Path, index: Path | None = None, lessons: Path | None = None, **changes: Any
) -> contextlib.AbstractContextManager[Running]:
    """Serves the page of `alexnet explore` for these runs during the block."""

    def adding(app: Any, service: Service) -> None:
        add_explorer(app, service, index, lessons)

    return in_a_thread(*runs, adding=adding, **changes)


class Process(NamedTuple):
    """`alexnet serve` in its own process."""

    port: int
    process: "subprocess.Popen[str]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal, waits for the end, and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.contextmanager
def in_a_process(*arguments: object, **environment: str) -> Iterator[Process]:
    """Runs `alexnet serve` with these arguments on a free port during the block."""
    command = [sys.executable, "-m", "alexnet", "serve", *map(str, arguments), "--port", "0"]
    # A pipe that nobody reads would block a server that logs much.
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
        )
        try:
            while not (ready := re.search(r"^serving .*:(\d+)$", _text_so_far(log), re.MULTILINE)):
                assert process.poll() is None, _text_so_far(log)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.02)
            yield Process(int(ready[1]), process)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _text_so_far(file: IO[str]) -> str:
    return os.pread(file.fileno(), 2**20, 0).decode()


def connect(port: int, seconds: float = 60) -> socket.socket:
    """A TCP connection to the service."""
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def head(length: int, path: str = "/v1/predict", *more: str, method: str = "POST") -> bytes:
    """The request line and headers of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Answer(NamedTuple):
    """A response that was read from a TCP connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answer_of(connection: socket.socket) -> Answer:
    """Reads one response; its body has the length of Content-Length."""
    file = connection.makefile("rb")
    status = int(file.readline().split()[1])
    headers = {}
    while (line := file.readline().strip()) != b"":
        name, _, value = line.decode().partition(": ")
        headers[name.lower()] = value
    return Answer(status, headers, file.read(int(headers.get("content-length", "0"))))
