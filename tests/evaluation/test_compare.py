"""Comparisons and ensembles: hand-made answers, refusals, and the verbs on two trained runs."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from alexnet.errors import UsageError
from alexnet.evaluation.compare import Pair, disputed, pairs
from alexnet.evaluation.ensemble import check_splits, combine, find_weights
from alexnet.evaluation.evaluate import Evaluation
from harness.small_runs import reseal

CLASSES = ("a", "b", "c")


def said(probabilities, labels=(0, 1, 2, 0)) -> Evaluation:
    shares = np.asarray(probabilities, np.float32)
    names = tuple(f"{i}.png" for i in range(len(shares)))
    return Evaluation("test", 1, CLASSES, names, np.asarray(labels, np.int64)[: len(shares)], shares)


def sure(answers, labels=(0, 1, 2, 0)) -> Evaluation:
    return said(np.eye(3)[list(answers)] * 0.9 + 0.1 / 3, labels)


def test_pairs_count_the_images_that_only_one_gets_right():
    first, second = sure([0, 1, 2, 1]), sure([1, 0, 2, 1])
    assert pairs([first, second]) == [Pair(0, 1, 2, 0, 0.5)]  # 2 of 2: p = 2 * 1/4
    assert pairs([first, second])[0].difference == 2
    assert len(pairs([first, second, first])) == 3


def test_disputed_images_are_those_with_right_and_wrong_answers_the_most_divided_first():
    first = said([[0.9, 0.1, 0], [0.1, 0.6, 0.3], [0, 0, 1], [0, 1, 0]])
    second = said([[0.3, 0.4, 0.3], [0.8, 0.1, 0.1], [0, 0, 1], [0, 1, 0]])
    assert disputed([first, second], 10).tolist() == [0, 1]  # 0.6 against 0.5 of belief apart; the others agree
    assert disputed([first, second], 1).tolist() == [0]
    assert disputed([first, first], 10).tolist() == []


def test_an_ensemble_is_the_mean_of_probabilities_not_of_votes():
    first, second, third = (said([p], [0]) for p in ([0.4, 0.6, 0], [0.45, 0.55, 0], [0.9, 0.1, 0]))
    result = combine([first, second, third])
    assert result.combined.probabilities[0] == pytest.approx([1.75 / 3, 1.25 / 3, 0])
    assert [m.top1_error for m in result.members] == [1, 1, 0]
    assert result.combined.top1_error == 0  # two of three vote for the other
    assert result.gain("top1_error") == (pytest.approx(2 / 3), [1, 1, 0])
    assert combine([first, third], [3, 1]).combined.probabilities[0, 0] == pytest.approx(0.75 * 0.4 + 0.25 * 0.9)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_weights_are_near_the_optimum_of_scipy(seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, 40)
    members = [
        said([random.dirichlet(np.ones(3) + quality * np.eye(3)[label]) for label in labels], labels)
        for quality in (0, 2, 4)
    ]
    truth = np.stack([m.probabilities[np.arange(40), labels] for m in members]).astype(float)

    def loss(weights):
        return float(-np.log(np.abs(weights) @ truth / np.abs(weights).sum()).mean())

    found = find_weights(members)
    searched = [optimize.minimize(loss, start, method="Nelder-Mead").fun for start in (np.ones(3), np.eye(3)[2] + 0.1)]
    best = min(*searched, *(loss(alone) for alone in np.eye(3)))
    assert sum(found) == pytest.approx(1)
    assert loss(np.asarray(found)) <= min(loss(np.ones(3)) + 1e-9, best + 1e-3)
    # No direction leads down: the derivative of a convex loss along each corner of the simplex (Kuhn and Tucker).
    assert (truth / (np.asarray(found) @ truth)).mean(1).max() < 1.01


def test_weights_are_never_found_on_what_is_reported_or_was_trained_on():
    check_splits("test", "val")
    check_splits("test", None)
    for split in ("test", "train"):
        with pytest.raises(UsageError, match="E295"):
            check_splits("test", split)


def test_members_must_be_evaluated_on_the_same_images():
    first = sure([0, 1])
    with pytest.raises(ValueError, match="same images"):
        combine([first, dataclasses.replace(first, names=("x", "y"))])


@pytest.fixture
def two(start, fit):
    """Two runs on the same images."""
    runs = [start("one"), start("two", "seed=1", "activation=tanh")]
    for run in runs:
        fit(run)
    return [run.folder for run in runs]


def test_the_verbs_on_two_runs(two, alexnet, tmp_path):
    page = tmp_path / "page.html"
    outcome = alexnet("compare", *two, "--out", page)
    assert outcome.code == 0, outcome.err
    assert "one / two" in outcome.out
    html = page.read_text()
    assert "model.activation = tanh" in html
    assert html.count("<polyline") == 4  # validation and training error of both
    errors = []
    for run in two:
        text = alexnet("evaluate", run).out
        errors.append(text.partition("top-1 error ")[2].partition(" %")[0])
    outcome = alexnet("ensemble", *two, "--weights-on", "val")
    assert outcome.code == 0, outcome.err
    assert all(f"{error} %" in outcome.out for error in errors)
    assert "weights found on val" in outcome.out


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda folder: (folder / "classes.json").write_text('["red", "green", "yellow"]'), "classes"),
        (
            lambda folder: (folder / "data.json").write_text('{"source": "x", "prepared": "y", "fingerprint": "0"}'),
            "fingerprint",
        ),
    ],
)
def test_runs_on_other_images_are_refused_by_the_field_that_differs(start, alexnet, change, field):
    runs = [start("one").folder, start("two").folder]
    change(runs[1])
    reseal(runs[1])
    for verb in ("compare", "ensemble"):
        outcome = alexnet(verb, *runs)
        assert outcome.code == 2
        assert "E293" in outcome.err
        assert f"{field} is" in outcome.err


def test_mistakes_are_named(start, alexnet):
    run = start("one").folder
    assert "E294" in alexnet("compare", run).err
    assert "E294" in alexnet("ensemble", run, run).err
    other = start("two").folder
    assert "E296" in alexnet("compare", run, other, "--split", "nowhere").err
    assert "E295" in alexnet("ensemble", run, other, "--split", "val", "--weights-on", "val").err
