"""What is decided for images and time: every decision from facts that are made up, with twins that look alike."""

from dataclasses import replace

import pytest

from alexnet.recipes import fitting
from alexnet.recipes.fitting import Candidate, Decision, Facts, candidates, choose_candidate, wanted_epochs
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import differences, flat, with_fields

PHOTOS = find_recipe("photos")
OFF = {f"augment.{name}": 0.0 for name in ("color_noise", "jitter", "mixup", "cutmix")}


def facts(**changes):
    usual = Facts((300,) * 10, 192, False, 0.1, color=0.3, shape=0.6, upright=0.6, mirrored=0.58, by_chance=0.3)
    return replace(usual, **changes)


def decided(found: Facts) -> dict[str, object]:
    return {name: value for each in fitting.data_decisions(found) for name, value in each.fields.items()}


@pytest.mark.parametrize(
    ("side", "fields"),
    [
        (8, {"prepare_size": 24, "model.conv1_kernel": 5, "model.conv1_stride": 1}),
        (28, {"prepare_size": 28, "model.conv1_kernel": 5, "model.conv1_stride": 1}),
        (32, {"prepare_size": 32, "model.conv1_kernel": 5, "model.conv1_stride": 1}),
        (40, {"prepare_size": 40, "model.conv1_stride": 1}),
        (41, {"prepare_size": 41, "model.conv1_kernel": 7, "model.conv1_stride": 2}),
        (64, {"prepare_size": 64, "model.conv1_stride": 2}),
        (80, {"prepare_size": 80, "model.conv1_stride": 2}),
        (81, {"prepare_size": 128}),
        (100, {"prepare_size": 128}),
        (127, {"prepare_size": 128}),
        (128, {}),
        (192, {}),
        (4000, {}),
    ],
)
def test_strides_and_sizes_follow_the_size_of_the_images(side, fields):
    found = fitting.size_decision(side).fields
    assert {name: found[name] for name in fields} == fields
    assert (fields == {}) == (dict(found) == {})
    assert ("model.conv1_stride" in found) == (side <= 80)


@pytest.mark.parametrize("prepare_size", [24, 28, 32, 40, 41, 64, 80, 128, 192, 256])
def test_every_network_that_may_be_chosen_can_be_built_for_the_images(prepare_size):
    from alexnet.models.build import outline
    from alexnet.models.shapes import grid_sizes

    size = fitting.size_decision(prepare_size if prepare_size <= 80 else 100 if prepare_size == 128 else 300)
    base, _ = fitting.apply(with_fields(PHOTOS, {"prepare_size": prepare_size}), [size], frozenset({"prepare_size"}))
    work = []
    for candidate in candidates(prepare_size):
        recipe, _ = fitting.apply(base, [Decision("time", "", candidate.fields())], frozenset())
        for crop in candidate.crops:
            assert min(grid_sizes(replace(recipe.model, crop_size=crop)).values()) >= 1
        assert recipe.model.crop_size == recipe.model.test_size <= prepare_size
        assert recipe.growing_crops[0][0] == 0
        outline(recipe.model)
        work.append(candidate.width**2 * sum(crop**2 for crop in candidate.crops))
    assert work == sorted(work, reverse=True)


@pytest.mark.parametrize(
    ("changes", "off"),
    [
        ({"color": 0.7, "shape": 0.4}, True),  # trash
        ({"color": 0.55, "shape": 0.9}, True),  # flowers of one form each, and colors that half tell them apart
        ({"color": 0.4, "shape": 0.35}, True),
        ({"color": 0.34, "shape": 0.61}, False),  # clothes
        ({"color": 0.33, "shape": 0.82, "gray": True}, False),  # brightness
        ({"color": 0.6, "shape": 0.5, "gray": True}, True),
        ({"color": 0.13, "shape": 0.1}, False),  # neither knows anything
        ({"color": 0.1, "shape": 0.05}, False),
        ({"color": None, "shape": None}, False),  # not measured
    ],
)
def test_color_is_left_alone_where_color_tells_the_classes_apart(changes, off):
    found = decided(facts(**changes))
    assert ({name: found.get(name) for name in OFF} == OFF) == off
    if not off:
        assert "augment.jitter" not in found
    told = [each.text for each in fitting.data_decisions(facts(**changes)) if each.topic == "color"]
    assert bool(told) == (changes["color"] is not None)
    if changes["color"] is not None:
        assert f"{100 * changes['color']:.1f} %" in told[0]


@pytest.mark.parametrize(
    ("upright", "mirrored", "by_chance", "flip"),
    [
        (0.86, 0.60, 1e-9, False),  # shoes that all point to the left
        (0.95, 0.50, 1e-12, False),  # digits
        (0.40, 0.20, 0.001, False),
        (0.64, 0.62, 0.3, True),
        (0.64, 0.58, 0.001, True),  # certainly less, but not much
        (0.64, 0.40, 0.2, True),  # few images: may be chance
        (0.50, 0.55, 0.9, True),
        (None, None, 1.0, True),
    ],
)
def test_mirror_images_are_left_out_where_outlines_do_not_know_them(upright, mirrored, by_chance, flip):
    found = decided(facts(upright=upright, mirrored=mirrored, by_chance=by_chance))
    assert found.get("augment.flip", True) == flip


@pytest.mark.parametrize(
    ("counts", "weights"),
    [
        ((500, 10), True),
        ((450, 9, 400), True),
        ((100, 10), True),
        ((1000, 1, 1), True),
        ((99, 10), False),
        ((795, 112), False),  # the clothes
        ((20, 20), False),
        ((594, 137), False),
    ],
)
def test_classes_are_balanced_where_one_has_ten_times_the_images_of_another(counts, weights):
    assert decided(facts(counts=counts)).get("class_weights", "none") == ("balanced" if weights else "none")


@pytest.mark.parametrize(("images", "size"), [(16, 16), (299, 16), (300, 32), (999, 32), (1000, 64), (5000, 64)])
def test_few_images_come_in_small_batches(images, size):
    assert decided(facts(counts=(images // 2, images - images // 2))).get("batch_size", 64) == size


def test_images_without_color_are_one_channel():
    found = decided(facts(gray=True))
    assert (found["model.in_channels"], found["augment.color_noise"]) == (1, 0.0)
    assert "model.in_channels" not in decided(facts(gray=False))


@pytest.mark.parametrize(
    ("images", "epochs"), [(20, 150), (1200, 150), (2022, 148), (3068, 98), (6000, 50), (50_000, 30), (1_281_167, 30)]
)
def test_few_images_are_shown_more_often(images, epochs):
    assert wanted_epochs(images) == epochs


@pytest.mark.parametrize(
    ("seconds", "width", "epochs"),
    [
        (98_000, 1.0, 98),  # time for all that is wanted
        (66_000, 1.0, 66),  # just two thirds of it
        (65_000, 0.7, 98),
        (32_400, 0.7, 66),
        (31_900, 0.5, 98),
        (1, 0.25, 1),  # nothing fits
    ],
)
def test_the_widest_network_that_has_epochs_enough_is_chosen(seconds, width, epochs):
    def cost(candidate: Candidate) -> tuple[float, float]:  # of the widest 1,000 seconds an epoch, and 500 of the end
        return 1000 * candidate.width**2 * (candidate.crops[-1] / 160) ** 2, 500

    found, number, _ = choose_candidate(3068, 192, seconds + 500, cost, most=98)
    assert (found.width, number) == (width, epochs)


@pytest.mark.parametrize(
    ("epochs", "steps", "fields"),
    [
        (20, 900, {"augment.mixup": 0.0, "augment.cutmix": 0.0, "average_decay": 0.9933, "evaluate_every": 1}),
        (48, 2304, {"augment.mixup": 0.0, "augment.cutmix": 0.0, "average_decay": 0.9974, "evaluate_every": 3}),
        (49, 2352, {"average_decay": 0.9974, "evaluate_every": 3}),
        (65, 3120, {}),
        (64, 3072, {}),
        (7, 7, {"augment.mixup": 0.0, "augment.cutmix": 0.0, "average_decay": 0.5}),
    ],
)
def test_strong_regularization_only_where_there_are_steps_enough(epochs, steps, fields):
    recipe = with_fields(PHOTOS, {"epochs": epochs})
    found = {name: value for each in fitting.step_decisions(recipe, 3068, steps) for name, value in each.fields.items()}
    assert found == fields


def test_what_a_user_gives_is_never_changed():
    found = fitting.data_decisions(facts(color=0.8, shape=0.3, counts=(400, 8), gray=True))
    given = frozenset(
        {"augment.mixup", "class_weights", "label_smoothing", "cues", "augment.color_noise", "batch_size"}
    )
    recipe, told = fitting.apply(PHOTOS, found, given)
    assert set(differences(recipe, PHOTOS)) == {"augment.jitter", "augment.cutmix", "model.in_channels"}
    assert {each.topic for each in told} == {
        "gray",
        "color",
        "mirror",
    }  # those with nothing left to decide are not told


def test_the_clothes_get_the_recipe_that_was_chosen_on_them():
    """Three thousand photos in color and time enough: nothing but the number of epochs, and looks, is decided."""
    known = facts(counts=(307,) * 10, color=0.34, shape=0.61, upright=0.64, mirrored=0.62)
    decisions = [fitting.size_decision(288), *fitting.data_decisions(known)]
    recipe, _ = fitting.apply(PHOTOS, decisions, frozenset())
    best, epochs, _ = choose_candidate(3070, 192, 900, lambda _: (10.0, 60.0), most=wanted_epochs(3070))
    recipe, _ = fitting.apply(recipe, [Decision("time", "", {**best.fields(), "epochs": epochs})], frozenset())
    recipe, _ = fitting.apply(recipe, fitting.step_decisions(recipe, 3070, 48 * epochs), frozenset())
    assert set(differences(recipe, PHOTOS)) <= {"epochs", "evaluate_every"}


def test_every_field_that_is_decided_exists():
    known = flat(PHOTOS)
    rich = facts(color=0.8, shape=0.3, counts=(400, 8), gray=True, upright=0.9, mirrored=0.2, by_chance=0.0)
    every = [fitting.size_decision(28), fitting.size_decision(60), *fitting.data_decisions(rich)]
    every += fitting.step_decisions(with_fields(PHOTOS, {"epochs": 20}), 3068, 100)
    assert {name for each in every for name in each.fields} <= set(known)
    assert all(each.text and not each.text.endswith(".") for each in every)
