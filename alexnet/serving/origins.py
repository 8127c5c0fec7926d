"""Decides which pages may send requests: those of this server, and those of sites that were allowed (CORS).

A browser names the site of a page in the header Origin, and asks before a request that a form could not send (the
preflight, an OPTIONS without token). Without an allowed site every page of another origin is refused.
"""

from collections.abc import Mapping

from alexnet.errors import UntrustedFileError
from alexnet.serving.settings import ANY_ORIGIN, Settings

METHODS = "GET, HEAD, POST"
HEADERS = "authorization, content-type"
EXPOSED = "x-alexnet-model, x-alexnet-class, x-alexnet-probability, retry-after"
PREFLIGHT_SECONDS = 600  # how long a browser may remember the answer

Headers = Mapping[str, str]


def allowed_origin(headers: Headers, settings: Settings) -> str:
    """The Origin of a request, if a page of another site sends it that is allowed; else empty."""
    origin = headers.get("origin", "")
    if not origin or _is_own(headers):
        return ""
    return origin if ANY_ORIGIN in settings.origins or origin.lower() in settings.origins else ""


def check_page(method: str, headers: Headers, settings: Settings) -> None:
    """Refuses a request of a page that is neither of this server nor of an allowed site.

    Raises:
        UntrustedFileError: E671.
    """
    if allowed_origin(headers, settings):
        return
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    navigating = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
    if (origin is not None and not _is_own(headers)) or (site not in ("none", "same-origin") and not navigating):
        raise UntrustedFileError(
            f"a page of another site ({origin or site}) may not send requests to this server",
            fix="Use the page of this server, or a program; alexnet serve --cors-origin ORIGIN allows a site.",
            code="E671",
        )


def is_preflight(method: str, headers: Headers) -> bool:
    """Whether a browser asks if a page may send a request."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def preflight_headers(headers: Headers) -> list[tuple[str, str]]:
    """What an allowed page may send, in the answer to a preflight."""
    answer = [
        ("access-control-allow-methods", METHODS),
        ("access-control-allow-headers", HEADERS),
        ("access-control-max-age", str(PREFLIGHT_SECONDS)),
    ]
    if headers.get("access-control-request-private-network") == "true":
        # Chromium asks this of a page of the public network that calls this machine.
        answer.append(("access-control-allow-private-network", "true"))
    return answer


def response_headers(headers: Headers, settings: Settings) -> list[tuple[str, str]]:
    """The headers with which a browser hands a response to an allowed page; caches must tell pages apart by Origin."""
    if not settings.origins:
        return []
    origin = allowed_origin(headers, settings)
    if not origin:
        return [("vary", "Origin")]
    shown = ANY_ORIGIN if ANY_ORIGIN in settings.origins else origin
    return [
        ("access-control-allow-origin", shown),
        ("access-control-expose-headers", EXPOSED),
        ("vary", "Origin"),
        ("cross-origin-resource-policy", "cross-origin"),
    ]


def _is_own(headers: Headers) -> bool:
    """Whether the Origin is that of this server.

    A proxy may have replaced the Host; then only the browser knows that the page and the address are of one origin, and
    no page can write Sec-Fetch-Site.
    """
    host, origin = headers.get("host", "").lower(), headers.get("origin", "").lower()
    return origin in (f"http://{host}", f"https://{host}") or headers.get("sec-fetch-site") == "same-origin"
