"""What the verbs on networks print: layers and their counts, weight files, the check, speeds."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alexnet.cli.terminal import print_table, say
from alexnet.distributed.cost import StepCost
from alexnet.language.speak import said
from alexnet.models.summary import PAPER_NEURONS, PUBLISHED, Summary
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import Recipe
from alexnet.text import duration, percent
from alexnet.training.bench import Rates
from alexnet.training.bench_layers import LayerTimes
from alexnet.training.check import Check
from alexnet.weights.identify import Identified


def summary(counts: Summary, recipe: Recipe) -> None:
    """A network layer by layer, beside the published counts."""
    named = RECIPES.get(recipe.name)
    same = named is not None and named.model.channels == recipe.model.channels
    published = PUBLISHED.get(recipe.name) if same else None
    listed = published is not None and bool(published.neurons)  # whether the list of the paper is of such a network
    rows = []
    for layer in counts.layers:
        shape = " x ".join(map(str, layer.shape))
        figures = [f"{n:,}" if n else "" for n in (layer.parameters, layer.multiply_adds, layer.activations)]
        paper = [f"{PAPER_NEURONS[layer.name]:,}" if layer.name in PAPER_NEURONS else ""] if listed else []
        rows.append((layer.name, shape, *figures, *paper))
    columns = ["layer", "output", "parameters", "multiply-adds", "activations"] + ["neurons in paper"] * listed
    pixels = " x ".join(map(str, counts.input_shape))
    print_table(f"{recipe.name}: {pixels} pixels in, {recipe.model.num_classes} logits out", columns, rows)
    here = [f"{n:,}" for n in (counts.parameters, counts.multiply_adds, counts.neurons)]
    names = (said("parameters"), said("multiply-adds"), said("neurons"))
    if published is None:
        print_table("", ("", "here"), list(zip(names, here, strict=True)))
    else:
        stated = (published.parameters, published.multiply_adds, published.neurons)
        print_table("", ("", "here", published.source), list(zip(names, here, stated, strict=True)))
    if listed:
        say(
            "The paper says 60 million parameters and 650,000 neurons. Its 253,440 neurons of conv1 are a slip "
            "(96 x 55 x 48 for 96 x 55 x 55): its list sums to 622,312, the right one to 659,272."
        )
    memory = counts.training_bytes(recipe.batch_size)
    parts = ", ".join(f"{said(name)} {size / 2**20:,.0f}" for name, size in memory.items())
    total = sum(memory.values()) / 2**20
    say(f"A training step of {recipe.batch_size} images, in MiB: {parts}; together {total:,.0f}.")


def step_cost(
    costs: StepCost, others: Sequence[StepCost], bytes_per_second: float, multiply_adds_per_second: float
) -> None:
    """What a step on several processes sends and needs, how much faster it would be, and other schemes."""
    rows = [(f"{said('sent')}: {said(name)}", f"{size:,}") for name, size in costs.sent.items() if size]
    rows += [("sent together", f"{costs.bytes_sent:,}")]
    rows += [(f"{said('memory')}: {said(name)}", f"{size:,}") for name, size in costs.memory.items()]
    title = f"{costs.scheme}, {costs.size} processes, a step of {costs.batch_size} images"
    print_table(title, ("", "bytes of each process"), rows)
    computes, sends = costs.seconds(multiply_adds_per_second, bytes_per_second)
    faster = costs.speedup(multiply_adds_per_second, bytes_per_second)
    say(
        f"At {multiply_adds_per_second / 1e12:g} tera multiply-adds and {bytes_per_second / 1e9:g} GB a second it "
        f"computes {1000 * computes:,.1f} ms and then still sends for {1000 * sends:,.1f} ms: "
        f"{faster:.2f} times as fast as one process. Reading images is not counted."
    )
    for other in others:
        faster = other.speedup(multiply_adds_per_second, bytes_per_second)
        memory = sum(other.memory.values())
        say(f"{other.scheme} would send {other.bytes_sent:,}, need {memory:,} bytes and be {faster:.2f} times as fast.")


def identified(path: Path, found: Identified) -> None:
    """What a file of weights is."""
    config = found.recipe.model
    some = ", ".join(found.class_names[:3])
    facts = [
        ("file", f"{path} ({found.kind})"),
        ("network", found.variant),
        ("classes", f"{config.num_classes}: {some}, ..."),
        ("input", f"{config.crop_size} x {config.crop_size} pixels, 0..255, {found.network.in_channels} channels"),
    ]
    mean, scale = found.network.input_mean.mean((1, 2)).tolist(), found.network.input_scale.flatten().tolist()
    facts.append(("subtracts", ", ".join(f"{m:.2f}" for m in mean) + " (red, green, blue)"))
    facts.append(("multiplies by", ", ".join(f"{s:.6f}" for s in scale)))
    if config.architecture == "alexnet" and config.norm == "lrn":
        lrn = f"size {config.lrn_size}, alpha {config.lrn_alpha:g}, beta {config.lrn_beta:g}, k {config.lrn_k:g}"
        facts.append(("LRN", f"{lrn}, {config.norm1} / {config.norm2}"))
    for name, text in facts:
        say(f"{name:<14} {text}")
    for note in found.notes:
        say(f"note: {note}")
    check = found.check
    if check:
        by = f"chosen from {check['combinations']} combinations by accuracy on {check['images']} images"
        say(f"{by}: {percent(check['accuracy'])} are right, as first assumed {percent(check['assumed_accuracy'])}")
    for topic, value in found.given.items():
        say(f"chosen: {topic}: {value}" if check else f"set: {topic}: {value}")
    for each in found.assumed:
        say(f"assumed: {each.topic}: {each.value} (say otherwise: {each.option})")
    if check and check["accuracy"] < 2 * check["chance"]:
        chance = percent(check["chance"])
        say(f"warning: none of these answers much better than chance ({chance}): the network or the classes are others")
    elif found.assumed and not check:
        say(
            "warning: the file does not say what is assumed above, and where that is wrong the answers may be no "
            "better than chance: --check IMAGES, a folder of class folders, chooses by accuracy"
        )


def check(found: Check) -> None:
    """Signal and gradient of every layer, the first loss beside what it should be, and the verdict."""
    rows = [
        (
            layer.name,
            f"{layer.signal:.3g}",
            "" if layer.ratio is None else f"x {layer.ratio:.2g}",
            percent(layer.spread),
            percent(layer.dead),
            f"{layer.gradient:.2g}",
            f"{layer.update:.2g}",
        )
        for layer in found.layers
    ]
    columns = ("layer", "signal", "to the one before", "differs", "dead units", "gradient", "first step")
    print_table("", columns, rows)
    say(
        "differs: the share of a layer's output that is not the same for every image; first step: relative change "
        "of the weights."
    )
    say(
        f"first loss {found.loss:.3f}; ln(classes) {found.expected_loss:.3f}; knowing only how frequent the "
        f"classes are {found.entropy:.3f}"
    )
    for verdict in found.verdicts:
        say(f"{verdict.severity}: {verdict.text}{'. ' + verdict.fix if verdict.fix else ''}")


MEANING = {
    "preparing": "original files to prepared images; once",
    "reading": "prepared images, from the disk or the system's memory of it",
    "decoding": "JPEG to pixels",
    "augmentation": "crops, flips, colors, mixing",
    "model": "forward, backward, update",
    "evaluation": "one view of each image, reading included",
}


def times(found: Rates | LayerTimes, name: str) -> None:
    """What `alexnet bench` measured."""
    if isinstance(found, LayerTimes):
        layers(found, name)
    else:
        rates(found, name)


def rates(found: Rates, name: str) -> None:
    """Images per second of every part, what limits, and how long the recipe takes."""
    rows = [
        (said(part), f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}", MEANING[part])
        for part, rate in found.parts.items()
    ]
    print_table(f"{name}, batches of {found.batch_size}, {found.device}", ("part", "images/s", "what"), rows)
    if found.images is not None:
        say(f"images     {found.images}")
    say(f"limit      {found.limit}")
    say(f"estimate   {duration(found.training_seconds)} for the whole recipe on this machine, evaluations included")


def layers(found: LayerTimes, name: str) -> None:
    """Milliseconds of every layer and what it makes of the machine."""
    rows = []
    for layer in (*found.layers, found.total):
        counted = layer.forward_flops > 0
        speed = (f"{layer.gflops():,.0f}", percent(found.share_of_peak(layer))) if counted else ("", "")
        rows.append((layer.name, f"{layer.forward_ms:.2f}", f"{layer.backward_ms:.2f}", *speed))
    title = f"{name}, batches of {found.batch_size}, {found.device}, {found.threads} threads, {found.precision}"
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
