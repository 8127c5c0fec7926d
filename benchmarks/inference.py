"""Answers of alexnet-2012 for batches of 1 and 64: ours, the same network in plain PyTorch, and onnxruntime.

    python benchmarks/inference.py [--quick] [--threads 2] [--out FILE]

All have the same weights and must give the same logits. "plain" is nn.LocalResponseNorm, NCHW, layer by layer, in
inference mode; "onnxruntime" runs the graph with native LRN nodes, float32, with all its optimisations. Each has a
process of its own, the processes take turns. Ours keeps freed memory, as our command line does; "plain, keeps memory"
has that too.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import report
from plain import onnx_bytes, plain_copy
from turns import in_turns, serve

from alexnet.kernels.device import keep_memory
from alexnet.models.build import build_model
from alexnet.models.network import Network
from alexnet.recipes.config import AlexNetConfig

OURS = "ours"
AGAINST = ("plain", "plain, keeps memory", "onnxruntime")
TARGETS = {("plain", 1): 1.5, ("plain", 64): 1.5, ("onnxruntime", 1): 1.0, ("onnxruntime", 64): 1.0}


def network() -> Network:
    """The network of 2012 with the same weights in every process, not so small that all logits are alike."""
    model = build_model(AlexNetConfig()).eval()
    model.input_mean.fill_(118.0)
    with torch.no_grad():
        for layer in ("conv1", "conv2", "fc6", "fc7", "fc8"):
            model.layers.get_submodule(layer).weight.mul_(2.0)
    return model


def task(variant: str, batch: int, threads: int) -> Callable[[], Any]:
    """One prediction of a variant, from uint8 pixels to logits; checked against ours."""
    pixels = torch.randint(0, 256, (batch, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = pixels.permute(0, 3, 1, 2)
    model = network()
    if variant.startswith("ours"):
        model = model.to(memory_format=torch.channels_last)
        return torch.inference_mode()(lambda: model(images))
    with torch.inference_mode():
        expected = model(images).numpy()
    if variant.startswith("plain"):
        copied, images = plain_copy(model), images.contiguous()
        del model
        answer = torch.inference_mode()(lambda: copied(images).numpy())
    else:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(onnx_bytes(model), options, providers=["CPUExecutionProvider"])
        del model
        floats = np.ascontiguousarray(images.float().numpy())
        answer = lambda: session.run(None, {"pixels": floats})[0]  # noqa: E731
    error = np.abs(answer() - expected).max() / np.abs(expected).max()
    assert error < 1e-4, f"{variant} gives other logits: {error}"
    return answer


def measure(batch: int, threads: int, rounds: int) -> list[dict[str, Any]]:
    """A row for ours beside each of the others."""
    seconds = in_turns(__file__, (OURS, *AGAINST), (str(batch), str(threads)), rounds)
    ours = seconds[OURS]
    return [
        {
            "what": f"prediction, batch {batch}",
            "against": other,
            "ours ms": 1e3 * ours,
            "other ms": 1e3 * seconds[other],
            "ratio": seconds[other] / ours,
            "target": TARGETS.get((other, batch)),
        }
        for other in AGAINST
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="batch 1 and 2 rounds, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.worker:
        variant, batch, threads = options.worker[0], *map(int, options.worker[1:])
        if variant in (OURS, "plain, keeps memory"):
            keep_memory()
        torch.set_num_threads(threads)
        serve(task(variant, batch, threads), repeats=5 if batch == 1 else 1)
    else:
        torch.set_num_threads(options.threads)
        rows: list[dict[str, Any]] = []
        for batch in (1,) if options.quick else (1, 64):
            rows += measure(batch, options.threads, 2 if options.quick else options.rounds)
            out = Path(tempfile.gettempdir()) / "inference.json" if options.quick and not options.out else options.out
            report("inference", rows, out)
