"""The study of the service: oversize, slow, malformed and hostile requests, and clients that disconnect."""

import argparse
import asyncio
import io
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from harness import ROOT
from harness.openapi_bodies import archive, picture
from harness.service_process import answer_of, connect, head, in_a_process
from studies.robustness.fuzz_images import FORMATS, case
from studies.robustness.service_load import closed_loop, quantiles, request_of
from studies.robustness.service_seen import CPU, PHOTO, counted, files, megabytes, of_2012, small


def oversize(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """R34: bodies beyond 20 MB that say so, that do not, and that say less than they send."""
    found: dict[str, Any] = {}
    with in_a_process(small(folder), *CPU) as server:
        httpx.post(f"{server.url}/v1/predict", content=PHOTO)
        before = megabytes(server)
        for kind in ("says so", "chunked", "lies"):
            times, statuses = [], Counter[int]()
            for _ in range(20):
                with connect(server.port) as connection:
                    if kind == "chunked":
                        first = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                        connection.sendall(first + b"1312d00\r\n" + b"x" * 20_000_000 + b"\r\n")
                        began = time.monotonic()
                        connection.sendall(b"1\r\nx\r\n")
                    elif kind == "says so":
                        began = time.monotonic()
                        connection.sendall(head(20_000_001))
                    else:  # 20 bytes are announced, the rest is no request
                        began = time.monotonic()
                        connection.sendall(head(20) + b"x" * 1_000_000)
                    statuses[answer_of(connection).status] += 1
                    times.append(1000 * (time.monotonic() - began))
            found[kind] = {"statuses": dict(statuses), **quantiles(times)}
        found["megabytes_more"] = round(megabytes(server) - before, 1)
    return found


def slow(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """R35: 200 connections that are silent, or send a header or a byte of a body a second; and an ordinary client."""

    def ordinary(seconds: float) -> list[float]:
        asked = asyncio.run(closed_loop(server.port, [request_of(PHOTO)], 1, seconds))
        assert {each.status for each in asked} == {200}
        return [each.ms for each in asked]

    with in_a_process(small(folder), *CPU) as server:
        ordinary(3)
        alone = ordinary(15)
        kinds = {"silent": (b"", b""), "headers": (b"POST / HTTP/1.1\r\n", b"X: y\r\n"), "body": (head(9999), b"x")}
        closed: dict[str, list[float]] = {kind: [] for kind in kinds}

        def drip(kind: str) -> None:
            first, then = kinds[kind]
            with connect(server.port, 1.0) as connection:
                began = time.monotonic()
                try:
                    connection.sendall(first)
                    while time.monotonic() < began + 60:
                        try:
                            if then:
                                connection.sendall(then)
                            if not connection.recv(4096):
                                break
                        except TimeoutError:
                            continue
                    else:
                        return
                except OSError:
                    pass
                closed[kind].append(time.monotonic() - began)

        threads = [threading.Thread(target=drip, args=(list(kinds)[i % 3],)) for i in range(200)]
        for thread in threads:
            thread.start()
        beside = ordinary(8)
        for thread in threads:
            thread.join()
        return {
            "sockets": 200,
            "closed": {kind: len(times) for kind, times in closed.items()},
            "last_closed_after_seconds": {kind: round(max(times), 2) for kind, times in closed.items() if times},
            "ordinary_alone": quantiles(alone),
            "ordinary_beside_them": quantiles(beside),
        }


def bad_upload(number: int) -> bytes:
    """A malformed upload: mutated and cut images, noise, texts, bombs, broken archives."""
    chance = random.Random(number)
    kind = number % 10
    if kind < 8:
        return case(FORMATS[kind], chance.randrange(2200), 200, 0)
    if kind == 8:
        texts = (b"", b"hello", b"<svg/>", b"<html>", b"%PDF-1.7", b"%!PS", b"PK\3\4", b"\x80\4.", BOMB, b"II*\0" * 9)
        return texts[chance.randrange(len(texts))]
    broken = bytearray(archive([("a.png", picture(9, 9, number, "PNG"))]))
    for _ in range(5):
        broken[chance.randrange(len(broken))] = chance.randrange(256)
    return bytes(broken)


def bomb() -> bytes:
    """A PNG of 144 million white pixels in some kilobytes."""
    Image.new("1", (12000, 12000), 1).save(out := io.BytesIO(), "PNG")
    return out.getvalue()


BOMB = bomb()


def malformed(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """R36: malformed uploads, one after the other, and what they leave in memory."""
    with in_a_process(small(folder), *CPU) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        statuses, times, codes = Counter[int](), [], Counter[str]()
        after = first_files = 0.0
        for number in range(given.uploads):
            path = "/v1/predict/batch" if number % 10 == 9 else "/v1/predict"
            data = bad_upload(number)
            began = time.monotonic()
            answer = client.post(path, content=data, timeout=60)
            times.append(1000 * (time.monotonic() - began))
            statuses[answer.status_code] += 1
            if answer.status_code != 200:
                codes[answer.json()["code"]] += 1
            if number == min(999, given.uploads // 2):
                after, first_files = megabytes(server), files(server)
        return {
            "uploads": given.uploads,
            "statuses": dict(sorted(statuses.items())),
            "codes": dict(sorted(codes.items())),
            **quantiles(times),
            "megabytes_after_the_first_1000": round(after, 1),
            "megabytes_at_the_end": round(megabytes(server), 1),
            "open_files": [int(first_files), files(server)],
        }


def contract(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """R37: schemathesis, all checks and phases, on every operation."""
    photos = folder / "photos"
    photos.mkdir()
    for seed in range(20):
        (photos / f"{seed}.png").write_bytes(picture(40, 30, seed, "PNG"))
    with in_a_process(small(folder), "--index", photos, *CPU) as server:
        command = ["schemathesis", "run", f"{server.url}/openapi.json", "-n", str(given.examples), "--seed", "0"]
        where = {**os.environ, "SCHEMATHESIS_HOOKS": "harness.openapi_bodies", "PYTHONPATH": str(ROOT)}
        tool = Path(sys.executable).with_name("schemathesis")
        done = subprocess.run(
            [str(tool), *command[1:], "--no-color", "--warnings", "off"],
            capture_output=True,
            text=True,
            env=where,
            cwd=folder,
        )
        said = done.stdout
        print(said[-3000:])
        generated = re.search(r"(\d[\d,]*) generated", said)
        requests = counted(server, "alexnet_requests_total")
        text = httpx.get(f"{server.url}/metrics", trust_env=False).text
        defects = re.findall(r'_requests_total\{.*status="5\d\d"\} .*', text)
    return {
        "schemathesis": " ".join(command[:2] + command[3:]),
        "exit_code": done.returncode,
        "cases": int(generated[1].replace(",", "")) if generated else None,
        "requests": int(requests),
        "failures": len(re.findall(r"^- .+ - |^\d+\. Test Case ID", said, re.MULTILINE)),
        "answers_of_5xx": defects,
    }


def gone(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """R40: 500 clients that send an image and disconnect, 50 at a time, behind one that is computed."""
    request = request_of(PHOTO)
    with in_a_process(of_2012(folder), *CPU) as server:
        httpx.post(f"{server.url}/v1/why?method=saliency", content=PHOTO, timeout=120)
        computed, opened = counted(server, "alexnet_images_total"), files(server)
        for _ in range(10):
            busy = connect(server.port)
            busy.sendall(request_of(PHOTO, "/v1/why?method=occlusion"))
            while counted(server, "alexnet_queue_images") < 1:
                pass
            leaving = [connect(server.port) for _ in range(50)]
            for each in leaving:
                each.sendall(request)
            while counted(server, "alexnet_queue_images") < 51:
                pass
            for each in leaving:
                each.close()
            while counted(server, "alexnet_queue_images") > 1:
                pass
            answer_of(busy)
            busy.close()
        return {
            "hung_up": 500,
            "not_computed": int(counted(server, "alexnet_gone_total")),
            "computed_of_them": int(counted(server, "alexnet_images_total") - computed) - 10,
            "open_files": [opened, files(server)],
            "answers_after": httpx.post(f"{server.url}/v1/predict", content=PHOTO).status_code,
        }


def attacks(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """R42: what a hostile page can make a browser send, and what comes without the token."""
    token = {"authorization": "Bearer secret"}
    tries = {
        "foreign Host": {**token, "host": "evil.example"},
        "foreign Origin": {**token, "origin": "http://evil.example"},
        "Origin null": {**token, "origin": "null"},
        "cross-site image": {**token, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        "no token": {},
        "wrong token": {"authorization": "Bearer guess"},
    }
    found, answers, secured = {}, 0, 0
    with in_a_process(small(folder), "--host", "0.0.0.0", "--token", "secret", *CPU) as server:
        paths = list(httpx.get(f"{server.url}/openapi.json", headers=token).json()["paths"])
        for name, headers in {**tries, "rightful": token}.items():
            statuses = Counter[int]()
            for path in [*paths, "/nothing"]:
                for method in ("GET", "POST", "OPTIONS"):
                    url = server.url + path.replace("{layer}", "conv1")
                    told = httpx.request(method, url, headers=headers, content=b"x", trust_env=False)
                    answers += 1
                    policy = told.headers.get("content-security-policy", "")
                    secured += "default-src 'self'" in policy and told.headers["x-content-type-options"] == "nosniff"
                    if path not in ("/healthz", "/readyz"):
                        statuses[told.status_code] += 1
            found[name] = dict(sorted(statuses.items()))
    return {"answers": answers, "with_policy_and_nosniff": secured, "statuses": found}
