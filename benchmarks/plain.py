"""A network of ours written in other ways, with its weights: layer by layer in plain PyTorch, and as ONNX nodes."""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.models.layers import Dropout, LocalResponseNorm, PadRightBottom, WithinMapNorm
from alexnet.models.network import Network


class PlainNorm(nn.Module):
    """nn.LocalResponseNorm on the maps of each tower."""

    def __init__(self, norm: LocalResponseNorm):
        super().__init__()
        self.norm, self.towers = nn.LocalResponseNorm(norm.size, norm.alpha, norm.beta, norm.k), norm.towers

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        n, c, h, w = x.shape
        normed: Tensor = self.norm(x.reshape(n * self.towers, c // self.towers, h, w))
        return normed.reshape(n, c, h, w)


class PlainMapNorm(nn.Module):
    """The within-map norm as its formula."""

    def __init__(self, norm: WithinMapNorm):
        super().__init__()
        self.size, self.alpha, self.beta = norm.size, norm.alpha, norm.beta

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return x * (1 + self.alpha * F.avg_pool2d(x * x, self.size, 1, self.size // 2)) ** -self.beta


class PlainInput(nn.Module):
    """Pixels without their mean."""

    def __init__(self, model: Network):
        super().__init__()
        self.register_buffer("mean", model.input_mean.clone())

    def forward(self, x: Tensor) -> Tensor:
        """uint8 pixels to floats."""
        return x.float() - self.mean


def plain_copy(model: Network) -> nn.Sequential:
    """The network in NCHW, every layer by itself, the norms as PyTorch has them."""
    layers: list[nn.Module] = [PlainInput(model)]
    for layer in model.layers:
        if isinstance(layer, LocalResponseNorm):
            layers.append(PlainNorm(layer))
        elif isinstance(layer, WithinMapNorm):
            layers.append(PlainMapNorm(layer))
        elif isinstance(layer, nn.Conv2d):
            shape = layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding
            conv = nn.Conv2d(*shape, groups=layer.groups)  # without what FirstConv does otherwise
            conv.load_state_dict(layer.state_dict())
            layers.append(conv)
        else:
            layers.append(deepcopy(layer))
    return nn.Sequential(*layers).to(memory_format=torch.contiguous_format).eval()


def onnx_bytes(model: Network) -> bytes:
    """The network as an ONNX file, norms as native LRN nodes; "pixels" (N, 3, H, W) floats in, "logits" out."""
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []
    current = "pixels"

    def constant(value: Tensor, name: str) -> str:
        constants.append(numpy_helper.from_array(value.detach().contiguous().numpy(), name))
        return name

    def node(kind: str, *inputs: str, **attributes: Any) -> None:
        nonlocal current
        output = f"{kind}_{len(nodes)}"
        nodes.append(helper.make_node(kind, [current, *inputs], [output], **attributes))
        current = output

    node("Sub", constant(model.input_mean, "mean"))
    shapes = model.activations(torch.zeros(1, 3, model.config.crop_size, model.config.crop_size))
    for name, layer in model.layers.named_children():
        shape = list(shapes[name].shape[1:])
        if isinstance(layer, PadRightBottom):
            below, right = shape[1] - model.config.crop_size, shape[2] - model.config.crop_size
            node("Pad", constant(torch.tensor([0, 0, 0, 0, 0, 0, below, right]), f"{name}.pads"))
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            weights = [constant(layer.weight, f"{name}.weight"), constant(layer.bias, f"{name}.bias")]
            if isinstance(layer, nn.Conv2d):
                pads = [*layer.padding, *layer.padding]
                node("Conv", *weights, strides=list(layer.stride), pads=pads, group=layer.groups)
            else:
                node("Gemm", *weights, transB=1)
        elif isinstance(layer, LocalResponseNorm):
            parts = [-1, shape[0] // layer.towers, *shape[1:]]
            node("Reshape", constant(torch.tensor(parts), f"{name}.towers"))
            node("LRN", size=layer.size, alpha=layer.alpha, beta=layer.beta, bias=layer.k)
            node("Reshape", constant(torch.tensor([-1, *shape]), f"{name}.maps"))
        elif isinstance(layer, WithinMapNorm):
            x, half = current, layer.size // 2
            node("Mul", x)
            node("AveragePool", kernel_shape=[layer.size] * 2, pads=[half] * 4, count_include_pad=1)
            node("Mul", constant(torch.tensor(layer.alpha), f"{name}.alpha"))
            node("Add", constant(torch.tensor(1.0), f"{name}.one"))
            node("Pow", constant(torch.tensor(-layer.beta), f"{name}.beta"))
            node("Mul", x)
        elif isinstance(layer, nn.MaxPool2d):
            size, stride = layer.kernel_size, layer.stride
            node("MaxPool", kernel_shape=[size] * 2, strides=[stride] * 2, ceil_mode=int(layer.ceil_mode))
        elif isinstance(layer, nn.ReLU):
            node("Relu")
        elif isinstance(layer, nn.Flatten):
            node("Flatten")
        elif isinstance(layer, Dropout):
            if layer.scale_at_test:
                node("Mul", constant(torch.tensor(1.0 - layer.p), f"{name}.kept"))
        else:
            raise TypeError(f"no ONNX node for {name}: {type(layer).__name__}")
    nodes[-1].output[0] = "logits"
    side = model.config.crop_size
    graph = helper.make_graph(
        nodes,
        "alexnet",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", model.config.num_classes])],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    made.ir_version = 8
    return bytes(made.SerializeToString())
