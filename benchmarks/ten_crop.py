"""Ten crops of alexnet-2012: ours, plain PyTorch, and ours with the convolution shared between the crops.

    python benchmarks/ten_crop.py [--quick] [--threads 2] [--out FILE]

The offsets 0, 16 and 32 are multiples of the stride of conv1 and of pool1, so the crops could be cut out of maps of the
whole image and of its mirror image, but for the windows that reach over the right and bottom border of a crop. Two
ways, both measured here, neither in the package:

- up to pool1, only where the same number is subtracted from every pixel: no recipe with the padding of 2012 does that;
- conv1 alone, without its mean, from which conv1 of the mean image is then taken: all recipes of 2012, not bit for bit.

caffe's 227 pixels (offsets 14 and 29) share nothing, and the padding on all sides of torchvision's network has borders
on four sides. Ratios of the two ways vary from run to run on a shared machine: 0.93 to 1.30 for conv1 alone.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from measuring import report
from plain import plain_copy
from torch import Tensor, nn
from turns import in_turns, serve

from alexnet.data.crops import ten_crop
from alexnet.evaluation.views import view_probabilities
from alexnet.kernels.device import keep_memory
from alexnet.models.build import build_model
from alexnet.models.fusion import run_layers
from alexnet.models.network import Network
from alexnet.recipes.config import AlexNetConfig, InputNorm

CORNERS = ((0, 0), (0, 32), (16, 16), (32, 0), (32, 32))
LAYERS = 5  # pad1 to relu1
CL = torch.channels_last


def network(input_norm: InputNorm) -> Network:
    """The network of 2012 with weights at which the classes differ."""
    model = build_model(AlexNetConfig(input_norm=input_norm)).eval().to(memory_format=CL)
    noise = torch.rand(model.input_mean.shape, generator=torch.Generator().manual_seed(0))
    model.input_mean.copy_(110 + 20 * noise)
    with torch.no_grad():
        for layer in ("fc6", "fc7", "fc8"):
            model.layers.get_submodule(layer).weight.mul_(2.0)
    return model


def averaged(logits: Tensor, count: int) -> Tensor:
    """Logits of ten crops, crop by crop, to the probabilities of the images."""
    return torch.softmax(logits, 1).view(10, count, -1).mean(0)


def places(count: int) -> list[tuple[slice, slice, int, int]]:
    """For each crop: its rows among the ten crops, its images among images and mirrors, top and left."""
    found = []
    for i, (top, left) in enumerate(CORNERS):
        for mirrored in (0, 1):
            start = (5 * mirrored + i) * count
            pictures = slice(mirrored * count, (mirrored + 1) * count)
            found.append((slice(start, start + count), pictures, top, 32 - left if mirrored else left))
    return found


def empty(*shape: int) -> Tensor:
    """Room for maps, channels_last."""
    return torch.empty(shape, memory_format=CL)


def shared_to_pool1(model: Network, images: Tensor) -> Tensor:
    """Ten-crop probabilities, the first layers once for image and mirror; the last row and column anew."""
    layers, n = list(model.layers), len(images)
    x = model.prepare_input(torch.cat([images, images.flip(-1)])).contiguous(memory_format=CL)
    whole = run_layers(layers[:LAYERS], x)
    maps, right, below = empty(10 * n, 96, 27, 27), empty(10 * n, 3, 224, 16), empty(10 * n, 3, 16, 224)
    for rows, pictures, top, left in places(n):
        maps[rows, :, :26, :26] = whole[pictures, :, top // 8 : top // 8 + 26, left // 8 : left // 8 + 26]
        right[rows] = x[pictures, :, top : top + 224, left + 208 : left + 224]
        below[rows] = x[pictures, :, top + 208 : top + 224, left : left + 224]
    maps[..., 26:] = run_layers(layers[:LAYERS], right)
    maps[..., 26:, :] = run_layers(layers[:LAYERS], below)
    return averaged(run_layers(layers[LAYERS:], maps), n)


def shared_conv1(model: Network, images: Tensor) -> Tensor:
    """Ten-crop probabilities, conv1 of raw pixels once, minus conv1 of the mean image; the last row and column anew."""
    layers, n = list(model.layers), len(images)
    conv = cast(nn.Conv2d, layers[1])
    assert conv.bias is not None
    x = torch.cat([images, images.flip(-1)]).float().contiguous(memory_format=CL)
    whole = F.conv2d(x, conv.weight, None, 4)
    mean = model.input_mean
    offset = F.conv2d(mean[None].contiguous(memory_format=CL), conv.weight, None, 4) - conv.bias.view(-1, 1, 1)
    maps, right, below = empty(10 * n, 96, 55, 55), empty(10 * n, 3, 224, 8), empty(10 * n, 3, 8, 224)
    for rows, pictures, top, left in places(n):
        cut = whole[pictures, :, top // 4 : top // 4 + 54, left // 4 : left // 4 + 54]
        torch.sub(cut, offset, out=maps[rows, :, :54, :54])
        torch.sub(x[pictures, :, top : top + 224, left + 216 : left + 224], mean[..., 216:], out=right[rows])
        torch.sub(x[pictures, :, top + 216 : top + 224, left : left + 224], mean[:, 216:], out=below[rows])
    maps[..., 54:] = conv(F.pad(right, (0, 3, 0, 3)))
    maps[..., 54:, :] = conv(F.pad(below, (0, 3, 0, 3)))
    return averaged(run_layers(layers[2:], maps), n)


def plain(model: Network) -> Callable[[Network, Tensor], Tensor]:
    """Ten crops as one would write them."""
    copied = plain_copy(model)
    return lambda _, images: averaged(copied(ten_crop(images, 224).transpose(0, 1).flatten(0, 1)), len(images))


SHARED: dict[str, Any] = {"mean-image": shared_conv1, "mean-pixel": shared_to_pool1}


def way(variant: str, model: Network) -> Callable[[Network, Tensor], Tensor]:
    """How a variant computes the probabilities."""
    if variant == "ours":
        return lambda network, images: view_probabilities(network, images, 10)
    return plain(model) if variant == "plain" else SHARED[model.config.input_norm]


def some_pictures(count: int) -> Tensor:
    """Noise, as prepared images lie in memory."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 256, 256, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)


def measure(input_norm: InputNorm, pictures: int, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Ours beside plain PyTorch, and shared beside ours."""
    model, images = network(input_norm), some_pictures(pictures)
    variants = ("ours", "plain", "shared")
    with torch.inference_mode():
        answers = {variant: way(variant, model)(model, images) for variant in variants}
    del model
    seconds = in_turns(__file__, variants, (input_norm, str(pictures), str(threads)), rounds)
    name = SHARED[input_norm].__name__.replace("_", " ")
    rows = []
    for what, against, fast, slow, target in (
        (f"ten crops, {input_norm}", "plain", "ours", "plain", 2.2),
        (f"ten crops, {input_norm}, {name}: not in the package", "ours", "shared", "ours", None),
    ):
        difference = float((answers[fast] - answers[slow]).abs().max())
        row = {"what": what, "against": against, "ms a picture": 1e3 * seconds[fast] / pictures}
        row |= {"ratio": seconds[slow] / seconds[fast], "target": target}
        rows.append(row | {"largest difference": f"{difference:.1e}"})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="one picture and 2 rounds, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_memory()
    if options.worker:
        variant, input_norm, pictures, threads = options.worker
        torch.set_num_threads(int(threads))
        model, images = network(input_norm), some_pictures(int(pictures))
        with torch.inference_mode():
            call = way(variant, model)
            serve(lambda: call(model, images))
    else:
        torch.set_num_threads(options.threads)
        count, rounds = (1, 2) if options.quick else (options.images, options.rounds)
        out = Path(tempfile.gettempdir()) / "ten_crop.json" if options.quick and not options.out else options.out
        norms: tuple[InputNorm, ...] = ("mean-image", "mean-pixel")
        report("ten_crop", [row for norm in norms for row in measure(norm, count, options.threads, rounds)], out)
