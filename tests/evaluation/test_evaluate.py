"""Error rates, log-loss and views against scikit-learn, Pillow and hand calculations."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn import metrics
from torch import nn

from alexnet.data.crops import shrink
from alexnet.errors import DataError, UsageError
from alexnet.evaluation.classifier import predict_probabilities
from alexnet.evaluation.evaluate import Evaluation, evaluate, top_k_error
from alexnet.evaluation.views import view_probabilities
from alexnet.models.build import build_model


class Fake(nn.Module):
    """Stands for a network: any function of the crops."""

    def __init__(self, answer, crop_size=20, test_size=None):
        super().__init__()
        self.answer = answer
        self.config = SimpleNamespace(crop_size=crop_size, test_size=test_size)
        self.register_buffer("input_mean", torch.zeros(1))

    def forward(self, images, **options):
        return self.answer(images.float())


def color_network(order, **config):
    """Answers with the brightness of the channels named in `order`; never with anything else."""
    channel = {"red": 0, "green": 1, "blue": 2}

    def answer(images):
        means = images.mean((2, 3))
        columns = [means[:, channel[name]] if name in channel else means[:, 0] * 0 - 99 for name in order]
        return torch.stack(columns, 1) / 30

    return Fake(answer, **config)


def guesses(seed, count, classes):
    """Random tie-free probabilities and labels."""
    rng = np.random.default_rng(seed)
    scores = rng.permutation(count * classes).reshape(count, classes) + 1.0
    return scores / scores.sum(1, keepdims=True), rng.integers(0, classes, count)


def made_evaluation(seed, count, classes):
    probabilities, labels = guesses(seed, count, classes)
    names = tuple(map(str, range(count)))
    return Evaluation("val", 1, tuple(f"c{i}" for i in range(classes)), names, labels, probabilities)


# --- figures -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(3, 12), st.data())
def test_top_k_error_is_one_minus_scikit_learns_accuracy(seed, count, classes, data):
    k = data.draw(st.integers(1, classes - 1))
    probabilities, labels = guesses(seed, count, classes)
    expected = 1 - metrics.top_k_accuracy_score(labels, probabilities, k=k, labels=np.arange(classes))
    assert top_k_error(probabilities, labels, k) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(2, 9))
def test_top_k_error_falls_with_k_to_zero(seed, count, classes):
    probabilities, labels = guesses(seed, count, classes)
    errors = [top_k_error(probabilities, labels, k) for k in range(1, classes + 3)]
    assert errors == sorted(errors, reverse=True)
    assert errors[classes - 1 :] == [0.0] * 3


@pytest.mark.parametrize("classes", [2, 5, 6, 10, 1000])
def test_a_network_that_answers_everything_alike_gets_the_credit_of_chance(classes):
    labels = np.arange(7) % classes
    uniform = np.full((7, classes), 1 / classes, np.float32)
    assert top_k_error(uniform, labels, 1) == pytest.approx(1 - 1 / classes)
    assert top_k_error(uniform, labels, 5) == pytest.approx(1 - min(1, 5 / classes))


def test_ties_are_worth_the_places_that_are_left():
    # The label ties with one other for places 2 and 3: no credit at k=1, half at k=2, all at k=3.
    row, label = np.array([[0.5, 0.2, 0.2, 0.1]]), np.array([1])
    assert [top_k_error(row, label, k) for k in (1, 2, 3)] == [1.0, 0.5, 0.0]
    # Three at the top: a third of the credit.
    assert top_k_error(np.array([[0.3, 0.3, 0.3, 0.1]]), np.array([2]), 1) == pytest.approx(2 / 3)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 8))
def test_log_loss_and_confusion_are_those_of_scikit_learn(seed, count, classes):
    result = made_evaluation(seed, count, classes)
    labels = np.arange(classes)
    assert result.log_loss == pytest.approx(metrics.log_loss(result.labels, result.probabilities, labels=labels))
    most_probable = result.probabilities.argmax(1)
    expected = metrics.confusion_matrix(result.labels, most_probable, labels=labels)
    np.testing.assert_array_equal(result.confusion, expected)


def test_the_log_loss_of_a_sure_mistake_is_large_but_finite():
    result = dataclasses.replace(
        made_evaluation(0, 1, 2), labels=np.array([1]), probabilities=np.array([[1.0, 0.0]], np.float32)
    )
    assert result.log_loss == pytest.approx(-math.log(1e-12))


def test_the_summary_counts_by_hand():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.7, 0.3, 0.0], [0.1, 0.6, 0.3]], np.float32)
    result = Evaluation("val", 1, ("a", "b", "c"), ("w", "x", "y", "z"), np.array([0, 0, 0, 1]), probabilities)
    facts = result.summary()
    assert (facts["images"], facts["top1_error"], facts["top5_error"]) == (4, 0.25, None)
    assert facts["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.2) + math.log(0.7) + math.log(0.6)) / 4)
    assert facts["classes"]["a"] == {"images": 3, "top1_error": pytest.approx(1 / 3)}
    assert facts["classes"]["b"] == {"images": 1, "top1_error": 0.0}
    assert facts["classes"]["c"] == {"images": 0, "top1_error": None}


# --- views ---------------------------------------------------------------------------------------------------------


def test_ten_views_average_probabilities_not_logits():
    # The first pixel decides, so every crop and every mirror has an answer of its own.
    network = Fake(lambda x: torch.stack([x[:, 0, 0, 0] / 40, x[:, 1, 0, 0] / 40, x[:, 2, 0, 0] * 0], 1), crop_size=5)
    images = np.random.default_rng(3).integers(0, 256, (2, 9, 9, 3)).astype(np.float64)
    expected = []
    for image in images:
        logits = []
        for top, left in ((0, 0), (0, 4), (2, 2), (4, 0), (4, 4)):
            for column in (left, left + 4):  # the first pixel of a mirrored crop is the last one of its row
                red, green, _ = image[top, column] / 40
                logits.append([red, green, 0.0])
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        expected.append(shares.mean(0))
        mean_logits = np.mean(logits, 0)
        assert np.abs(shares.mean(0) - np.exp(mean_logits) / np.exp(mean_logits).sum()).max() > 0.05
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    np.testing.assert_allclose(view_probabilities(network, batch, 10).numpy(), expected, atol=1e-6)


def test_one_view_is_the_central_crop():
    network = Fake(lambda x: torch.stack([x[:, 0, 0, 0], x[:, 0, -1, -1]], 1) / 100, crop_size=4)
    image = torch.arange(64, dtype=torch.float32).view(1, 1, 8, 8).expand(1, 3, 8, 8)
    first, last = image[0, 0, 2, 2].item() / 100, image[0, 0, 5, 5].item() / 100
    got = view_probabilities(network, image, 1)[0]
    assert got[0].item() == pytest.approx(1 / (1 + math.exp(last - first)), abs=1e-6)


@pytest.mark.parametrize("size", [24, 20, 13])
def test_shrinking_is_pillows_antialiased_bilinear_of_the_whole(size):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 24, 24)).astype(np.float32)
    expected = [
        np.asarray(Image.fromarray(channel).resize((size, size), Image.Resampling.BILINEAR)) for channel in pixels
    ]
    got = shrink(torch.from_numpy(pixels)[None], size)[0]
    np.testing.assert_allclose(got.numpy(), expected, atol=0.01)


def test_test_size_shrinks_the_whole_image_before_the_crop():
    network = Fake(lambda x: x.flatten(1)[:, ::40] / 50, crop_size=14, test_size=16)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 24, 24)).astype(np.float32)
    small = np.stack([np.asarray(Image.fromarray(c).resize((16, 16), Image.Resampling.BILINEAR)) for c in pixels])
    logits = small[:, 1:15, 1:15].reshape(-1)[::40].astype(np.float64) / 50
    expected = np.exp(logits) / np.exp(logits).sum()
    got = view_probabilities(network, torch.from_numpy(pixels)[None], 1)[0]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)


# --- the whole split -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [1, 10])
def test_the_batch_size_changes_nothing(prepared, tiny, views):
    model = build_model(tiny.model, seed=1)
    model.set_input_statistics(prepared.mean_image, prepared.channel_std)
    alone, threes, whole = (
        evaluate(model, prepared, "val", class_names=prepared.class_names, views=views, batch_size=n)
        for n in (1, 3, 64)
    )
    assert np.ptp(alone.probabilities, 0).max() > 1e-4  # the images do get different answers
    for other in (threes, whole):
        assert (other.names, other.labels.tolist()) == (alone.names, alone.labels.tolist())
        np.testing.assert_allclose(other.probabilities, alone.probabilities, atol=1e-6)
        assert other.confusion.tolist() == alone.confusion.tolist()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 8, 64])
def test_every_image_is_evaluated_once(batch_size):
    seen, told = [], []

    def read(indices):
        seen.extend(indices.tolist())
        return np.repeat(indices.astype(np.uint8), 6 * 6 * 3).reshape(-1, 6, 6, 3)

    network = Fake(lambda x: torch.stack([x[:, 0, 0, 0], x[:, 0, 0, 0] * 0], 1), crop_size=4)
    got = predict_probabilities(
        network, read, 7, batch_size=batch_size, progress=lambda *told_of: told.append(told_of[1:])
    )
    assert seen == list(range(7))
    np.testing.assert_allclose(got[:, 0], 1 / (1 + np.exp(-np.arange(7.0))), atol=1e-6)
    assert told[-1] == (7, 7)
    assert len(told) == math.ceil(7 / batch_size)


def test_evaluating_switches_dropout_off(prepared, tiny):
    model = build_model(tiny.model, seed=1).train()
    first, second = (evaluate(model, prepared, "val", class_names=prepared.class_names) for _ in range(2))
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


@pytest.mark.parametrize("known", [("red", "green", "blue"), ("blue", "red", "green"), ("cat", "green", "blue", "red")])
def test_classes_are_matched_by_name_whatever_their_order(prepared, known):
    result = evaluate(color_network(known), prepared, "val", class_names=known)
    assert result.top1_error == 0
    assert [known[i] for i in result.labels] == [prepared.class_names[i] for i in prepared.splits["val"].labels]
    assert result.confusion.sum() == 7
    assert [result.confusion[known.index(c), known.index(c)] for c in ("red", "green", "blue")] == [3, 2, 2]


def test_classes_that_the_network_does_not_know_are_named(prepared):
    with pytest.raises(DataError, match=r"does not know these classes.*: blue\n.*knows: red, green") as caught:
        evaluate(color_network(("red", "green")), prepared, "val", class_names=("red", "green"))
    assert caught.value.exit_code == 3


def test_a_split_that_is_missing_is_answered_with_those_there_are(prepared):
    with pytest.raises(DataError, match=r"no split 'valid'\n.*train, val, test"):
        evaluate(color_network(prepared.class_names), prepared, "valid", class_names=prepared.class_names)


def test_images_smaller_than_the_crop_are_refused(prepared):
    with pytest.raises(UsageError, match=r"24 pixels are smaller than the network's crop of 28[\s\S]*prepare_size"):
        evaluate(color_network(prepared.class_names, crop_size=28), prepared, "val", class_names=prepared.class_names)


@pytest.mark.parametrize("views", [0, 2, 5, 11])
def test_other_numbers_of_views_are_refused(prepared, views):
    with pytest.raises(UsageError, match=f"views={views}"):
        evaluate(color_network(prepared.class_names), prepared, "val", class_names=prepared.class_names, views=views)


@pytest.mark.parametrize("k", [1, 5])
def test_what_is_not_a_number_is_wrong(k):
    nan = math.nan
    rows = np.array([[nan] * 6, [0.9, nan, 0, 0, 0, 0], [0.9, 0.1, 0, 0, 0, 0], [nan, 1, 0, 0, 0, 0]], np.float32)
    assert top_k_error(rows, np.array([0, 0, 0, 1]), k) == 0.75
