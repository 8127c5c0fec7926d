"""What a file of weights leaves open is never used in silence: chosen by labeled images, noted on stderr, stored.

The files are LeNets of the kinds that are published: each labels images itself, as its author's own preparation of
pixels has it, so that only that preparation and that network answer all of them.
"""

import json
import struct
import tarfile
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

import alexnet as api
from alexnet.errors import AssumedSettings, DivergedError
from alexnet.weights.identify import identify
from alexnet.weights.read import read_stored
from harness import SHARED

POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
UNIT, MNIST, HALF = (0.0, 1.0), (0.1307, 0.3081), (0.5, 0.5)


def lenet(activation: str, pooling: str, padding: int) -> nn.Sequential:
    torch.manual_seed(0)
    act, pool = ACTIVATIONS[activation], POOLS[pooling]
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=padding), act(), pool(2), nn.Conv2d(6, 16, 5), act(), pool(2), nn.Flatten(),
        nn.Linear(400, 120), act(), nn.Linear(120, 84), act(), nn.Linear(84, 10),
    ).eval()  # fmt: skip


@torch.no_grad()
def labeled(folder, net: nn.Sequential, side: int, mean_std: tuple[float, float]) -> None:
    """Writes images in the folders of what the network answers, after its answers are made to differ."""
    coarse = np.random.default_rng(2).integers(0, 256, (48, side // 4, side // 4), np.uint8)
    images = np.kron(coarse, np.ones((4, 4), np.uint8))
    x = (torch.from_numpy(images)[:, None] / 255 - mean_std[0]) / mean_std[1]
    net[-1].bias -= net(x).mean(0)
    for number, (image, label) in enumerate(zip(images, net(x).argmax(1).tolist(), strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / str(label) / f"{number}.png")


KINDS = {
    "tanh and means, 32 pixels in 0..1": ("tanh", "average", 32, 0, UNIT),
    "ReLU and maxima, 28 pixels, MNIST's mean": ("relu", "max", 28, 2, MNIST),
    "sigmoid and maxima, 28 pixels in -1..1": ("sigmoid", "max", 28, 2, HALF),
    "ReLU and means, 32 pixels, MNIST's mean": ("relu", "average", 32, 0, MNIST),
}


@pytest.mark.parametrize("name", KINDS)
def test_labeled_images_choose_the_network_and_its_pixels(tmp_path, name):
    activation, pooling, side, padding, (mean, std) = KINDS[name]
    net = lenet(activation, pooling, padding)
    labeled(tmp_path / "images", net, side, (mean, std))
    torch.save(net.state_dict(), tmp_path / "x.pth")
    found = api.identify(tmp_path / "x.pth", check=tmp_path / "images")
    config = found.recipe.model
    assert found.check["accuracy"] == 1
    assert (config.activation, config.pooling, config.conv_activation) == (activation, pooling, True)
    assert (config.crop_size, config.conv1_padding) == (side, padding)
    assert float(found.network.input_mean.mean()) == pytest.approx(255 * mean, rel=1e-5)
    assert float(found.network.input_scale.mean()) == pytest.approx(1 / (255 * std), rel=1e-5)


@pytest.fixture
def file(tmp_path):
    torch.save(lenet("tanh", "max", 2).state_dict(), tmp_path / "x.pth")
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "zero.png")
    return tmp_path / "x.pth"


NOTE = "x.pth does not say everything, and this was assumed: activation: sigmoid; "


def test_the_command_line_notes_it_once_beside_the_answer(file, alexnet):
    outcome = alexnet("predict", file, file.parent / "zero.png", "--format", "json")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count(NOTE) == 1
    assert "note: " in outcome.err
    assert "--check IMAGES" in outcome.err
    json.loads(outcome.out.splitlines()[0])


def test_python_warns_of_it(file):
    with pytest.warns(AssumedSettings, match=NOTE) as warned:
        api.load(file)
    assert len(warned) == 1
    assert warned[0].filename == __file__


def test_a_file_that_says_all_and_a_run_that_was_imported_are_silent(file, trained):
    api.import_weights(file, file.parent / "run", activation="tanh")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        api.load(file.parent / "run")
        api.load(next((trained / "run/checkpoints").glob("*/model.safetensors")))


@pytest.mark.parametrize("recipe", [None, "lenet"])
def test_training_notes_it_and_the_run_remembers(file, photos, tmp_path, recipe):
    with pytest.warns(AssumedSettings, match=NOTE) as warned:
        plan = api.plan(photos, weights=file, recipe=recipe, device="cpu", out=tmp_path / "fine")
    assert len(warned) == 1
    run = plan.start()
    assert json.loads((run.folder / "data.json").read_text())["weights_assumed"]["activation"] == "sigmoid"


@pytest.mark.skipif(not (SHARED / "mnist-test-1000.tar").exists(), reason="no shared/data beside the project")
def test_caffes_own_lenet_is_right_in_99_of_100(tmp_path, alexnet):
    with tarfile.open(SHARED / "mnist-test-1000.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    outcome = alexnet("import", SHARED / "lenet_iter_10000.caffemodel", tmp_path / "run", "--check", tmp_path / "test")
    assert outcome.code == 0, outcome.err
    check = json.loads((tmp_path / "run/data.json").read_text())["imported"]["check"]
    assert check["images"] == 1000
    assert check["accuracy"] >= 0.985


# Weights that are not finite -----------------------------------------------------------------------------------------

WRONG = {"nan": float("nan"), "infinite": float("inf"), "minus infinite": -float("inf"), "too large for 32 bits": 1e300}
FINE = {"large": 1e30, "denormal": 1e-40, "zero": 0.0, "negative": -3.0}


@pytest.mark.parametrize("name", [*WRONG, *FINE])
@pytest.mark.parametrize("layer", ["0.weight", "11.bias"])
def test_weights_that_are_not_finite_are_refused_and_others_are_not(tmp_path, name, layer):
    state = {key: value.double() for key, value in lenet("relu", "max", 2).state_dict().items()}
    state[layer].view(-1)[0] = (WRONG | FINE)[name]
    np.savez(tmp_path / "x.npz", **{key: value.numpy() for key, value in state.items()})
    if name in FINE:
        assert identify(tmp_path / "x.npz").variant == "lenet"
        return
    words = r"not finite: 1 of [0-9,]+ numbers of (conv1\.weight|fc5\.bias)"
    with np.errstate(over="ignore"), pytest.raises(DivergedError, match=words) as refused:
        identify(tmp_path / "x.npz")
    assert refused.value.code == "E430"


def as_onnx(state: dict[str, torch.Tensor], path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    pool, nodes, last = {"kernel_shape": [2, 2], "strides": [2, 2]}, [], "x"
    for kind, layer, options in [
        *(("Conv", 0, {"pads": [2] * 4}), ("Relu", None, {}), ("MaxPool", None, pool)),
        *(("Conv", 3, {}), ("Relu", None, {}), ("MaxPool", None, pool), ("Flatten", None, {})),
        *(("Gemm", 7, {"transB": 1}), ("Relu", None, {}), ("Gemm", 9, {"transB": 1}), ("Relu", None, {})),
        ("Gemm", 11, {"transB": 1}),
    ]:
        weights = [] if layer is None else [f"{layer}.weight", f"{layer}.bias"]
        nodes.append(helper.make_node(kind, [last, *weights], [str(len(nodes))], **options))
        last = str(len(nodes) - 1)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 1, 28, 28)), (last, (1, 10)))
    ]
    stored = [numpy_helper.from_array(value.numpy(), name) for name, value in state.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "net", ends[:1], ends[1:], stored)), path)


WRITERS = {
    "x.pth": torch.save,
    "x.safetensors": lambda state, path: safetensors.torch.save_file(state, path),
    "x.npz": lambda state, path: np.savez(path, **{name: value.numpy() for name, value in state.items()}),
    "x.onnx": as_onnx,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_looked_at_for_numbers_that_are_not_finite(tmp_path, name):
    state = lenet("relu", "max", 2).state_dict()
    WRITERS[name](state, tmp_path / name)
    assert identify(tmp_path / name).variant == "lenet"
    state["3.weight"].view(-1)[7] = float("nan")
    WRITERS[name](state, tmp_path / name)
    with pytest.raises(DivergedError, match=r"not finite: 1 of [0-9,]+ numbers of conv2\.weight"):
        identify(tmp_path / name)


@pytest.mark.skipif(not (SHARED / "lenet_iter_10000.caffemodel").exists(), reason="no shared/data beside the project")
def test_caffes_own_file_is_looked_at_too(tmp_path):
    content = (SHARED / "lenet_iter_10000.caffemodel").read_bytes()
    weight = read_stored(SHARED / "lenet_iter_10000.caffemodel").layers[1].weight.astype("<f4").tobytes()
    assert content.count(weight) == 1
    (tmp_path / "x.caffemodel").write_bytes(
        content.replace(weight, weight[:400] + struct.pack("<f", np.nan) + weight[404:])
    )
    with pytest.raises(DivergedError, match=r"not finite: 1 of [0-9,]+ numbers of conv2\.weight"):
        identify(tmp_path / "x.caffemodel")
