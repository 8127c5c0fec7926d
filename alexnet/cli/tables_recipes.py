"""What the verbs on recipes print; nothing here needs PyTorch."""

from collections.abc import Sequence

from rich.padding import Padding
from rich.text import Text

from alexnet.api.bars import console
from alexnet.cli.terminal import print_table, say
from alexnet.language.speak import said
from alexnet.recipes.field_notes import Difference
from alexnet.recipes.recipe import Recipe, flat
from alexnet.text import columns, printable


def recipes(found: Sequence[Recipe]) -> None:
    """The recipes that have a name."""
    rows = [(r.name, r.model.architecture, str(r.epochs), str(r.model.crop_size)) for r in found]
    print_table("", ("recipe", "network", "epochs", "crop"), rows, left=2)


def fields(recipe: Recipe) -> None:
    """All fields of a recipe with their values."""
    print_table("", ("field", recipe.name), [(name, str(value)) for name, value in flat(recipe).items()], left=2)


def differences(names: tuple[str, str], found: Sequence[Difference]) -> None:
    """Field and both values, and below them what it changes and where the values come from."""
    if not found:
        say(f"{names[0]} and {names[1]} are the same.")
        return
    rows = [(d.field, setting(d.first), setting(d.second)) for d in found]
    head = (said("field"), *names)
    widths = [max(map(columns, column)) for column in zip(head, *rows, strict=True)]
    for d, row in zip((None, *found), (head, *rows), strict=True):
        cells = (cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True))
        console().print(Text(printable("   ".join(cells).rstrip())))
        if d is not None:
            console().print(Padding(Text(f"{said(d.consequence)}  ({said(d.source)})"), (0, 0, 0, 4)))


def setting(value: object) -> str:
    """A value of a field as one would type it."""
    if isinstance(value, tuple):
        return "[" + ",".join(setting(item) for item in value) + "]"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
