"""Recipes: stored whole, changed by fields, every mistake answered with what was meant."""

import dataclasses
import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet.errors import UsageError
from alexnet.models.build import build_model
from alexnet.recipes.config import AlexNetConfig
from alexnet.recipes.named import RECIPES, find_recipe
from alexnet.recipes.recipe import Recipe, differences, flat, for_classes, from_json, override, to_json

BASE, LENET = RECIPES["alexnet-2012"], RECIPES["lenet"]


# --- storing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_a_stored_recipe_comes_back(recipe):
    again = from_json(to_json(recipe))
    assert again == recipe
    assert type(again.model) is type(recipe.model)
    assert hash(again) == hash(recipe)  # tuples came back as tuples


FIELDS = {
    "optim.lr": st.floats(0, 1e6),
    "optim.weight_decay": st.floats(0, 1),
    "model.width": st.floats(1 / 64, 64),
    "label_smoothing": st.floats(0, 1, exclude_max=True),
    "augment.color_noise": st.floats(0, 10),
    "epochs": st.integers(1, 10**9),
    "seed": st.integers(0, 2**63 - 1),
    "augment.color_noise_until": st.integers(1, 500) | st.none(),
    "optim.drop_epochs": st.lists(st.integers(1, 99), max_size=4).map(tuple),
    "growing_crops": st.lists(st.tuples(st.floats(0, 1), st.integers(8, 256)), max_size=3).map(tuple),
    "model.conv1_padding": st.integers(0, 9) | st.just("right-bottom"),
    "augment.flip": st.booleans(),
}


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_any_change_is_taken_alone_and_survives_storing(changes):
    recipe = override(BASE, [f"{name}={json.dumps(value)}" for name, value in changes.items()])
    assert flat(recipe) == flat(BASE) | changes
    assert from_json(to_json(recipe)) == recipe


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_the_differences_are_the_changes_that_lead_from_one_to_the_other(changes):
    recipe = override(BASE, [f"{name}={json.dumps(value)}" for name, value in changes.items()])
    changed = differences(recipe, BASE)
    assert override(BASE, [f"{name}={json.dumps(new)}" for name, (_, new) in changed.items()]) == recipe
    assert set(changed) == {name for name, value in changes.items() if flat(BASE)[name] != value}
    assert all(old == flat(BASE)[name] for name, (old, _) in changed.items())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r | {"surprise": 1}, "does not know"),
        (lambda r: r | {"model": r["model"] | {"surprise": 1}}, "does not know"),
        (lambda r: r | {"epochs": "many"}, "epochs='many'"),
        (lambda r: r | {"model": r["model"] | {"architecture": "vgg"}}, "model"),
    ],
)
def test_a_stored_recipe_of_another_version_is_refused(change, reason):
    with pytest.raises(UsageError, match=reason):
        from_json(json.dumps(change(json.loads(to_json(BASE)))))


def test_a_field_that_a_later_version_added_takes_its_default():
    stored = json.loads(to_json(replace(BASE, evaluate_every=Recipe().evaluate_every)))
    del stored["evaluate_every"], stored["model"]["without"]
    assert from_json(json.dumps(stored)) == replace(BASE, evaluate_every=Recipe().evaluate_every)


# --- changing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["optim.lr=0.5"],
        ["--optim.lr", "0.5"],
        ["--optim.lr=0.5"],
        ["lr=0.5"],
        ["--lr", "0.5"],
        ["--lr=5e-1"],
        ["lr=9", "lr=0.5"],
    ],
)
def test_all_ways_to_write_a_change_mean_the_same(words):
    assert override(BASE, words) == dataclasses.replace(BASE, optim=dataclasses.replace(BASE.optim, lr=0.5))


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--label-smoothing", "0.1"], "label_smoothing", 0.1),
        (["label-smoothing=0.1"], "label_smoothing", 0.1),
        (["--model.pool5-grid=4"], "model.pool5_grid", 4),
        (["conv1-padding=right-bottom"], "model.conv1_padding", "right-bottom"),
        (["conv1_padding=3"], "model.conv1_padding", 3),
        (["algorithm=sgd"], "optim.algorithm", "sgd"),
        (["schedule=one-cycle"], "optim.schedule", "one-cycle"),
        (["conv1_freeze_epoch=none"], "optim.conv1_freeze_epoch", None),
        (["--conv1_freeze_epoch", "None"], "optim.conv1_freeze_epoch", None),
        (["conv1_freeze_epoch=null"], "optim.conv1_freeze_epoch", None),
        (["model.norm=none"], "model.norm", "none"),
        (["norm1=none"], "model.norm1", "none"),
        (["weights=none"], "weights", None),
        (["drop_epochs=[3, 5]"], "optim.drop_epochs", (3, 5)),
        (["drop_epochs=[]"], "optim.drop_epochs", ()),
        (["growing_crops=[[0, 96], [0.5, 128]]"], "growing_crops", ((0.0, 96), (0.5, 128))),
        (["flip=false"], "augment.flip", False),
        (["epochs=2e1"], "epochs", 20),
        (["lr=1"], "optim.lr", 1.0),
        (["precision=bfloat16"], "precision", "bfloat16"),
    ],
)
def test_values_are_numbers_words_or_json_of_the_type_of_the_field(words, name, value):
    recipe = override(BASE, words)
    assert set(differences(recipe, BASE)) <= {name}
    assert flat(recipe)[name] == value
    assert type(flat(recipe)[name]) is type(value)


def test_fields_that_only_one_network_has_depend_on_the_network():
    assert flat(override(LENET, ["model.pooling=max"]))["model.pooling"] == "max"
    with pytest.raises(UsageError, match=r"model\.dropout"):
        override(LENET, ["model.dropout=0.5"])
    with pytest.raises(UsageError, match=r"model\.pooling='max'.*'overlapping' or 'plain'"):
        override(BASE, ["model.pooling=max"])


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["epoch=3"], "epochs"),
        (["--epoch", "3"], "epochs"),
        (["batchsize=3"], "batch_size"),
        (["--learning-smoothing=0"], "label_smoothing"),
        (["model.drop_out=0"], "model.dropout"),
        (["optim.momemtum=0"], "optim.momentum"),
        (["weigth_decay=0"], "optim.weight_decay"),
    ],
)
def test_an_unknown_field_is_answered_with_the_nearest_and_all_there_are(words, meant):
    with pytest.raises(UsageError) as caught:
        override(BASE, words)
    assert f"did you mean {meant!r}?" in caught.value.what
    assert caught.value.fix.startswith("Fields: ")


@pytest.mark.parametrize("words", [["model=3"], ["optim={}"]])
def test_a_group_is_not_a_field(words):
    with pytest.raises(UsageError, match=r"group of fields[\s\S]*(model\.width|optim\.lr)"):
        override(BASE, words)


@pytest.mark.parametrize("words", [["name=mine"], ["model.architecture=lenet"], ["architecture=lenet"]])
def test_what_says_which_recipe_it_is_cannot_be_changed(words):
    with pytest.raises(UsageError, match="no field"):
        override(BASE, words)


@pytest.mark.parametrize("words", [["epochs"], ["--epochs"], ["20"], ["epochs=3", "--lr"]])
def test_what_is_no_change_is_answered_with_how_to_write_one(words):
    with pytest.raises(UsageError, match="not a change of the recipe\nWrite field=value"):
        override(BASE, words)


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ("epochs=many", "epochs"),
        ("epochs=1.5", "epochs"),
        ("epochs=0", "epochs"),
        ("epochs=none", "epochs"),
        ("batch_size=0", "batch_size"),
        ("seed=-1", "seed"),
        ("label_smoothing=1", "label_smoothing"),
        ("average_decay=1", "average_decay"),
        ("prepare_size=4", "prepare_size"),
        ("precision=float16", "precision"),
        ("lr=fast", "optim.lr"),
        ("flip=perhaps", "augment.flip"),
        ("algorithm=adam", "optim.algorithm"),
        ("conv1_padding=1.5", "model.conv1_padding"),
        ("conv1_padding=left", "model.conv1_padding"),
        ("drop_epochs=3", "optim.drop_epochs"),
        ("growing_crops=[[1, 2, 3]]", "growing_crops"),
    ],
)
def test_a_value_of_another_type_or_out_of_range_is_refused_by_field(word, field):
    with pytest.raises(UsageError) as caught:
        override(BASE, [word])
    assert caught.value.what.startswith(field)
    assert "\n" not in caught.value.what


@pytest.mark.parametrize(
    "word",
    [
        "model.dropout=1.5",
        "model.dropout=-0.5",
        "model.towers=0",
        "model.conv1_stride=0",
        "model.width=-1",
        "optim.lr=-1",
        "optim.lr=NaN",
        "optim.momentum=-1",
        "optim.dexp_steps=0",
        "augment.mixup_alpha=0",
    ],
)
def test_numbers_that_no_training_could_use_are_refused(word):
    with pytest.raises(UsageError, match=word.partition("=")[0]):
        override(BASE, [word])


def test_an_unknown_recipe_is_answered_with_the_nearest_and_all_there_are():
    with pytest.raises(UsageError, match="no recipe 'phots'; did you mean 'photos'") as caught:
        find_recipe("phots")
    assert all(name in caught.value.fix for name in RECIPES)


# --- building ------------------------------------------------------------------------------------------------------


def alexnet_parameters(config: AlexNetConfig, pool5: int) -> int:
    """Learned numbers by hand: conv2, conv4 and conv5 see one tower; batch norm has two a map and no bias there."""
    maps = [round(c * config.width) for c in config.channels]
    units = [round(f * config.width) for f in config.fc_features]
    c1, c2, c3, c4, c5 = maps
    towers, classes = config.towers, config.num_classes
    convolutions = c1 * 3 * config.conv1_kernel**2 + c3 * c2 * 9
    convolutions += (c2 * c1 * 25 + c4 * c3 * 9 + c5 * c4 * 9) // towers
    dense = units[0] * c5 * pool5**2 + units[1] * units[0] + classes * units[1] + classes
    return convolutions + dense + sum(maps + units) * (2 if config.norm == "batch" else 1)


def test_the_formula_of_this_file_gives_the_figure_of_2012():
    assert alexnet_parameters(AlexNetConfig(), pool5=6) == 60_965_224


@pytest.mark.parametrize(("name", "pool5"), [("alexnet-2012", 6), ("photos", 3), ("demo", 3), ("lenet", None)])
def test_every_recipe_builds_its_network_and_tells_images_apart(name, pool5):
    config = find_recipe(name).model
    model = build_model(config, seed=0).eval()
    lenet = 156 + 2_416 + 48_120 + 10_164 + 850
    expected = alexnet_parameters(config, pool5) if isinstance(config, AlexNetConfig) else lenet
    assert sum(p.numel() for p in model.parameters()) == expected
    with torch.inference_mode():
        logits = model(torch.randint(0, 256, (2, 3, config.crop_size, config.crop_size), dtype=torch.uint8))
    assert torch.isfinite(logits).all()
    assert logits.shape[1] == config.num_classes
    assert not torch.equal(logits[0], logits[1])


PUBLISHED = {  # parameters of layers-N.cfg, of bvlc_alexnet, of torchvision, and of the book's network in color
    "alexnet-2012": 60_965_224,
    "alexnet-paper": 60_965_224,
    "caffe": 60_965_224,
    "caffenet": 60_965_224,
    "alexnet-owt": 61_100_840,
    "alexnet-d2l": 50_844_008,
    "net-147": 60_965_224,
    "net-148": 60_965_224,
    "net-167": 60_965_224,
    "finetune": 61_100_840,
}
ROUNDED = {"net-145-half": 59.8, "net-150": 60.7}  # millions


@pytest.mark.parametrize("name", [*PUBLISHED, *ROUNDED])
def test_every_published_network_has_its_published_size(name):
    config = find_recipe(name).model
    if name == "alexnet-d2l":
        config = dataclasses.replace(config, in_channels=3, num_classes=1000)
    with torch.device("meta"):
        count = sum(p.numel() for p in build_model(config).parameters())
    assert count == PUBLISHED[name] if name in PUBLISHED else round(count / 1e6, 1) == ROUNDED[name]


def test_there_is_no_recipe_without_a_test():
    small = {"small-cifar", "small-photos", "figure-1"} | {name for name in RECIPES if name.startswith("cifar-")}
    assert set(RECIPES) == {
        "photos",
        "demo",
        "lenet",
        *small,
        *PUBLISHED,
        *ROUNDED,
    }  # small: test_cifar_net, test_switches


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_number_of_classes_changes_nothing_else(name):
    recipe = find_recipe(name)
    changed = differences(for_classes(recipe, 7), recipe)
    assert changed == {"model.num_classes": (recipe.model.num_classes, 7)}
    assert type(for_classes(recipe, 7).model) is type(recipe.model)
