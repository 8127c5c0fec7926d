"""Dropout and towers on one image: against the network in training mode, and a network whose towers never talk."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.interpret import chances
from alexnet.models.build import build_model
from alexnet.recipes.config import AlexNetConfig, LeNetConfig
from alexnet.recipes.named import RECIPES

SMALL = AlexNetConfig(num_classes=3, crop_size=48, width=1 / 16, conv1_kernel=7, conv1_stride=2, init="kaiming")
IMAGE = np.random.default_rng(0).integers(0, 256, (52, 52, 3)).astype(np.uint8)


def classifier_of(config, seed: int = 1) -> Classifier:
    return Classifier(build_model(config, seed=seed).eval(), ("a", "b", "c"), 52)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, dropout=0.2),
        replace(SMALL, dropout_scale_at_test=False),
        replace(SMALL, dropout_place="before"),
        replace(SMALL, dropout_layers="fc7"),
        replace(SMALL, towers=1, dropout=0.0),
    ],
)
@pytest.mark.parametrize("seed", [0, 7])
def test_the_answers_are_those_of_the_network_in_training(config, seed):
    classifier = classifier_of(config)
    found = chances.dropout_trial(classifier, IMAGE, masks=9, seed=seed)
    model = classifier.network.train()
    model.seed_dropout(seed, 0)
    logits = model(classifier.view(IMAGE).expand(9, -1, -1, -1))
    assert np.allclose(found.probabilities, torch.softmax(logits, 1).detach().numpy(), atol=1e-5)
    assert found.at_test == pytest.approx(classifier.probabilities(IMAGE[None])[0], abs=1e-6)
    assert found.share == config.dropout


def test_a_mask_is_what_is_kept():
    classifier = classifier_of(replace(SMALL, norm="none"))
    found = chances.dropout_trial(classifier, IMAGE, share=0.4, masks=400)
    for name, kept in found.kept.items():
        assert kept.shape == (400, 256), name
        assert kept.mean() == pytest.approx(0.6, abs=0.01)
        assert len(np.unique(kept, axis=0)) == 400
    layers = dict(classifier.network.layers.named_children())
    outputs = classifier.network.activations(classifier.view(IMAGE))
    x = outputs["relu6"][0] * torch.from_numpy(found.kept["drop6"][3])
    x = torch.relu(layers["fc7"](x)) * torch.from_numpy(found.kept["drop7"][3])
    expected = torch.softmax(layers["fc8"](x), 0).detach().numpy()
    assert found.probabilities[3] == pytest.approx(expected, abs=1e-5)


def test_in_a_linear_network_the_mean_of_many_masks_is_one_pass_scaled():
    """With one layer of dropout and small logits the softmax is close to linear, and so is the mean."""
    config = replace(SMALL, dropout_layers="fc7")
    classifier = classifier_of(config)
    with torch.no_grad():
        classifier.network.layers.get_submodule("fc8").weight.mul_(0.02)
    found = chances.dropout_trial(classifier, IMAGE, masks=4000)
    assert found.probabilities.mean(0) == pytest.approx(found.at_test, abs=2e-3)


@pytest.mark.parametrize(
    "config", [LeNetConfig(num_classes=3, crop_size=48), LeNetConfig(num_classes=3, activation="relu")]
)
def test_a_network_without_dropout_is_refused(config):
    with pytest.raises(UsageError) as caught:
        chances.dropout_trial(classifier_of(config), IMAGE)
    assert caught.value.code == "E2121"


def test_what_crosses_in_the_network_of_2012():
    with torch.device("meta"):
        model = build_model(RECIPES["alexnet-2012"].model)
    found = {each.layer: (each.values, each.bytes, each.to) for each in chances.exchanges(model)}
    # 256 maps of 13 x 13, of which each tower has half and needs the other; 256 of 6 x 6; 4,096; half of 4,096
    assert found == {
        "conv3": (43_264, 173_056, "all"),
        "fc6": (9_216, 36_864, "all"),
        "fc7": (4_096, 16_384, "all"),
        "fc8": (2_048, 8_192, "first"),
    }


def test_towers_that_never_talk_exchange_at_the_end_only():
    assert [each.layer for each in chances.exchanges(build_model(replace(SMALL, towers_talk=False)))] == ["fc8"]


def test_with_every_exchange_cut_it_is_the_network_whose_towers_never_talk():
    classifier = classifier_of(SMALL)
    twin = build_model(replace(SMALL, towers_talk=False), seed=2).eval()
    state = {name: value.clone() for name, value in classifier.network.state_dict().items()}
    for name in ("conv3", "fc6", "fc7"):
        weight = state[f"layers.{name}.weight"]
        rows, columns = weight.shape[0] // 2, weight.shape[1] // 2
        state[f"layers.{name}.weight"] = torch.cat([weight[:rows, :columns], weight[rows:, columns:]])
    twin.load_state_dict(state)
    cut = ["conv3", "fc6", "fc7"]
    expected = Classifier(twin, ("a", "b", "c"), 52).probabilities(IMAGE[None])[0]
    assert chances.answer_with_cuts(classifier, IMAGE, cut) == pytest.approx(expected, abs=1e-5)
    assert chances.answer_with_cuts(classifier, IMAGE, []) == pytest.approx(
        classifier.probabilities(IMAGE[None])[0], abs=1e-6
    )
    assert not np.allclose(chances.answer_with_cuts(classifier, IMAGE, []), expected, atol=1e-3)
    features = classifier.network.activations(classifier.view(IMAGE))["drop7"].clone()
    features[:, features.shape[1] // 2 :] = 0
    last = torch.softmax(classifier.network.layers.get_submodule("fc8")(features), 1)[0].detach().numpy()
    assert chances.answer_with_cuts(classifier, IMAGE, ["fc8"]) == pytest.approx(last, abs=1e-6)


@pytest.mark.parametrize(
    ("config", "cut", "code"),
    [
        (replace(SMALL, towers=1), [], "E2122"),
        (LeNetConfig(num_classes=3, crop_size=48), [], "E2122"),
        (SMALL, ["conv2"], "E2123"),
        (SMALL, ["conv3", "pool5"], "E2123"),
    ],
)
def test_what_cannot_be_cut_is_refused(config, cut, code):
    with pytest.raises(UsageError) as caught:
        chances.answer_with_cuts(classifier_of(config), IMAGE, cut)
    assert caught.value.code == code
