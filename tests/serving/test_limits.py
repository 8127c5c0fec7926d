"""Checks what the service refuses: foreign names and pages, too much, too slow; and that others are not hindered."""

import asyncio
import errno
import io
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alexnet.errors import DataError
from alexnet.serving.counters import Counters
from alexnet.serving.server import _Lingering
from alexnet.serving.settings import Settings
from alexnet.serving.start import listen, service_lines, with_token
from alexnet.serving.tarball import read_archive
from harness.service_process import Running, answer_of, connect, head, in_a_thread

httpx = pytest.importorskip("httpx")
TOKEN = "a secret of some length"
LATE = {"header_seconds": 0.2, "body_seconds": 0.4, "linger_seconds": 0.2, "idle_seconds": 1}


def png() -> bytes:
    Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(20, 20, 3)).save(out := io.BytesIO(), "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def running(trained: Path) -> Iterator[Running]:
    """A service with a token, a second name, small limits and short deadlines."""
    limits = {"body_bytes": 100_000, "all_bodies_bytes": 250_000}
    with in_a_thread(trained / "run", token=TOKEN, hosts=("cats.example",), **limits, **LATE) as service:
        yield service


@pytest.fixture(scope="module")
def ask(running: Running) -> Iterator["httpx.Client"]:
    with httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client:
        yield client


KEY = {"authorization": f"Bearer {TOKEN}"}


def secured(headers: "httpx.Headers | dict[str, str]") -> bool:
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    return (
        headers["x-content-type-options"] == "nosniff"
        and policy["default-src"] == "'self'"
        and policy["frame-ancestors"] == policy["object-src"] == "'none'"
        and "unsafe" not in headers["content-security-policy"]
        and "http" not in headers["content-security-policy"]
    )


# --- access ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (KEY, 200, None),
        ({**KEY, "host": "localhost:1"}, 200, None),
        ({**KEY, "host": "[::1]:8000"}, 200, None),
        ({**KEY, "host": "CATS.example"}, 200, None),
        ({**KEY, "host": "evil.example"}, 403, "E670"),
        ({**KEY, "host": "127.0.0.1.evil.example"}, 403, "E670"),
        ({**KEY, "host": "10.0.0.1"}, 403, "E670"),
        ({**KEY, "host": "[::1"}, 403, "E670"),
        ({**KEY, "host": "x@127.0.0.1"}, 403, "E670"),
        ({**KEY, "host": "127.0.0.1/"}, 403, "E670"),
        ({**KEY, "host": "127.0.0.1:x"}, 403, "E670"),
        ({**KEY, "host": ""}, 403, "E670"),
        ({**KEY, "origin": "http://evil.example"}, 403, "E671"),
        ({**KEY, "origin": "null"}, 403, "E671"),
        ({**KEY, "origin": "http://["}, 403, "E671"),
        ({**KEY, "origin": "http://127.0.0.1:1", "host": "127.0.0.1:2"}, 403, "E671"),
        ({**KEY, "origin": "http://127.0.0.1:2", "host": "127.0.0.1:2"}, 200, None),
        ({**KEY, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403, "E671"),
        ({**KEY, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200, None),
        ({**KEY, "sec-fetch-site": "same-origin"}, 200, None),
        ({}, 401, "E672"),
        ({"authorization": "Bearer wrong"}, 401, "E672"),
        ({"authorization": f"Basic {TOKEN}"}, 401, "E672"),
        ({"cookie": "alexnet_token=wrong"}, 401, "E672"),
        ({"cookie": f"a=b; alexnet_token={TOKEN}"}, 200, None),
    ],
)
def test_only_the_right_names_pages_and_tokens_are_answered(ask, headers, status, code):
    answer = ask.get("/v1/runs", headers=headers)
    assert answer.status_code == status
    assert code is None or answer.json()["code"] == code
    assert secured(answer.headers)
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_page_is_entered_with_the_token_in_its_address(running, ask):
    answer = ask.get("/v1/runs", params={"token": TOKEN, "lang": "zh"})
    assert (answer.status_code, answer.headers["location"]) == (303, "./runs?lang=zh")
    assert secured(answer.headers)
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
    assert ask.get("/v1/runs", headers={"cookie": cookie.split(";")[0]}).status_code == 200
    with connect(running.port) as connection:
        connection.sendall(head(0, f"//evil.example/?token={TOKEN.replace(' ', '+')}", method="GET"))
        assert answer_of(connection).headers["location"] == "./"
    ask.cookies.clear()
    assert ask.get("/v1/runs", params={"token": "wrong"}).status_code == 401
    assert ask.get("/healthz").status_code == 200  # for monitoring


@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/v1/predict", "/openapi.json", "/metrics"])
def test_every_answer_has_the_headers_of_a_careful_page(ask, path):
    for method in ("GET", "POST", "OPTIONS", "DELETE"):
        assert secured(ask.request(method, path, headers=KEY).headers)


def test_a_bug_is_reported_without_its_traceback(trained, monkeypatch):
    from alexnet.evaluation.classifier import Classifier

    def broken(*_: object, **options: object) -> None:
        raise ZeroDivisionError("secret")

    with in_a_thread(trained / "run") as other:
        monkeypatch.setattr(Classifier, "look", broken)
        answer = httpx.post(f"{other.url}/v1/predict", content=png())
        assert (answer.status_code, answer.json()["code"]) == (500, "E523")
        assert "secret" not in answer.text
        assert secured(answer.headers)
        monkeypatch.undo()
        assert httpx.post(f"{other.url}/v1/predict", content=png()).status_code == 200


def test_beyond_this_machine_a_token_is_made_and_numbers_are_names(trained):
    assert with_token(Settings()).token is None
    assert with_token(Settings(host="0.0.0.0", token="own")).token == "own"
    token = with_token(Settings(host="0.0.0.0")).token
    assert len(token) >= 24
    assert with_token(Settings(host="0.0.0.0")).token != token
    assert f"'Authorization: Bearer {token}'" in service_lines(Settings(token=token), 1, ["a"], True)[1]
    with in_a_thread(trained / "run", host="0.0.0.0", token=token) as other:
        url, key = f"{other.url}/v1/runs", {"authorization": f"Bearer {token}"}
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers=key).status_code == 200
        assert httpx.get(url, headers={**key, "host": "192.168.7.7:80"}).status_code == 200
        assert httpx.get(url, headers={**key, "host": "evil.example"}).status_code == 403


def test_the_first_lines_say_where_what_and_how_to_stop():
    lines = service_lines(Settings(), 8000, ["photos"], True)
    assert lines[0] == "serving photos at http://127.0.0.1:8000"
    assert lines[1] == "try:  curl --data-binary @cat.jpg http://127.0.0.1:8000/v1/predict"
    assert "Ctrl-C" in lines[-1]
    assert "http://[::1]:80/" in service_lines(Settings(host="::1"), 80, ["a"], True)[1]


# --- how much --------------------------------------------------------------------------------------------------------


def test_what_says_it_is_too_long_is_refused_before_it_is_sent(running):
    with connect(running.port) as connection:
        connection.sendall(head(100_001, "/v1/predict", *(f"{k}: {v}" for k, v in KEY.items())))
        answer = answer_of(connection)
        assert (answer.status, answer.json["code"]) == (413, "E360")
        assert answer.headers["connection"] == "close"
        assert secured(answer.headers)


def test_what_turns_out_to_be_too_long_is_cut(running):
    with connect(running.port) as connection:
        lines = ["POST /v1/predict HTTP/1.1", "Host: 127.0.0.1", "Transfer-Encoding: chunked"]
        connection.sendall("\r\n".join([*lines, *(f"{k}: {v}" for k, v in KEY.items())]).encode() + b"\r\n\r\n")
        connection.sendall(b"186a1\r\n" + b"x" * 100_001 + b"\r\n")  # and no end
        answer = answer_of(connection)
        assert (answer.status, answer.json["code"]) == (413, "E360")


def pour(connection, length):
    for _ in range(length // 65536):
        connection.send(b"x" * 65536)


def test_a_refusal_arrives_although_the_upload_goes_on(running):
    with connect(running.port) as connection:
        length = 100_000_000_000  # it would take minutes
        connection.sendall(head(length, "/v1/predict", *(f"{k}: {v}" for k, v in KEY.items())))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # the server hangs up
            pour(connection, length)
    with connect(running.port) as connection:
        connection.sendall(head(50_000_000, "/v1/predict", *(f"{k}: {v}" for k, v in KEY.items())) + b"x" * 200_000)
        assert answer_of(connection).status == 413


def test_a_length_that_lies_is_no_request(running):
    for length in ("-1", "1e3", "9" * 400, "5, 7"):
        with connect(running.port) as connection:
            connection.sendall(f"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode())
            answer = answer_of(connection)
            assert answer.status in (400, 403, 413)
            assert secured(answer.headers)


def test_all_bodies_together_have_a_limit(running, ask):
    key = [f"{k}: {v}" for k, v in KEY.items()]
    waiting = [connect(running.port) for _ in range(3)]
    try:
        for each in waiting[:2]:
            each.sendall(head(90_000, "/v1/predict", "Expect: 100-continue", *key))
            assert each.recv(100).startswith(b"HTTP/1.1 100")
            each.sendall(b"x" * 85_000)
        waiting[2].sendall(head(95_000, "/v1/predict", *key))
        answer = answer_of(waiting[2])
        # Refused before or while it is sent, or read after the others were too slow.
        assert (answer.status, answer.json["code"]) in ((503, "E521"), (408, "E365"))
    finally:
        for each in waiting:
            each.close()
    assert ask.post("/v1/predict", content=png(), headers=KEY).status_code == 200


# --- how slow --------------------------------------------------------------------------------------------------------


def drip(connection: socket.socket, first: bytes, then: bytes) -> bytes:
    """Sends a few bytes again and again until the server closes; returns what it has sent."""
    connection.sendall(first)
    connection.settimeout(0.05)
    received = b""
    while True:
        try:
            if then:
                connection.sendall(then)
            data = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return received
        if not data:
            return received
        received += data


@pytest.mark.parametrize(
    ("first", "then", "what"),
    [
        (b"", b"", "headers"),
        (b"POST /v1/predict HTTP/1.1\r\n", b"X: y\r\n", "headers"),
        (b"G", b"E", "headers"),
        (head(99_000, "/v1/predict", f"authorization: Bearer {TOKEN}"), b"x", "body"),
        (head(99_000, "/v1/runs", f"authorization: Bearer {TOKEN}", method="GET"), b"x", ""),
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /healthz HTTP/1.1\r\n", b"X: y\r\n", "headers"),
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"", ""),
    ],
    ids=["silent", "headers", "first line", "body", "body of an answered one", "second request", "idle"],
)
def test_a_slow_connection_is_closed(running, first, then, what):
    with connect(running.port) as connection:
        received = drip(connection, first, then)
    if what:
        assert f"the {what} of the request did not arrive within".encode() in received
        assert b"HTTP/1.1 408" in received
    assert received.count(b"x-content-type-options: nosniff") == received.count(b"HTTP/1.1 ")


def test_what_is_no_http_is_told_so(running):
    with connect(running.port) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        answer = answer_of(connection)
        assert (answer.status, answer.json["code"]) == (400, "E366")
        assert secured(answer.headers)


def test_slow_ones_do_not_hinder_others(trained):
    with in_a_thread(trained / "run", header_seconds=60.0, body_seconds=60.0) as other:
        slow = [connect(other.port) for _ in range(60)]
        for number, each in enumerate(slow):
            each.sendall((b"", b"POST / HTTP/1.1\r\n", head(1000))[number % 3])
        with httpx.Client(base_url=other.url, trust_env=False, timeout=60) as client:
            assert [client.post("/v1/predict", content=png()).status_code for _ in range(5)] == [200] * 5
        for each in slow:
            each.close()


def test_too_many_connections_are_told_so(trained):
    with in_a_thread(trained / "run", connections=3) as other:
        held = [connect(other.port) for _ in range(3)]
        for each in held:
            each.sendall(head(0, "/healthz", method="GET"))
            assert answer_of(each).status == 200
        with connect(other.port) as connection:
            answer = answer_of(connection)
        assert (answer.status, answer.json["code"]) == (503, "E522")
        for each in held:
            each.close()


# --- archives --------------------------------------------------------------------------------------------------------

FILES = {"a.jpg": b"1", "a/b.png": b"x" * 512, "猫.jpg": b"y" * 513, "empty.jpg": b"", "long" * 30 + "/x.jpg": b"z"}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_every_form_are_read(form):
    archived = tar_of(FILES, form)
    assert dict(read_archive(archived, 32).files) == FILES
    assert [name for name, _ in read_archive(archived, 32).files] == list(FILES)


def tar_of(files: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        apple = tarfile.TarInfo("._a.jpg")
        apple.size = 3
        archive.addfile(apple, io.BytesIO(b"mac"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("more", "notes"),
    [
        ((), ["1 image in hidden files and folders"]),  # ._a.jpg, which tar_of writes
        (("__MACOSX/._b.png", ".ipynb_checkpoints/1-checkpoint.png"), ["3 images in hidden files and folders"]),
        ((".DS_Store", "a/Thumbs.db", "@eaDir/a.jpg/x.txt"), ["1 image in hidden files and folders"]),
        (
            ("runs/1/recipe.json", "runs/1/classes.json", "runs/1/worst/1.png"),
            ["1 image in hidden files and folders and a folder that alexnet or Python wrote (runs/1)"],
        ),
    ],
)
def test_what_is_not_used_of_an_archive_is_said_in_one_sentence(more, notes):
    archive = read_archive(tar_of(FILES | dict.fromkeys(more, b"x")), 32)
    assert dict(archive.files) == FILES
    assert archive.notes == [f"not used of the archive: {note}" for note in notes]


def test_an_archive_without_such_files_has_no_note():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"), io.BytesIO())
    assert read_archive(buffer.getvalue(), 32).notes == []


@given(st.data())
def test_a_damaged_archive_is_refused_or_read(data):
    intact = tar_of(FILES, data.draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])))
    start = data.draw(st.integers(0, len(intact) - 1))
    broken = intact[:start] + data.draw(st.binary(max_size=20)) + intact[data.draw(st.integers(start, len(intact))) :]
    try:
        files = read_archive(broken, 32).files
    except DataError as error:
        assert error.code in ("E362", "E363", "E364")  # noqa: PT017
    else:
        assert sum(len(content) for _, content in files) <= len(broken)


def test_an_archive_with_too_much_is_refused():
    five = tar_of({f"{i}.jpg": b"" for i in range(5)})
    assert len(read_archive(five, 5).files) == 5
    with pytest.raises(DataError, match="E364"):
        read_archive(five, 4)
    folder = tarfile.TarInfo("d")
    folder.type = tarfile.DIRTYPE
    with pytest.raises(DataError, match="E364"):
        read_archive(folder.tobuf() * 1001, 4)


# --- counts ----------------------------------------------------------------------------------------------------------


def test_counts_are_written_as_prometheus_reads_them():
    counters = Counters()
    counters.counter("asked_total", "How often.")
    counters.histogram("seconds", "How long.", (1, 2.5))
    counters.gauge("waiting", "Now.", lambda: {(): 3.0})
    assert "asked_total 0\n" in counters.text()
    counters.add("asked_total", path='a"\\\n')
    for value in (0.5, 1, 2, 9):
        counters.observe("seconds", value)
    assert counters.text().splitlines() == [
        *("# HELP asked_total How often.", "# TYPE asked_total counter", 'asked_total{path="a\\"\\\\\\n"} 1'),
        *("# HELP seconds How long.", "# TYPE seconds histogram"),
        *('seconds_bucket{le="1"} 2', 'seconds_bucket{le="2.5"} 3', 'seconds_bucket{le="+Inf"} 4'),
        *("seconds_count 4", "seconds_sum 12.5"),
        *("# HELP waiting Now.", "# TYPE waiting gauge", "waiting 3"),
    ]


def test_answers_do_not_wait_for_an_acknowledgement():
    """Of two small packets the second would wait 40 ms for the client's delayed ACK of the first."""

    async def nodelay():
        accepted = asyncio.get_running_loop().create_future()
        listener = listen(Settings(port=0))
        port = listener.getsockname()[1]
        async with await asyncio.start_server(lambda _, writer: accepted.set_result(writer), sock=listener):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            theirs = await accepted
            no_delay = theirs.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for end in (writer, theirs):
                end.close()
                await end.wait_closed()
        return no_delay

    assert asyncio.run(nodelay())


def test_a_client_that_has_disconnected_already_is_no_error():
    class Transport:
        aborted = False

        def can_write_eof(self):
            return True

        def is_closing(self):
            return False

        def get_write_buffer_size(self):
            return 0

        def write_eof(self):
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

        def abort(self):
            self.aborted = True

    async def closed():
        transport = Transport()
        _Lingering(transport, 60, lambda: True).close()
        return transport.aborted

    assert asyncio.run(closed())


@pytest.mark.parametrize("query", ["k=2&k=3", "k=%092", "k=2%20", "views=1&views=1"])
def test_a_parameter_that_is_given_twice_or_with_blanks_is_refused(running, query):
    answer = httpx.post(f"http://127.0.0.1:{running.port}/v1/predict?{query}", content=b"x", headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (422, "E265")
