"""What goes wrong before the service listens, in its timers and threads, and at its end: words, and a quiet log."""

import asyncio
import errno
import logging
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.torch

from alexnet.errors import DataError, ResourceError, UntrustedFileError
from alexnet.evaluation.classifier import Classifier
from alexnet.interpret.similar import LiveIndex
from alexnet.serving import start
from alexnet.serving.app import create_app
from alexnet.serving.models import ServedModels
from alexnet.serving.problems import status_of
from alexnet.serving.server import _Lingering, _on_loop_error, server
from alexnet.serving.service import Service
from alexnet.serving.settings import Settings
from harness.service_process import answer_of, connect, exploring, head, in_a_thread

httpx = pytest.importorskip("httpx")


def image_of(trained: Path) -> bytes:
    return (trained / "photos/red/0.png").read_bytes()


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]):
    """Fails if anything with a traceback is written to the log or to stderr."""
    yield
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
    assert "Traceback" not in capfd.readouterr().err


# --- before it listens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ResourceError("disk full", fix="Make room.", code="E501"), 5, "E501 disk full\nMake room."),
        (ResourceError("it refuses", fix="Check it.", code="E502"), 5, "E502 it refuses\nCheck it."),
        (DataError("no images", fix="Add some.", code="E301"), 3, "E301 no images\nAdd some."),
        (UntrustedFileError("edited", fix="Restore it.", code="E651"), 6, "E651 edited\nRestore it."),
        (MemoryError(), 5, "E542 not enough memory\n"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 5, "E542 not enough memory\n"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_a_mistake_before_it_listens_is_told_as_any_other(alexnet, trained, monkeypatch, quiet, error, code, said):
    def refuse(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(LiveIndex, "index", refuse)
    outcome = alexnet("serve", trained / "run", "--index", trained / "photos", "--port", "0")
    assert outcome.code == code
    assert outcome.err.startswith(f"alexnet: {said}")
    assert "serving" not in outcome.out
    assert [each.name for each in threading.enumerate() if each.name == "compute"] == []


def test_a_full_cache_disk_is_told_as_any_other_mistake(alexnet, trained, monkeypatch, quiet, tmp_path):
    """The disk is full while the index is stored, in the words of the system."""
    from alexnet.interpret import image_index

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(image_index.np, "save", full, raising=False)
    monkeypatch.setattr(Path, "replace", full)
    monkeypatch.setattr(os, "replace", full)
    outcome = alexnet("serve", trained / "run", "--index", trained / "photos", "--port", "0")
    assert (outcome.code, outcome.err.split()[1]) == (5, "E501")


WRONG_INDEXES = {
    "a slip": ("photso", {"serve": "E391", "explore": "E308"}),
    "an empty folder": ("empty", {"serve": "E309", "explore": "E309"}),
    "files that are no images": ("texts", {"serve": "E309", "explore": "E309"}),
    "hidden images alone": ("hidden", {"serve": "E309", "explore": "E309"}),
    "a file that is no image": ("texts/a.txt", {"serve": "E390", "explore": None}),
    "damaged images": ("damaged", {"serve": "E390", "explore": None}),
}


@pytest.mark.parametrize("verb", ["serve", "explore"])
@pytest.mark.parametrize("kind", WRONG_INDEXES)
def test_an_index_that_cannot_be_one_is_told_as_any_other_mistake(
    alexnet, trained, tmp_path, monkeypatch, quiet, verb, kind
):
    """The page opens what it can, and says of an image that it is damaged when somebody asks for it."""
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    for name, content in {
        "texts/a.txt": b"a",
        "hidden/._1.png": b"a",
        "damaged/1.png": b"a",
        "damaged/2.jpg": b"",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "empty").mkdir()
    index, codes = WRONG_INDEXES[kind]
    if codes[verb] is None:
        return
    more = ["--no-browser"] if verb == "explore" else []
    outcome = alexnet(verb, trained / "run", "--index", tmp_path / index, "--port", "0", *more)
    said = [line for line in outcome.err.splitlines() if not line.startswith("alexnet: not used of")]
    assert (outcome.code, said[0].split()[1]) == (3, codes[verb])
    assert "serving" not in outcome.out
    assert [each.name for each in threading.enumerate() if each.name == "compute"] == []


@pytest.mark.parametrize("verb", ["serve", "explore"])
def test_the_second_of_two_services_that_start_at_one_moment_is_told_as_if_it_were_late(
    alexnet, trained, monkeypatch, quiet, verb
):
    """Both have bound the port, since neither listened; then the other one does."""
    free, others = start.listen, []

    def bound(settings: Settings) -> socket.socket:
        mine = free(settings)
        other = free(Settings(port=mine.getsockname()[1]))
        other.listen()
        others.append(other)
        return mine

    monkeypatch.setattr(start, "listen", bound)
    more = ["--no-browser"] if verb == "explore" else []
    outcome = alexnet(verb, trained / "run", "--port", "0", *more)
    (other,) = others
    port = other.getsockname()[1]
    other.close()
    assert outcome.code == 5
    assert outcome.err.startswith(f"alexnet: E524 cannot listen on 127.0.0.1 port {port}: address already in use\n")


# --- timers and callbacks --------------------------------------------------------------------------------------------


def test_the_timer_of_a_connection_that_is_gone_does_not_run():
    """asyncio cannot abort a connection that was closed with bytes in its buffer and has sent them since."""

    async def closed() -> list[str]:
        loop = asyncio.get_running_loop()
        faults: list[str] = []
        loop.set_exception_handler(lambda _, context: faults.append(str(context.get("exception"))))
        made: asyncio.Future[_Lingering] = loop.create_future()
        gone: asyncio.Future[None] = loop.create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.lingering = _Lingering(transport, 0.05, lambda: False)  # type: ignore[arg-type]
                made.set_result(self.lingering)

            def connection_lost(self, exc: Exception | None) -> None:
                self.lingering.lost()
                gone.set_result(None)

        listening = await loop.create_server(Server, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        lingering = await made
        lingering.write(bytes(20_000_000))
        lingering.close()
        timer = lingering._lingering
        assert timer is not None
        passed: asyncio.Future[None] = loop.create_future()
        loop.call_at(timer.when() + 0.01, passed.set_result, None)
        assert len(await reader.read(-1)) == 20_000_000
        await gone
        await passed
        writer.close()
        listening.close()
        return faults

    assert asyncio.run(closed()) == []


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), []),
        (BrokenPipeError(errno.EPIPE, "pipe"), []),
        (OSError(errno.ENOTCONN, "not connected"), []),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), []),
        (OSError(errno.EMFILE, "too many open files"), ["accept: too many open files"]),
        (ZeroDivisionError("a bug"), ["accept"]),
    ],
)
def test_only_faults_of_the_server_reach_the_log(caplog, error, lines):
    loop = asyncio.new_event_loop()
    with caplog.at_level(logging.ERROR):
        _on_loop_error(loop, {"message": "accept", "exception": error})
    loop.close()
    assert [record.getMessage() for record in caplog.records] == lines
    assert [bool(record.exc_info) for record in caplog.records] == [isinstance(error, ZeroDivisionError)] * len(lines)


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    ],
)
def test_what_a_client_does_wrong_is_not_in_the_log(trained, caplog, capfd, sent):
    with in_a_thread(trained / "run", header_seconds=0.2, linger_seconds=0.1) as running, connect(running.port) as one:
        one.sendall(sent)
        assert answer_of(one).status in (400, 403, 404, 408)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert capfd.readouterr().err == ""


class Held:
    """Makes prediction wait until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.begun, self.go = threading.Event(), threading.Event()
        answer = Classifier.crop_probabilities

        def waiting(*arguments: object, **options: object) -> object:
            self.begun.set()
            assert self.go.wait(60)
            return answer(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(Classifier, "crop_probabilities", waiting)


def test_a_body_that_grows_too_long_while_its_answer_is_computed_is_refused(trained, monkeypatch, quiet):
    with exploring(trained / "run", body_bytes=50_000) as running:
        setup = httpx.get(f"{running.url}/explorer/setup").json()["runs"][0]
        path = f"/explorer/{setup['name']}/answers/{setup['samples'][0]['image']}"
        held = Held(monkeypatch)
        with connect(running.port) as connection:
            lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Transfer-Encoding: chunked"]
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + b"1\r\na\r\n")
            assert held.begun.wait(60)
            connection.sendall(b"%x\r\n" % 60_000 + bytes(60_000) + b"\r\n")
            told = answer_of(connection)
            held.go.set()
        assert (told.status, told.json["code"]) == (413, "E360")


# --- threads and the end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UntrustedFileError("edited", fix="Restore it.", code="E651"), "E651 edited\nRestore it."),
        (PermissionError(errno.EACCES, "Permission denied"), "[Errno 13] Permission denied"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_weights_that_cannot_be_loaded_are_told_by_the_thread_that_tried(quiet, error, said):
    told: list[str] = []

    class Broken:
        def reload(self) -> list[str]:
            raise error

    start.reload_beside(Broken(), told.extend)  # type: ignore[arg-type]
    for thread in threading.enumerate():
        if thread.name == "reload":
            thread.join()
    assert told == [f"the weights stay as they are: {said}"]


@pytest.mark.parametrize("forced", [False, True])
def test_a_request_that_outlasts_the_end_is_answered_and_is_no_fault(trained, monkeypatch, quiet, forced):
    """The time to stop has passed, or Ctrl-C was pressed twice."""
    settings = Settings(port=0, stop_seconds=60 if forced else 0)
    service = Service(ServedModels([trained / "run"], device="cpu"), settings)
    begun, go, listening = threading.Event(), threading.Event(), threading.Event()

    def waiting(*arguments: object, **options: object) -> list[object]:
        begun.set()
        assert go.wait(60)
        return [None]

    listener = start.listen(settings)
    running = server(
        create_app(service), settings, listening.set, lambda: None, prepare=service.warm_up, finish=service.stop
    )
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    assert listening.wait(60)
    monkeypatch.setattr(Classifier, "look", waiting)
    with ThreadPoolExecutor(1) as pool, connect(listener.getsockname()[1]) as connection:
        data = image_of(trained)
        connection.sendall(head(len(data)) + data)
        assert begun.wait(60)
        running.force_exit = forced
        running.should_exit = True
        told = pool.submit(answer_of, connection).result()
        go.set()
    thread.join()
    service.stop()
    listener.close()
    assert (told.status, told.json["code"]) == (503, "E525")


@pytest.mark.parametrize("content", [None, b"", b"text", b"<html>", b"\x89PNG\r\n\x1a\n", "nan"])
def test_what_cannot_be_loaded_again_is_a_conflict_whatever_it_has_become(trained, tmp_path, content):
    """The request is in order, so it is no 422; the weights that were there stay."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(next((trained / "run/checkpoints").glob("*/model.safetensors")).read_bytes())
    models = ServedModels([path], device="cpu")
    before = models.get().model_id
    if content is None:
        path.unlink()
    elif content == "nan":
        with safetensors.safe_open(path, framework="pt") as file:
            metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        safetensors.torch.save_file({name: each / 0 for name, each in tensors.items()}, path, metadata)
    else:
        path.write_bytes(content)
    with pytest.raises(UntrustedFileError) as caught:
        models.reload()
    assert status_of(caught.value) == 409
    assert models.get().model_id == before
