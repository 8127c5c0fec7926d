"""Weights that describe much in few bytes are refused before memory or time is spent on them."""

import json
import os
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from alexnet.errors import AlexNetError, UntrustedFileError
from alexnet.models.build import build_model
from alexnet.recipes.named import DEMO
from alexnet.recipes.recipe import to_json
from alexnet.weights import identify as module
from alexnet.weights import pickles
from alexnet.weights import read as reading
from alexnet.weights.identify import identify
from alexnet.weights.onnx_size import refuse_costly
from alexnet.weights.protobuf import MOST_FIELDS, Damaged, fields
from harness.weights_bombs import convolution, model, number, tensor

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from alexnet.weights.onnx_graph import MOST_REPEATED, Graph  # noqa: E402


def graph(*nodes: object) -> Graph:
    return Graph(helper.make_graph(list(nodes), "net", [], []), "net.onnx")


@pytest.mark.parametrize(
    ("sizes", "read"),
    [
        ([2] * 8, True),
        ([], True),
        ([1] * 9, False),
        ([2] * 1_000_000, False),
        ([10**9] * 1_000_000, False),
        ([-1, 2], False),
        ([2**40], False),
    ],
)
def test_dimensions_are_counted_before_they_are_multiplied(sizes, read):
    if read:
        graph().check_size(sizes, "w")
        return
    with pytest.raises(UntrustedFileError) as caught:
        graph().check_size(sizes, "w")
    assert caught.value.code == "E611"
    assert len(caught.value.what) < 500


@pytest.mark.parametrize(("count", "read"), [(8, True), (MOST_REPEATED, True), (MOST_REPEATED + 1, False)])
def test_one_number_is_not_repeated_without_end(count, read):
    shape = helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(np.array([count]), "s"))
    node = helper.make_node("ConstantOfShape", ["s"], ["w"])
    taken = helper.make_node("Add", ["x", "w"], ["y"])
    made = graph(shape, node, taken)
    if read:
        assert made.constant(taken, 1).shape == (count,)
        return
    with pytest.raises(UntrustedFileError) as caught:
        made.constant(taken, 1)
    assert caught.value.code == "E611"


def test_a_million_dimensions_in_a_tensor_are_refused():
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT)
    tensor.dims.extend([3] * 1_000_000)
    with pytest.raises(UntrustedFileError):
        graph().array(tensor, "w")


def saved(path, classes: object = (), recipe: object = None, text: str | None = None, **more: object):
    """A file as a checkpoint is, with these in its header, or with this header."""
    network = build_model(DEMO.model)
    header = {"recipe": json.loads(to_json(DEMO)) if recipe is None else recipe, "classes": classes, **more}
    text = json.dumps(header) if text is None else text
    safetensors.torch.save_file(network.state_dict(), path, {"alexnet": text})
    return path


DEEP = 100_000
RECIPE = f'{{"recipe": {to_json(DEMO)}, "classes": '


@pytest.mark.parametrize(
    "text",
    [
        "[" * DEEP,
        '{"recipe":' * DEEP,
        RECIPE + "[" * DEEP + "]" * DEEP + "}",
        RECIPE + '[], "temperature": ' + "[" * DEEP + "]" * DEEP + "}",
        RECIPE + "9" * 5000 + "}",
        "[1]",
        '"recipe"',
        "",
        "{}",
    ],
)
def test_a_header_of_brackets_or_digits_without_end_is_told(tmp_path, text):
    with pytest.raises(AlexNetError) as caught:
        identify(saved(tmp_path / "w.safetensors", text=text))
    assert caught.value.code in ("E613", "E610")


@pytest.mark.parametrize(
    ("value", "read"),
    [
        *((value, True) for value in (1, 1.5, 0.01, 300)),
        *((value, False) for value in (0, -1, 1e-300, 1e300, 10**400, float("nan"), float("inf"))),
        *((value, False) for value in (None, "1", [1], True, {})),
    ],
)
def test_a_temperature_is_a_number_by_which_one_can_divide(tmp_path, value, read):
    path = saved(tmp_path / "w.safetensors", temperature=value)
    if read:
        assert identify(path).temperature == value
        return
    with pytest.raises(AlexNetError) as caught:
        identify(path)
    assert caught.value.code in ("E613", "E610")


@pytest.mark.parametrize(
    ("count", "read"), [(0, True), (1000, True), (1, False), (10, False), (999, False), (1001, False)]
)
def test_a_file_names_as_many_classes_as_its_network_has(tmp_path, count, read):
    path = saved(tmp_path / "w.safetensors", [str(i) for i in range(count)])
    if read:
        assert len(identify(path).class_names) == 1000
        return
    with pytest.raises(UntrustedFileError, match=f"E613 .* it names {count:,} classes, and the network has 1,000"):
        identify(path)


@pytest.mark.parametrize("shape", [(True, True), (2, True), (False,), (-2, -2), (-4,), (0, 1 << 62, 1 << 62)])
def test_sides_of_an_array_are_whole_numbers(tmp_path, shape):
    path = tmp_path / "w.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.weight.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
        member.write(bytes(16))
    with pytest.raises(UntrustedFileError, match="E610"):
        identify(path)


@pytest.mark.parametrize(
    "classes",
    [{}, "abc", [1, 2], 7, [None], [[]], {"a": 1}, [{}], [True], 1.5],
)
def test_a_malformed_list_of_classes_is_told(tmp_path, classes):
    with pytest.raises(AlexNetError) as caught:
        identify(saved(tmp_path / "w.safetensors", classes))
    assert caught.value.code in ("E613", "E610")


@pytest.mark.parametrize("recipe", ["", [], {}, 7, {"model": 3}, {"name": []}, "x" * 5000, [[]]])
def test_a_malformed_recipe_is_told(tmp_path, recipe):
    with pytest.raises(AlexNetError) as caught:
        identify(saved(tmp_path / "w.safetensors", recipe=recipe))
    assert caught.value.code in ("E613", "E610")


def test_what_a_header_describes_is_compared_before_it_is_built(tmp_path, monkeypatch):
    wide = json.loads(to_json(DEMO))
    wide["model"]["fc_features"] = [16384, 16384] if isinstance(wide["model"]["fc_features"], list) else 16384
    path = saved(tmp_path / "w.safetensors", recipe=wide)
    devices = []
    real = module.build_model

    def build(config):
        devices.append(torch.empty(0).device.type)
        return real(config)

    monkeypatch.setattr(module, "build_model", build)
    with pytest.raises(UntrustedFileError) as caught:
        identify(path)
    assert (caught.value.code, devices) == ("E613", ["meta"])


def test_the_limit_of_time_grows_with_the_file():
    used = sum(os.times()[:2])
    assert used + 3 < pickles._cpu_limit(0) < used + 8
    assert pickles._cpu_limit(25_000_000) - used <= 5
    assert pickles._cpu_limit(240_000_000) - pickles._cpu_limit(0) in (8, 9)


@pytest.mark.parametrize("ending", ["safetensors", "npz"])
@pytest.mark.parametrize(("count", "read"), [(8, True), (pickles.MOST_ARRAYS, True), (pickles.MOST_ARRAYS + 1, False)])
def test_tensors_are_counted_before_they_are_read(tmp_path, monkeypatch, ending, count, read):
    monkeypatch.setattr(reading, "MOST_ARRAYS", 20)
    count = count if count <= 8 else count - pickles.MOST_ARRAYS + 20
    path = tmp_path / f"w.{ending}"
    arrays = {f"t{i}": np.zeros(1, np.float32) for i in range(count)}
    if ending == "npz":
        np.savez(path, **arrays)
    else:
        safetensors.numpy.save_file(arrays, path)
    with pytest.raises(AlexNetError) as caught:  # they are no network that we know
        identify(path)
    assert (caught.value.code == "E611") is not read


def many_nodes(count: int) -> bytes:
    """A graph of so many nodes with 6 fields each: input, output, name, kind, and the two of an attribute's name."""
    node = helper.make_node("LeakyRelu", ["x"], ["y"], name="n", alpha=0.5).SerializeToString()
    begun = helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString()
    graph_of_nodes = b"".join(b"\x0a" + bytes([len(node)]) + node for _ in range(count))
    length, varint = len(graph_of_nodes), b""
    while length > 127:
        varint, length = varint + bytes([length & 127 | 128]), length >> 7
    return begun + b"\x3a" + varint + bytes([length]) + graph_of_nodes


DIMENSIONS = helper.make_tensor("w", TensorProto.FLOAT, [1] * 400_000, [1.0])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (many_nodes(10_000), None),
        (many_nodes(40_000), "300,000 fields"),
        (helper.make_model(helper.make_graph([], "g", [], [], [DIMENSIONS])).SerializeToString(), "300,000 fields"),
        (model(convolution(), tensor("w", b"\1" * 70_000)), "64,000 whole numbers"),
        (b"\x98\x06\x01" * 400_000, "300,000 fields"),  # a field that nobody knows
        (many_nodes(10)[:-3], None),  # damage is for the package onnx to name
        (b"", None),
    ],
    ids=["10,000 nodes", "40,000 nodes", "dimensions", "in a list", "unknown fields", "cut off", "nothing"],
)
def test_an_onnx_file_is_counted_before_it_is_read(content, what):
    if what is None:
        refuse_costly(content, "net.onnx")
        return
    with pytest.raises(UntrustedFileError, match=f"E611 net.onnx has more than {what}"):
        refuse_costly(content, "net.onnx")


def test_weights_in_any_field_of_numbers_are_not_counted_as_structure():
    weights = np.arange(200_000, dtype=np.float32)
    whole = helper.make_tensor("w", TensorProto.FLOAT, [200_000], weights)
    raw = numpy_helper.from_array(weights, "v")
    refuse_costly(helper.make_model(helper.make_graph([], "g", [], [], [whole, raw])).SerializeToString(), "net.onnx")


def test_fields_of_a_message_are_counted_and_numbers_in_a_row_are_one_of_them():
    assert sum(1 for _ in fields(number(9, 1) * MOST_FIELDS)) == MOST_FIELDS
    with pytest.raises(Damaged, match="more than 400,000 fields"):
        list(fields(number(9, 1) * (MOST_FIELDS + 1)))
    assert len(list(fields(b"\x2d\0\0\0\0" * (MOST_FIELDS + 1)))) == 1
