"""The table of ingredients: each has a name and an effect; its figures are those of the notebook."""

import pytest

from alexnet.errors import UsageError
from alexnet.recipes.ingredients import BY_NAME, INGREDIENTS, variants_of
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import differences, override


def test_names_are_not_given_twice():
    assert len(BY_NAME) == len(INGREDIENTS)


@pytest.mark.parametrize("ingredient", INGREDIENTS, ids=lambda i: i.name)
def test_every_ingredient_is_an_override_that_small_cifar_takes(ingredient):
    base = find_recipe("small-cifar")
    changed = differences(override(base, ingredient.changes), base)
    typed = {change.partition("=")[0] for change in ingredient.changes}
    assert set(changed) <= typed
    assert changed or ingredient.name in ("relu", "ten-views")


# (net, base net): errors in the notebook, as fractions of the images ([code] layers/layer-params-*.cfg).
NOTEBOOK = {
    "no-lrn": ((0.420340, 0.193620), (0.406640, 0.182100)),
    "plain-pooling": ((0.410580, 0.185100), (0.406640, 0.182100)),
    "half-net": ((0.391680, 0.182287), (0.374727, 0.169987)),
    "ten-views": ((0.374727, 0.169987), (0.390247, 0.182953)),
}


@pytest.mark.parametrize("name", NOTEBOOK)
def test_points_of_the_notebook_are_differences_of_its_errors(name):
    points, (net, base) = BY_NAME[name].notebook, NOTEBOOK[name]
    assert points is not None
    for given, a, b in zip((points.top1, points.top5), net, base, strict=True):
        assert given == pytest.approx(100 * (a - b), abs=0.006)


def test_what_is_typed_may_be_joined_listed_and_free():
    variants = variants_of("no-lrn, no-flips+no-color,model.channels=[4,8,8,8,8]+optim.lr=1e-3,ten-views")
    assert [v.changes for v in variants] == [
        ("model.norm=none",),
        ("augment.flip=false", "augment.color_noise=0"),
        ("model.channels=[4,8,8,8,8]", "optim.lr=1e-3"),
        (),
    ]
    assert [v.views for v in variants] == [1, 1, 1, 10]
    assert [v.name for v in variants] == [
        *("no-lrn", "no-flips+no-color", "model.channels=[4,8,8,8,8]+optim.lr=1e-3", "ten-views")
    ]


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ("", "E290", "nothing"),
        ("no-lnr", "E290", "no-lrn"),
        ("tanh,tanh", "E291", "twice"),
        ("ten-views+tanh", "E291", "joined"),
    ],
)
def test_mistakes_are_named(typed, code, said):
    with pytest.raises(UsageError, match=said) as caught:
        variants_of(typed)
    assert caught.value.code == code
