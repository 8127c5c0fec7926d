"""docs/fidelity.md: every setting in its table is that of the recipe, every test exists, no difference is missing."""

import ast
import re
from functools import cache
from typing import NamedTuple

import pytest

from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import Recipe, differences, flat, override
from harness import ROOT

COLUMNS = ["2012", "Settings of `alexnet-2012`", "Tests", "Paper", "Caffe", "torchvision", "d2l"]
OTHERS = {"Paper": "alexnet-paper", "Caffe": "caffe", "torchvision": "alexnet-owt", "d2l": "alexnet-d2l"}
BASE = RECIPES["alexnet-2012"]


class Row(NamedTuple):
    """One ingredient: its text, the settings of 2012, the tests, and the settings of the others by column."""

    text: str
    settings: list[str]
    tests: list[str]
    others: dict[str, list[str]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def table(number: int = 0) -> list[list[str]]:
    """The cells of every line of a table of the file, the headline first."""
    parts = (ROOT / "docs/fidelity.md").read_text().split("\n## The other nets of the paper\n")
    lines = [line for line in parts[number].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]


def parsed() -> list[Row]:
    """The rows without the headings between them, which have no other cell."""
    rows = []
    for text, settings, tests, *others in table()[1:]:
        if text.startswith("**"):
            assert not any([settings, tests, *others])
            continue
        by_column = {column: code(cell) for column, cell in zip(OTHERS, others, strict=True)}
        rows.append(Row(text, code(settings), code(tests), by_column))
    return rows


ROWS = parsed()
IDS = [row.text[:30] for row in ROWS]


def name_of(setting: str) -> str:
    """The full name of the field that a setting is about: by itself or by the only field that ends so."""
    given = setting.partition("=")[0]
    ending = [name for name in flat(BASE) if name == given or name.rpartition(".")[2] == given]
    assert len(ending) == 1, f"{given} is no field of a recipe"
    return ending[0]


def holds(setting: str, recipe: Recipe) -> bool:
    """Whether the recipe has what a setting says: it is the very word, or setting it changes nothing."""
    name, equals, text = setting.partition("=")
    return bool(equals) and (flat(recipe)[name_of(name)] == text or override(recipe, [setting]) == recipe)


@cache
def functions_of(file: str) -> set[str]:
    path = ROOT / file
    tree = ast.parse(path.read_text()) if path.is_file() else ast.Module([], [])
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_table_has_its_columns_and_no_field_twice():
    assert table()[0] == COLUMNS
    assert {len(cells) for cells in table()} == {len(COLUMNS)}
    named = [name_of(setting) for row in ROWS for setting in row.settings]
    assert len(named) == len(set(named))
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_every_setting_of_2012_is_that_of_its_recipe(row):
    for setting in row.settings:
        assert setting.partition("=")[0] in flat(BASE)  # the whole name here, so that it can be looked up
        assert holds(setting, BASE), setting


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_every_row_is_pinned_by_tests_that_exist(row):
    assert row.tests
    for test in row.tests:
        file, _, function = test.partition("::")
        assert function.startswith("test_")
        assert function in functions_of(file), test


@pytest.mark.parametrize("row", ROWS, ids=IDS)
@pytest.mark.parametrize("column", OTHERS)
def test_the_settings_of_the_others_are_those_of_their_recipes_and_differ_from_2012(column, row):
    recipe, about = RECIPES[OTHERS[column]], {name_of(setting) for setting in row.settings}
    for setting in row.others[column]:
        assert holds(setting, recipe), setting
        assert name_of(setting) in about
    stated = {name_of(setting) for setting in row.others[column]}
    assert stated == about & set(differences(recipe, BASE))


def test_every_field_in_which_two_of_the_five_recipes_differ_stands_in_the_table():
    five = [flat(RECIPES[name]) for name in ("alexnet-2012", *OTHERS.values())]
    differing = {field for field in five[0] if any(each[field] != five[0][field] for each in five)}
    named = {name_of(setting) for row in ROWS for setting in row.settings}
    assert differing - named == {"name"}
    assert len(differing) > 35


NETS = {"half": "net-145-half", "net 145": "alexnet-2012"} | {n: f"net-{n}" for n in ("147", "148", "150", "167")}


def in_words(row: str, name: str) -> str:
    """What the second table must say of a net in this row."""
    recipe, optim = RECIPES[name], RECIPES[name].optim
    by_itself = optim.schedule == "dexp"
    drops = ", ".join(map(str, optim.drop_epochs)).replace("78", "(78)" if name == "net-145-half" else "78")
    bias = f"{optim.lr * optim.bias_lr_factor:g}"
    words = {
        "Data of its figures": "2010" if name == "net-145-half" else "2012",
        "Rates of the weights fall in": "by itself: four equal levels, 0.01 to 0.00001" if by_itself else drops,
        "conv1: third drop": str(optim.conv1_drop_epochs[2]) if len(optim.conv1_drop_epochs) > 2 else "none",
        "conv1 frozen from": str(optim.conv1_freeze_epoch),
        "No color noise from": str(recipe.augment.color_noise_until or "never off"),
        "Rate of the biases": f"{bias}, from the middle of the run {optim.lr * 0.2:g}" if by_itself else bias,
        "Epochs": str(recipe.epochs),
    }
    return "as the others" if by_itself and row == "conv1: third drop" else words[row]


def test_the_table_of_the_other_nets_says_what_their_recipes_have():
    (_, *names), *rows = table(1)
    assert names == ["net 145", "half", "147", "148", "150", "167"]
    assert len(rows) == 7
    for title, *cells in rows:
        for name, cell in zip(names, cells, strict=True):
            assert cell == in_words(title, NETS[name]), (title, name)
    assert RECIPES["net-167"].optim.dexp_steps == 4
    assert RECIPES["net-167"].optim.lr / RECIPES["net-167"].optim.dexp_factor == pytest.approx(0.00001)


@pytest.mark.parametrize(
    ("setting", "truth"),
    [
        ("model.crop_size=224", True),
        ("model.crop_size=227", False),
        ("drop_epochs=[25, 51, 79]", True),
        ("drop_epochs=[25, 51]", False),
        ("model.pool5_grid=none", True),
        ("model.crop_size", False),
    ],
)
def test_a_wrong_setting_would_be_noticed(setting, truth):
    assert holds(setting, BASE) is truth
