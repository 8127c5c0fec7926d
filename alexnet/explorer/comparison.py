"""Compares runs: the fields in which their recipes differ, which ingredient of 2012 that is, and their errors."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from alexnet.errors import AlexNetError
from alexnet.evaluation.compare import disputed, pairs
from alexnet.evaluation.evaluate import Evaluation
from alexnet.recipes.field_notes import NOTES
from alexnet.recipes.ingredients import INGREDIENTS, Ingredient
from alexnet.recipes.recipe import Recipe, flat, override
from alexnet.runs.run import RunFolder
from alexnet.storage.files import parse_json
from alexnet.text import printable

DISPUTED = 24  # images that are shown
IGNORED_FIELDS = ("name", "seed")  # they do not make another recipe


def differing_fields(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """The fields in which the recipes differ: {"field", "values": one for each run, "note"}; None if a run lacks it."""
    recipes = [flat(run.recipe) for run in runs]
    names = list(dict.fromkeys(name for recipe in recipes for name in recipe))
    rows = []
    for name in names:
        values = [_as_json(recipe.get(name)) for recipe in recipes]
        if name != "name" and any(value != values[0] for value in values):
            rows.append({"field": name, "values": values, "note": NOTES.get(name, ("", ""))[0]})
    return rows


def known_ingredient(first: Recipe, second: Recipe) -> Ingredient | None:
    """The ingredient that alone turns the first recipe into the second, apart from seed and name; None if none does."""
    if _same_recipe(first, second):
        return None
    for ingredient in INGREDIENTS:
        try:
            if ingredient.changes and _same_recipe(override(first, ingredient.changes), second):
                return ingredient
        except AlexNetError:
            continue  # this architecture lacks the field
    return None


def ingredients_between(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """For each pair of runs that differ by one ingredient: the ingredient, and what the paper says about it.

    "from" and "to" are positions in `runs`: `to` has the ingredient.
    """
    differences = []
    for i, first in enumerate(runs):
        for j, second in enumerate(runs):
            ingredient = None if i == j else known_ingredient(first.recipe, second.recipe)
            if ingredient is not None:
                differences.append({"from": i, "to": j, **asdict(ingredient)})
    return differences


def recorded_evaluations(run: RunFolder) -> list[dict[str, Any]]:
    """The results of the best network as the run folder has them (evaluation.json), without those of single classes."""
    try:
        rows = parse_json((run.folder / "evaluation.json").read_text())
        keys = ("split", "views", "images", "top1_error", "top5_error", "log_loss")
        return [{key: row.get(key) for key in keys} for row in rows]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def compare_predictions(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Compares runs on the same images: their errors, McNemar's test for each pair, and the images they disagree on."""
    first = evaluations[0]
    indices = disputed(evaluations, DISPUTED)
    return {
        "split": first.split,
        "images": first.count,
        "errors": [
            {"top1": e.top1_error, "top5": e.top5_error if len(e.class_names) > 5 else None} for e in evaluations
        ],
        "pairs": [{**asdict(pair), "difference": pair.difference} for pair in pairs(evaluations)],
        "disputed": [
            {
                "image": f"{first.split}-{index}",
                "name": printable(first.names[index]),
                "truth": first.class_names[first.labels[index]],
                "answers": [
                    {
                        "name": e.class_names[int(e.probabilities[index].argmax())],
                        "probability": float(e.probabilities[index].max()),
                        "right": bool(e.probabilities[index].argmax() == e.labels[index]),
                    }
                    for e in evaluations
                ],
            }
            for index in indices
        ],
    }


def _same_recipe(first: Recipe, second: Recipe) -> bool:
    return replace(first, **{name: getattr(second, name) for name in IGNORED_FIELDS}) == second


def _as_json(value: object) -> Any:
    return json.loads(json.dumps(value, default=str))
