"""What `alexnet bench` prints."""

import json
from dataclasses import asdict
from typing import Any

from alexnet.bench import Rates
from alexnet.bench_layers import LayerTimes
from alexnet.tables import duration, percent, say
from alexnet.terminal import print_table

MEANING = {
    "preparing": "original files to prepared pictures; once",
    "reading": "prepared pictures, from the disk or the system's memory of it",
    "decoding": "JPEG to pixels",
    "augmentation": "crops, mirrors, colours, mixing",
    "model": "forward, backward, update",
    "evaluation": "one view of each picture, reading included",
}


def rates(found: Rates, name: str) -> None:
    """Pictures per second of every part, what limits, and how long the recipe takes."""
    rows = [
        (part, f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}", MEANING[part]) for part, rate in found.parts.items()
    ]
    print_table(f"{name}, batches of {found.batch_size}, {found.device}", ("part", "images/s", "what"), rows)
    say(f"limit      {found.limit}")
    say(f"estimate   {duration(found.training_seconds)} for the whole recipe on this machine, evaluations included")


def layers(found: LayerTimes, name: str) -> None:
    """Milliseconds of every layer and what it makes of the machine."""
    rows = []
    for layer in (*found.layers, found.total):
        counted = layer.forward_flops > 0
        speed = (f"{layer.gflops():,.0f}", percent(found.share_of_peak(layer))) if counted else ("", "")
        rows.append((layer.name, f"{layer.forward_ms:.2f}", f"{layer.backward_ms:.2f}", *speed))
    title = f"{name}, batches of {found.batch_size}, {found.device}, {found.threads} threads"
    print_table(title, ("layer", "forward ms", "backward ms", "GFLOP/s", "of peak"), rows)
    each = (found.forward_ms + found.backward_ms) / found.batch_size
    say(f"peak       {found.peak_gflops:,.0f} GFLOP/s in a product of 2048 x 2048 matrices")
    say(f"speed      {1e3 / each:,.1f} images/s, forward and backward, without the update")


def as_json(found: Rates | LayerTimes) -> str:
    """The same for programs."""
    facts: dict[str, Any] = asdict(found)
    if isinstance(found, LayerTimes):
        for row, layer in zip(facts["layers"], found.layers, strict=True):
            row |= {"gflops": layer.gflops(), "share_of_peak": found.share_of_peak(layer)}
        facts |= {"forward_ms": found.forward_ms, "backward_ms": found.backward_ms}
    return json.dumps(facts, indent=1)
