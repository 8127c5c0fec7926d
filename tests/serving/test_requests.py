"""How a request may be written: parameters that exist, images in JSON, and HEAD wherever GET is."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alexnet.errors import DataError
from alexnet.explorer.routes import add_explorer
from alexnet.serving.json_body import image_in, is_json
from harness.service_process import Running, answer_of, connect, head, in_a_thread

httpx = pytest.importorskip("httpx")


def picture(kind: str = "PNG") -> bytes:
    noise = np.random.default_rng(4).integers(0, 256, (21, 19, 3)).astype(np.uint8)
    Image.fromarray(noise).save(out := io.BytesIO(), kind)
    return out.getvalue()


PNG = picture()
B64 = base64.b64encode(PNG).decode()


@pytest.fixture(scope="module")
def running(trained: Path) -> Iterator[Running]:
    """A service with the page, and images to search in."""
    with in_a_thread(trained / "run", index=trained / "photos", adding=add_explorer) as service:
        yield service


@pytest.fixture(scope="module")
def ask(running: Running) -> Iterator["httpx.Client"]:
    with httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client:
        yield client


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "name", "nearest"),
    [
        ("POST", "/v1/predict?topk=1", "topk", "k"),
        ("POST", "/v1/predict?view=10", "view", "views"),
        ("POST", "/v1/predict?VIEWS=10", "VIEWS", "views"),
        ("POST", "/v1/predict?k=2&runs=run", "runs", "run"),
        ("POST", "/v1/predict?model=lenet", "model", None),
        ("POST", "/v1/predict?k%20=2", "k ", "k"),
        ("POST", "/v1/predict?=2", "", None),
        ("POST", "/v1/predict/batch?vews=1", "vews", "views"),
        ("POST", "/v1/similar?topk=3", "topk", "k"),
        ("POST", "/v1/why?methods=all", "methods", "method"),
        ("POST", "/v1/why?class_name=red", "class_name", "class"),
        ("POST", "/v1/activations/conv1?fmt=png", "fmt", "format"),
        ("POST", "/v1/reload?force=1", "force", None),
        ("GET", "/v1/runs?verbose=1", "verbose", None),
        ("GET", "/healthz?x", "x", None),
        ("GET", "/readyz?x=1", "x", None),
        ("GET", "/metrics?name=a", "name", None),
        ("GET", "/openapi.json?pretty=1", "pretty", None),
        ("GET", "/?lang=zh", "lang", None),
        ("GET", "/page/app.js?v=1", "v", None),
        ("GET", "/explorer/setup?run=run", "run", None),
        ("GET", "/explorer/run/filters?epochs=1", "epochs", "epoch"),
        ("POST", "/explorer/images?runs=run", "runs", "run"),
        ("GET", "/explorer/run/progress?since=3", "since", None),
    ],
)
def test_a_parameter_that_no_route_has_is_refused_by_its_name(ask, method, path, name, nearest):
    answer = ask.request(method, path, content=PNG if method == "POST" else None)
    told = answer.json()
    assert (answer.status_code, told["code"]) == (422, "E265")
    assert told["what"].startswith(f"{name}: there is no such parameter")
    assert (f"did you mean {nearest!r}" in told["what"]) if nearest else ("did you mean" not in told["what"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/predict?k=1&views=10&run=run"),
        ("POST", "/v1/predict?"),
        ("POST", "/v1/predict?run="),
        ("POST", "/v1/predict?k=2&token=old"),
        ("POST", "/v1/why?class=red&method=saliency"),
        ("GET", "/?vscodeBrowserReqId=1763900000000"),
        ("GET", "/?token=of-another-start"),
        ("GET", "/explorer/run/filters"),
        ("POST", "/explorer/images?run=run"),
    ],
)
def test_a_parameter_that_exists_is_not(ask, method, path):
    answer = ask.request(method, path, content=PNG if method == "POST" else None)
    assert answer.status_code == (404 if path.endswith("run=") else 200), answer.text


# --- JSON ------------------------------------------------------------------------------------------------------------

BODIES = {
    "base64": json.dumps({"image": B64}),
    "indented": json.dumps({"image": B64}, indent=2),
    "behind blank lines": "\r\n  " + json.dumps({"image": B64}),
    "behind a byte order mark": "\ufeff" + json.dumps({"image": B64}),
    "in lines, as base64 writes it": '{"image": "' + base64.encodebytes(PNG).decode() + '"}',
    "for addresses": json.dumps({"image": base64.urlsafe_b64encode(PNG).decode()}),
    "without padding": json.dumps({"image": B64.rstrip("=")}),
    "a data: URL": json.dumps({"image": f"data:image/png;base64,{B64}"}),
    "a data: URL, escaped": json.dumps({"image": f"data:;base64,{quote(B64)}"}),
    "a data: URL without base64": json.dumps({"image": f"data:image/png,{quote(PNG)}"}),
    "a data: URL alone": f"data:image/png;base64,{B64}",
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("media_type", ["application/json", "application/x-www-form-urlencoded", None])
def test_an_image_in_json_is_answered_as_its_bytes(ask, body, media_type):
    headers = {} if media_type is None else {"content-type": media_type}
    answer = ask.post("/v1/predict?k=3", content=BODIES[body].encode(), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json() == ask.post("/v1/predict?k=3", content=PNG).json()


@pytest.mark.parametrize(
    "path", ["/v1/similar", "/v1/why?method=saliency", "/v1/activations/fc7", "/explorer/images?run=run"]
)
def test_every_route_that_takes_an_image_takes_it_in_json(ask, path):
    one, other = ask.post(path, json={"image": B64}), ask.post(path, content=PNG)
    assert (one.status_code, one.content) == (200, other.content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_bytes_that_are_called_json_are_still_the_image(ask, kind):
    answer = ask.post("/v1/predict", content=picture(kind), headers={"content-type": "application/json"})
    assert answer.status_code == 200


LONG_QUERIES = {
    "names of one letter": ("&".join(f"{chr(97 + i % 26)}{i}" for i in range(9000)), "longer than 4096 bytes"),
    "one long name": ("a" * 60_000, "longer than 4096 bytes"),
    "the same name": ("&".join(["k=1"] * 1000), "given more than once"),
    "an unknown long name": ("k" * 4000, "there is no such parameter"),
}


@pytest.mark.parametrize("name", LONG_QUERIES)
def test_long_queries_are_refused_in_words(ask, name):
    query, says = LONG_QUERIES[name]
    answer = ask.post(f"/v1/predict?{query}", content=picture("PNG"))
    assert (answer.status_code, answer.json()["code"]) == (422, "E265")
    assert says in answer.text
    assert ask.get(f"/healthz?{query}").status_code == 422


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}", "no 'image'"),
        (b'{"img": "AAAA"}', "'img', but no 'image'"),
        (b'{"images": ["AAAA"]}', "'images', but no 'image'"),
        (b'{"image": "AAAA", "k": 3}', "'k' beside 'image'"),
        (b'{"image": "AAAA", "image": "BBBB"}', "more than once"),
        (b'{"image": 3}', "a number as 'image'"),
        (b'{"image": null}', "null as 'image'"),
        (b'{"image": true}', "a truth value as 'image'"),
        (b'{"image": ["AAAA"]}', "a list as 'image'"),
        (b'{"image": {"b64": "AAAA"}}', "an object as 'image'"),
        (b'{"image": "https://a.org/cat.jpg"}', "fetches nothing"),
        (b'{"image": "cat.jpg"}', "no valid base64"),
        (b'{"image": "AAAAA"}', "no valid base64"),
        ('{"image": "Katze ä"}'.encode(), "no valid base64"),
        (b'{"image": "data:image/png;base64"}', "without a comma"),
        (b'{"image": "AAAA"', "not valid JSON"),
        (b"{'image': 'AAAA'}", "not valid JSON"),
        (b'{"image": "\xff"}', "not valid JSON"),
        (b'["AAAA"]', "a list, not an object"),
        (b'"AAAA"', "a string, not an object"),
        (b"[" * 100_000, "more than 1,000 values"),
        (b'{"image":' * 30_000, "more than 1,000 values"),
        (b"[" * 900, "not valid JSON"),
        (b'{"image": ' + b"1" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_json_without_an_image_is_told_what_to_send(ask, body, says):
    answer = ask.post("/v1/predict", content=body, headers={"content-type": "application/json"})
    told = answer.json()
    assert (answer.status_code, told["code"]) == (422, "E358")
    assert says in told["what"]
    assert '{"image": "<base64 of the file>"}' in told["fix"]


def test_an_image_that_is_none_is_so_in_json_too(ask):
    for text, code in ((b"hello", "E304"), (b"", "E303")):
        answer = ask.post("/v1/predict", json={"image": base64.b64encode(text).decode()})
        assert (answer.status_code, answer.json()["code"]) == (422, code)


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda data: b'{"image": "' + data + b'"}'))
def test_no_body_makes_the_reader_fail(data):
    refusal = None
    try:
        assert image_in(data) == data or is_json(data)
    except DataError as error:
        refusal = error
    assert refusal is None or refusal.code == "E358"


# --- HEAD ------------------------------------------------------------------------------------------------------------

GETS = (
    *("/healthz", "/readyz", "/v1/runs", "/openapi.json", "/", "/page/app.js", "/page/style.css"),
    *("/explorer/setup", "/explorer/run/filters", "/explorer/run/progress"),
)


@pytest.mark.parametrize("path", [*GETS, "/metrics"])
def test_head_is_answered_as_get_without_the_body(ask, running, path):
    got, headed = ask.get(path), ask.head(path)
    assert (headed.status_code, headed.content) == (200, b"")
    if path in GETS:  # the counters change with every request
        assert headed.headers["content-length"] == str(len(got.content))
    assert headed.headers["content-type"] == got.headers["content-type"]
    with connect(running.port) as connection:
        # The next answer on the connection begins right after the headers.
        connection.sendall(head(0, path, method="HEAD") + head(0, "/nothing", "Connection: close", method="GET"))
        received = b""
        while part := connection.recv(65536):
            received += part
    first, _, rest = received.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert rest.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(("path", "status"), [("/v1/predict", 405), ("/nothing", 404), ("/healthz?x=1", 422)])
def test_head_is_refused_where_get_is(ask, path, status):
    answer = ask.head(path)
    assert (answer.status_code, answer.content) == (status, b"")
    assert ask.get(path).status_code == status


def test_the_methods_of_a_path_are_named(ask):
    assert ask.post("/healthz").headers["allow"] == "GET, HEAD"
    assert ask.get("/v1/predict").headers["allow"] == "POST"
    with connect(int(ask.base_url.port)) as connection:
        connection.sendall(head(0, "/healthz", method="PUT"))
        assert answer_of(connection).status == 405
