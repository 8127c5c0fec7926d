"""A service on a free port for tests and studies: in a thread of this process, or in a process of its own."""

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

import torch

from alexnet.cli.serve import listen
from alexnet.explorer.routes import add_explorer
from alexnet.explorer.state import Explorer
from alexnet.runs.start import images_of_run
from alexnet.serving.app import create_app
from alexnet.serving.models import ServedModels
from alexnet.serving.server import server
from alexnet.serving.service import Service
from alexnet.serving.settings import Settings


class Running(NamedTuple):
    """A service that answers."""

    port: int
    service: Service

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def in_a_thread(
    *runs: Path, index: Path | None = None, adding: Callable[[Any, Service], None] | None = None, **changes: Any
) -> Iterator[Running]:
    """A service of these runs with changed settings."""
    settings = Settings(**{"port": 0, **changes})
    service = Service(ServedModels(runs, device=torch.device("cpu")), settings, index)
    started = threading.Event()
    app = create_app(service)
    if adding is not None:
        adding(app, service)
    made = server(app, settings, started.set, lambda: None)
    listener = listen(settings)
    thread = threading.Thread(target=made.run, kwargs={"sockets": [listener]})
    thread.start()
    assert started.wait(60)
    try:
        yield Running(listener.getsockname()[1], service)
    finally:
        made.should_exit = True
        thread.join()


def exploring(*runs: Path, index: Path | None = None, **changes: Any) -> contextlib.AbstractContextManager[Running]:
    """The page of `alexnet explore` for these runs."""

    def adding(app: Any, service: Service) -> None:
        pictures = Explorer(service.models, images_of_run, index)
        add_explorer(app, pictures)

    return in_a_thread(*runs, adding=adding, **changes)


class Process(NamedTuple):
    """`alexnet serve` in a process of its own."""

    port: int
    process: "subprocess.Popen[str]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end: the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.contextmanager
def in_a_process(*arguments: object, **environment: str) -> Iterator[Process]:
    """`alexnet serve` with these arguments, on a free port."""
    command = [sys.executable, "-m", "alexnet", "serve", *map(str, arguments), "--port", "0"]
    # A pipe that nobody reads would stop a server that has much to log.
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
        )
        try:
            while not (ready := re.search(r"^serving .*:(\d+)$", _so_far(said), re.MULTILINE)):
                assert process.poll() is None, _so_far(said)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.02)
            yield Process(int(ready[1]), process)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _so_far(file: IO[str]) -> str:
    return os.pread(file.fileno(), 2**20, 0).decode()


def connect(port: int, seconds: float = 60) -> socket.socket:
    """A plain connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def head(length: int, path: str = "/v1/predict", *more: str, method: str = "POST") -> bytes:
    """The headers of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Answer(NamedTuple):
    """What came back on a plain connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answer_of(connection: socket.socket) -> Answer:
    """Reads one answer with a Content-Length."""
    file = connection.makefile("rb")
    status = int(file.readline().split()[1])
    headers = {}
    while (line := file.readline().strip()) != b"":
        name, _, value = line.decode().partition(": ")
        headers[name.lower()] = value
    return Answer(status, headers, file.read(int(headers.get("content-length", "0"))))
