"""Files of weights from elsewhere: which network they hold, and that it answers as it did where it came from.

Oracles: torchvision's own network, onnxruntime, a Caffe network written a second time with plain functions, and a LeNet
that Caffe trained, with the digits that it was tested on.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torchvision.models import alexnet as torchvision_alexnet
from torchvision.transforms.v2.functional import normalize

from alexnet.errors import DataError, UntrustedFileError, UsageError
from alexnet.models.build import build_model
from alexnet.models.network import fingerprint, last_layer
from alexnet.recipes.config import AlexNetConfig, LeNetConfig
from alexnet.runs.checkpoint import load_model
from alexnet.runs.pretrained import import_weights, start_from
from alexnet.runs.run import open_run
from alexnet.weights.identify import identify
from alexnet.weights.published import read_class_names
from harness import SHARED

LENET = SHARED / "lenet_iter_10000.caffemodel"
DIGITS = SHARED / "mnist-test-1000.tar"


def random_images(count: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), np.uint8))


def caffe_weights(width: int, classes: int, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Random weights of BVLC AlexNet's shapes, a fraction as wide, that keep the signal alive."""
    rng = np.random.default_rng(seed)
    c1, c2, c3, c4, c5, f = (c // width for c in (96, 256, 384, 384, 256, 4096))
    shapes = {
        "conv1": (c1, 3, 11, 11), "conv2": (c2, c1 // 2, 5, 5), "conv3": (c3, c2, 3, 3), "conv4": (c4, c3 // 2, 3, 3),
        "conv5": (c5, c4 // 2, 3, 3), "fc6": (f, c5 * 36), "fc7": (f, f), "fc8": (classes, f),
    }  # fmt: skip
    return {
        name: [rng.normal(0, np.sqrt(2 / np.prod(s[1:])), s).astype(np.float32), rng.normal(0, 1, s[0]).astype("f4")]
        for name, s in shapes.items()
    }


def caffe_forward(weights: dict[str, list[np.ndarray]], x: torch.Tensor) -> torch.Tensor:
    """BVLC AlexNet on blue-green-red pixels without their mean, as its prototxt says."""
    w = {name: [torch.from_numpy(a) for a in arrays] for name, arrays in weights.items()}

    def lrn(a):
        squares = F.pad(a * a, (0, 0, 0, 0, 2, 2))
        return a / (1 + 1e-4 / 5 * sum(squares[:, i : i + a.shape[1]] for i in range(5))) ** 0.75

    x = F.max_pool2d(lrn(F.conv2d(x, *w["conv1"], stride=4).relu()), 3, 2)
    x = F.max_pool2d(lrn(F.conv2d(x, *w["conv2"], padding=2, groups=2).relu()), 3, 2)
    x = F.conv2d(x, *w["conv3"], padding=1).relu()
    x = F.conv2d(x, *w["conv4"], padding=1, groups=2).relu()
    x = F.max_pool2d(F.conv2d(x, *w["conv5"], padding=1, groups=2).relu(), 3, 2).flatten(1)
    x = F.linear(F.linear(x, *w["fc6"]).relu(), *w["fc7"]).relu()
    return F.linear(x, *w["fc8"])


# PyTorch -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def owt(tmp_path_factory) -> tuple[Path, torch.nn.Module]:
    """torchvision's network for 6 classes with random weights, saved as torchvision saves it."""
    torch.manual_seed(1)
    theirs = torchvision_alexnet(num_classes=6).eval()
    path = tmp_path_factory.mktemp("owt") / "alexnet.pth"
    torch.save(theirs.state_dict(), path)
    return path, theirs


@torch.no_grad()
def test_torchvisions_network_gives_the_same_logits_from_raw_pixels(owt):
    path, theirs = owt
    found = identify(path)
    assert found.variant == "alexnet-owt"
    assert found.recipe.model.num_classes == 6
    images = random_images(2, 224)
    expected = theirs(normalize(images.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    torch.testing.assert_close(found.network(images), expected, rtol=1e-5, atol=1e-5)


def test_a_network_that_nearly_fits_is_refused_with_the_layers_that_differ(tmp_path):
    state = torchvision_alexnet(num_classes=6).state_dict()
    state["features.3.weight"] = torch.zeros(192, 64, 7, 7)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"nearest to alexnet-owt, but features\.3 is 192 x 64 x 7 x 7 where conv2 is"):
        identify(tmp_path / "other.pth")


def test_another_network_is_refused_with_what_it_has(tmp_path):
    torch.save({"a.weight": torch.zeros(3, 3, 3, 3), "b.weight": torch.zeros(2, 3)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match="1 convolutional and 1 fully connected") as caught:
        identify(tmp_path / "other.pth")
    assert "a 3 x 3 x 3 x 3" in caught.value.fix


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_of_the_book_answers_as_the_chain_of_the_book(tmp_path, channels):
    nn = torch.nn
    torch.manual_seed(0)
    book = nn.Sequential(
        nn.Conv2d(channels, 96, 11, 4, 1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(96, 256, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(3, 2), nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(6400, 64), nn.ReLU(),
        nn.Dropout(), nn.Linear(64, 48), nn.ReLU(), nn.Dropout(), nn.Linear(48, 10),
    ).eval()  # fmt: skip
    torch.save(book.state_dict(), tmp_path / "book.pth")
    found = identify(tmp_path / "book.pth")
    assert found.variant == "alexnet-d2l"
    images = random_images(2, 224)
    x = images.float() / 255
    torch.testing.assert_close(
        found.network(images), book(x if channels == 3 else x.mean(1, keepdim=True)), rtol=1e-4, atol=1e-5
    )


# Caffe's networks in three kinds of files ----------------------------------------------------------------------------


@torch.no_grad()
def test_a_dictionary_of_numpy_answers_as_caffe_on_blue_green_red_pixels(tmp_path):
    weights = caffe_weights(16, 1000)
    stored = {}
    for name, (w, b) in weights.items():
        if w.ndim == 4:
            stored[name] = [w.transpose(2, 3, 1, 0), b]  # height, width, in, out
        elif name == "fc6":
            stored[name] = [w.reshape(len(w), -1, 6, 6).transpose(2, 3, 1, 0).reshape(-1, len(w)), b]
        else:
            stored[name] = [w.T, b]
    flat = {
        f"{name}/{kind}": a
        for name, pair in stored.items()
        for kind, a in zip(("weights", "biases"), pair, strict=True)
    }
    np.savez(tmp_path / "caffe.npz", **flat)
    found = identify(tmp_path / "caffe.npz")
    assert found.variant == "caffe"
    images = random_images(2, 227)
    bgr = images.flip(1).float() - torch.tensor([104.00698793, 116.66876762, 122.67891434]).view(1, 3, 1, 1)
    torch.testing.assert_close(found.network(images), caffe_forward(weights, bgr), rtol=1e-4, atol=1e-3)
    assert found.class_names[:2] == ("tench", "goldfish")


@torch.no_grad()
def test_an_onnx_network_answers_as_onnxruntime_with_the_same_random_weights(tmp_path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from onnx import numpy_helper

    light = Path(onnx.__file__).parent / "backend/test/data/light/light_bvlc_alexnet.onnx"
    model = onnx.load(light)
    weights = caffe_weights(1, 1000)
    # The graph of the model zoo, whose weights are constants in this light form: real numbers are put in their place.
    made = {node.output[0]: node for node in model.graph.node if node.op_type == "ConstantOfShape"}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    for node, arrays in zip(layers, weights.values(), strict=True):
        for name, array in zip(node.input[1:], arrays, strict=True):
            if name in made:
                for part in (model.graph.initializer, model.graph.input):
                    for old in [i for i in part if i.name == made[name].input[0]]:
                        part.remove(old)
                model.graph.node.remove(made[name])
            for old in [i for i in model.graph.initializer if i.name == name]:
                model.graph.initializer.remove(old)
            model.graph.initializer.append(numpy_helper.from_array(array, name))
    model.graph.output.append(onnx.helper.make_tensor_value_info(layers[-1].output[0], 1, [1, 1000]))
    path = tmp_path / "alexnet.onnx"
    onnx.save(model, path)
    found = identify(path)
    assert found.variant == "caffe"
    assert found.recipe.model.crop_size == 224
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = random_images(1, 224)
    mean = torch.tensor([104.00698793, 116.66876762, 122.67891434]).view(1, 3, 1, 1)
    x = (images.flip(1).float() - mean).numpy()
    (logits,) = session.run([layers[-1].output[0]], {session.get_inputs()[0].name: x})
    scale = float(np.abs(logits).max())
    torch.testing.assert_close(found.network(images) / scale, torch.from_numpy(logits) / scale, rtol=0, atol=1e-5)


def test_a_real_caffe_lenet_knows_the_digits_that_it_was_tested_on(tmp_path, alexnet):
    if not (LENET.is_file() and DIGITS.is_file()):
        pytest.skip("the trained Caffe LeNet and its digits are not beside this project")
    with tarfile.open(DIGITS) as tar:
        tar.extractall(tmp_path, filter="data")
    assert alexnet("import", LENET, tmp_path / "run").code == 0
    verified = alexnet("verify", tmp_path / "run")
    assert verified.out.strip() == f"{tmp_path / 'run'}: every file is as it was written"
    assert alexnet("verify", tmp_path / "run", "--replay").code == 2  # E256: it was not trained here
    outcome = alexnet("evaluate", tmp_path / "run", tmp_path / "test", "--format", "json")
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    assert (facts["images"], facts["split"]) == (1000, "all")
    assert facts["top1_error"] <= 0.015  # 99 % by its authors, on all 10,000
    config = open_run(tmp_path / "run").recipe.model
    assert isinstance(config, LeNetConfig)
    assert (config.channels, config.conv_activation, config.pooling) == ((20, 50), False, "max")


def test_a_hostile_pickle_is_refused_with_its_own_exit_code_and_does_not_run(tmp_path, alexnet):
    marker = tmp_path / "it-ran"
    # Protocol 2, by hand: call os.mkdir with the name of the marker.
    name = str(marker).encode()
    call = b"\x80\x02cos\nmkdir\nX" + len(name).to_bytes(4, "little") + name + b"\x85R."
    (tmp_path / "evil.pth").write_bytes(call)
    for verb in (["identify"], ["import", tmp_path / "run"]):
        outcome = alexnet(verb[0], tmp_path / "evil.pth", *verb[1:])
        assert outcome.code == 6
        assert "mkdir" in outcome.err
        assert "weights_only" not in outcome.err  # PyTorch's advice to try without it is not passed on
    assert not marker.exists()
    assert not (tmp_path / "run").exists()


# Ours ----------------------------------------------------------------------------------------------------------------


def best_file(trained):
    return trained / "run/checkpoints" / (trained / "run/BEST").read_text().split()[0] / "model.safetensors"


def test_our_own_file_comes_back_as_it_was(trained, tmp_path):
    run = open_run(trained / "run")
    (file,) = {
        p.resolve()
        for p in (trained / "run/checkpoints").glob(f"{(trained / 'run/BEST').read_text().split()[0]}/model.*")
    }
    found = identify(file)
    assert found.class_names == run.class_names
    assert found.recipe == run.recipe
    ours = load_model(run).state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in found.network.state_dict().items())


def test_a_file_whose_weights_do_not_fit_its_own_recipe_is_refused(trained, tmp_path):
    file = best_file(trained)
    with safetensors.safe_open(file, "pt") as opened:
        about = opened.metadata()
    tensors = safetensors.torch.load_file(file)
    tensors["layers.conv1.weight"] = tensors["layers.conv1.weight"][:1]
    safetensors.torch.save_file(tensors, tmp_path / "wrong.safetensors", about)
    with pytest.raises(UntrustedFileError, match="does not hold the network that its header describes"):
        identify(tmp_path / "wrong.safetensors")


# Import and fine-tuning ----------------------------------------------------------------------------------------------


def test_an_imported_file_is_a_run_folder_that_predicts(owt, tmp_path, alexnet):
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\ncat\ndog\nelk\nfox\n", "utf-8")
    outcome = alexnet("import", owt[0], tmp_path / "run", "--classes", names)
    assert outcome.code == 0, outcome.err
    assert "alexnet-owt" in outcome.out
    model = load_model(open_run(tmp_path / "run"))
    images = random_images(1, 224)
    with torch.no_grad():
        # Another order of the channels in memory is another order of sums on some processors.
        torch.testing.assert_close(model(images), identify(owt[0]).network(images), rtol=1e-4, atol=1e-6)
    assert fingerprint(model) == fingerprint(identify(owt[0]).network)
    assert open_run(tmp_path / "run").class_names == ("ant", "bee", "cat", "dog", "elk", "fox")
    for verb in ("resume", "report", "evaluate"):
        outcome = alexnet(verb, tmp_path / "run")
        assert outcome.code == 2
        assert "imported weights" in outcome.err


@pytest.mark.parametrize("text", ["ant\nbee\n", "a\na\nb\nc\nd\ne\n"])
def test_class_names_must_be_as_many_as_the_classes_and_all_different(owt, tmp_path, text):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(UsageError, match="different class names for a network of 6"):
        import_weights(owt[0], tmp_path / "run", read_class_names(tmp_path / "names.txt"))
    assert not (tmp_path / "run").exists()


def test_class_names_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot read the class names"):
        read_class_names(tmp_path / "names.txt")


NARROW = AlexNetConfig(width=1 / 16, num_classes=4)


def test_starting_from_weights_takes_all_but_the_last_layer():
    trained = build_model(NARROW, seed=1).set_input_statistics(np.full((256, 256, 3), 77.0), np.ones(3))
    new = build_model(AlexNetConfig(width=1 / 16, num_classes=9), seed=2)
    fresh = new.layers.fc8.weight.clone()
    start_from(new, trained)
    theirs = trained.state_dict()
    for name, value in new.state_dict().items():
        if "fc8" in name:
            assert value.shape[0] == 9
        else:
            assert torch.equal(value, theirs[name]), name
    assert torch.equal(new.layers.fc8.weight, fresh)
    assert last_layer(new) == "fc8"


def test_weights_of_another_network_are_refused_with_the_layers():
    other = build_model(AlexNetConfig(width=1 / 8, num_classes=4))
    with pytest.raises(UsageError, match="layers differ: conv1, conv2"):
        start_from(build_model(NARROW), other)


def test_fine_tuning_moves_old_layers_slower_and_remembers_where_it_came_from(trained, photos, tmp_path, alexnet):
    fine = ["--weights", trained / "run", "--out", tmp_path / "fine", "epochs=1", "seed=5", "evaluate_every=1"]
    outcome = alexnet("train", photos, *fine, "batch_size=8")
    assert outcome.code == 0, outcome.err
    run = open_run(tmp_path / "fine")
    assert run.recipe.weights == str((trained / "run").resolve())
    assert run.recipe.optim.old_lr_factor == 0.1
    assert run.recipe.prepare_whole  # as the run that it began with
    before, after = load_model(open_run(trained / "run")), load_model(run, "last")
    moved = (after.layers.conv1.weight - before.layers.conv1.weight).abs().max()
    assert 0 < moved < 0.1 * before.layers.conv1.weight.abs().max()


def test_a_start_that_has_changed_since_is_refused(trained, photos, tmp_path, alexnet):
    import shutil

    shutil.copytree(trained / "run", tmp_path / "old")
    fine = ["--weights", tmp_path / "old", "--out", tmp_path / "fine", "epochs=1", "batch_size=8"]
    assert alexnet("train", photos, *fine).code == 0
    shutil.rmtree(tmp_path / "fine/checkpoints")
    (tmp_path / "fine/LAST").unlink()
    name = (tmp_path / "old/BEST").read_text()
    (tmp_path / "old/BEST").write_text((tmp_path / "fine/BEST").read_text())
    shutil.rmtree(tmp_path / "old")
    import_weights_of_another(tmp_path / "old", trained)
    outcome = alexnet("resume", tmp_path / "fine")
    assert outcome.code == 3, (name, outcome.err)
    assert "no longer holds the weights" in outcome.err


def import_weights_of_another(folder: Path, trained: Path) -> None:
    """A run folder like that of `trained` but with other weights."""
    from alexnet.runs.checkpoint import TrainingState, save_checkpoint
    from alexnet.runs.run import create_run

    run = open_run(trained / "run")
    new = create_run(folder, run.recipe, run.class_names, run.data)
    save_checkpoint(new, build_model(run.recipe.model, seed=99), {}, TrainingState(step=0), best=True)


def test_published_weights_that_cannot_be_fetched_are_a_message(photos, monkeypatch, tmp_path, alexnet):
    from urllib.error import URLError

    def refuse(*arguments, **options):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path))
    outcome = alexnet("train", photos, "--weights", "imagenet", "--out", tmp_path / "run")
    assert outcome.code == 5
    assert "--weights alexnet-owt-7be5be79.pth" in outcome.err
