"""The page below the prefix of a proxy: JupyterHub and code-server take it off, others pass it on."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

from alexnet.explorer import network_view
from harness.prefix_proxy import prefixed
from harness.service_process import Running, exploring

httpx = pytest.importorskip("httpx")
STATIC = Path(network_view.__file__).parent / "static"
TOKEN = "a secret of some length"
WAYS = {
    "the root": ("", {}, {}),
    "JupyterHub": ("/user/ann/proxy/8000", {}, {}),
    "code-server": ("/proxy/8000", {"hosts": ("hub.example",)}, {"keeps_host": True}),
    "a blank in it": ("/user/a%20b/proxy", {}, {}),
    "its own word": ("/explorer", {}, {}),
    "passed on": ("/tools/alexnet", {"root_path": "/tools/alexnet"}, {"strips": False}),
    "passed on, loosely written": ("/tools/alexnet", {"root_path": "tools/alexnet/"}, {"strips": False}),
    "passed on, with a blank": ("/a%20b", {"root_path": "/a%20b"}, {"strips": False}),
    "passed on, its own word": ("/explorer", {"root_path": "/explorer"}, {"strips": False}),
    "taken off though it is known": ("/tools/alexnet", {"root_path": "/tools/alexnet"}, {}),
}


@pytest.fixture(params=WAYS)
def page(request: pytest.FixtureRequest, trained: Path) -> Iterator[tuple[str, Running]]:
    prefix, settings, proxy = WAYS[request.param]
    with exploring(trained / "run", **settings) as running, prefixed(running.port, prefix, **proxy) as url:
        yield url, running


def test_every_address_of_the_page_leads_below_the_prefix(page):
    url, running = page
    hosts = {"host": "hub.example"} if running.service.settings.hosts else {}
    with httpx.Client(trust_env=False, headers=hosts) as client:
        first = client.get(url)
        assert first.status_code == 200
        asked = re.findall(r'(?:src|href)="([^"#]+)"', first.text)
        assert len(asked) >= 3
        modules = [urljoin(url, each) for each in asked]
        seen = set()
        while modules:
            address = modules.pop()
            if address in seen:
                continue
            seen.add(address)
            assert address.startswith(url), address
            answer = client.get(address)
            assert answer.status_code == 200, address
            if address.endswith(".js"):
                modules += [urljoin(address, each) for each in re.findall(r'from "([^"]+)"', answer.text)]
        assert len([each for each in seen if each.endswith(".js")]) >= 10
        setup = client.get(urljoin(url, "explorer/setup")).json()
        name, sample = setup["runs"][0]["name"], setup["runs"][0]["samples"][0]["image"]
        picture = client.get(urljoin(url, f"explorer/{name}/image/{sample}"))
        assert picture.headers["content-type"] == "image/png"
        origin = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
        # A browser sends both with a POST of the page; the Origin alone is refused where the proxy changes the Host.
        browser = {"origin": f"https://{hosts['host']}" if hosts else origin, "sec-fetch-site": "same-origin"}
        sent = client.post(urljoin(url, f"explorer/images?run={name}"), content=picture.content, headers=browser)
        assert sent.status_code == 200, sent.text
        assert client.get(urljoin(url, f"explorer/{name}/answers/{sent.json()['image']}")).status_code == 200


def test_no_file_of_the_page_has_an_address_that_begins_at_the_root():
    for path in STATIC.iterdir():
        if path.suffix in (".js", ".html", ".css"):
            rooted = re.findall(
                r"""(?:fetch\w*\(|src[:=]\s*|href[:=]\s*|url\(|route = .*=> )["'`]/[a-z$].*""", path.read_text()
            )
            assert rooted == [], path.name


@pytest.mark.parametrize("way", ["the root", "JupyterHub", "passed on"])
def test_the_token_in_the_address_opens_the_page_and_its_cookie_goes_nowhere_else(trained, way):
    prefix, settings, proxy = WAYS[way]
    with (
        exploring(trained / "run", token=TOKEN, **settings) as running,
        prefixed(running.port, prefix, **proxy) as url,
        httpx.Client(trust_env=False, follow_redirects=True) as client,
    ):
        assert client.get(url).status_code == 401
        opened = client.get(url, params={"token": TOKEN})
        assert opened.status_code == 200
        assert str(opened.url).rstrip("?") == url
        assert client.get(urljoin(url, "explorer/setup")).status_code == 200
        (cookie,) = client.cookies.jar
        assert cookie.path.rstrip("/") == prefix


def test_a_prefix_without_its_slash_and_the_description_know_the_prefix(trained):
    with (
        exploring(trained / "run", root_path="/tools/alexnet", token=TOKEN) as running,
        prefixed(running.port, "/tools/alexnet", strips=False) as url,
        httpx.Client(trust_env=False, headers={"authorization": f"Bearer {TOKEN}"}) as client,
    ):
        moved = client.get(url.rstrip("/"), params={"vscodeBrowserReqId": "1"})
        assert (moved.status_code, moved.headers["location"]) == (308, "/tools/alexnet/?vscodeBrowserReqId=1")
        assert client.get(urljoin(url, "openapi.json")).json()["servers"] == [{"url": "/tools/alexnet"}]
        assert client.get(f"{running.url}/tools/alexnet-other/").status_code == 404
        assert client.get(f"{url}tools/alexnet/").status_code == 404


@pytest.mark.parametrize(
    ("typed", "path"),
    [("", ""), ("/", ""), ("/a", "/a"), ("a/b/", "/a/b"), ("/user/a%20b", "/user/a b"), (" /a ", "/a"), ("/图", "/图")],
)
def test_a_prefix_is_read_as_people_write_it(typed, path):
    from alexnet.serving.settings import Settings

    assert Settings(root_path=typed).root_path == path


@pytest.mark.parametrize(
    "typed", ["https://hub.example/a", "/a?b", "/a#b", "/a//b", "/a/../b", "/a b\nc", "\\a", "/./"]
)
def test_what_is_no_prefix_is_refused(typed, alexnet, trained):
    outcome = alexnet("explore", trained / "run", "--no-browser", "--port", "0", "--root-path", typed)
    assert (outcome.code, outcome.err.split()[1]) == (2, "E203")
