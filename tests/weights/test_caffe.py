"""Caffe's files: written by an encoder of our own, and one that Caffe has written, tried on real digits."""

import io
import random
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from alexnet.errors import AlexNetError, DataError, UntrustedFileError
from alexnet.weights.caffe import read_caffemodel
from alexnet.weights.read import read_stored
from harness import SHARED
from harness.caffe_files import WEIGHTS, blob, floats, layer, layer_v1, nested, new_file, number, old_file, real, varint


def read(content: bytes):
    return read_caffemodel(memoryview(content), "x.caffemodel")


# --- what comes back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"packed": False}, {"double": True}, {"legacy": True}], ids=str)
@pytest.mark.parametrize("write", [new_file, old_file])
def test_weights_come_back_as_they_were_written(write, how):
    found = read(write(**how))
    assert found.kind == ("Caffe model" if write is new_file else "Caffe model, V1 layers")
    assert [name for name, _, _ in found.layers] == ["conv1", "conv2", "fc6"]
    for (_, weight, bias), (w, b) in zip(found.layers, WEIGHTS, strict=True):
        np.testing.assert_array_equal(weight, w)
        np.testing.assert_array_equal(bias, b)
        assert weight.dtype == np.float32
    assert found.chain == ("conv", "relu", "lrn", "maxpool", "conv", "avgpool", "fc", "dropout", "softmax")
    assert found.facts["conv1"] == {"stride": 3, "pad": 2, "kernel": 5, "groups": 1}
    assert found.facts["conv2"] == {"stride": 1, "pad": 1, "kernel": 3, "groups": 2}
    assert found.facts["lrn"] == (5, 0.0001, 0.75, 2.0)
    assert found.facts["pools"] == ((3, 2), (3, 2))
    assert found.facts["pool_pads"] == ((0, 0, 0, 0), (1, 1, 1, 1))
    assert found.facts["input"] == (3, 30, 30)
    assert found.facts["bgr"] is True


def test_pixels_of_the_data_layers_old_and_new():
    assert read(new_file()).facts["mean"] == (104.0, 117.0)
    one = layer("d", "Data", nested(100, real(1, 0.5), real(5, 33))) + new_file()
    assert read(one).facts["scale"] == 0.5
    old = layer_v1("data", 5, nested(11, real(2, 0.00390625), number(5, 28))) + old_file()
    assert read(old).facts["scale"] == 1 / 256
    declared = layer("in", "Input", nested(143, nested(1, nested(1, *map(varint, (1, 3, 99, 98)))))) + new_file()
    assert read(declared).facts["input"] == (3, 99, 98)
    shaped = nested(8, nested(1, *map(varint, (1, 3, 31, 32)))) + new_file()
    assert read(shaped).facts["input"] == (3, 31, 32)


def test_one_mean_is_that_of_every_channel_and_gray_is_not_blue_first():
    weights = nested(7, blob(floats(4, 3, 5, 5)))
    data = layer("d", "Data", nested(100, real(5, 33)))
    assert read(data + layer("c", "Convolution", weights)).facts["mean"] == (33.0,) * 3
    gray = read(data + layer("c", "Convolution", nested(7, blob(floats(4, 1, 5, 5)))))
    assert gray.facts["mean"] == (33.0,)
    assert "bgr" not in gray.facts


def test_transposed_weights_and_layers_without_bias():
    weight = floats(3, 5)
    found = read(layer("fc", "InnerProduct", nested(117, number(6, 1)), nested(7, blob(weight))))
    np.testing.assert_array_equal(found.layers[0][1], weight.T)
    assert found.layers[0][2] is None


def test_packed_and_single_numbers_of_one_blob_are_joined():
    message = nested(7, nested(1, varint(5))) + nested(5, struct.pack("<2f", 1, 2)) + real(5, 3) + real(5, 4)
    message += number(20, 1) + real(5, 5)
    found = read(layer("fc", "InnerProduct", nested(7, blob(floats(5, 2))), nested(7, message)))
    assert found.layers[0][2].tolist() == [1, 2, 3, 4, 5]


# --- what is refused -----------------------------------------------------------------------------------------------

FOREIGN = {
    "BatchNorm": layer("bn", "BatchNorm", nested(7, blob(floats(3)))),
    "Concat": layer("cat", "Concat"),
    "stochastically": layer("p", "Pooling", nested(121, number(1, 2))),
    "whole image": layer("p", "Pooling", nested(121, number(12, 1))),
    "negative numbers": layer("r", "ReLU", nested(123, real(1, 0.1))),
    "dilated": layer("c", "Convolution", nested(106, number(18, 2)), nested(7, blob(floats(4, 3, 5, 5)))),
    "in height and width": layer(
        "c", "Convolution", nested(106, number(13, 2), number(14, 1)), nested(7, blob(floats(4, 3, 5, 5)))
    ),
    "square": layer("c", "Convolution", nested(7, blob(floats(4, 3, 5, 3)))),
    "other LRN constants": layer("n", "LRN") + layer("n", "LRN", nested(118, number(1, 3))),
    "upgrade_net_proto_binary": nested(2, nested(1, nested(1, "conv1"))),
    "mixes": layer("r", "ReLU") + layer_v1("r", 18),
}


@pytest.mark.parametrize("words", FOREIGN)
def test_networks_that_are_no_plain_chain_are_named(words):
    with pytest.raises(DataError, match=words):
        read(FOREIGN[words])


LOST = {
    "no numbers": layer("fc", "InnerProduct", nested(7, nested(7, nested(1, varint(4), varint(2))))),
    "too few": layer("fc", "InnerProduct", nested(7, nested(7, nested(1, varint(4))) + nested(5, bytes(12)))),
    "huge shape": layer("fc", "InnerProduct", nested(7, nested(7, nested(1, *[varint(1 << 30)] * 4)) + real(5, 1))),
    "negative": layer("fc", "InnerProduct", nested(7, number(1, (1 << 64) - 1) + real(5, 1))),
    "many dimensions": layer("fc", "InnerProduct", nested(7, nested(7, nested(1, *[varint(1)] * 99)) + real(5, 1))),
    "no blobs": layer("c", "Convolution"),
    "three blobs": layer("c", "Convolution", *[nested(7, blob(floats(4, 3, 5, 5)))] * 3),
    "biases": layer("fc", "InnerProduct", nested(7, blob(floats(4, 2))), nested(7, blob(floats(3)))),
    "length beyond the end": b"\xa2\x06\x7f\x00",
    "length of a layer beyond it": nested(100, b"\x0a\x7fx"),
    "group": nested(100, b"\x0b\x0c"),
    "field 0": nested(100, b"\x00\x00"),
    "endless number": nested(100, b"\xff" * 40),
    "name that is a number": nested(100, number(1, 5)),
    "number that is a text": nested(100, nested(1, "c"), nested(2, "LRN"), nested(118, nested(2, "x"))),
    "layers without end": layer("", "ReLU") * 2001,
    "fields without end": nested(100, nested(2, "ReLU") * 100),
}


@pytest.mark.parametrize("what", LOST)
def test_damage_is_refused(what):
    with pytest.raises(UntrustedFileError, match="damaged"):
        read(LOST[what])


@pytest.mark.parametrize("write", [new_file, old_file])
@pytest.mark.parametrize("packed", [True, False])
def test_whatever_bytes_become_only_our_errors_come(write, packed):
    whole = write(packed=packed)
    chance = random.Random(1)
    accepted = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(200) if chance.random() < 0.5 else chance.randrange(len(content))
            content[at] = chance.randrange(256)
        if chance.random() < 0.3:
            del content[chance.randrange(len(content)) :]
        try:
            read(bytes(content))
            accepted += 1
        except AlexNetError:
            pass
    assert 0 < accepted < 150


def test_a_million_single_numbers_are_read_in_one_go_and_alternating_ones_too():
    values = floats(1000, 1000)
    single = np.zeros(values.size, [("tag", "u1"), ("value", "<f4")])
    single["tag"], single["value"] = 5 << 3 | 5, values.ravel()
    message = nested(7, nested(1, varint(1000), varint(1000))) + single.tobytes()
    np.testing.assert_array_equal(read(layer("fc", "InnerProduct", nested(7, message))).layers[0][1], values)
    alternating = nested(7, nested(1, varint(2), varint(1000))) + (real(5, 7) + number(20, 1)) * 2000
    assert (read(layer("fc", "InnerProduct", nested(7, alternating))).layers[0][1] == 7).all()


# --- a file that Caffe has written ---------------------------------------------------------------------------------


@pytest.mark.skipif(not (SHARED / "mnist-test-1000.tar").exists(), reason="no shared/data beside the project")
def test_caffes_lenet_reads_real_digits():
    found = read_stored(SHARED / "lenet_iter_10000.caffemodel")
    shapes = {layer.name: layer.weight.shape for layer in found.layers}
    assert shapes == {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "ip1": (500, 800), "ip2": (10, 500)}
    assert found.chain == ("conv", "maxpool", "conv", "maxpool", "fc", "relu", "fc", "softmax")
    assert found.facts["scale"] == 1 / 256
    images, labels = [], []
    with tarfile.open(SHARED / "mnist-test-1000.tar") as archive:
        for member in archive.getmembers():
            if member.name.endswith(".png"):
                with Image.open(io.BytesIO(archive.extractfile(member).read())) as image:
                    images.append(np.array(image.convert("L")))
                labels.append(int(Path(member.name).parent.name))
    assert len(labels) == 1000
    w = [(torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)) for layer in found.layers]
    x = torch.from_numpy(np.stack(images)).float()[:, None] * found.facts["scale"]
    x = F.max_pool2d(F.conv2d(x, *w[0]), 2)
    x = F.max_pool2d(F.conv2d(x, *w[1]), 2)
    x = F.linear(F.relu(F.linear(x.flatten(1), *w[2])), *w[3])
    assert (x.argmax(1) == torch.tensor(labels)).float().mean() >= 0.985
