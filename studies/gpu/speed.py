"""`speed`: the ladder of training steps, predictions, norms beside a copy, and training end to end; in turns, medians.

A ratio says how many times as long the other takes; the other is the first rung, in the same process and the same
rounds. Targets are compared at the end, each with the rung of ours that was fastest.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from alexnet.kernels.device import keep_memory
from alexnet.kernels.operators import run_chain
from studies.gpu import limits
from studies.gpu.ladder import (
    COMPILED,
    OURS,
    PLAIN,
    PLAIN_BF16,
    RUNGS,
    STEP_GFLOP,
    inputs,
    our_network,
    our_recipe,
    torchvision_network,
)
from studies.gpu.session import Session, attempt, timed
from studies.gpu.smoke import precisions

COLUMNS = ("what", "ms", "images/s", "ratio", "target", "met", "of peak")
BATCHES, PREDICTED = (128, 512, 1024), (1, 64, 1024)
ROUNDS = 15
# How many times as long the other takes, of the fastest rung of ours at batch 128.
TARGETS = {PLAIN: 6.0, PLAIN_BF16: 2.5, COMPILED: 0.9}
CHAIN_TARGET, COPIES = 15.0, 2.5  # against nn.LocalResponseNorm and pooling; copies of the same bytes that it may take
PREDICTION_MS = {1: 0.15}
PREDICTION_RATE = {1024: 150_000}

Turns = dict[str, Callable[[], float]]


def measure(session: Session) -> tuple[str, ...]:
    """Adds rows for one batch size after the other, the most telling first."""
    keep_memory()
    peaks = {}
    for precision in dict.fromkeys(("float32", *precisions())):
        rate = attempt(
            session, f"peak, {precision}", lambda p=precision: limits.gemm_rate(session.device, p, session.tiny)
        )
        peaks[precision] = rate or 0.0
    copy = attempt(session, "copy", lambda: limits.copy_rate(session.device, session.tiny))
    products = ", ".join(f"{precision} {rate:.3g}" for precision, rate in peaks.items())
    session.machine["limits"] = f"copy {copy or 0:.3g} TB/s, products in TFLOP/s: {products}"
    batches, predicted = ((1,), (1,)) if session.tiny else (BATCHES, PREDICTED)
    training(session, batches[0], peaks)
    chains(session, batches[0])
    for batch in predicted:
        predictions(session, batch)
    for batch in batches[1:]:
        training(session, batch, peaks)
    session.facts["rungs"] = {
        rung.name: why if (why := unavailable(rung.only_cuda, session)) else "ran" for rung in RUNGS
    }
    return COLUMNS


def unavailable(only_cuda: str, session: Session) -> str:
    """Why something is not measured on this device; "" if it is."""
    return only_cuda if session.device.type != "cuda" else ""


def in_turns(session: Session, what: str, turns: Turns) -> dict[str, float]:
    """Median seconds of each; a variant that fails in its first turn is left out, and a row says how."""
    from measuring import interleaved  # benchmarks/, which `ladder` makes known

    able = {name: turn for name, turn in turns.items() if attempt(session, f"{name}, {what}", turn) is not None}
    if not able:
        return {}
    return interleaved(able, 1 if session.tiny else ROUNDS, session.over)


def training(session: Session, batch: int, peaks: dict[str, float]) -> None:
    """A row for each rung of the ladder, and one for each target."""
    if session.over():
        return
    turns: Turns = {}
    for rung in RUNGS:
        if not unavailable(rung.only_cuda, session):
            built = attempt(
                session,
                f"{rung.name}, batch {batch}",
                lambda rung=rung: rung.build(session.device, batch, session.tiny),
            )
            if built is not None:
                turns[rung.name] = timed(built, session.device)
    seconds = in_turns(session, f"batch {batch}", turns)
    for rung in RUNGS:
        if rung.name in seconds:
            reached = STEP_GFLOP * batch / seconds[rung.name] / 1e3
            peak = peaks.get(rung.precision) or 0.0
            counted = rung.name.startswith(OURS) and not session.tiny and peak
            row = _row(f"train {batch}: {rung.name}", batch, seconds[rung.name], seconds.get(PLAIN))
            session.row(**row, **({"of peak": reached / peak} if counted else {}))
    own = {name: value for name, value in seconds.items() if name.startswith(OURS)}
    if own:
        fastest = min(own, key=own.__getitem__)
        for other, target in TARGETS.items():
            if other in seconds:
                ratio = seconds[other] / own[fastest]
                what = f"train {batch}: {fastest}"
                session.row(what=what, against=other, ratio=ratio, target=target, met=ratio >= target)


def _row(what: str, batch: int, seconds: float, first: float | None) -> dict[str, Any]:
    return {
        "what": what,
        "against": PLAIN,
        "ms": 1e3 * seconds,
        "images/s": batch / seconds,
        "ratio": None if first is None else first / seconds,
    }


def predictions(session: Session, batch: int) -> None:
    """A row for each network and precision: from pixels on the device to logits there."""
    if session.over():
        return
    device = session.device
    images = inputs(device, batch)[0].contiguous(memory_format=torch.channels_last)
    turns: Turns = {}

    def add(name: str, network: nn.Module, precision: str) -> None:
        network = network.to(device).eval()

        def predict() -> Tensor:
            autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
            with torch.inference_mode(), limits.matmul_precision(device, precision), autocast:
                out: Tensor = network(images)
            return out

        turns[name] = timed(predict, device, repeats=20 if batch == 1 and not session.tiny else 1)

    for precision in precisions():
        add(f"{OURS}{precision}", our_network(our_recipe(session.tiny, precision), device), precision)
    theirs = torchvision_network(session.tiny).to(memory_format=torch.channels_last)
    add("torchvision bfloat16", theirs, "bfloat16")
    seconds = in_turns(session, f"prediction, batch {batch}", turns)
    first = seconds.get(f"{OURS}float32")
    for name, value in seconds.items():
        row = _row(f"predict {batch}: {name}", batch, value, first) | {"against": f"{OURS}float32"}
        if name.startswith(OURS) and batch in PREDICTION_MS:
            row |= {"at most ms": PREDICTION_MS[batch], "met": 1e3 * value <= PREDICTION_MS[batch]}
        if name.startswith(OURS) and batch in PREDICTION_RATE:
            row |= {"at least images/s": PREDICTION_RATE[batch], "met": batch / value >= PREDICTION_RATE[batch]}
        session.row(**row)


def chains(session: Session, batch: int) -> None:
    """The norms and pooling of both layers, forward and backward: plain, ours, and a copy of the bytes they move."""
    from kernels import CASES, SHAPES  # benchmarks/

    for name, layer, plain, chain in CASES:
        if session.over() or "pool" not in name:
            continue
        x = torch.randn(batch, *SHAPES[layer], device=session.device)
        last = x.contiguous(memory_format=torch.channels_last)
        # Both ways the input and its gradient, and the smaller output and its gradient, which count as a quarter.
        moved = torch.empty(5 * x.numel() // 2, device=session.device)
        source = torch.ones_like(moved)
        turns: Turns = {
            "plain": timed(both_ways(plain, x), session.device),
            "ours": timed(both_ways(lambda x, chain=chain: run_chain(x, chain), last), session.device),
            "copy": timed(lambda moved=moved, source=source: moved.copy_(source), session.device),
        }
        seconds = in_turns(session, f"{name}, batch {batch}", turns)
        if {"plain", "ours", "copy"} <= set(seconds):
            ratio = seconds["plain"] / seconds["ours"]
            copies = seconds["ours"] / seconds["copy"]
            session.row(
                what=f"{name}, both ways, batch {batch}",
                against="plain",
                ms=1e3 * seconds["ours"],
                ratio=ratio,
                target=CHAIN_TARGET,
                copies=copies,
                **{"at most copies": COPIES},
                met=ratio >= CHAIN_TARGET and copies <= COPIES,
            )


def both_ways(run: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], Any]:
    """A forward and a backward pass."""
    x = x.detach().requires_grad_()
    with torch.no_grad():
        grad = torch.randn_like(run(x))
    return lambda: torch.autograd.grad(run(x), x, grad)
