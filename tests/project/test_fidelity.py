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


def table() -> list[list[str]]:
    """The cells of every line of the table, the headline first."""
    lines = [line for line in (ROOT / "docs/fidelity.md").read_text().splitlines() if line.startswith("|")]
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
