"""Clients for the study of the service: many connections from one process, each request with its milliseconds."""

import asyncio
import time
from typing import NamedTuple

import numpy as np


class Requests(NamedTuple):
    """One answer: when it came, its status (0: none), how long it took, whether it said Retry-After."""

    at: float
    status: int
    ms: float
    retry: bool


def request_of(body: bytes, path: str = "/v1/predict") -> bytes:
    """A whole request with this body."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Requests:
    """Sends a request and reads its answer to the end."""
    began = time.monotonic()
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
    await reader.readexactly(length)
    now = time.monotonic()
    return Requests(now, int(head.split()[1]), 1000 * (now - began), b"retry-after" in head)


async def closed_loop(port: int, requests: list[bytes], clients: int, seconds: float) -> list[Requests]:
    """So many clients, each asking again as soon as it has its answer; a client told 503 asks again after 50 ms."""
    end = time.monotonic() + seconds
    found: list[Requests] = []

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        turn = number
        try:
            while time.monotonic() < end:
                answer = await ask(reader, writer, requests[turn % len(requests)])
                found.append(answer)
                turn += clients
                if answer.status == 503:  # it closes, since it has not read the image
                    writer.close()
                    await asyncio.sleep(0.05)
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except (OSError, asyncio.IncompleteReadError):
            found.append(Requests(time.monotonic(), 0, 0.0, False))
        finally:
            writer.close()

    await asyncio.gather(*(one(number) for number in range(clients)))
    return found


async def open_loop(port: int, requests: list[bytes], per_second: float, seconds: float) -> list[Requests]:
    """Requests at random moments (Poisson), whether or not earlier ones have been answered."""
    chance = np.random.default_rng(0)
    found: list[Requests] = []

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        found.append(await ask(reader, writer, requests[number % len(requests)]))
        writer.close()

    tasks, end, number = [], time.monotonic() + seconds, 0
    while time.monotonic() < end:
        tasks.append(asyncio.create_task(one(number)))
        number += 1
        await asyncio.sleep(float(chance.exponential(1 / per_second)))
    await asyncio.gather(*tasks)
    return found


def quantiles(values: list[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile, and the largest."""
    if not values:
        return {}
    p50, p95, p99 = (round(float(q), 1) for q in np.percentile(values, [50, 95, 99]))
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "most_ms": round(max(values), 1)}
