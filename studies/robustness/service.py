"""Measures what the service withstands: attacks, floods, slow and lying clients, load, signals, new weights.

    python -m studies.robustness.service [--only PART ...] [--seconds 60] [--uploads 10000] [--examples 500]

Each part starts `alexnet serve` in its own process and writes its figures into results/service.json. Load, backpressure
and SIGTERM use the network of 2012 with initial weights, the others a small one, which takes almost no time. Clients
and server share the machine. All parts together take about half an hour on two idle cores.
"""

import argparse
import asyncio
import json
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from alexnet.data.images import prepare_image
from alexnet.evaluation.classifier import predict_probabilities
from alexnet.models.build import build_model
from alexnet.models.network import fingerprint
from alexnet.runs.checkpoint import TrainingState, load_model, save_checkpoint
from alexnet.runs.run import open_run
from harness.openapi_bodies import picture
from harness.service_process import answer_of, connect, head, in_a_process
from studies.robustness.recording import ROOT, machine
from studies.robustness.service_attacks import attacks, contract, gone, malformed, oversize, slow
from studies.robustness.service_load import closed_loop, open_loop, quantiles, request_of
from studies.robustness.service_seen import CPU, PHOTO, counted, of_2012, small

RESULTS = ROOT / "results" / "service.json"


def photos_as_requests() -> list[bytes]:
    """Sixteen different images of an ordinary size."""
    return [request_of(picture(256, 256, seed, "JPEG")) for seed in range(16)]


def load(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """R38: 64 clients, with batches and one at a time, in turns; then 80 % of that at random moments."""
    requests, run = photos_as_requests(), of_2012(folder)
    asked: dict[str, list[Any]] = {"batches": [], "one at a time": []}
    seconds: Counter[str] = Counter()
    with in_a_process(run, *CPU) as batching, in_a_process(run, "--max-batch", 1, "--queue", 64, *CPU) as single:
        servers = {"batches": batching, "one at a time": single}
        for server in servers.values():
            asyncio.run(closed_loop(server.port, requests, 4, 3))
        before = {name: counted(batching, f"alexnet_batch_images_{name}") for name in ("sum", "count")}
        for _ in range(3):
            for name, server in servers.items():
                began = time.monotonic()
                asked[name] += asyncio.run(closed_loop(server.port, requests, 64, given.seconds / 3))
                seconds[name] += time.monotonic() - began
        after = {name: counted(batching, f"alexnet_batch_images_{name}") for name in ("sum", "count")}
        rate = {name: sum(e.status == 200 for e in asked[name]) / seconds[name] for name in servers}
        light = asyncio.run(open_loop(batching.port, requests, 0.8 * rate["batches"], given.seconds / 2))
    fast, out = [each.ms for each in light if each.status == 200], {}
    for name, answers in asked.items():
        out[name] = {
            "per_second": round(rate[name], 1),
            "statuses": dict(Counter(each.status for each in answers)),
            **quantiles([each.ms for each in answers if each.status == 200]),
        }
    return {
        "clients": 64,
        "seconds_each": given.seconds,
        **out,
        "times": round(rate["batches"] / rate["one at a time"], 2),
        "mean_batch": round((after["sum"] - before["sum"]) / (after["count"] - before["count"]), 1),
        "at_80_percent": {"statuses": dict(Counter(each.status for each in light)), **quantiles(fast)},
    }


def backpressure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """R39: 256 clients on a queue of 64; then one."""
    requests = photos_as_requests()
    with in_a_process(of_2012(folder), *CPU) as server:
        asyncio.run(closed_loop(server.port, requests, 4, 3))
        began = time.monotonic()
        asked = asyncio.run(closed_loop(server.port, requests, 256, given.seconds / 2))
        rate = sum(each.status == 200 for each in asked) / (time.monotonic() - began)
        began = time.monotonic()
        after = asyncio.run(closed_loop(server.port, requests, 1, 0.1))
        refused = [each for each in asked if each.status == 503]
        return {
            "clients": 256,
            "statuses": dict(Counter(each.status for each in asked)),
            "with_retry_after": sum(each.retry for each in refused),
            "refused": quantiles([each.ms for each in refused]),
            "accepted": quantiles([each.ms for each in asked if each.status == 200]),
            "queue_by_throughput_ms": round(1000 * 64 / rate, 1),
            "next_answer": {"status": after[0].status, "ms": round(after[0].ms, 1)},
        }


def stop(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """R41: SIGTERM with 32 requests in flight."""
    with in_a_process(of_2012(folder), *CPU) as server:
        sockets = [connect(server.port) for _ in range(32)]
        for each in sockets:
            each.sendall(head(len(PHOTO), "/v1/predict", "Expect: 100-continue"))
            each.recv(1000)
        for each in sockets:
            each.sendall(PHOTO)
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        statuses = Counter(answer_of(each).status for each in sockets)
        code = server.process.wait(60)
        return {
            "in_flight": 32,
            "statuses": dict(statuses),
            "exit_code": code,
            "seconds": round(time.monotonic() - began, 2),
        }


def reload(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """R43: ten reloads of the weights by SIGHUP during 1,000 requests of 8 clients."""
    run = small(folder)
    expected: dict[str, list[float]] = {}
    answers: list[tuple[int, str, list[float]]] = []
    lock = threading.Lock()

    def remember() -> str:
        """The prediction of the present weights, by the functions of the command line, in this process."""
        opened = open_run(run)
        model = load_model(opened)
        pixels = prepare_image(PHOTO, opened.recipe.prepare_size, whole=opened.recipe.prepare_whole)[None]
        told = predict_probabilities(model, pixels.__getitem__, 1)[0]
        expected[fingerprint(model)] = sorted(map(float, told), reverse=True)
        return fingerprint(model)

    remember()
    with in_a_process(run, *CPU) as server:

        def keep_asking() -> None:
            with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
                while len(answers) < 1000 or len(expected) < 11:
                    told = client.post("/v1/predict?k=10&raw=true", content=PHOTO)
                    row = told.json()
                    with lock:
                        answers.append((told.status_code, row["model"], [each["probability"] for each in row["top"]]))

        threads = [threading.Thread(target=keep_asking) for _ in range(8)]
        for thread in threads:
            thread.start()
        for step in range(1, 11):
            opened = open_run(run)
            model = build_model(opened.recipe.model, seed=step)
            save_checkpoint(opened, model, {}, TrainingState(step=step), best=True)
            saved = remember()
            server.process.send_signal(signal.SIGHUP)
            while not any(model_id == saved for _, model_id, _ in list(answers)):
                time.sleep(0.01)
        for thread in threads:
            thread.join()
    wrong = sum(
        status != 200 or model not in expected or not np.allclose(told, expected[model], atol=1e-6)
        for status, model, told in answers
    )
    return {"requests": len(answers), "models": len({model for _, model, _ in answers}), "wrong": wrong}


PARTS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "oversize": oversize,
    "slow": slow,
    "malformed": malformed,
    "contract": contract,
    "load": load,
    "backpressure": backpressure,
    "gone": gone,
    "stop": stop,
    "attacks": attacks,
    "reload": reload,
}


def main() -> None:
    """Runs the parts that are named, or all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--uploads", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=500)
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in given.only:
        started, busy = time.monotonic(), os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as folder:
            figures = PARTS[name](Path(folder), given)
        sizes = [f"--{k} {getattr(given, k):g}" for k in ("seconds", "uploads", "examples")]
        defaults = [f"--{k} {parser.get_default(k):g}" for k in ("seconds", "uploads", "examples")]
        changed = [one for one, default in zip(sizes, defaults, strict=True) if one != default]
        results[name] = {
            "command": " ".join(["python -m studies.robustness.service --only", name, *changed]),
            "seconds": round(time.monotonic() - started, 1),
            "load_before": round(busy, 1),  # of 2 cores; beyond that others were computing
            "machine": machine(("torch", "fastapi", "uvicorn", "h11")),
            **figures,
        }
        print(name, json.dumps(figures))
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
