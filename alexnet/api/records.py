"""Recipes by name, with some fields changed, and what sets two of them apart; nothing here needs PyTorch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet.recipes.field_notes import Difference, explain
from alexnet.recipes.named import RECIPES, find_recipe
from alexnet.recipes.recipe import Recipe, override, with_fields
from alexnet.storage.files import user_path


def recipe(name: str | Path = "photos", *, changes: Sequence[str] = (), **fields: Any) -> Recipe:
    """A recipe with some fields changed: a frozen, complete record of a run.

    Args:
        name: of a recipe, or a run folder, whose recipe is read.
        changes: fields to change, as one types them: "epochs=20".
        fields: the same by keyword: by the last part of the name where only one field ends so (`lr=0.01`,
            `dropout=0.3`), else by the full name (`**{"model.width": 0.5}`).

    Raises:
        UsageError: there is no such recipe or field, or a value is of the wrong kind or out of range.

    >>> import alexnet
    >>> alexnet.recipe("alexnet-2012", dropout=0.3).model.dropout
    0.3
    """
    return with_fields(override(recipe_of(name), changes), fields)


def list_recipes() -> list[str]:
    """The names of all recipes, in the order of `alexnet recipes`.

    >>> import alexnet
    >>> "alexnet-2012" in alexnet.list_recipes()
    True
    """
    return list(RECIPES)


def diff(first: str | Path | Recipe, second: str | Path | Recipe) -> list[Difference]:
    """All fields in which two recipes differ: both values, what they change, and the source.

    Args:
        first: a recipe, its name, or a run folder.
        second: another one.

    Raises:
        UsageError: there is no such recipe.

    >>> import alexnet
    >>> [each.field for each in alexnet.diff("alexnet-2012", alexnet.recipe("alexnet-2012", dropout=0.3))]
    ['model.dropout']
    """
    return explain(*(each if isinstance(each, Recipe) else recipe_of(each) for each in (first, second)))


def recipe_of(name: str | Path) -> Recipe:
    """The recipe of that name, or of that run folder.

    Raises:
        UsageError: there is neither.
    """
    if str(name) not in RECIPES and user_path(name).is_dir():
        from alexnet.runs.run import open_run  # opening a run needs PyTorch

        return open_run(user_path(name)).recipe
    return find_recipe(str(name))
