"""Runs beside one another: what differs in their recipes, and whether that is one ingredient of 2012."""

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

DISPUTED = 24  # pictures that are shown
ASIDE = ("name", "seed")  # fields that do not make another recipe


def differing(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """The fields in which recipes differ: {"field", "values": one for each run, "note"}; None where a run lacks it."""
    recipes = [flat(run.recipe) for run in runs]
    names = list(dict.fromkeys(name for recipe in recipes for name in recipe))
    rows = []
    for name in names:
        values = [_plain(recipe.get(name)) for recipe in recipes]
        if name != "name" and any(value != values[0] for value in values):
            rows.append({"field": name, "values": values, "note": NOTES.get(name, ("", ""))[0]})
    return rows


def known_ingredient(first: Recipe, second: Recipe) -> Ingredient | None:
    """The ingredient that turns the first recipe into the second, seed and name apart; None if none does by itself."""
    if _alike(first, second):
        return None
    for ingredient in INGREDIENTS:
        try:
            if ingredient.changes and _alike(override(first, ingredient.changes), second):
                return ingredient
        except AlexNetError:
            continue  # a field that this kind of network does not have
    return None


def ingredients_between(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """For each two runs, one of which is the other with an ingredient switched: which, and what the paper says of it.

    "from" and "to" are places among the runs: `to` has the ingredient.
    """
    found = []
    for i, first in enumerate(runs):
        for j, second in enumerate(runs):
            ingredient = None if i == j else known_ingredient(first.recipe, second.recipe)
            if ingredient is not None:
                found.append({"from": i, "to": j, **asdict(ingredient)})
    return found


def recorded(run: RunFolder) -> list[dict[str, Any]]:
    """The figures that the run folder has of its best network (evaluation.json), without those of the classes."""
    try:
        rows = json.loads((run.folder / "evaluation.json").read_text())
        keys = ("split", "views", "images", "top1_error", "top5_error", "log_loss")
        return [{key: row.get(key) for key in keys} for row in rows]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def contrasted(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """What runs say of the same pictures: their errors, each pair with McNemar's test, and the disputed pictures."""
    first = evaluations[0]
    places = disputed(evaluations, DISPUTED)
    return {
        "split": first.split,
        "images": first.count,
        "errors": [
            {"top1": e.top1_error, "top5": e.top5_error if len(e.class_names) > 5 else None} for e in evaluations
        ],
        "pairs": [{**asdict(pair), "difference": pair.difference} for pair in pairs(evaluations)],
        "disputed": [
            {
                "picture": f"{first.split}-{place}",
                "name": first.names[place],
                "truth": first.class_names[first.labels[place]],
                "answers": [
                    {
                        "name": e.class_names[int(e.probabilities[place].argmax())],
                        "probability": float(e.probabilities[place].max()),
                        "right": bool(e.probabilities[place].argmax() == e.labels[place]),
                    }
                    for e in evaluations
                ],
            }
            for place in places
        ],
    }


def _alike(first: Recipe, second: Recipe) -> bool:
    return replace(first, **{name: getattr(second, name) for name in ASIDE}) == second


def _plain(value: object) -> Any:
    return json.loads(json.dumps(value, default=str))
