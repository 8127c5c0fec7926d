"""Files of weights of any framework: told apart by content, in one layout, and only our errors whatever they hold."""

import io
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

from alexnet.errors import AlexNetError, DataError, UntrustedFileError, UsageError
from alexnet.weights import read as stored
from alexnet.weights.read import read_stored
from harness.caffe_files import new_file, old_file

RNG = np.random.default_rng(0)


def floats(*shape: int):
    return RNG.normal(size=shape).astype(np.float32)


def small_alexnet() -> nn.Module:
    """torchvision's AlexNet, narrower: the same names in the same order."""
    torch.manual_seed(0)
    sizes = [(3, 4, 11), (4, 6, 5), (6, 8, 3), (8, 6, 3), (6, 6, 3)]
    places = (0, 3, 6, 8, 10)
    features = nn.Module()
    for place, (before, after, kernel) in zip(places, sizes, strict=True):
        features.add_module(str(place), nn.Conv2d(before, after, kernel))
    classifier = nn.Module()
    for place, before, after in ((1, 24, 9), (4, 9, 8), (6, 8, 3)):
        classifier.add_module(str(place), nn.Linear(before, after))
    network = nn.Module()
    network.features, network.classifier = features, classifier
    return network


NAMES = [f"features.{i}" for i in (0, 3, 6, 8, 10)] + [f"classifier.{i}" for i in (1, 4, 6)]


def is_same(layers, state) -> bool:
    return all(
        np.array_equal(layer.weight, state[f"{layer.name}.weight"].numpy())
        and np.array_equal(layer.bias, state[f"{layer.name}.bias"].numpy())
        for layer in layers
    )


# --- formats -------------------------------------------------------------------------------------------------------


def test_a_state_dict_of_pytorch_is_known_by_its_content(tmp_path):
    state = small_alexnet().state_dict()
    torch.save(state, tmp_path / "weights.caffemodel")
    found = read_stored(tmp_path / "weights.caffemodel")
    assert found.kind == "PyTorch state dict"
    assert [layer.name for layer in found.layers] == NAMES
    assert is_same(found.layers, state)
    assert found.chain == ()
    assert dict(found.facts) == dict(found.metadata) == {}


def test_a_state_dict_of_before_2020_too(tmp_path):
    torch.save({"state_dict": small_alexnet().state_dict()}, tmp_path / "old", _use_new_zipfile_serialization=False)
    found = read_stored(tmp_path / "old")
    assert found.kind == "PyTorch state dict"
    assert [layer.name for layer in found.layers] == NAMES


def test_safetensors_of_others_come_in_the_order_of_the_network(tmp_path):
    state = small_alexnet().state_dict()
    safetensors.torch.save_file({name: value.bfloat16() for name, value in state.items()}, tmp_path / "weights.bin")
    found = read_stored(tmp_path / "weights.bin")
    assert found.kind == "safetensors"
    assert [layer.name for layer in found.layers] == NAMES
    assert is_same(found.layers, {name: value.bfloat16().float() for name, value in state.items()})


def test_our_own_safetensors_bring_recipe_and_classes(tmp_path):
    tensors = {"layers.conv1.weight": floats(2, 3, 3, 3), "layers.conv1.bias": floats(2), "input_mean": floats(3, 1, 1)}
    about = {"alexnet": '{"recipe": {"name": "x"}, "classes": ["a", "b"]}', "format": "pt"}
    safetensors.numpy.save_file(tensors, tmp_path / "m", about)
    found = read_stored(tmp_path / "m")
    assert found.metadata == {"recipe": '{"name": "x"}', "classes": '["a", "b"]', "temperature": "1.0"}
    assert [layer.name for layer in found.layers] == ["layers.conv1"]
    for wrong in ("{", "[]", "{}", '{"recipe": 1}'):
        safetensors.numpy.save_file(tensors, tmp_path / "m", {"alexnet": wrong})
        with pytest.raises(UntrustedFileError, match=r"damaged|cannot be read|not a"):
            read_stored(tmp_path / "m")


def test_numpy_archives_in_pytorchs_layout_stay_as_they_are(tmp_path):
    state = small_alexnet().state_dict()
    shuffled = dict(sorted(((name, value.numpy()) for name, value in state.items()), reverse=True))
    np.savez_compressed(tmp_path / "x.npz", **shuffled)
    found = read_stored(tmp_path / "x.npz")
    assert found.kind == "NumPy dictionary"
    assert [layer.name for layer in found.layers] == NAMES
    assert is_same(found.layers, state)
    assert "bgr" not in found.facts


@pytest.mark.parametrize("file", ["npy", "npz"])
def test_rows_first_becomes_channels_first_and_the_network_answers_the_same(tmp_path, file):
    """The reference multiplies as TensorFlow does: images (row, column, channel), flattened in that order."""
    w1, b1, w10, w6, b6, w7 = floats(5, 5, 3, 4), floats(4), floats(3, 3, 4, 6), floats(150, 7), floats(7), floats(7, 2)
    layers = {"fc7": [w7], "fc6": [w6, b6], "conv10": [w10], "conv2": [w1, b1]}
    if file == "npy":
        np.save(tmp_path / "x", np.array(layers, dtype=object), allow_pickle=True)
    else:
        parts = {
            f"{name}/{kind}": array
            for name, arrays in layers.items()
            for kind, array in zip(("weights", "biases"), arrays, strict=False)
        }
        np.savez(tmp_path / "x", **parts)
    found = read_stored(tmp_path / f"x.{file}")
    assert found.kind == "NumPy dictionary"
    assert found.facts["rows_first"] is True
    assert [layer.name for layer in found.layers] == ["conv2", "conv10", "fc6", "fc7"]

    def convolve(images, kernels):
        windows = np.lib.stride_tricks.sliding_window_view(images, kernels.shape[:2], axis=(1, 2))
        return np.einsum("nyxcij,ijco->nyxo", windows, kernels)

    x = floats(2, 11, 11, 3)
    expected = convolve(convolve(x, w1) + b1, w10).reshape(2, -1) @ w6 + b6
    expected = expected @ w7
    t = [torch.from_numpy(np.ascontiguousarray(layer.weight)) for layer in found.layers]
    v = F.conv2d(torch.from_numpy(x).permute(0, 3, 1, 2), t[0], torch.from_numpy(found.layers[0].bias))
    v = F.linear(F.conv2d(v, t[1]).flatten(1), t[2], torch.from_numpy(found.layers[2].bias))
    np.testing.assert_allclose(F.linear(v, t[3]).numpy(), expected, rtol=1e-3, atol=1e-2)


def test_the_record_of_caffe_and_onnx_is_passed_on(tmp_path):
    (tmp_path / "a.onnx").write_bytes(new_file())
    (tmp_path / "b.pt").write_bytes(old_file())
    new, old = read_stored(tmp_path / "a.onnx"), read_stored(tmp_path / "b.pt")
    assert (new.kind, old.kind) == ("Caffe model", "Caffe model, V1 layers")
    assert [layer.name for layer in new.layers] == [layer.name for layer in old.layers] == ["conv1", "conv2", "fc6"]
    assert new.chain == old.chain == ("conv", "relu", "lrn", "maxpool", "conv", "avgpool", "fc", "dropout", "softmax")


def test_onnx_is_known_by_its_content(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx comes with pip install 'alexnet[formats]'")
    light = Path(onnx.__file__).parent / "backend/test/data/light/light_bvlc_alexnet.onnx"
    (tmp_path / "x.caffemodel").write_bytes(light.read_bytes())
    found = read_stored(tmp_path / "x.caffemodel")
    assert found.kind == "ONNX"
    assert found.layers[7].weight.shape == (1000, 4096)
    assert found.facts["input"] == (3, 224, 224)


# --- what cannot be read -------------------------------------------------------------------------------------------


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_stored(tmp_path / "missing")
    with pytest.raises(UsageError, match="is not a file"):
        read_stored(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html>", "web page"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"hello, world\n", "no known format"),
        (b"\x00" * 100, "no known format"),
        (b"\n\x05hello", "no known format"),
    ],
)
def test_other_files_are_told_what_they_are(tmp_path, content, words):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(DataError, match=f"(?s){words}.*can be read"):
        read_stored(tmp_path / "x.pt")


def test_layers_that_the_networks_here_do_not_have_are_named(tmp_path):
    np.savez(
        tmp_path / "x.npz", **{"bn.weight": floats(3), "bn.running_mean": floats(3), "c.weight": floats(3, 1, 5, 5)}
    )
    with pytest.raises(DataError, match=r"bn\.weight, bn\.running_mean, which belong to no"):
        read_stored(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", **{"c.bias": floats(3)})
    with pytest.raises(DataError, match=r"c\.bias"):
        read_stored(tmp_path / "x.npz")


def test_names_in_a_file_do_not_command_the_terminal(tmp_path):
    safetensors.numpy.save_file({"\x1b[2J\nx": floats(3)}, tmp_path / "x")
    with pytest.raises(DataError) as refused:
        read_stored(tmp_path / "x")
    assert "\x1b" not in str(refused.value)
    assert "?[2J?x, which belong" in refused.value.what


def test_biases_and_inputs_that_do_not_fit(tmp_path):
    np.savez(tmp_path / "x.npz", **{"fc.weight": floats(3, 2), "fc.bias": floats(2)})
    with pytest.raises(UntrustedFileError, match="3 outputs and 2 biases"):
        read_stored(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", **{"c.weights": floats(5, 5, 3, 4), "fc.weights": floats(20, 2)})
    with pytest.raises(DataError, match="not a square number times the 4 channels"):
        read_stored(tmp_path / "x.npz")


def test_a_single_array_and_a_foreign_zip(tmp_path):
    np.save(tmp_path / "x.npy", floats(3, 4))
    with pytest.raises(DataError, match="single array of 3 x 4"):
        read_stored(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(DataError, match="neither by PyTorch nor by NumPy"):
        read_stored(tmp_path / "x.zip")


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content", [header((1 << 40, 1 << 20)), header((-1, 4)), header((4,), "<U4"), b"\x93NUMPY\x01"]
)
def test_headers_that_lie_are_refused_alone_and_in_an_archive(tmp_path, content):
    (tmp_path / "x").write_bytes(content + bytes(100))
    with zipfile.ZipFile(tmp_path / "y", "w") as archive:
        archive.writestr("c.weight.npy", content + bytes(100))
    for name in "xy":
        with pytest.raises(UntrustedFileError, match="damaged"):
            read_stored(tmp_path / name)


def test_an_archive_with_pickled_objects_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", **{"c.weight": np.array({"a": 1}, dtype=object)}, allow_pickle=True)
    with pytest.raises(UntrustedFileError, match="not plain numbers"):
        read_stored(tmp_path / "x.npz")


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c.weight.npy", header((1 << 25,)) + bytes((1 << 26) + 1))
    with pytest.raises(UntrustedFileError, match="would unpack from"):
        read_stored(tmp_path / "x.npz")


def write(kind: str) -> bytes:
    tensors = {"conv1.weight": floats(4, 3, 5, 5), "conv1.bias": floats(4), "fc.weight": floats(2, 4)}
    if kind == "safetensors":
        return safetensors.numpy.save(tensors)
    buffer = io.BytesIO()
    if kind == "npz":
        np.savez(buffer, **tensors)
    elif kind == "compressed":
        np.savez_compressed(buffer, **tensors)
    else:
        np.save(buffer, tensors["fc.weight"])
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["safetensors", "npz", "compressed", "npy"])
def test_whatever_bytes_become_only_our_errors_come(tmp_path, monkeypatch, kind):
    def no_child(path: Path):
        raise UntrustedFileError(str(path))

    monkeypatch.setattr(stored, "read_pickle", no_child)  # its own tests are elsewhere, and each takes a second
    whole = write(kind)
    chance = random.Random(1)
    outcomes = set()
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(200) if chance.random() < 0.5 else chance.randrange(len(content))
            content[at % len(content)] = chance.randrange(256)
        if chance.random() < 0.2:
            del content[chance.randrange(len(content)) :]
        (tmp_path / "x").write_bytes(content)
        try:
            read_stored(tmp_path / "x")
            outcomes.add("read")
        except AlexNetError as error:
            outcomes.add(type(error).__name__)
    assert "UntrustedFileError" in outcomes
    assert len(outcomes) > 1
