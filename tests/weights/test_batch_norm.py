"""Batch normalization in files of Caffe and ONNX: the answers are those of plain functions, or of a runtime.

The Caffe networks are forwarded a second time here, as their prototxt says: BatchNorm keeps sums and a divisor, Scale
multiplies and adds.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alexnet.errors import DataError
from alexnet.weights.caffe import read_caffemodel
from alexnet.weights.identify import identify
from alexnet.weights.onnx import read_onnx
from harness.caffe_files import blob, layer, nested, number, real

RNG = np.random.default_rng(0)
EPSILON = 1e-3


def pixels(size: int, count: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, size, size), np.uint8))


def he(*shape: int) -> np.ndarray:
    return RNG.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)


class Net:
    """A Caffe network as bytes and, beside them, as functions."""

    def __init__(self, image: int):
        self.content = nested(8, nested(1, *(number_bytes(size) for size in (1, 3, image, image))))
        self.steps = []
        self.channels, self.count = 3, 0

    def conv(self, outputs: int, kernel: int, stride: int = 1, pad: int = 0, groups: int = 1):
        self.count += 1
        w, b = he(outputs, self.channels // groups, kernel, kernel), RNG.normal(size=outputs).astype("f4")
        part = nested(106, number(1, outputs), number(3, pad), number(4, kernel), number(5, groups), number(6, stride))
        self.content += layer(f"conv{self.count}", "Convolution", part, nested(7, blob(w)), nested(7, blob(b)))
        t = torch.from_numpy(w), torch.from_numpy(b)
        self.steps.append(lambda x: F.conv2d(x, *t, stride=stride, padding=pad, groups=groups))
        self.channels = outputs
        return self

    def fc(self, outputs: int, inputs: int):
        w, b = he(outputs, inputs), RNG.normal(size=outputs).astype("f4")
        self.content += layer(
            "fc", "InnerProduct", nested(117, number(1, outputs)), *(nested(7, blob(v)) for v in (w, b))
        )
        t = torch.from_numpy(w), torch.from_numpy(b)
        self.steps.append(lambda x: F.linear(x.flatten(1), *t))
        self.channels = outputs
        return self

    def norm(self, scale: bool = True, divisor: float = 999.98, negative: bool = False, bias: bool = True):
        c = self.channels
        mean, variance = RNG.normal(size=c).astype("f4"), RNG.uniform(0.5, 2, c).astype("f4")
        stored = [mean * np.float32(divisor), variance * np.float32(divisor), np.array([divisor], "f4")]
        self.content += layer("bn", "BatchNorm", nested(139, real(3, EPSILON)), *(nested(7, blob(v)) for v in stored))
        gamma = (RNG.uniform(0.5, 2, c) * (-1 if negative else 1)).astype("f4") if scale else np.ones(c, "f4")
        beta = RNG.normal(size=c).astype("f4") if scale and bias else np.zeros(c, "f4")
        if scale:
            values = [gamma, beta] if bias else [gamma]
            self.content += layer("scale", "Scale", nested(142, number(4, bias)), *(nested(7, blob(v)) for v in values))
        m, v, g, b = (torch.from_numpy(values) for values in (mean, variance, gamma, beta))
        self.steps.append(lambda x: F.batch_norm(x, m, v, g, b, eps=EPSILON))
        return self

    def act(self, kind: str = "ReLU"):
        self.content += layer("act", kind)
        self.steps.append({"ReLU": torch.relu, "Sigmoid": torch.sigmoid, "TanH": torch.tanh}[kind])
        return self

    def pool(self, method: int = 0, kernel: int = 3, stride: int = 2):
        self.content += layer("pool", "Pooling", nested(121, number(1, method), number(2, kernel), number(3, stride)))
        pool = F.avg_pool2d if method else F.max_pool2d
        self.steps.append(lambda x: pool(x, kernel, stride, ceil_mode=True))
        return self

    def lrn_within(self):
        self.content += layer("norm", "LRN", nested(118, number(1, 3), real(2, 5e-5), real(3, 0.75), number(4, 1)))
        # Caffe: x / (1 + alpha * average of the squares of 3 x 3 pixels, zeros outside counted)^beta.
        self.steps.append(lambda x: x * (1 + 5e-5 * F.avg_pool2d(x * x, 3, 1, 1)) ** -0.75)
        return self

    def softmax(self):
        self.content += layer("prob", "Softmax")
        return self

    @torch.no_grad()
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        for step in self.steps:
            x = step(x)
        return x


def number_bytes(value: int) -> bytes:
    return number(1, value)[1:]


def alexnet(scale: bool = True, groups: int = 2, last: bool = True) -> Net:
    """BVLC AlexNet with batch normalization in the place of LRN, a sixteenth as wide."""
    net = Net(227).conv(8, 11, 4).norm(scale).act().pool().conv(16, 5, 1, 2, groups).norm(scale).act().pool()
    net.conv(24, 3, 1, 1).norm(scale).act().conv(24, 3, 1, 1, groups).norm(scale).act()
    net.conv(16, 3, 1, 1, groups).norm(scale).act().pool()
    net.fc(32, 576).norm(scale).act().fc(32, 32)
    return (net.norm(scale) if last else net).act().fc(5, 32).softmax()


def cifar(norm: bool, act: str = "ReLU", scale: bool = False) -> Net:
    """cifar10_full of Caffe's examples, with normalization within maps, or its twin with batch normalization."""
    net = Net(32).conv(32, 5, 1, 2).pool()
    net = net.norm(scale).act(act) if norm else net.act(act).lrn_within()
    net = net.conv(32, 5, 1, 2)
    net = net.norm(scale).act(act).pool(1) if norm else net.act(act).pool(1).lrn_within()
    net = net.conv(64, 5, 1, 2)
    return (net.norm(scale) if norm else net).act(act).pool(1).fc(10, 1024).softmax()


NETS = {
    "AlexNet, BatchNorm and Scale": (lambda: alexnet(), "batch"),
    "AlexNet, BatchNorm alone": (lambda: alexnet(scale=False), "batch"),
    "AlexNet in one tower": (lambda: alexnet(groups=1), "batch"),
    "AlexNet, one layer without": (lambda: alexnet(last=False), "none"),
    "cifar10_full": (lambda: cifar(norm=False), "within-map"),
    "cifar10_full_sigmoid_bn": (lambda: cifar(norm=True, act="Sigmoid"), "none"),
    "cifar10_full with BatchNorm and Scale": (lambda: cifar(norm=True, scale=True), "none"),
}


@pytest.mark.parametrize("name", NETS)
def test_a_caffe_network_answers_as_its_prototxt(tmp_path, name):
    make, norm = NETS[name]
    net = make()
    (tmp_path / "x.caffemodel").write_bytes(net.content)
    found = identify(tmp_path / "x.caffemodel")
    assert found.recipe.model.norm == norm
    size = found.recipe.model.crop_size
    found.network.input_mean.zero_()
    found.network.input_scale.fill_(1 / 64)
    images = pixels(size)
    with torch.no_grad():
        ours = found.network(images)
    theirs = net(images.flip(1).float() / 64 if size == 227 else images.float() / 64)  # CIFAR-10 is read red first
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_batch_normalization_of_the_image_becomes_mean_and_scale(tmp_path):
    net = Net(28).norm().conv(6, 5, 1, 2).act().pool(0, 2).conv(16, 5).act().pool(0, 2)
    net = net.fc(120, 400).act().fc(84, 120).act().fc(10, 84)
    (tmp_path / "x.caffemodel").write_bytes(net.content)
    found = identify(tmp_path / "x.caffemodel")
    assert not {"mean", "scale"} & {each.topic for each in found.assumed}
    with torch.no_grad():
        ours = found.network(pixels(28))
    theirs = net(pixels(28).flip(1).float())
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_a_divisor_of_zero_means_that_nothing_was_counted():
    net = Net(8).conv(4, 3).norm(scale=False, divisor=0.0)
    (norm,) = read_caffemodel(memoryview(net.content), "x").facts["norms"].values()
    assert (norm.mean == 0).all()
    assert (norm.variance == 0).all()
    assert norm.epsilon == EPSILON


# What cannot be placed, and the twins that can -----------------------------------------------------------------------

REFUSED = {
    "after an activation": (lambda: Net(8).conv(4, 3).act().norm(), "after an activation function"),
    "after LRN": (lambda: Net(8).conv(4, 3).lrn_within().norm(), "after an activation function"),
    "after two": (lambda: Net(8).conv(4, 3).pool().act().norm(), "after an activation function"),
    "turned round behind a maximum": (lambda: Net(8).conv(4, 3).pool().norm(negative=True), "negative factor"),
    "of no layer": (lambda: Net(8).act().norm(), "not the image and not the output of a layer"),
}  # fmt: skip
READ = {
    "directly after": lambda: Net(8).conv(4, 3).norm().act(),
    "twice": lambda: Net(8).conv(4, 3).norm().norm(),
    "after a maximum": lambda: Net(8).conv(4, 3).pool().norm(),
    "after a mean, turned round": lambda: Net(8).conv(4, 3).pool(1).norm(negative=True),
    "turned round directly after": lambda: Net(8).conv(4, 3).norm(negative=True),
    "before and after a maximum": lambda: Net(8).conv(4, 3).norm().pool().norm(),
    "without bias": lambda: Net(8).conv(4, 3).norm(bias=False),
    "of the image and of a layer": lambda: Net(8).norm().conv(4, 3).norm(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_normalization_that_would_change_the_network_is_refused_with_the_reason(name):
    make, words = REFUSED[name]
    with pytest.raises(DataError, match=words):
        read_caffemodel(memoryview(make().content), "x")


@pytest.mark.parametrize("name", READ)
def test_normalization_that_looks_alike_is_read(name):
    from alexnet.weights.stored import StoredNetwork, folded

    net = READ[name]()
    kind, layers, chain, facts = read_caffemodel(memoryview(net.content), "x")
    (one,) = StoredNetwork.of_chain(kind, layers, chain, facts).layers
    one = folded(one)
    x = torch.from_numpy(RNG.normal(size=(2, 3, 8, 8)).astype("f4"))
    inputs = x
    if "input_norm" in facts:
        n = facts["input_norm"]
        inputs = (x - torch.from_numpy(n.mean)[:, None, None]) * torch.from_numpy(n.factor())[:, None, None]
        inputs = inputs + torch.from_numpy(n.shift)[:, None, None]
    v = F.conv2d(inputs, torch.from_numpy(one.weight), torch.from_numpy(one.bias))
    for operation, step in (("maxpool", F.max_pool2d), ("avgpool", F.avg_pool2d)):
        v = step(v, 3, 2, ceil_mode=True) if operation in chain else v
    torch.testing.assert_close(v.relu() if "relu" in chain else v, net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "blobs"),
    [("BatchNorm", (4, 4)), ("BatchNorm", (4, 3, 1)), ("BatchNorm", (4,) * 5), ("Scale", ()), ("Bias", (4, 4))],
)  # fmt: skip
def test_blobs_of_other_programs_are_named(kind, blobs):
    values = [nested(7, blob(np.ones(size, "f4"))) for size in blobs]
    with pytest.raises(DataError, match=f"is a {kind} with {len(blobs)} blobs"):
        read_caffemodel(memoryview(Net(8).conv(4, 3).content + layer("n", kind, *values)), "x")


@pytest.mark.parametrize(
    ("axis", "maps", "words"), [(2, 4, "along another axis"), (1, 3, "normalizes 3 maps, and conv1 before it has 4")]
)
def test_a_scale_that_does_not_fit_the_maps_is_refused(axis, maps, words):
    scale = layer("n", "Scale", nested(142, number(1, axis)), nested(7, blob(np.ones(maps, "f4"))))
    with pytest.raises(DataError, match=words):
        read_caffemodel(memoryview(Net(8).conv(4, 3).content + scale), "x")


def test_a_bias_layer_adds():
    values = np.arange(4, dtype="f4")
    content = Net(8).conv(4, 3).content + layer("n", "Bias", nested(7, blob(values)))
    (norm,) = read_caffemodel(memoryview(content), "x").facts["norms"].values()
    np.testing.assert_array_equal(norm.shift, values)
    np.testing.assert_array_equal(norm.factor(), np.ones(4))


# ONNX ----------------------------------------------------------------------------------------------------------------


def onnx_file(*, after: str = "Conv", training: int = 0, short: bool = False) -> bytes:
    """conv, fc and their batch normalizations by hand, with one more node between conv1 and its normalization."""
    onnx = pytest.importorskip("onnx", reason="onnx comes with pip install 'alexnet[formats]'")
    rng, make = np.random.default_rng(1), onnx.helper.make_node
    kept = {"w": rng.normal(size=(4, 3, 3, 3)), "b": rng.normal(size=4), "f": rng.normal(size=(5, 36))}
    for number_, size in (("1", 4), ("2", 5)):
        kept |= {f"s{number_}": rng.uniform(0.5, 2, size), f"h{number_}": rng.normal(size=size)}
        kept |= {f"m{number_}": rng.normal(size=size), f"v{number_}": rng.uniform(0.5, 2, size)}
    if short:
        kept["m1"] = kept["m1"][:3]
    between = {"Relu": make("Relu", ["1"], ["2"]), "Conv": make("Identity", ["1"], ["2"])}
    between["MaxPool"] = make("MaxPool", ["1"], ["2"], kernel_shape=[3, 3], strides=[1, 1])
    between["AveragePool"] = make("AveragePool", ["1"], ["2"], kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1])
    size = {"AveragePool": 6, "MaxPool": 4}.get(after, 6)
    kept["f"] = rng.normal(size=(5, 4 * size * size))
    nodes = [
        make("Conv", ["x", "w", "b"], ["1"]), between[after],
        make("BatchNormalization", ["2", "s1", "h1", "m1", "v1"], ["3"], epsilon=1e-3, training_mode=training),
        make("Flatten", ["3"], ["4"]), make("Gemm", ["4", "f"], ["5"], transB=1),
        make("BatchNormalization", ["5", "s2", "h2", "m2", "v2"], ["6"]), make("LogSoftmax", ["6"], ["y"]),
    ]  # fmt: skip
    graph = onnx.helper.make_graph(
        nodes,
        "net",
        [onnx.helper.make_tensor_value_info("x", 1, (2, 3, 8, 8))],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(np.asarray(v, "f4"), name) for name, v in kept.items()],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 15)])
    made.ir_version = 8
    return made.SerializeToString()


@pytest.mark.parametrize("after", ["Conv", "MaxPool"])
def test_batch_normalization_of_onnx_is_what_onnxruntime_does(after):
    from alexnet.weights.stored import StoredNetwork, folded

    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    content = onnx_file(after=after)
    x = np.random.default_rng(2).normal(size=(2, 3, 8, 8)).astype("f4")
    (expected,) = runtime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    layers, chain, facts = read_onnx(content, "x.onnx")
    conv, fc = (folded(each) for each in StoredNetwork.of_chain("ONNX", layers, chain, facts).layers)
    v = F.conv2d(torch.from_numpy(x), torch.from_numpy(conv.weight), torch.from_numpy(conv.bias))
    v = F.max_pool2d(v, 3, 1) if after == "MaxPool" else v
    v = F.linear(v.flatten(1), torch.from_numpy(fc.weight), torch.from_numpy(fc.bias)).log_softmax(1)
    np.testing.assert_allclose(v.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 1


@pytest.mark.parametrize(
    ("how", "words"),
    [({"after": "Relu"}, "after an activation function"), ({"after": "AveragePool"}, "padded pooling"),
     ({"training": 1}, r"exported for training; call model\.eval"), ({"short": True}, "different lengths")],
)  # fmt: skip
def test_batch_normalization_of_onnx_that_cannot_be_placed_is_refused(how, words):
    with pytest.raises(Exception, match=words) as refused:
        read_onnx(onnx_file(**how), "x.onnx")
    assert refused.value.code in ("E344", "E610")


def test_normalizations_in_turn_are_one():
    from alexnet.weights.batch_norm import _one_after, scale_and_shift

    first = replace(scale_and_shift(np.float32([2]), np.float32([3])), mean=np.float32([1]))  # 2 (x - 1) + 3
    both = _one_after(first, replace(scale_and_shift(np.float32([5]), np.float32([7])), mean=np.float32([4])))
    x = np.float32(10)
    assert (x - both.mean) * both.factor() + both.shift == 5 * ((2 * (x - 1) + 3) - 4) + 7
