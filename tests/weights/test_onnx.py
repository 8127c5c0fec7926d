"""ONNX: what is read gives, in plain PyTorch, the numbers that onnxruntime gives for the file."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alexnet.errors import AlexNetError, DataError, UntrustedFileError, UsageError
from alexnet.weights.onnx import read_onnx

onnx = pytest.importorskip("onnx", reason="onnx comes with pip install 'alexnet[formats]'")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light/light_bvlc_alexnet.onnx"
RNG = np.random.default_rng(0)


def floats(*shape: int):
    return RNG.normal(size=shape).astype(np.float32)


W1, B1, W2 = floats(8, 3, 5, 5), floats(8), floats(6, 4, 3, 3)
W3, B3, W4, B4 = floats(7, 24), floats(7), floats(7, 5), floats(5)


def model(nodes, constants=None, inputs=(("x", (2, 3, 20, 20)),), output: str = "y") -> bytes:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    made.ir_version = 8
    return made.SerializeToString()


def small() -> bytes:
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["1"], strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[5, 5]),
        helper.make_node("Relu", ["1"], ["2"]),
        helper.make_node("LRN", ["2"], ["3"], size=5, alpha=0.5, beta=0.75, bias=2.0),
        helper.make_node("MaxPool", ["3"], ["4"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("Constant", [], ["w2"], value=numpy_helper.from_array(W2, "w2")),
        helper.make_node("Conv", ["4", "w2"], ["5"], group=2, pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["5"], ["6"]),
        helper.make_node("AveragePool", ["6"], ["7"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Dropout", ["7"], ["8"]),
        helper.make_node("Flatten", ["8"], ["9"]),
        helper.make_node("Gemm", ["9", "w3", "b3"], ["10"], transB=1, alpha=0.5, beta=3.0),
        helper.make_node("Tanh", ["10"], ["11"]),
        helper.make_node("MatMul", ["11", "w4"], ["12"]),
        helper.make_node("Add", ["b4", "12"], ["13"]),
        helper.make_node("Softmax", ["13"], ["y"]),
    ]
    return model(nodes, {"w1": W1, "b1": B1, "w3": W3, "b3": B3, "w4": W4, "b4": B4})


def test_the_weights_give_in_pytorch_what_onnxruntime_gives():
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    x = floats(2, 3, 20, 20)
    (expected,) = runtime.InferenceSession(small(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    layers, chain, facts = read_onnx(small(), "small.onnx")
    (c1, b1), (c2, none), (f1, b3), (f2, b4) = [
        (torch.from_numpy(np.ascontiguousarray(w)), None if b is None else torch.from_numpy(b)) for _, w, b in layers
    ]
    assert none is None
    size, alpha, beta, k = facts["lrn"]
    v = F.relu(F.conv2d(torch.from_numpy(x), c1, b1, stride=facts["conv1"]["stride"], padding=facts["conv1"]["pad"]))
    v = F.local_response_norm(v, size, alpha, beta, k)
    top, left, bottom, right = facts["pool_pads"][0]
    v = F.max_pool2d(F.pad(v, (left, right, top, bottom), value=-torch.inf), *facts["pools"][0])
    v = torch.sigmoid(F.conv2d(v, c2, padding=facts["conv2"]["pad"], groups=facts["conv2"]["groups"]))
    v = F.avg_pool2d(v, *facts["pools"][1]).flatten(1)
    v = F.linear(torch.tanh(F.linear(v, f1, b3)), f2, b4).softmax(1)
    np.testing.assert_allclose(v.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert expected.std() > 0.01
    assert " ".join(chain) == "conv relu lrn maxpool conv sigmoid avgpool dropout fc tanh fc softmax"
    assert facts["lrn"] == (5, 0.5, 0.75, 2.0)
    assert facts["input"] == (3, 20, 20)
    assert facts["conv2"] == {"stride": 1, "pad": 1, "pad_after": False, "kernel": 3, "groups": 2}


def test_bvlc_alexnet_of_the_onnx_package_is_read():
    found = read_onnx(LIGHT.read_bytes(), "light.onnx")
    assert [weight.shape for _, weight, _ in found.layers] == [
        (96, 3, 11, 11),
        (256, 48, 5, 5),
        (384, 256, 3, 3),
        (384, 192, 3, 3),
        (256, 192, 3, 3),
        (4096, 9216),
        (4096, 4096),
        (1000, 4096),
    ]
    assert all((bias == np.float32(0.02)).all() and len(bias) == len(weight) for _, weight, bias in found.layers)
    assert " ".join(found.chain) == (
        "conv relu lrn maxpool conv relu lrn maxpool conv relu conv relu conv relu maxpool "
        "fc relu dropout fc relu dropout fc softmax"
    )
    assert found.facts["lrn"] == (5, 0.0001, 0.75, 1.0)
    assert found.facts["input"] == (3, 224, 224)
    assert found.facts["conv1"] == {"stride": 4, "pad": 0, "pad_after": False, "kernel": 11, "groups": 1}
    assert found.facts["pool_pads"] == ((0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 1, 1))


def test_paths_of_exporters_around_the_weights():
    nodes = [
        helper.make_node("Identity", ["w1"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["1"]),
        helper.make_node("Add", ["1", "per channel"], ["2"]),
        helper.make_node("AveragePool", ["2"], ["3"], kernel_shape=[1, 1], strides=[1, 1]),
        helper.make_node("Shape", ["3"], ["shape"]),
        helper.make_node("Reshape", ["3", "shape"], ["y"]),
    ]
    found = read_onnx(model(nodes, {"w1": W1, "per channel": B1.reshape(1, 8, 1, 1)}), "x")
    ((_, weight, bias),) = found.layers
    np.testing.assert_array_equal(weight, W1)
    np.testing.assert_array_equal(bias, B1)
    assert found.chain == ("conv",)


CONV = helper.make_node("Conv", ["x", "w1"], ["1"])
FOREIGN = {
    "branches": [CONV, helper.make_node("Relu", ["1"], ["2"]), helper.make_node("Tanh", ["1"], ["y"])],
    "InstanceNormalization 'y' is not": [CONV, helper.make_node("InstanceNormalization", ["1", *"ab"], ["y"])],
    "not the bias": [helper.make_node("Add", ["x", "b1"], ["y"])],
    "which is not a bias of w1": [CONV, helper.make_node("Add", ["1", "b1"], ["y"])],
    "transposes": [helper.make_node("Gemm", ["x", "w3"], ["y"], transA=1)],
    "which is not a constant": [helper.make_node("Conv", ["x", "missing"], ["y"])],
    "where weights are expected": [helper.make_node("Gemm", ["w3", "x"], ["y"])],
    "auto_pad": [helper.make_node("Conv", ["x", "w1"], ["y"], auto_pad="SAME_UPPER")],
    "dilated": [helper.make_node("Conv", ["x", "w1"], ["y"], dilations=[2, 2])],
    "in height and width": [helper.make_node("Conv", ["x", "w1"], ["y"], pads=[0, 0, 1, 2])],
    "other LRN constants": [
        helper.make_node("LRN", ["x"], ["1"], size=5),
        helper.make_node("LRN", ["1"], ["y"], size=3),
    ],
    "domain": [helper.make_node("Relu", ["x"], ["y"], domain="com.evil")],
    "not floating-point": [helper.make_node("Conv", ["x", "whole"], ["y"])],
}


@pytest.mark.parametrize("words", FOREIGN)
def test_graphs_that_are_no_chain_of_known_layers_are_named(words):
    constants = {"w1": W1, "b1": B1, "w3": W3, "whole": W1.astype(np.int8)}
    with pytest.raises(DataError, match=words):
        read_onnx(model(FOREIGN[words], constants), "x.onnx")


def test_a_model_needs_one_image():
    with pytest.raises(DataError, match="has 0 inputs of four dimensions"):
        read_onnx(model([CONV], {"w1": W1}, inputs=()), "x")
    with pytest.raises(DataError, match="has 2 inputs"):
        read_onnx(model([CONV], {"w1": W1}, inputs=(("x", (1, 3, 9, 9)), ("z", (1, 3, 9, 9)))), "x")


# --- hostile files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["initializer", "Constant"])
def test_weights_in_other_files_are_never_opened(where):
    outside = numpy_helper.from_array(W1, "w1")
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/passwd")
    if where == "initializer":
        made = onnx.load_model_from_string(model([CONV]))
        made.graph.initializer.append(outside)
    else:
        made = onnx.load_model_from_string(model([helper.make_node("Constant", [], ["w1"], value=outside), CONV]))
    with pytest.raises(UntrustedFileError, match="in another file, which is not opened"):
        read_onnx(made.SerializeToString(), "x")


def of_shape(*shape: int) -> bytes:
    node = helper.make_node("ConstantOfShape", ["shape"], ["w1"])
    return model([node, CONV], {"shape": np.array(shape, np.int64)})


@pytest.mark.parametrize("shape", [(1 << 40, 1, 1, 1), (1 << 14, 1 << 14, 11, 11), (-1, 3, 5, 5), (1,) * 9])
def test_shapes_that_fill_the_memory_are_refused(shape):
    with pytest.raises(UntrustedFileError, match="too large"):
        read_onnx(of_shape(*shape), "x")


def test_numbers_that_are_not_there_are_refused():
    made = onnx.load_model_from_string(model([CONV], {"w1": W1}))
    made.graph.initializer[0].dims[0] = 9
    with pytest.raises(UntrustedFileError, match="damaged"):
        read_onnx(made.SerializeToString(), "x")


def test_a_graph_with_a_cycle_ends():
    cycle = [helper.make_node("Relu", ["x"], ["1"]), helper.make_node("Relu", ["1"], ["x"])]
    with pytest.raises(UntrustedFileError, match="cycle"):
        read_onnx(model(cycle), "x")
    weights = [helper.make_node("Identity", ["w1"], ["w1"]), CONV]
    with pytest.raises(DataError, match="not a constant"):
        read_onnx(model(weights), "x")


@pytest.mark.parametrize("whole", [small(), LIGHT.read_bytes()], ids=["small", "light"])
def test_whatever_bytes_become_only_our_errors_come(whole):
    chance = random.Random(1)
    accepted = 0
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        if chance.random() < 0.2:
            del content[chance.randrange(len(content)) :]
        try:
            read_onnx(bytes(content), "x")
            accepted += 1
        except AlexNetError:
            pass
    assert 0 < accepted < 200


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError, match=r"pip install 'alexnet\[formats\]'"):
        read_onnx(b"", "x.onnx")
