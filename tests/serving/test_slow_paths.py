"""What slows a service down is bounded: slow readers, small pieces, many connections, long names, old indexes."""

import asyncio
import contextlib
import json
import logging
import queue
import resource
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote_to_bytes

import pytest

from alexnet.data.folders import without_foreign
from alexnet.errors import DataError
from alexnet.interpret.similar import LiveIndex
from alexnet.serving import server
from alexnet.serving.access import _bearer
from alexnet.serving.json_body import image_in
from alexnet.serving.settings import Settings
from alexnet.serving.tarball import MAX_NAME, read_archive


class Transport:
    """One whose client takes so many bytes between two looks."""

    def __init__(self, unsent: int, taken: int):
        self.unsent, self.taken, self.ended = unsent, taken, ""

    def get_write_buffer_size(self) -> int:
        return max(0, self.unsent)

    def get_extra_info(self, name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return bool(self.ended)

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.ended = self.ended or "closing"

    def abort(self) -> None:
        self.ended = "aborted"


@pytest.mark.parametrize(
    ("unsent", "taken", "looks"),
    [
        (3_850_000, 600_000, 7),  # 300 kB/s: to the end
        (3_850_000, 20_000, 193),  # as slowly as is allowed
        (3_850_000, 19_999, 1),
        (3_850_000, 0, 1),  # a client that takes nothing
        (10, 10, 1),
        (0, 0, 1),
    ],
)
def test_a_response_is_sent_as_long_as_its_client_takes_it(monkeypatch, unsent, taken, looks):
    timers = []
    loop = SimpleNamespace(call_later=lambda seconds, what, *args: timers.append((what, args)))
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    transport = Transport(unsent, taken)
    lingering = server._Lingering(transport, 2.0, lambda: False)
    lingering.close()
    assert transport.ended == "closing"
    seen = 0
    while timers:
        seen += 1
        transport.unsent -= taken
        what, args = timers.pop()
        what(*args)
    assert seen == looks
    assert transport.ended == "aborted"
    assert transport.unsent <= 0 or taken < 20_000


ANSWER = bytes(4_000_000)


async def long_answer(scope, receive, send):
    headers = [(b"connection", b"close"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


@contextlib.contextmanager
def slow_client(monkeypatch):
    """A client of a real server that has asked and read nothing: its connection, and a look at it hours later."""
    closing, listens, close = queue.Queue(), threading.Event(), server._Lingering.close

    def closed(transport):
        close(transport)
        closing.put((asyncio.get_running_loop(), transport))

    monkeypatch.setattr(server._Lingering, "close", closed)
    listening = socket.create_server(("127.0.0.1", 0))
    service = server.server(long_answer, Settings(linger_seconds=3600), ready=listens.set, reload=lambda: None)
    thread = threading.Thread(target=service.run, kwargs={"sockets": [listening]})
    thread.start()
    assert listens.wait(60)
    with socket.create_connection(listening.getsockname()) as client, client.makefile("rb") as response:
        client.settimeout(60)
        client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        loop, transport = closing.get(timeout=60)

        def look():
            done, (callback, args) = threading.Event(), (transport._lingering._callback, transport._lingering._args)
            transport._lingering.cancel()
            loop.call_soon_threadsafe(lambda: (callback(*args), done.set()))
            assert done.wait(60)

        yield response, transport, look
    service.should_exit = True
    thread.join()
    listening.close()


def test_a_client_that_goes_on_reading_gets_the_whole_response(monkeypatch):
    monkeypatch.setattr(server, "SLOWEST_BYTES_PER_SECOND", 10_000 / 3600)
    with slow_client(monkeypatch) as (response, transport, look):
        taken, before, looks = b"", transport._unsent(), 0
        while read := response.read(1000):
            taken += read
            unsent = transport._unsent()
            if 0 < unsent <= before - 10_000:  # what it takes between two looks
                look()
                before, looks = unsent, looks + 1
    assert taken.endswith(b"\r\n\r\n" + ANSWER)
    assert looks > 5


def test_a_client_that_reads_nothing_loses_its_connection(monkeypatch):
    with slow_client(monkeypatch) as (response, _, look):
        look()
        taken = b""
        with contextlib.suppress(ConnectionError):
            taken = response.read()
        assert len(taken) < len(ANSWER)


@pytest.mark.parametrize(
    ("files", "most"),
    [(1024, 1024 - 228), (256, 28), (64, 1), (100_000, 1000), (resource.RLIM_INFINITY, 1000)],
)
def test_there_are_no_more_connections_than_files(monkeypatch, files, most):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert server.most_connections(1000) == most


def test_what_the_system_refuses_is_logged_once_a_second(monkeypatch, caplog):
    monkeypatch.setattr(server, "_LOG", server._OncePerSecond())
    error = OSError(24, "Too many open files")
    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        for now in (0, 0.1, 0.9, 1.0, 1.5, 2.1):
            loop = SimpleNamespace(time=lambda now=now: now)
            server._on_loop_error(loop, {"message": "accept", "exception": error})
    assert [each.getMessage() for each in caplog.records] == ["accept: Too many open files"] * 3


def chunks(body: bytes, size: int) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


POST = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 70000\r\n\r\n"
HEAD = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        ([HEAD + chunks(bytes(20_000), 1)], True),
        ([HEAD, chunks(bytes(20_000), 1)], True),
        ([HEAD, chunks(bytes(20_000), 8)], True),
        ([HEAD[:-9], HEAD[-9:], chunks(bytes(20_000), 1)], True),
        ([*(HEAD[i : i + 1] for i in range(len(HEAD))), chunks(bytes(20_000), 1)], True),
        ([HEAD.replace(b"chunked", b"CHUNKED"), chunks(bytes(20_000), 1)], True),
        ([POST + bytes(70_000) + HEAD, chunks(bytes(20_000), 1)], True),
        ([HEAD, chunks(bytes(200), 1), chunks(bytes(200), 1)], True),
        ([HEAD, chunks(bytes(100), 1), chunks(bytes(100), 1)], False),
        ([POST, b"a\r\n" * 20_000], False),
        ([HEAD, chunks(bytes(100), 1)], False),
        ([HEAD, chunks(bytes(60_000), 4096)], False),
        ([HEAD, chunks(bytes(60_000), 256)], False),
        ([HEAD.replace(b"transfer-encoding: chunked", b"content-length: 60000"), b"a\r\n" * 20_000], False),
    ],
)
def test_a_body_in_pieces_of_a_byte_is_refused(monkeypatch, data, refused):
    made = server.protocol(Settings())
    refusals, passed = [], []
    monkeypatch.setattr(server.H11Protocol, "data_received", lambda self, data: passed.append(data))
    protocol = made.__new__(made)
    protocol.__dict__.update(
        transport=Transport(0, 0), _phase=("body", 0), _chunked=False, _seen=b"", _lines=0, _bytes=0
    )
    protocol._refuse = refusals.append
    for each in data:
        protocol.data_received(each)
    assert [each.code for each in refusals] == (["E376"] if refused else [])
    assert len(passed) + len(refusals) == len(data)


def test_names_of_many_parts_are_walked_once():
    """In an archive, in a list of paths, and beside folders that are left out."""
    deep = "/".join("a" * 30_000)
    archive = tar_entry(b"long", f"{deep}/1.png".encode(), b"L") + tar_entry(b"x", b"1") + tar_entry(b"b.png", b"2")
    assert [content for _, content in read_archive(archive + bytes(1024), 10).files] == [b"1", b"2"]
    own = [f"{deep}/run/{name}" for name in ("recipe.json", "classes.json", "c/1.png")]
    used, notes = without_foreign([f"{deep}/1.png", *own, "run/recipe.json", "run/1.png"], Path("photos"))
    assert used == [f"{deep}/1.png", "run/recipe.json", "run/1.png"]
    assert len(notes) == 1


VALUES = {
    "an image": ('{"image": "iVBORw0KGgo="}', True),
    "an image in lines": ('{"image": "iVBO\r\n Rw0K\n Ggo="}', True),
    "a data: URL": ('{"image": "data:image/png;base64,iVBORw0KGgo="}', True),
    "a hundred names": (json.dumps({f"a{i}": 0 for i in range(100)}), False),
    "lists": ("[" + "[]," * 2_000_000 + "0]", False),
    "objects": ("[" + "{}," * 2_000_000 + "0]", False),
    "texts": ("[" + '"a",' * 2_000_000 + "0]", False),
    "one name again and again": ("{" + '"a":0,' * 1_000_000 + '"a":0}', False),
    "lists in lists": ("[" * 2_000_000, False),
    "objects in objects": ('{"a":' * 2_000_000, False),
}


@pytest.mark.parametrize("name", VALUES)
def test_json_of_many_values_is_refused_before_it_is_read(monkeypatch, name):
    text, read = VALUES[name]
    values = []
    real = json.loads
    monkeypatch.setattr(json, "loads", lambda content, **options: values.append(content) or real(content, **options))
    if read:
        assert image_in(text.encode()) == b"\x89PNG\r\n\x1a\n"
        return
    with pytest.raises(DataError) as caught:
        image_in(text.encode())
    assert caught.value.code == "E358"
    assert all(len(content) < 10_000 for content in values)


@pytest.mark.parametrize(
    "text", ["%41" * 60_000, "a%", "a%4", "%%41", "%4%41%", "%zz", "a" * 65_534 + "%41" * 9, "%" * 99_999]
)
@pytest.mark.parametrize("before", range(4))
def test_bytes_of_an_address_are_those_of_the_library(text, before):
    text = "x" * before + text
    assert image_in(b"data:," + text.encode()) == unquote_to_bytes(text)


def test_base64_of_many_blanks_is_read():
    assert image_in(b"data:;base64," + b"A A\tA\r\nA " * 100_000) == bytes(300_000)
    for wrong in ("AAA\u00a0A", "AAAA=A", "A"):
        with pytest.raises(DataError):
            image_in(json.dumps({"image": wrong}).encode())


def tar_entry(name: bytes, content: bytes, kind: bytes = b"0") -> bytes:
    header = bytearray(512)
    header[: len(name)] = name
    header[124:136] = b"%011o\0" % len(content)
    header[156:157] = kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content + bytes(-len(content) % 512)


@pytest.mark.parametrize("kind", [b"L", b"x"])
@pytest.mark.parametrize(("length", "read"), [(100, True), (4096, True), (MAX_NAME - 30, True), (19_000_000, False)])
def test_a_name_in_an_archive_is_no_longer_than_a_name(kind, length, read):
    name = b"a" * length
    if kind == b"x":
        record = b" path=" + name + b"\n"
        digits = len(str(len(record) + 8))
        name = b"%d" % (len(record) + digits) + record
        name = name if int(name.split(b" ")[0]) == len(name) else b"%d" % len(name) + record
    archive = tar_entry(b"long", name, kind) + tar_entry(b"b.png", b"pixels") + bytes(1024)
    if read:
        assert [content for _, content in read_archive(archive, 10).files] == [b"pixels"]
    else:
        with pytest.raises(DataError) as caught:
            read_archive(archive, 10)
        assert caught.value.code == "E362"


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer secret", "secret"),
        ("bearer secret", "secret"),
        ("BEARER  secret", "secret"),
        ("Basic secret", ""),
        ("secret", ""),
        ("Bearer", ""),
        ("", ""),
    ],
)
def test_the_scheme_of_a_token_is_written_as_one_likes(header, token):
    assert _bearer(header) == token


def test_the_indexes_of_networks_that_are_gone_are_forgotten(tmp_path):
    index = LiveIndex(tmp_path)
    index._indexes.update(old=object(), new=object())
    index._seen.update(old=frozenset(), new=frozenset())
    index.keep({"new"})
    assert (set(index._indexes), set(index._seen)) == ({"new"}, {"new"})
