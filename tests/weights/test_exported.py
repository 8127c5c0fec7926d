"""Networks as both exporters of torch.onnx write them, and by hand as the newer one does: the original is the judge.

The newer exporter needs the package onnxscript; what it writes for local response normalization is also built by hand,
so that it is tried without that package.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from alexnet.errors import DataError
from alexnet.weights.identify import identify

onnx = pytest.importorskip("onnx", reason="onnx comes with pip install 'alexnet[formats]'")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def alexnet(lrn: nn.Module | None = None, *, norm: bool = False, towers: int = 1, tail: nn.Module | None = None):
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    inputs = 3
    for number, (outputs, kernel) in enumerate([(8, 11), (12, 5), (12, 3), (12, 3), (8, 3)], 1):
        groups = towers if number in (2, 4, 5) else 1
        layers += [
            nn.Conv2d(inputs, outputs, kernel, 4 if number == 1 else 1, kernel // 2 if number > 1 else 2, groups=groups)
        ]
        layers += [nn.BatchNorm2d(outputs)] if norm else []
        layers += [nn.ReLU()]
        layers += [lrn] if lrn is not None and number < 3 else []
        layers += [nn.MaxPool2d(3, 2)] if number in (1, 2, 5) else []
        inputs = outputs
    layers += [nn.Flatten()]
    for inputs in (288, 16):
        layers += [nn.Linear(inputs, 16), *([nn.BatchNorm1d(16)] if norm else []), nn.ReLU()]
    return lively(nn.Sequential(*layers, nn.Linear(16, 5), *([tail] if tail is not None else [])))


def lenet(*, tail: nn.Module | None = None) -> nn.Sequential:
    """With a margin of 2 pixels that a layer of its own adds."""
    torch.manual_seed(0)
    return lively(nn.Sequential(
        nn.ZeroPad2d(2), nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        *([tail] if tail is not None else []),
    ))  # fmt: skip


def lively(net: nn.Sequential) -> nn.Sequential:
    """Weights with which the signal neither dies nor explodes, and statistics that are not those of the start."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 2)
            module.bias.data.normal_()
            module.running_mean.normal_()
    return net.eval()


def pixels(size: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, size, size), np.uint8))


@torch.no_grad()
def check(path: Path, original: nn.Sequential, gray: bool = False) -> None:
    """Compares logits, or their softmax where the file and the original end in one."""
    found = identify(path)
    found.network.input_mean.zero_()
    found.network.input_scale.fill_(1 / 64)
    images = pixels(28 if gray else 224)
    ours = found.network(images)
    theirs = original(images.float().mean(1, keepdim=True) / 64 if gray else images.float() / 64)
    ours = original[-1](ours) if isinstance(original[-1], nn.Softmax | nn.LogSoftmax) else ours
    assert theirs.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def write(net: nn.Sequential, path: Path, gray: bool = False, **how) -> None:
    image = torch.zeros(1, 1, 28, 28) if gray else torch.zeros(1, 3, 224, 224)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (image,), str(path), **{"dynamo": False, **how})


LRN = nn.LocalResponseNorm(5, 0.5, 0.75, 2.0)
WRITTEN = {
    "LRN": (lambda: alexnet(LRN), {}),
    "LRN of another size": (lambda: alexnet(nn.LocalResponseNorm(3, 0.5, 0.5, 1.5), tail=nn.LogSoftmax(1)), {}),
    "LRN over an even number": (lambda: alexnet(nn.LocalResponseNorm(4, 0.5, 0.75, 2.0)), {}),
    "LRN with PyTorch's constants": (lambda: alexnet(nn.LocalResponseNorm(5)), {}),
    "LRN without constant folding": (lambda: alexnet(LRN), {"do_constant_folding": False}),
    "LRN, opset 9": (lambda: alexnet(LRN, tail=nn.Softmax(1)), {"opset_version": 9}),
    "LRN, any batch": (lambda: alexnet(LRN), {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}),
    "LRN, two towers": (lambda: alexnet(LRN, towers=2), {}),
    "two towers": (lambda: alexnet(towers=2), {}),
    "batch normalization": (lambda: alexnet(norm=True, tail=nn.Softmax(1)), {}),
    "batch normalization without constant folding": (lambda: alexnet(norm=True), {"do_constant_folding": False}),
    "a margin": (lambda: lenet(tail=nn.LogSoftmax(1)), {}),
    "a margin without constant folding": (lambda: lenet(), {"do_constant_folding": False}),
    "a margin, opset 9": (lambda: lenet(tail=nn.Softmax(1)), {"opset_version": 9}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_older_exporter(tmp_path, name):
    make, how = WRITTEN[name]
    net = make()
    write(net, tmp_path / "x.onnx", gray := "margin" in name, **how)
    check(tmp_path / "x.onnx", net, gray)


@pytest.mark.parametrize("name", ["LRN", "LRN over an even number", "two towers", "batch normalization", "a margin"])
def test_the_newer_exporter(tmp_path, name):
    pytest.importorskip("onnxscript", reason="torch.onnx.export(dynamo=True) needs the package onnxscript")
    net = WRITTEN[name][0]()
    write(net, tmp_path / "x.onnx", gray := "margin" in name, dynamo=True, external_data=False, verbose=False)
    check(tmp_path / "x.onnx", net, gray)


# As the newer exporter writes it -------------------------------------------------------------------------------------


def lrn_nodes(x: str, y: str, size: int, constants: dict[str, np.ndarray], *, unlike: str = "") -> list:
    """The decomposition of nn.LocalResponseNorm(size, 0.5, 0.75, 2) in torch 2.14; `unlike`: not quite it."""
    make, n = helper.make_node, lambda name: f"{x}_{name}"
    before, after = (size // 2, (size - 1) // 2) if unlike != "shifted" else ((size - 1) // 2 + 1, (size - 1) // 2 - 1)
    constants |= {
        "pads": np.array([0, 0, before, 0, 0, 0, 0, after, 0, 0], np.int64), "zero": np.array(0, "f4"),
        "axis": np.array([1], np.int64), "alpha": np.array(0.5, "f4"), "k": np.array(2, "f4"),
        "beta": np.array(0.75, "f4"), **({"three": np.array(3, "f4")} if unlike == "cubes" else {}),
    }  # fmt: skip
    square = make("Pow", [x, "three"], [n("2")]) if unlike == "cubes" else make("Mul", [x, x], [n("2")])
    kernel = [size, 1, 1] if unlike != "square window" else [size, 3, 1]
    divided = [n("power"), x] if unlike == "turned round" else [x, n("power")]
    return [
        square,
        make("Reshape", [n("2"), n("shape5")], [n("5d")]),
        make("Pad", [n("5d"), "pads", "zero"], [n("padded")], mode="constant"),
        make("AveragePool", [n("padded")], [n("mean")], kernel_shape=kernel, strides=[1, 1, 1]),
        make("Squeeze", [n("mean"), "axis"], [n("4d")]),
        make("Mul", [n("4d"), "alpha"], [n("scaled")]),
        make("Add", [n("scaled"), "k"], [n("sum")]),
        make("Pow", [n("sum"), "beta"], [n("power")]),
        make("Div", divided, [y]),
    ]


def by_hand(net: nn.Sequential, size: int, unlike: str = "") -> bytes:
    """The graph of an AlexNet with LRN after the first two ReLU, node by node."""
    constants: dict[str, np.ndarray] = {}
    nodes, value = [], "x"
    for number, module in enumerate(net):
        out = f"v{number}"
        if isinstance(module, nn.Conv2d | nn.Linear):
            names = [f"w{number}", f"b{number}"]
            constants |= dict(zip(names, (p.detach().numpy() for p in (module.weight, module.bias)), strict=True))
            if isinstance(module, nn.Linear):
                nodes += [helper.make_node("Gemm", [value, *names], [out], transB=1)]
            else:
                pads = [module.padding[0]] * 4
                nodes += [helper.make_node("Conv", [value, *names], [out], strides=list(module.stride), pads=pads)]
                side = 55 if number == 0 else 27  # of what LRN takes
        elif isinstance(module, nn.LocalResponseNorm):
            nodes += lrn_nodes(value, out, size, constants, unlike=unlike)
            constants[f"{value}_shape5"] = np.array([1, 1, net[number - 2].out_channels, side, -1], np.int64)
        elif isinstance(module, nn.MaxPool2d):
            nodes += [helper.make_node("MaxPool", [value], [out], kernel_shape=[3, 3], strides=[2, 2])]
        else:
            kind = {nn.ReLU: "Relu", nn.Flatten: "Flatten", nn.LogSoftmax: "LogSoftmax"}[type(module)]
            nodes += [helper.make_node(kind, [value], [out])]
        value = out
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 224, 224))],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version, made.producer_name = 8, "pytorch"
    return made.SerializeToString()


@pytest.mark.parametrize("size", [3, 4, 5])
def test_lrn_as_the_newer_exporter_writes_it(tmp_path, size):
    net = alexnet(nn.LocalResponseNorm(size, 0.5, 0.75, 2.0), tail=nn.LogSoftmax(1))
    (tmp_path / "x.onnx").write_bytes(by_hand(net, size))
    model = identify(tmp_path / "x.onnx").recipe.model
    assert (model.lrn_size, model.lrn_alpha, model.lrn_beta, model.lrn_k) == (size, 0.5, 0.75, 2)
    check(tmp_path / "x.onnx", net)
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    image = pixels(224)[:1].float() / 64
    with torch.no_grad():  # that the graph by hand is what it says it is
        np.testing.assert_allclose(session.run(None, {"x": image.numpy()})[0], net(image), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("unlike", ["shifted", "cubes", "square window", "turned round"])
def test_what_only_looks_like_lrn_is_not_taken_for_it(tmp_path, unlike):
    (tmp_path / "x.onnx").write_bytes(by_hand(alexnet(LRN), 5, unlike))
    with pytest.raises(DataError, match="the network branches"):
        identify(tmp_path / "x.onnx")
