"""What a file of weights does not say: assumed, settable, chosen by accuracy; the original modules are the judge."""

import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import alexnet
from alexnet.errors import UntrustedFileError, UsageError
from alexnet.weights.pairing import paired
from alexnet.weights.pickles import load_tensors
from alexnet.weights.read import read_stored
from alexnet.weights.settings import Settings

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
POOLINGS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


def lenet(activation: str, pooling: str, channels: int = 1, padding: int = 2, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    act, pool = ACTIVATIONS[activation], POOLINGS[pooling]
    first = [nn.Conv2d(channels, 6, 5, padding=padding), *([nn.BatchNorm2d(6)] if norm else []), act(), pool(2)]
    rest = [nn.Conv2d(6, 16, 5), act(), pool(2), nn.Flatten(), nn.Linear(400, 120), act(), nn.Linear(120, 84), act()]
    return nn.Sequential(*first, *rest, nn.Linear(84, 10)).eval()


def alex(*, norm: bool = False, lrn: float | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    sizes, layers = [(3, 8, 11, 4, 2), (8, 12, 5, 1, 2), (12, 12, 3, 1, 1), (12, 12, 3, 1, 1), (12, 8, 3, 1, 1)], []
    for number, (inputs, outputs, kernel, stride, padding) in enumerate(sizes, 1):
        layers += [nn.Conv2d(inputs, outputs, kernel, stride, padding)]
        layers += [nn.BatchNorm2d(outputs)] if norm else []
        layers += [nn.ReLU()]
        layers += [nn.LocalResponseNorm(5, 1e-4, 0.75, lrn)] if lrn and number < 3 else []
        layers += [nn.MaxPool2d(3, 2)] if number in (1, 2, 5) else []
    layers += [nn.Flatten()]
    for inputs in (288, 16):
        layers += [nn.Linear(inputs, 16), *([nn.BatchNorm1d(16)] if norm else []), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(16, 5))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 2)
            module.bias.data.normal_()
            module.running_mean.normal_()
    return net.eval()


def pixels(size: int, count: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, size, size), np.uint8))


@torch.no_grad()
def is_same(network: nn.Module, original: nn.Module, images: torch.Tensor, inputs: torch.Tensor) -> bool:
    return bool(torch.allclose(network(images), original(inputs), rtol=1e-4, atol=1e-4))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_lenet_answers_as_the_original_once_it_is_said(tmp_path, activation, pooling):
    original = lenet(activation, pooling)
    torch.save(original.state_dict(), tmp_path / "x.pth")
    assert {"activation", "pooling", "mean", "scale"} <= {e.topic for e in alexnet.identify(tmp_path / "x.pth").assumed}
    found = alexnet.identify(tmp_path / "x.pth", activation=activation, pooling=pooling, mean=0.1307, std=0.3081)
    assert not {"activation", "pooling", "mean", "scale"} & {each.topic for each in found.assumed}
    gray = pixels(28).float().mean(1, keepdim=True)
    assert is_same(found.network, original, pixels(28), (gray / 255 - 0.1307) / 0.3081)


PIXELS = {
    "tutorial": ({"mean": 0.5, "std": 0.5}, lambda x: (x / 255 - 0.5) / 0.5),
    "gray levels": ({"mean": 127.5, "std": 127.5}, lambda x: x / 127.5 - 1),
    "three as text": (
        {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"},
        lambda x: (
            (x / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
            / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        ),
    ),
    "caffe": ({"mean": (123, 117, 104), "scale": 1}, lambda x: x - torch.tensor([123.0, 117, 104]).view(3, 1, 1)),
    "fraction": ({"mean": 0, "scale": "1/256"}, lambda x: x / 256),
    "only divided": ({"mean": 0, "std": 1}, lambda x: x / 255),
    "blue first": ({"mean": 0, "std": 1, "channels": "bgr"}, lambda x: x.flip(1) / 255),
}


@pytest.mark.parametrize("name", PIXELS)
def test_mean_scale_and_colors_are_those_that_were_said(tmp_path, name):
    said, prepare = PIXELS[name]
    original = alex()
    torch.save(original.state_dict(), tmp_path / "x.pth")
    found = alexnet.identify(tmp_path / "x.pth", **said)
    assert is_same(found.network, original, pixels(224), prepare(pixels(224).float()))


@pytest.mark.parametrize("k", [1.0, 2.0])
def test_lrn_is_there_when_its_constant_is_said(tmp_path, k):
    original = alex(lrn=k)
    torch.save(original.state_dict(), tmp_path / "x.pth")
    found = alexnet.identify(tmp_path / "x.pth", lrn_k=k, mean=0, scale=1)
    assert is_same(found.network, original, pixels(224), pixels(224).float())
    assert "constants of the normalization" in {each.topic for each in found.assumed}


def test_batch_normalization_is_kept_in_an_alexnet_and_multiplied_into_a_lenet(tmp_path):
    original = alex(norm=True)
    torch.save(original.state_dict(), tmp_path / "x.pth")
    found = alexnet.identify(tmp_path / "x.pth", mean=0, std=1)
    assert found.recipe.model.norm == "batch"
    assert is_same(found.network, original, pixels(224), pixels(224) / 255)
    original = lenet("relu", "max", norm=True)
    torch.save(original.state_dict(), tmp_path / "y.pth")
    found = alexnet.identify(tmp_path / "y.pth", activation="relu", pooling="max")
    assert is_same(found.network, original, pixels(28), pixels(28).float().mean(1, keepdim=True) / 255)


def test_the_color_net_of_pytorchs_tutorial_needs_no_word(tmp_path):
    original = lenet("relu", "max", channels=3, padding=0)
    names = dict(zip(("0", "3", "7", "9", "11"), ("conv1", "conv2", "fc1", "fc2", "fc3"), strict=True))
    state = {f"{names[k.partition('.')[0]]}.{k.partition('.')[2]}": v for k, v in original.state_dict().items()}
    torch.save(state, tmp_path / "cifar_net.pth")
    found = alexnet.identify(tmp_path / "cifar_net.pth")
    assert is_same(found.network, original, pixels(32), (pixels(32) / 255 - 0.5) / 0.5)


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "_orig_mod.module.", "model.", "net.", "module.model."]
)
@pytest.mark.parametrize("key", ["", "state_dict", "model_state_dict", "net", "weights", "my_best"])
def test_names_and_nesting_of_training_scripts_change_nothing(tmp_path, prefix, key):
    state = {prefix + name: value for name, value in lenet("sigmoid", "average").state_dict().items()}
    torch.save({"epoch": 3, "optimizer": {"state": {}}, key: state} if key else state, tmp_path / "x.pth")
    layers, _ = paired(tmp_path / "x.pth", {k: v.numpy() for k, v in load_tensors(tmp_path / "x.pth").items()}, True)
    shapes = [layer.weight.shape for layer in layers]
    assert shapes == [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_programs_of_pytorch_are_called_so_and_what_only_looks_like_one_is_read(tmp_path):
    net = lenet("relu", "max")
    torch.jit.trace(net, torch.zeros(1, 1, 28, 28)).save(tmp_path / "traced.pt")
    torch.jit.script(net).save(tmp_path / "scripted.pt")
    torch.jit.script(net)._save_for_lite_interpreter(str(tmp_path / "lite.ptl"))
    for name in ("traced.pt", "scripted.pt", "lite.ptl"):
        with pytest.raises(UntrustedFileError, match=r"TorchScript program(?s:.*)torch\.jit\.load") as refused:
            read_stored(tmp_path / name)
        assert refused.value.code == "E614"
    torch.save(net.state_dict(), tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as old,
        zipfile.ZipFile(tmp_path / "packed", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for member in old.namelist():
            new.writestr(member, old.read(member))
    assert len(read_stored(tmp_path / "packed").layers) == 5  # a zip program has compressed it: no bomb
    np.savez(tmp_path / "x.npz", **{"net/code/conv.weight": np.zeros((6, 1, 5, 5), np.float32)})
    assert len(read_stored(tmp_path / "x.npz").layers) == 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"lrn_k": 2}, "E207"), ({"pooling": "overlapping"}, "E207"), ({"channels": "bgr"}, "E207"),
        ({"std": 0}, "E208"), ({"mean": "a"}, "E208"), ({"mean": (1, 2)}, "E208"), ({"scale": "1/0"}, "E208"),
        ({"mean": float("nan")}, "E208"), ({"mean": 127.5, "std": 0.5}, "E208"), ({"mean": 0.5, "std": 127.5}, "E208"),
        ({"std": 1, "scale": 1}, "E234"), ({"activation": "gelu"}, "E214"), ({"nonsense": 1}, "E211"),
        ({"num_classes": 7}, "E206"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_of_a_file_is_refused(tmp_path, said, code):
    torch.save(lenet("relu", "max").state_dict(), tmp_path / "x.pth")
    with pytest.raises(UsageError) as refused:
        alexnet.identify(tmp_path / "x.pth", **said)
    assert refused.value.code == code


def test_nothing_said_is_nothing():
    assert not Settings()
    assert Settings(mean=0.0)


def test_a_run_folder_keeps_what_was_assumed_and_what_was_said(tmp_path, alexnet):
    torch.save(lenet("relu", "max").state_dict(), tmp_path / "x.pth")
    outcome = alexnet("import", tmp_path / "x.pth", tmp_path / "run", "--activation", "relu", "--mean", "0.5")
    assert outcome.code == 0, outcome.err
    assert "assumed: pooling: average" in outcome.out
    assert "--check IMAGES" in outcome.out
    imported = json.loads((tmp_path / "run/data.json").read_text())["imported"]
    assert imported["given"] == {"activation": "relu", "mean": "127.5 of 0..255 is subtracted"}
    assert imported["assumed"]["pooling"] == "average"


def test_labeled_images_choose_what_the_file_does_not_say(tmp_path):
    """The labels are the answers of the original, so all other combinations must be wrong more often."""
    original = lenet("tanh", "max")
    images = np.random.default_rng(1).integers(0, 256, (60, 28, 28), np.uint8)
    images[:] = np.kron(np.random.default_rng(2).integers(0, 256, (60, 7, 7), np.uint8), np.ones((4, 4), np.uint8))
    with torch.no_grad():
        logits = original(torch.from_numpy(images)[:, None] / 127.5 - 1)
        for layer in (original[-1],):  # so that all classes are answered
            layer.bias -= logits.mean(0)
        labels = original(torch.from_numpy(images)[:, None] / 127.5 - 1).argmax(1).tolist()
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "images" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / str(label) / f"{number}.png")
    torch.save(original.state_dict(), tmp_path / "x.pth")
    found = alexnet.identify(tmp_path / "x.pth", check=tmp_path / "images")
    assert found.check["accuracy"] == 1
    assert found.check["assumed_accuracy"] < 0.9
    assert (found.given["activation"], found.given["pooling"]) == ("tanh", "max")
