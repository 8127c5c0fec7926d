"""Cross-validation of photos: folds that hold every image once, errors over all images, and how many repetitions."""

import pytest

from studies.claims import figures, measures
from studies.paper import folds, photos_folds, study


def test_every_image_is_held_out_once_and_never_trained_on_then(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    images = set()
    for part, count in (("train", 7), ("test", 4)):
        for kind in ("coat", "hat"):
            for i in range(count):
                path = tmp_path / "photos" / part / kind / f"{i}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{part} {kind} {i}")
                images.add(path.read_text())

    def held(fold: int, seed: int) -> list[str]:
        folder = tmp_path.__class__(study.fold(str(tmp_path / "photos"), 5, fold, seed))
        val, train = ({path.read_text() for path in folder.glob(f"{part}/*/*")} for part in ("val", "train"))
        assert not val & train
        assert val | train == images
        counts = [len(list(folder.glob(f"val/{kind}/*"))) for kind in ("coat", "hat")]
        assert set(counts) <= {2, 3}  # 11 of each class in five folds
        return sorted(val)

    first = [held(fold, 0) for fold in range(5)]
    assert sorted(name for fold in first for name in fold) == sorted(images)
    assert held(0, 0) == first[0]
    assert [held(fold, 1) for fold in range(5)] != first


def test_images_that_came_later_are_in_the_folds(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    for place in ("here", "there"):
        (tmp_path / place / "photos/train/coat").mkdir(parents=True)
        for i in range(5):
            (tmp_path / place / f"photos/train/coat/{i}.jpg").write_text(f"{place} {i}")

    def images(place: str) -> list[str]:
        folder = tmp_path.__class__(study.fold(str(tmp_path / place / "photos"), 5, 0, 0))
        return sorted(path.read_text() for path in folder.glob("*/*/*"))

    assert images("here") == [f"here {i}" for i in range(5)]
    assert images("there") == [f"there {i}" for i in range(5)]
    (tmp_path / "here/photos/train/coat/5.jpg").write_text("here 5")
    assert images("here") == [f"here {i}" for i in range(6)]


def row(variant: str, seed: int, error: float, images: int = 100):
    return {
        "base": "small-photos",
        "variant": variant,
        "seed": seed,
        "results": {"val": {"1": {"top1_error": error}}},
        "data": {"classes": 10, "pictures": {"val": images}},
        "settings": {},
    }


def repetition(variant: str, seed: int, *errors: float):
    return [row(variant, seed, error) for error in errors]


def test_the_error_of_a_repetition_is_that_over_all_images():
    rows = [
        *repetition("no-lrn", 0, 0.3, 0.3, 0.3, 0.3, 0.3),
        *[row("no-lrn", 1, e, n) for e, n in ((0.5, 300), (0.1, 100), (0.1, 100), (0.1, 100), (0.1, 100))],
        *repetition("no-lrn", 2, 0.9, 0.9),  # not whole yet
        *repetition("base", 0, 0.2, 0.2, 0.2, 0.2, 0.2),
        *repetition("base", 1, 0.2, 0.3, 0.2, 0.3, 0.2),
    ]
    found = folds.effect(rows, "no-lrn")
    assert found is not None
    assert found.counts == (2, 2)
    assert found.effect == pytest.approx((0.3 + 190 / 700) / 2 - (0.2 + 0.24) / 2)
    assert folds.effect(rows, "tanh") is None


def test_a_repetition_that_two_machines_did_counts_where_it_began():
    rows = rounds_of("no-lrn", 3)
    for i, one in enumerate(rows):
        one["environment"] = {"processor": "first" if i < 7 else "second"}  # in the second repetition of the arm
    found = folds.effect(rows, "no-lrn")
    assert found is not None
    assert (found.counts, found.blocks) == ((1, 6), 1)  # the base was all done by the second
    for one in rows[:7]:
        one["environment"] = {"processor": "second"}
    rows[13]["environment"] = {"processor": "first"}
    found = folds.effect(rows, "no-lrn")
    assert found is not None
    assert (found.counts, found.blocks) == ((3, 6), 1)


def rounds_of(arm: str, rounds: int, spread: float = 0.01):
    return [
        one
        for variant, count in ((arm, rounds), ("base", 2 * rounds))
        for seed in range(count)
        for one in repetition(variant, seed, *5 * [0.3 + spread * (seed % 2)])
    ]


def test_the_forest_shows_photos_in_five_folds_once_looked_at_and_else_the_earlier_study():
    nothing = {name: [] for name in measures.NAMES}
    earlier = {"ingredients_photos": [row(arm, seed, 0.3) for arm in ("no-lrn", "tanh", "base") for seed in range(2)]}
    assert "no-lrn, photos<" in figures.forest(nothing | earlier)
    assert "tanh, photos" not in figures.forest(nothing | earlier)  # that study has it at the rate of ReLU
    assert "five folds" not in figures.forest(nothing | {"photos_folds": rounds_of("no-lrn", 2)})
    drawn = figures.forest(nothing | earlier | {"photos_folds": rounds_of("no-lrn", 3)})
    assert "no-lrn, photos in five folds<" in drawn
    assert "no-lrn, photos<" not in drawn


def test_nothing_is_told_before_the_first_look():
    rows = rounds_of("no-lrn", 3)
    found = photos_folds.looked_at(rows, "no-lrn")
    assert found is not None
    assert found.counts == (3, 6)
    assert photos_folds.looked_at(rows[:-1], "no-lrn") is None  # a fold of the base is missing
    assert photos_folds.looked_at(rows[1:], "no-lrn") is None
    assert photos_folds.looked_at(rows, "tanh") is None


def test_an_arm_gets_more_repetitions_while_its_interval_is_wide():
    narrow, wide = rounds_of("no-lrn", 3, 0.001), rounds_of("no-lrn", 3, 0.05)
    assert photos_folds.wanted_rounds([])["no-lrn"] == 3
    assert photos_folds.wanted_rounds(narrow)["no-lrn"] == 3
    assert photos_folds.wanted_rounds(wide)["no-lrn"] == 5
    assert photos_folds.wanted_rounds(wide)["base"] == 10
    assert photos_folds.wanted_rounds(rounds_of("no-lrn", 9, 0.05))["no-lrn"] == 9  # the most
