"""Files that could be built into a network with other answers: refused, listed as assumed, or read as they are meant.

The judges are plain functions of PyTorch that do what the file says.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from alexnet.errors import DataError, UntrustedFileError
from alexnet.evaluation.assumptions import _alternatives
from alexnet.models.build import build_model
from alexnet.recipes.config import AlexNetConfig
from alexnet.weights.identify import identify, understand
from alexnet.weights.onnx import read_onnx
from alexnet.weights.settings import Settings
from harness.caffe_files import blob, layer, nested, number, real

RNG = np.random.default_rng(0)
SHAPES = {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5), "fc1": (120, 400), "fc2": (84, 120), "fc3": (10, 84)}
PLACE = "place of the batch normalization"


def weights(channels: int = 1, outputs: int = 10) -> dict[str, list[torch.Tensor]]:
    """Weights and biases of a LeNet that keep the signal alive."""
    shapes = SHAPES | {"conv1": (6, channels, 5, 5), "fc3": (outputs, 84)}
    made = {name: (RNG.normal(0, np.sqrt(2 / np.prod(s[1:])), s), RNG.normal(size=s[0])) for name, s in shapes.items()}
    return {name: [torch.from_numpy(a.astype("f4")) for a in arrays] for name, arrays in made.items()}


@torch.no_grad()
def forward(w: dict[str, list[torch.Tensor]], x: torch.Tensor, pads: tuple[int, ...] = (0, 0, 0, 0)) -> torch.Tensor:
    """A LeNet with ReLU and maxima, whose first pooling is padded: top, left, bottom, right."""
    top, left, bottom, right = pads
    x = F.pad(F.conv2d(x, *w["conv1"], padding=2).relu(), (left, right, top, bottom), value=-torch.inf)
    x = F.max_pool2d(F.conv2d(F.max_pool2d(x, 2), *w["conv2"]).relu(), 2).flatten(1)
    return F.linear(F.linear(F.linear(x, *w["fc1"]).relu(), *w["fc2"]).relu(), *w["fc3"])


def pixels(channels: int = 3) -> torch.Tensor:
    color = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 3, 28, 28), np.uint8))
    return color if channels == 3 else color[:, :1].expand(-1, 3, -1, -1).contiguous()


def save(w: dict[str, list[torch.Tensor]], path) -> None:
    torch.save(
        {f"{name}.{end}": v for name, of in w.items() for end, v in zip(("weight", "bias"), of, strict=True)}, path
    )


# Padded pooling ------------------------------------------------------------------------------------------------------


def onnx_lenet(w: dict[str, list[torch.Tensor]], pads: tuple[int, ...], pool: str = "MaxPool", **more: int) -> bytes:
    onnx = pytest.importorskip("onnx", reason="onnx comes with pip install 'alexnet[formats]'")
    nodes, last = [], "x"
    window = {"kernel_shape": [2, 2], "strides": [2, 2]}
    for kind, name, options in [
        *(("Conv", "conv1", {"pads": [2] * 4}), ("Relu", "", {}), (pool, "", {**window, "pads": pads, **more})),
        *(("Conv", "conv2", {}), ("Relu", "", {}), (pool, "", window), ("Flatten", "", {})),
        *(("Gemm", "fc1", {"transB": 1}), ("Relu", "", {}), ("Gemm", "fc2", {"transB": 1}), ("Relu", "", {})),
        ("Gemm", "fc3", {"transB": 1}),
    ]:
        inputs = [f"{name}.weight", f"{name}.bias"] if name else []
        nodes.append(onnx.helper.make_node(kind, [last, *inputs], [str(len(nodes))], **options))
        last = nodes[-1].output[0]
    ends = [onnx.helper.make_tensor_value_info(n, 1, s) for n, s in (("x", (1, 1, 28, 28)), (last, (1, 10)))]
    kept = [
        onnx.numpy_helper.from_array(array.numpy(), f"{name}.{end}")
        for name, arrays in w.items()
        for end, array in zip(("weight", "bias"), arrays, strict=True)
    ]
    made = onnx.helper.make_model(onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], kept))
    return made.SerializeToString()


@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (1, 1, 0, 0), (1, 0, 0, 0), (0, 0, 2, 2), (0, 0, 0, 2)], ids=str)
def test_a_pooling_whose_padding_changes_the_windows_is_refused(tmp_path, pads):
    w, path = weights(), tmp_path / "x.onnx"
    path.write_bytes(onnx_lenet(w, pads))
    with pytest.raises(DataError, match=r"pooling 1 has padding in the file \(top") as refused:
        identify(path)
    assert refused.value.code == "E347"
    if pads[0] == pads[1] == 1:  # a window outside alone is cut off by the second pooling
        x = pixels(1)[:, :1].float() / 255
        assert not torch.allclose(forward(w, x, pads), forward(w, x), rtol=0.01)


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (0, 0, 1, 1)], ids=str)
def test_a_pooling_whose_padding_adds_no_window_answers_as_the_file(tmp_path, pads):
    w, path = weights(), tmp_path / "x.onnx"
    path.write_bytes(onnx_lenet(w, pads))
    found = identify(path, Settings(mean=0.0, scale=1 / 255)).network
    with torch.no_grad():
        torch.testing.assert_close(found(pixels(1)), forward(w, pixels(1)[:, :1].float() / 255, pads))


def test_a_mean_that_counts_added_zeros_is_refused():
    assert read_onnx(onnx_lenet(weights(), (0, 0, 1, 1), "AveragePool"), "x").facts["pools"] == ((2, 2), (2, 2))
    with pytest.raises(DataError, match="pools over zeros that were added"):
        read_onnx(onnx_lenet(weights(), (0, 0, 1, 1), "AveragePool", count_include_pad=1), "x")


# Caffe ---------------------------------------------------------------------------------------------------------------


def caffe_lenet(w: dict[str, list[torch.Tensor]], mean: tuple[float, ...] = (), pad: int = 0) -> bytes:
    def weighted(name: str, kind: str, *part: bytes) -> bytes:
        return layer(name, kind, *part, *(nested(7, blob(a.numpy())) for a in w[name]))

    def pool(pad: int) -> bytes:
        return layer("pool", "Pooling", nested(121, number(2, 2), number(3, 2), number(4, pad)))

    sizes = (1, w["conv1"][0].shape[1], 28, 28)
    content = nested(8, nested(1, *(number(1, size)[1:] for size in sizes)))
    content += layer("data", "Data", nested(100, real(1, 1 / 255), *(real(5, value) for value in mean)))
    content += weighted("conv1", "Convolution", nested(106, number(3, 2), number(4, 5)))
    content += layer("relu", "ReLU") + pool(pad) + weighted("conv2", "Convolution", nested(106, number(4, 5)))
    content += layer("relu", "ReLU") + pool(0)
    for name in ("fc1", "fc2", "fc3"):
        content += weighted(name, "InnerProduct") + (layer("relu", "ReLU") if name != "fc3" else b"")
    return content


def test_a_padded_pooling_of_caffe_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(caffe_lenet(weights(), pad=1))
    with pytest.raises(DataError, match=r"pooling 1 has padding in the file \(top 1, left 1, bottom 1, right 1\)"):
        identify(tmp_path / "x")


def test_one_mean_of_a_gray_network_is_that_of_its_images(tmp_path):
    w = weights()
    (tmp_path / "x").write_bytes(caffe_lenet(w, (33.0,)))
    with torch.no_grad():
        ours = identify(tmp_path / "x").network(pixels(1))
    torch.testing.assert_close(ours, forward(w, (pixels(1)[:, :1].float() - 33) / 255))


@pytest.mark.parametrize("mean", [(1.0, 2.0), (1.0, 2.0, 3.0, 4.0)], ids=len)
def test_a_mean_of_other_counts_is_damage(tmp_path, mean):
    (tmp_path / "x").write_bytes(caffe_lenet(weights(), mean))
    with pytest.raises(UntrustedFileError, match=f"is damaged: its mean has {len(mean)} values") as refused:
        identify(tmp_path / "x")
    assert refused.value.code == "E610"


MEAN = (104.0, 117.0, 123.0)  # of the channels of conv1, in their order


@pytest.mark.parametrize("channels", [None, "bgr", "rgb"])
def test_the_mean_of_a_file_goes_with_the_channels_of_conv1(tmp_path, channels):
    w = weights(3)
    (tmp_path / "x").write_bytes(caffe_lenet(w, MEAN))
    x = pixels().float().flip(1) if channels != "rgb" else pixels().float()
    with torch.no_grad():
        ours = identify(tmp_path / "x", Settings(channels=channels)).network(pixels())
    torch.testing.assert_close(ours, forward(w, (x - torch.tensor(MEAN).view(3, 1, 1)) / 255), rtol=1e-4, atol=1e-4)


def test_a_mean_that_was_said_or_assumed_stays_red_first(tmp_path):
    (tmp_path / "x").write_bytes(caffe_lenet(weights(3), MEAN))
    said = identify(tmp_path / "x", Settings(channels="rgb", mean=(123, 117, 104), scale="1/255"))
    assert said.network.input_mean.flatten().tolist() == [123, 117, 104]
    by_order = {draft.bgr: tuple(draft.mean) for draft in _alternatives(understand(tmp_path / "x", Settings()))}
    assert by_order == {True: MEAN[::-1], False: MEAN}
    shapes = {"conv1": (8, 3, 11, 11), "conv2": (12, 4, 5, 5), "conv3": (12, 12, 3, 3), "conv4": (12, 6, 3, 3)}
    shapes |= {"conv5": (8, 6, 3, 3), "fc6": (16, 288), "fc7": (16, 16), "fc8": (5, 16)}
    torch.save({f"{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "y.pth")
    assumed = [understand(tmp_path / "y.pth", Settings(channels=order)) for order in ("rgb", "bgr")]
    assert [draft.bgr for draft in assumed] == [False, True]
    assert assumed[0].mean == assumed[1].mean


# Shapes --------------------------------------------------------------------------------------------------------------


def test_one_output_is_refused_and_its_two_outputs_are_the_sigmoid(tmp_path):
    w = weights(outputs=1)
    save(w, tmp_path / "one.pth")
    with pytest.raises(DataError, match=r"has one output, fc3, as for a sigmoid") as refused:
        identify(tmp_path / "one.pth")
    assert refused.value.code == "E347"
    assert "a row of zeros before its weights, and a 0 before its bias" in refused.value.fix
    save(w | {"fc3": [torch.cat([torch.zeros_like(v), v]) for v in w["fc3"]]}, tmp_path / "two.pth")
    found = identify(tmp_path / "two.pth", Settings(activation="relu", pooling="max", mean=0.0, scale="1/255"))
    with torch.no_grad():
        second = found.network(pixels(1)).softmax(1)[:, 1]
    torch.testing.assert_close(second, forward(w, pixels(1)[:, :1].float() / 255).sigmoid()[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape"), [("conv1", (0, 1, 5, 5)), ("conv2", (16, 0, 5, 5)), ("fc1", (120, 0)), ("fc3", (0, 84))]
)
def test_a_layer_without_weights_is_damage(tmp_path, name, shape):
    arrays = {f"{each}.weight": np.zeros(size, np.float32) for each, size in (SHAPES | {name: shape}).items()}
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UntrustedFileError, match=f"is damaged: {name} is .*, without any weight") as refused:
        identify(tmp_path / "x.npz")
    assert refused.value.code == "E610"


# Batch normalization -------------------------------------------------------------------------------------------------


def test_batch_normalization_that_the_file_has_not_is_refused(tmp_path):
    shapes = [
        (8, 3, 11, 11),
        (12, 8, 5, 5),
        (12, 12, 3, 3),
        (12, 12, 3, 3),
        (8, 12, 3, 3),
        (16, 288),
        (16, 16),
        (5, 16),
    ]
    state = {f"{n}.weight": torch.zeros(shape) for n, shape in enumerate(shapes)}
    torch.save(state | {f"{n}.bias": torch.ones(shape[0]) for n, shape in enumerate(shapes)}, tmp_path / "x.pth")
    assert identify(tmp_path / "x.pth", Settings(changes=("norm=none",))).recipe.model.norm == "none"
    with pytest.raises(DataError, match=r"norm=batch needs batch normalization, and 0, 1, 2, 3, 4, 5, 6 have none"):
        identify(tmp_path / "x.pth", Settings(changes=("norm=batch",)))


class Named(nn.Module):
    """A LeNet whose first batch normalization stands after pooling, which its names do not say."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.bn1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)
        self.bn1.running_mean.fill_(0.5)
        self.bn1.bias.data.fill_(1.0)

    def forward(self, x: torch.Tensor, after_pooling: bool = True) -> torch.Tensor:
        x = self.conv1(x)
        x = self.bn1(F.max_pool2d(x.relu(), 2)) if after_pooling else F.max_pool2d(self.bn1(x).relu(), 2)
        x = F.max_pool2d(self.conv2(x).relu(), 2).flatten(1)
        return self.fc3(self.fc2(self.fc1(x).relu()).relu())


RELU = Settings(activation="relu", pooling="max", mean=0.0, scale="1/255")


@torch.no_grad()
def test_the_place_of_a_normalization_that_only_a_name_tells_is_assumed(tmp_path):
    net = Named().eval()
    torch.save(net.state_dict(), tmp_path / "x.pth")
    found = identify(tmp_path / "x.pth", RELU)
    x = pixels(1)[:, :1].float() / 255
    torch.testing.assert_close(found.network(pixels(1)), net(x, after_pooling=False), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found.network(pixels(1)), net(x), atol=0.01)
    assert found.record()["assumed"][PLACE] == "directly after the layers, by their names"
    assert found.notes == (
        "batch normalization was multiplied into the weights, as if it stood directly after each layer",
    )


def test_the_place_of_a_normalization_of_this_package_is_known(tmp_path):
    config = AlexNetConfig(num_classes=5, channels=(8, 12, 12, 12, 8), fc_features=(16, 16), norm="batch")
    torch.save(build_model(config).state_dict(), tmp_path / "x.pth")
    found = identify(tmp_path / "x.pth")
    assert found.recipe.model.norm == "batch"
    assert PLACE not in found.record()["assumed"]


def test_the_place_of_a_normalization_in_a_numbered_chain_is_known(tmp_path):
    chain = [nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 16, 5), nn.Flatten()]
    chain += [nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)]
    torch.save(nn.Sequential(*chain).state_dict(), tmp_path / "x.pth")
    found = identify(tmp_path / "x.pth", RELU)
    assert PLACE not in found.record()["assumed"]
    assert "the same answers" in found.notes[0]
