"""None of these: distances against the textbook, the promised rate on fresh splits, and a run that says it."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import alexnet as face
from alexnet.errors import UntrustedFileError
from alexnet.evaluation.out_of_distribution import (
    FLAGGED,
    NONE_OF_THESE,
    describe,
    images_needed,
    none_of_these,
)
from alexnet.evaluation.run_distribution import FILE
from alexnet.evaluation.views import probabilities_and_stages, view_probabilities
from alexnet.models.build import build_model
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import for_classes, override
from alexnet.runs.damage import damage_of
from harness.small_runs import TINY, reseal

SPLITS = 100


def vectors(count: int, seed: int, shift: float = 0.0) -> list[np.ndarray]:
    """Three descriptions of images whose parts are correlated; a shift makes them unlike."""
    draws = np.random.default_rng(seed)
    mixing = np.random.default_rng(7).normal(0, 1, (30, 30))
    return [(draws.normal(0, 1, (count, 30)) @ mixing[:, :size] + shift).astype(np.float32) for size in (30, 12, 20)]


def test_the_distance_is_mahalanobis_where_nothing_is_left_out():
    training = vectors(400, 0)
    known = describe(training, vectors(90, 1)).descriptions[1]
    x = vectors(5, 2)[1].astype(np.float64)
    mean, covariance = training[1].mean(0), np.cov(training[1].T.astype(np.float64), bias=True)
    expected = np.einsum("ni,ij,nj->n", x - mean, np.linalg.inv(covariance), x - mean)
    assert np.exp(known.distance(x) * known.scale + known.center) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("training", [12, 45, 400])
@pytest.mark.parametrize("validation", [images_needed(), 100])
def test_images_like_those_of_validation_are_flagged_no_more_often_than_promised(training, validation):
    shares = []
    for split in range(SPLITS):
        known = describe(vectors(training, 3 * split), vectors(validation, 3 * split + 1))
        shares += [none_of_these(share) for share in known.likeness(vectors(50, 3 * split + 2))]
    # The mean over splits and images is FLAGGED or less; each split alone may be above, so they are the sample.
    by_split = np.reshape(shares, (SPLITS, -1)).mean(1)
    assert by_split.mean() <= FLAGGED + 3 * by_split.std() / SPLITS**0.5
    assert by_split.mean() >= FLAGGED / 3  # not by never flagging anything


def test_images_unlike_the_others_are_flagged():
    known = describe(vectors(400, 0), vectors(200, 1))
    assert np.mean(known.likeness(vectors(200, 2, shift=40.0)) <= FLAGGED) == 1


@pytest.mark.parametrize(
    "training",
    [np.zeros((40, 9)), np.ones((1, 9)), np.eye(9), np.repeat(np.eye(9)[:2], 20, 0), np.full((40, 9), 1e-30)],
)
def test_training_images_that_are_all_alike_give_finite_scores(training):
    training = [training.astype(np.float32)]
    known = describe(training, [np.random.default_rng(0).random((60, 9)).astype(np.float32)])
    assert np.isfinite(known.validation).all()
    assert np.isfinite(known.likeness([np.zeros((3, 9), np.float32)])).all()


@pytest.mark.parametrize(("share", "expected"), [(None, None), (0.05, True), (0.0500001, False), (1.0, False)])
def test_the_threshold(share, expected):
    assert none_of_these(share) is expected


def test_so_many_validation_images_are_needed():
    for count, enough in ((images_needed(), True), (images_needed() - 1, False)):
        known = describe(vectors(60, 0), vectors(count, 1))
        assert bool(none_of_these(float(known.likeness(vectors(1, 2, shift=1e3))[0]))) is enough


@pytest.mark.parametrize("name", ["lenet", "demo", "cifar-18pct", "cifar-13pct", "small-photos", "photos"])
@pytest.mark.parametrize("views", [1, 10])
def test_looking_at_the_stages_changes_no_bit_of_the_answer(name, views):
    recipe = for_classes(find_recipe(name), 5)
    if name == "photos":
        recipe = override(recipe, ["model.crop_size=64", "model.test_size=64", "model.width=0.125"])
    network = build_model(recipe.model).eval()
    side = network.config.crop_size + 3
    images = torch.randint(0, 256, (3, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.inference_mode():
        expected = view_probabilities(network, images, views)
        found, pixels, maps = probabilities_and_stages(network, images, views)
        alone = probabilities_and_stages(network, images, 1)
    assert (found == expected).all()
    assert (pixels == alone[1]).all()  # of ten views the central one is described
    for one, other in zip(maps, alone[2], strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on 20 images in each of two classes: stripes that stand or lie; as many are validation."""
    folder = tmp_path_factory.mktemp("unlike")
    draws = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 20)):
        for name in ("standing", "lying"):
            (folder / "photos" / split / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(stripes(draws, name == "lying")).save(
                    folder / "photos" / split / name / f"{number}.png"
                )
    face.train(folder / "photos", recipe="photos", changes=TINY, out=folder / "run", device="cpu", cues=False)
    return folder / "run"


def stripes(draws: np.random.Generator, lying: bool) -> np.ndarray:
    wave = np.sin(np.arange(24) * draws.uniform(0.6, 1.2) + draws.uniform(0, 6))
    square = np.tile(wave, (24, 1))[..., None] * draws.uniform(60, 110, 3) + 128 + draws.normal(0, 6, (24, 24, 3))
    return np.ascontiguousarray(square.transpose(1, 0, 2) if lying else square).clip(0, 255).astype(np.uint8)


def others() -> list[np.ndarray]:
    draws = np.random.default_rng(5)
    noise = [draws.integers(0, 256, (24, 24, 3), np.uint8) for _ in range(5)]
    return [*noise, *(np.full((24, 24, 3), level, np.uint8) for level in (0, 90, 180, 255))]


def test_a_run_of_20_images_a_class_says_none_of_these(run):
    model, draws = face.load(run, device="cpu"), np.random.default_rng(9)
    for views in (1, 10):
        unlike = model.predict(others(), views=views)
        assert all(answer.none_of_these for answer in unlike)
        assert str(unlike[0]).startswith(f"image: {NONE_OF_THESE}: ")
        assert NONE_OF_THESE in unlike[0]._repr_html_()
        like = model.predict([stripes(draws, bool(i % 2)) for i in range(60)], views=views)
        assert sum(answer.none_of_these for answer in like) <= 12  # 3 are to be expected; the threshold is of 26 images
    assert damage_of(face.Run.open(run).record) == []
    assert (run / FILE).stat().st_size < 1_000_000


def test_an_image_that_is_none_of_these_is_never_sure(run):
    model = face.load(run, device="cpu")
    asked = model.predict(others(), min_precision=0.5)
    assert [answer.sure for answer in asked] == [False] * len(asked)


@pytest.mark.parametrize("what", ["empty", "text", "other", "flipped"])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_damaged_file_is_a_mistake_in_words(run, tmp_path, what, sealed):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    whole = (copy / FILE).read_bytes()
    content = {"empty": b"", "text": b"{}" * 40, "other": whole[:200], "flipped": whole[:-40]}[what]
    (copy / FILE).write_bytes(content)
    if sealed:
        reseal(copy)
    with pytest.raises(UntrustedFileError) as caught:
        face.load(copy, device="cpu")
    assert caught.value.code == "E651"
    assert FILE in caught.value.what


def test_a_run_without_it_answers_as_before(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / FILE).unlink()
    sums = copy / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text().splitlines(True) if FILE not in line))
    with_it, without = (face.load(each, device="cpu").predict(others()) for each in (run, copy))
    assert [answer.top for answer in without] == [answer.top for answer in with_it]
    assert {answer.none_of_these for answer in without} == {None}
