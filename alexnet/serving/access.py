"""Who may ask, and how much they may send: a layer around the whole application, so no route can forget it.

On every answer: a Content-Security-Policy that lets a page load nothing from elsewhere, and nosniff. A request is
refused

- whose Host is not a name of this server: a foreign page whose name was made to point here (DNS rebinding)
- that a page of another origin has sent (Origin, Sec-Fetch-Site)
- without the token, where there is one: `Authorization: Bearer TOKEN`, or the cookie that `?token=TOKEN` sets
- that says it is too long, before a byte of it is read; or that turns out to be, as soon as it is
"""

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
from alexnet.serving.problems import encoded, too_large, too_many_bytes, unexpected
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
OPEN = ("/healthz", "/readyz")  # for those who watch over the server; they tell nothing


class Access:
    """The layer: an ASGI application around another one."""

    def __init__(self, app: App, settings: Settings, counters: Counters):
        self.app = app
        self.settings = settings
        self.counters = counters
        self.held = 0  # bytes of all bodies that are read or wait
        self.names = {*LOOPBACK, settings.host.lower(), *(name.lower() for name in settings.hosts)}
        if not settings.loopback:
            self.names.add(socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name for name, _ in message.get("headers", ())}
                extra = [(k.encode(), v.encode()) for k, v in SECURITY_HEADERS if k.encode() not in own]
                if body.unread(scope) and b"connection" not in own:
                    extra.append((b"connection", b"close"))
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        body = _Body(self, receive)
        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            self.check(scope, headers)
            if location := self.entering(scope):
                await _redirect(sending, location, str(self.settings.token))
            else:
                await self.app(scope, body, sending)
        except AlexNetError as error:
            if status == 0:
                self.counters.add("alexnet_refused_total", code=error.code)
                await answer(sending, *encoded(error, "request"))
        except Exception:
            if status == 0:
                await answer(sending, *encoded(unexpected(), "server"))
            raise
        finally:
            self.held -= body.length
            path = getattr(scope.get("route"), "path", "other")
            self.counters.add("alexnet_requests_total", path=path, status=str(status or "gone"))
            self.counters.observe("alexnet_request_seconds", time.monotonic() - began, path=path)

    def check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Refuses what may not ask.

        Raises:
            AlexNetError: E670 to E672, E360, E521.
        """
        host = headers.get("host", "")
        if not self.known(host):
            raise UntrustedFileError(
                f"this server does not go by the name {host!r}",
                fix="Use the address that it printed when it started, or start it with --allow-host NAME.",
                code="E670",
            )
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        navigating = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if (origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower())) or (
            site not in ("none", "same-origin") and not navigating
        ):
            raise UntrustedFileError(
                f"a page of another site ({origin or site}) may not ask here",
                fix="Ask from the page of this server, or from a program.",
                code="E671",
            )
        if self.settings.token is not None and scope["path"] not in OPEN and not self.entering(scope):
            given = headers.get("authorization", "").removeprefix("Bearer ") or _cookie(headers.get("cookie", ""))
            if not secrets.compare_digest(given.encode(), self.settings.token.encode()):
                raise UntrustedFileError(
                    "the token of this server is missing or wrong",
                    fix="Send the one it printed when it started: curl -H 'Authorization: Bearer TOKEN' ...",
                    code="E672",
                )
        length = int(headers.get("content-length", "0"))
        if length > self.settings.body_bytes:
            raise too_large(self.settings.body_bytes)
        if self.held + length > self.settings.all_bodies_bytes:
            raise too_many_bytes(self.settings.all_bodies_bytes)

    def known(self, host: str) -> bool:
        """Whether a Host header names this server; a port is not compared, since tunnels change it."""
        found = HOST.fullmatch(host)
        name = (found[1] or found[2]).lower() if found else ""
        if self.settings.loopback or not name:
            return name in self.names
        try:
            # A name can be made to point here by its owner, a number cannot.
            ipaddress.ip_address(name)
        except ValueError:
            return name in self.names
        return True

    def entering(self, scope: Scope) -> str:
        """Where a page that was opened with the token in its address goes on without it; empty if there is none."""
        query = scope.get("query_string", b"").decode("latin-1")
        if self.settings.token is None or scope["method"] != "GET" or "token=" not in query:
            return ""
        pairs = parse_qsl(query, keep_blank_values=True)
        given = dict(pairs).get("token", "")
        if not secrets.compare_digest(given.encode(), self.settings.token.encode()):
            return ""
        rest = urlencode([pair for pair in pairs if pair[0] != "token"])
        path = "/" + quote(scope["path"]).lstrip("/")  # never //elsewhere
        return f"{path}?{rest}" if rest else path


class _Body:
    """The receiving end of a request, which counts and stops at the limit."""

    def __init__(self, access: Access, receive: Receive):
        self.access = access
        self.receive = receive
        self.length = 0
        self.complete = False

    def unread(self, scope: Scope) -> bool:
        """Whether some of the body may still be on its way."""
        names = {name: value for name, value in scope["headers"]}
        return not self.complete and (b"transfer-encoding" in names or names.get(b"content-length", b"0") != b"0")

    async def __call__(self) -> Message:
        message = await self.receive()
        self.complete = not message.get("more_body", False)
        size = len(message.get("body", b""))
        self.length += size
        self.access.held += size
        settings = self.access.settings
        if self.length > settings.body_bytes:
            raise too_large(settings.body_bytes)
        if self.access.held > settings.all_bodies_bytes:
            raise too_many_bytes(settings.all_bodies_bytes)
        return message


async def answer(send: Send, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Sends a whole answer."""
    pairs = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def _redirect(send: Send, location: str, token: str) -> None:
    cookie = f"{COOKIE}={token}; HttpOnly; SameSite=Lax; Path=/"
    await answer(send, 303, [("location", location), ("set-cookie", cookie), ("content-length", "0")], b"")


def _cookie(header: str) -> str:
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), "")
