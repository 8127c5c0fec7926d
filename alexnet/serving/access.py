"""Checks who may send requests and how much: a layer around the whole application, so that no route can omit it.

Every response gets a Content-Security-Policy, which lets a page load nothing from other servers, and nosniff. A request
is refused

- if its Host is not a name of this server: a page of another site whose name was made to point here (DNS rebinding)
- if a page of another origin has sent it that is not allowed (`alexnet.serving.origins`)
- without the access token, if there is one: `Authorization: Bearer TOKEN`, or the cookie that `?token=TOKEN` sets
- if its Content-Length is over the limit, before a byte of it is read; or as soon as more bytes than that arrive

The application knows neither HEAD nor the prefix of a proxy: a HEAD is a GET whose body is not sent, and the prefix is
taken off the path.
"""

import asyncio
import ipaddress
import re
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from alexnet.errors import AlexNetError, UntrustedFileError
from alexnet.serving.counters import Counters
from alexnet.serving.origins import check_page, is_preflight, preflight_headers, response_headers
from alexnet.serving.problems import encode_problem, internal_error, stopping, too_large, too_many_bytes
from alexnet.serving.settings import LOOPBACK, Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(self), microphone=(), geolocation=()"),
)
HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::\d{1,5})?", re.ASCII)
COOKIE = "alexnet_token"
WITHOUT_TOKEN = ("/healthz", "/readyz")  # for monitoring; they reveal nothing


class Access:
    """The layer: an ASGI application around another one."""

    def __init__(self, app: App, settings: Settings, counters: Counters):
        self.app = app
        self.settings = settings
        self.counters = counters
        self.body_bytes = 0  # of all requests that are being received or answered
        self.names = {*LOOPBACK, settings.host.lower(), *(name.lower() for name in settings.hosts)}
        if not settings.loopback:
            self.names.add(socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 0
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        bodiless = scope["method"] == "HEAD"
        added = (*response_headers(headers, self.settings), *SECURITY_HEADERS)
        scope = _inner_scope(scope, self.settings.root_path)

        async def send_secured(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message.get("headers", ())}
                extra = []
                for name, value in ((k.encode(), v.encode()) for k, v in added):
                    if name not in present:
                        present.add(name)
                        extra.append((name, value))
                if body.unread(scope) and b"connection" not in present:
                    extra.append((b"connection", b"close"))
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            elif bodiless and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        body = _Body(self, receive)
        try:
            self.check(scope, headers)
            if is_preflight(scope["method"], headers):
                await respond(send_secured, 204, preflight_headers(headers), b"")
            elif location := self.address_without_token(scope):
                await _redirect(send_secured, location, self.cookie(scope))
            elif location := _with_slash(scope, self.settings.root_path):
                await respond(send_secured, 308, [("location", location), ("content-length", "0")], b"")
            else:
                await self.app(scope, body, send_secured)
        except AlexNetError as error:
            if status == 0:
                self.counters.add("alexnet_refused_total", code=error.code)
                await respond(send_secured, *encode_problem(error, "request"))
        except asyncio.CancelledError:
            # Only a server that stops cancels a request; that is no fault, so it ends here.
            if status == 0:
                await respond(send_secured, *encode_problem(stopping(), "server"))
        except Exception:
            if status == 0:
                await respond(send_secured, *encode_problem(internal_error(), "server"))
            raise
        finally:
            self.body_bytes -= body.length
            path = getattr(scope.get("route"), "path", "other")
            self.counters.add("alexnet_requests_total", path=path, status=str(status or "gone"))
            self.counters.observe("alexnet_request_seconds", time.monotonic() - start, path=path)

    def check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Refuses a request that may not be sent here, or is too long.

        Raises:
            AlexNetError: E670 to E672, E360, E521.
        """
        host = headers.get("host", "")
        if not self.is_own_name(host):
            raise UntrustedFileError(
                f"this server does not have the name {host!r}",
                fix="Use the address that it printed when it started, or start it with --allow-host NAME.",
                code="E670",
            )
        check_page(scope["method"], headers, self.settings)
        if (
            self.settings.token is not None
            and scope["path"] not in WITHOUT_TOKEN
            and not self.address_without_token(scope)
            and not is_preflight(scope["method"], headers)  # browsers send no token with it
        ):
            token = _bearer(headers.get("authorization", "")) or _cookie(headers.get("cookie", ""))
            if not secrets.compare_digest(token.encode("latin-1"), self.settings.token.encode()):
                raise UntrustedFileError(
                    "the access token of this server is missing or wrong",
                    fix="Send the token that it printed when it started: curl -H 'Authorization: Bearer TOKEN' ...",
                    code="E672",
                )
        length = int(headers.get("content-length", "0"))
        if length > self.settings.body_bytes:
            raise too_large(self.settings.body_bytes)
        if self.body_bytes + length > self.settings.all_bodies_bytes:
            raise too_many_bytes(self.settings.all_bodies_bytes)

    def is_own_name(self, host: str) -> bool:
        """Whether a Host header names this server; a port is not compared, since tunnels change it."""
        match = HOST.fullmatch(host)
        name = (match[1] or match[2]).lower() if match else ""
        if self.settings.loopback or not name:
            return name in self.names
        try:
            # The owner of a name can make it point here; that is impossible with an IP address.
            ipaddress.ip_address(name)
        except ValueError:
            return name in self.names
        return True

    def address_without_token(self, scope: Scope) -> str:
        """The address of a request with the right `?token=`, without that token; empty if there is none.

        It is relative to the address of the request, since a proxy may have put a prefix before the path; so it can
        never be `//other.site` either.
        """
        query = scope.get("query_string", b"").decode("latin-1")
        if self.settings.token is None or scope["method"] != "GET" or "token=" not in query:
            return ""
        pairs = parse_qsl(query, keep_blank_values=True)
        token = dict(pairs).get("token", "")
        if not secrets.compare_digest(token.encode(), self.settings.token.encode()):
            return ""
        rest = urlencode([pair for pair in pairs if pair[0] != "token"])
        path = "./" + quote(scope["path"].rpartition("/")[2])
        return f"{path}?{rest}" if rest else path

    def cookie(self, scope: Scope) -> str:
        """The cookie that holds the token, for this service and, behind a proxy, for no other."""
        root_path = self.settings.root_path
        # Without a path the browser takes the folder of the address, which only at the page is that of the service.
        path = f"; Path={quote(root_path) or '/'}" if root_path or scope["path"] != "/" else ""
        return f"{COOKIE}={self.settings.token}; HttpOnly; SameSite=Lax{path}"


def _inner_scope(scope: Scope, root_path: str) -> Scope:
    """The scope of a request as the application sees it: a HEAD as a GET, the path without the prefix of a proxy."""
    path: str = scope["path"]
    if root_path and path.startswith(f"{root_path}/"):
        path = path[len(root_path) :]
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return {**scope, "method": method, "path": path}


def _with_slash(scope: Scope, root_path: str) -> str:
    """Where the page is, for its address without the slash at the end: its relative addresses need that."""
    if not root_path or scope["path"] != root_path or scope["method"] != "GET":
        return ""
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{quote(root_path)}/" + (f"?{query}" if query else "")


class _Body:
    """The `receive` of a request, which counts the bytes of the body and raises at the limit."""

    def __init__(self, access: Access, receive: Receive):
        self.access = access
        self.receive = receive
        self.length = 0
        self.complete = False

    def unread(self, scope: Scope) -> bool:
        """Whether a part of the body may not have arrived yet."""
        names = {name: value for name, value in scope["headers"]}
        return not self.complete and (b"transfer-encoding" in names or names.get(b"content-length", b"0") != b"0")

    async def __call__(self) -> Message:
        message = await self.receive()
        self.complete = not message.get("more_body", False)
        size = len(message.get("body", b""))
        self.length += size
        self.access.body_bytes += size
        settings = self.access.settings
        if self.length > settings.body_bytes:
            raise too_large(settings.body_bytes)
        if self.access.body_bytes > settings.all_bodies_bytes:
            raise too_many_bytes(settings.all_bodies_bytes)
        return message


async def respond(send: Send, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Sends a complete response."""
    pairs = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def _redirect(send: Send, location: str, cookie: str) -> None:
    await respond(send, 303, [("location", location), ("set-cookie", cookie), ("content-length", "0")], b"")


def _bearer(header: str) -> str:
    """The token of an Authorization header; the name of the scheme may be in small letters (RFC 9110, 11.1)."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _cookie(header: str) -> str:
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), "")
