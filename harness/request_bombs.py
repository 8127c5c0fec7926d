"""Requests of up to 25 MB that cost a service as much as it lets them, as bytes on the wire, with innocent twins."""

import io
import json
import tarfile
from collections.abc import Callable

from harness.image_bombs import FULL
from harness.openapi_bodies import picture
from harness.service_process import head

SMALL = 19_900_000  # of a body; more than 20 MB are refused by their length
BATCH = "/v1/predict/batch"
PHOTO = picture(500, 375, 0, "JPEG")


def post(body: bytes, kind: str = "application/octet-stream", path: str = "/v1/predict") -> bytes:
    return head(len(body), path, f"Content-Type: {kind}", "Connection: close") + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


def chunked(size: int, total: int) -> bytes:
    start = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return start + (b"%x\r\n" % size + b"x" * size + b"\r\n") * (total // size) + b"0\r\n\r\n"


def tar(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


REQUESTS: dict[str, Callable[[], bytes]] = {
    "request: names in a query": lambda: get("/healthz?" + "&".join(f"a{i}=" for i in range(8_000))),
    "request: one long query": lambda: get("/healthz?" + "a" * 60_000),
    "request: a long path": lambda: get("/" + "a/" * 30_000),
    "request: headers": lambda: get("/healthz")[:-2] + b"x: y\r\n" * 10_000 + b"\r\n",
    "request: one long header": lambda: get("/healthz")[:-2] + b"x: " + b"y" * FULL + b"\r\n\r\n",
    "request: pieces of a byte": lambda: chunked(1, 2_000_000),
    "request: pieces of 64 bytes": lambda: chunked(64, SMALL),
    "request: a name of 19 MB in an archive": lambda: post(tar(("a" * 19_000_000, b"x")), "application/x-tar", BATCH),
    "request: empty files in an archive": lambda: post(tar(*[("a.png", b"")] * 38_000), "application/x-tar", BATCH),
    "request: one photo, again and again": lambda: post(
        tar(*[("a.jpg", PHOTO)] * (SMALL // (len(PHOTO) + 1024))), "application/x-tar", BATCH
    ),
    "request: brackets in JSON": lambda: post(b"[" * SMALL, "application/json"),
    "request: names in JSON": lambda: post(
        json.dumps({f"a{i}": 0 for i in range(1_500_000)}).encode()[:SMALL], "application/json"
    ),
    "request: lists in JSON": lambda: post(b"[" + b"[]," * (SMALL // 3 - 1) + b"0]", "application/json"),
    "request: one name in JSON": lambda: post(b"{" + b'"a":0,' * (SMALL // 6 - 2) + b'"a":0}', "application/json"),
    "request: escapes in a data: URL": lambda: post(b"data:," + b"%41" * (SMALL // 3 - 2)),
    "request: blanks in base64": lambda: post(b"data:;base64," + b"A " * (SMALL // 2 - 7)),
    "request: a name of 30,000 parts in an archive": lambda: post(
        tar(("/".join("a" * 30_000), b"x"), ("a.jpg", PHOTO)), "application/x-tar", BATCH
    ),
    "request: zeros": lambda: post(bytes(SMALL)),
    "request: parts of a form": lambda: post(
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 390_000 + b"--b--\r\n",
        "multipart/form-data; boundary=b",
    ),
}

INNOCENT: dict[str, Callable[[], bytes]] = {
    "request: a photo": lambda: post(PHOTO, "image/jpeg"),
    "request: an archive of photos": lambda: post(
        tar(*[(f"{i}.jpg", PHOTO) for i in range(20)]), "application/x-tar", BATCH
    ),
}
