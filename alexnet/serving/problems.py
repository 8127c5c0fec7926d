"""Turns an error of `alexnet.errors` into a response: an HTTP status and a JSON object.

{"status": 422, "title": "Unprocessable Content", "code": "E304", "what": "...", "where": "request", "fix": "..."}
"""

import json
from typing import Any

from alexnet.errors import AlexNetError, DataError, ResourceError, UntrustedFileError, UsageError
from alexnet.text import printable

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
# By code; other codes give 422: the request was understood, but cannot be fulfilled.
STATUS = {
    "E235": 404,
    "E246": 404,
    "E266": 404,
    "E267": 405,
    "E268": 404,
    "E269": 404,
    "E305": 413,
    "E360": 413,
    "E361": 415,
    "E364": 413,
    "E365": 408,
    "E366": 400,
    "E376": 413,
    "E389": 409,
    "E520": 503,
    "E521": 503,
    "E522": 503,
    "E523": 500,
    "E525": 503,
    "E670": 403,
    "E671": 403,
    "E672": 401,
}
CONTENT_TYPE = "application/problem+json"
RETRY_SECONDS = 1


def status_of(error: AlexNetError) -> int:
    """The HTTP status of an error; 409 for a run that cannot be loaded again, 503 for lack of resources.

    409 too where a request is right and the run has not what it asks for: asking another way does not help.
    """
    if error.code in STATUS:
        return STATUS[error.code]
    if isinstance(error, UntrustedFileError):
        return 409
    return 503 if isinstance(error, ResourceError) else 422


def problem(error: AlexNetError, where: str = "") -> dict[str, Any]:
    """The JSON object of an error."""
    status = status_of(error)
    return {
        "status": status,
        "title": TITLES[status],
        "code": error.code,
        "what": printable(error.what),
        "where": printable(where),
        "fix": printable(error.fix),
    }


def encode_problem(error: AlexNetError, where: str = "") -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of the response to an error."""
    body = json.dumps(problem(error, where)).encode()
    status = status_of(error)
    headers = [("content-type", CONTENT_TYPE), ("content-length", str(len(body)))]
    if status == 503:
        headers.append(("retry-after", str(RETRY_SECONDS)))
    if status == 401:
        headers.append(("www-authenticate", "Bearer"))
    return status, headers, body


def too_large(limit: int) -> DataError:
    """The body is longer than the limit."""
    return DataError(
        f"the request is longer than the limit of {limit:,} bytes",
        fix="Send a smaller image, or fewer at a time; 2,000 pixels a side are more than enough.",
        code="E360",
    )


def too_slow(part: str, seconds: float) -> DataError:
    """The headers or the body did not arrive in time."""
    return DataError(
        f"the {part} of the request did not arrive within {seconds:g} seconds",
        fix="Send it at once, over a faster connection, or make the image smaller.",
        code="E365",
    )


def not_http() -> DataError:
    """The bytes are not an HTTP request."""
    return DataError(
        "this is not an HTTP/1.1 request", fix="Use curl, a browser or an HTTP library, and http://.", code="E366"
    )


def queue_full(waiting: int) -> ResourceError:
    """The queue has no free places."""
    return ResourceError(
        f"{waiting} images are waiting already",
        fix="Send the request again in a second, or send fewer images at once.",
        code="E520",
    )


def too_many_bytes(limit: int) -> ResourceError:
    """All requests together hold too many bytes."""
    return ResourceError(
        f"more than {limit:,} bytes are being received at once", fix="Send the request again in a second.", code="E521"
    )


def too_many_connections(limit: int) -> ResourceError:
    """More connections are open than allowed."""
    return ResourceError(
        f"more than {limit} connections are open", fix="Send the request again in a second.", code="E522"
    )


def too_many_chunks() -> DataError:
    """A body comes in pieces of a few bytes, each of which takes as long as a large one."""
    return DataError(
        "the body comes in chunks of a few bytes", fix="Send it whole, with its Content-Length.", code="E376"
    )


def not_available(host: str, port: int, error: Exception) -> ResourceError:
    """The service cannot listen at its address."""
    said = (getattr(error, "strerror", "") or str(error)).lower()
    return ResourceError(
        f"cannot listen on {host} port {port}: {said}",
        fix=f"Choose another port: --port {port % 65535 + 1}, or --port 0 for any that is free.",
        code="E524",
    )


def internal_error() -> ResourceError:
    """A bug of alexnet; the details go to the log of the server, not to the client."""
    return ResourceError(
        "an internal error occurred; the log of the server has the details",
        fix="Report it with that part of the log and the request.",
        code="E523",
    )


def stopping() -> ResourceError:
    """The service stops before the request could be answered."""
    return ResourceError(
        "the service was stopped before it could answer", fix="Send the request again when it runs.", code="E525"
    )


def no_such_path(path: str) -> UsageError:
    """No route has this path."""
    return UsageError(f"there is nothing at {path}", fix="GET /openapi.json lists all paths.", code="E266")


def no_such_method(method: str, path: str, allowed: str) -> UsageError:
    """A route has this path, but not for this method."""
    return UsageError(f"{path} does not accept {method}", fix=f"Use {allowed}.", code="E267")


def wrong_parameter(name: str, reason: str) -> UsageError:
    """A parameter of the query does not exist, or has an invalid value."""
    return UsageError(f"{name}: {reason}", fix="GET /openapi.json says what each parameter may be.", code="E265")
