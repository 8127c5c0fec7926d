"""Which pages may ask the service: its own, and those of the sites that were allowed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from alexnet.errors import AlexNetError
from alexnet.serving.settings import Settings
from harness.service_process import Running, in_a_thread

httpx = pytest.importorskip("httpx")
TOKEN = "a secret of some length"
KEY = {"authorization": f"Bearer {TOKEN}"}
APP, LOCAL = "https://app.example", "http://localhost:3000"
ASKS = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, content-type"}


@pytest.fixture(scope="module")
def running(trained: Path) -> Iterator[Running]:
    """A service with a token, which pages of two sites may ask."""
    with in_a_thread(trained / "run", token=TOKEN, origins=(APP, LOCAL)) as service:
        yield service


@pytest.fixture(scope="module")
def ask(running: Running) -> Iterator["httpx.Client"]:
    with httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client:
        yield client


@pytest.mark.parametrize("origin", [APP, LOCAL, APP.upper()])
def test_an_allowed_page_asks_first_and_is_answered(ask, origin):
    page = {"origin": origin, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
    before = ask.options("/v1/predict", headers=page | ASKS)
    assert (before.status_code, before.content) == (204, b"")
    assert before.headers["access-control-allow-origin"] == origin
    assert "POST" in before.headers["access-control-allow-methods"].split(", ")
    assert {"authorization", "content-type"} <= set(before.headers["access-control-allow-headers"].split(", "))
    assert "access-control-allow-credentials" not in before.headers
    for method, path, headers, status in (
        ("GET", "/v1/runs", KEY, 200),
        ("HEAD", "/v1/runs", KEY, 200),
        ("POST", "/v1/predict", KEY, 422),
        ("POST", "/v1/predict?x=1", KEY, 422),
        ("GET", "/nothing", KEY, 404),
        ("GET", "/v1/predict", KEY, 405),
        ("GET", "/v1/runs", {}, 401),
    ):
        answer = ask.request(method, path, headers=page | headers, content=b"" if method == "POST" else None)
        assert answer.status_code == status, path
        assert answer.headers["access-control-allow-origin"] == origin
        assert "x-alexnet-model" in answer.headers["access-control-expose-headers"]
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.example",
        "https://evil.example/https://app.example",
        "http://localhost",
        "http://localhost:30000",
        "null",
        "*",
        "https://",
    ],
)
def test_every_other_page_is_refused_as_before(ask, origin):
    for method, headers in (("GET", KEY), ("POST", KEY), ("OPTIONS", ASKS), ("HEAD", KEY)):
        answer = ask.request(method, "/v1/runs", headers={"origin": origin, **headers})
        assert answer.status_code == 403
        assert method == "HEAD" or answer.json()["code"] == "E671"
        assert "access-control-allow-origin" not in answer.headers


def test_a_program_and_the_own_page_get_no_header_of_a_site(ask, running):
    for headers in ({}, {"origin": running.url}, {"origin": running.url, "sec-fetch-site": "same-origin"}):
        answer = ask.get("/v1/runs", headers=KEY | headers)
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers
    # An image that a page shows has no Origin, so it cannot be told from one of another site.
    hidden = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert ask.get("/v1/runs", headers=KEY | hidden).status_code == 403


def test_an_options_request_that_asks_nothing_needs_the_token(ask):
    assert ask.options("/v1/runs", headers={"origin": APP}).status_code == 401
    assert ask.options("/v1/runs", headers=KEY).status_code == 405


def test_by_default_no_page_is_allowed_and_with_a_star_all_are(trained):
    with in_a_thread(trained / "run") as running:
        answer = httpx.options(f"{running.url}/v1/predict", headers={"origin": APP} | ASKS)
        assert (answer.status_code, answer.json()["code"]) == (403, "E671")
        assert "vary" not in httpx.get(f"{running.url}/healthz").headers
    with in_a_thread(trained / "run", origins=("*",)) as running:
        for origin in (APP, "null"):
            private = {"access-control-request-private-network": "true"}
            before = httpx.options(f"{running.url}/v1/predict", headers={"origin": origin} | ASKS | private)
            assert before.headers["access-control-allow-origin"] == "*"
            assert before.headers["access-control-allow-private-network"] == "true"
            assert httpx.get(f"{running.url}/v1/runs", headers={"origin": origin}).status_code == 200
        assert httpx.get(f"{running.url}/v1/runs", headers={"host": "evil.example"}).json()["code"] == "E670"


@pytest.mark.parametrize(
    ("typed", "origin"),
    [
        ("https://app.example", "https://app.example"),
        ("https://app.example/", "https://app.example"),
        ("HTTPS://App.Example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80/", "http://app.example"),
        ("http://app.example:443", "http://app.example:443"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("*", "*"),
    ],
)
def test_an_origin_is_read_as_browsers_write_it(typed, origin):
    assert Settings(origins=(typed,)).origins == (origin,)


@pytest.mark.parametrize(
    "typed",
    [
        *("app.example", "localhost:3000", "https://app.example/page", "https://app.example?x", "https://", ""),
        *("https://*.example", "null", "ftp://app.example", "https://me@app.example", "https://a b", "https://a:x"),
        *("https://[::1", "https://a..b", "//app.example", "https://app.example, https://b.example"),
    ],
)
def test_what_is_no_origin_is_refused(typed, alexnet, trained):
    with pytest.raises(AlexNetError) as refused:
        Settings(origins=(typed,))
    assert (refused.value.code, refused.value.exit_code) == ("E203", 2)
    if typed and not typed.startswith("-"):
        assert alexnet("serve", trained / "run", "--cors-origin", typed).err.startswith("alexnet: E203 ")


def test_all_sites_and_a_token_exclude_each_other(alexnet, trained):
    for more in (("--token", "x"), ("--host", "0.0.0.0")):
        outcome = alexnet("serve", trained / "run", "--port", "0", "--cors-origin", "*", *more)
        assert (outcome.code, outcome.err.split()[1]) == (6, "E673")
