"""What the plan measures beside the test error: a table of intervals without verdicts, one line for each ingredient."""

from collections.abc import Callable

from alexnet.experiments import results
from alexnet.experiments.results import Row
from studies.claims import leading, measures
from studies.claims.measures import Studies, first_loss, overfit, train_error

Measure = Callable[[Row], float | None]


def _held_out(measure: str) -> Measure:
    return lambda row: results.error(row, measure, measures.split_of([row]))


# Name of the column, what it is of a run, and by how much it is multiplied for the table.
COLUMNS: tuple[tuple[str, Measure, float], ...] = (
    ("top-5 error, points", _held_out("top5_error"), 100.0),
    ("log loss, nats", _held_out("log_loss"), 1.0),
    ("training error, points", train_error, 100.0),
    ("test less training error, points", overfit, 100.0),
    ("loss of the first epoch, nats", first_loss, 1.0),
)


SECTION = """## Beside the verdicts

What else was measured in the same runs. The plan calls it secondary: intervals and no verdicts, in points of error or
nats of loss, by Student's t of Welch, for the test images used. In one of twenty such intervals chance alone leaves out
zero.

"""


def section(studies: Studies) -> str:
    """What docs/claims.md has of it."""
    return f"{SECTION}{table(studies)}"


def table(studies: Studies) -> str:
    """The lines, as Markdown; an arm without an interval has none."""
    header = ("changed", *(name for name, _, _ in COLUMNS))
    lines = [header, tuple("---" for _ in header)]
    for line in leading.LINES:
        cells = [_cell(studies, line.arm, measure, scale) for _, measure, scale in COLUMNS]
        lines.append((f"{line.change} ({line.arm})", *cells))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cell(studies: Studies, arm: str, measure: Measure, scale: float) -> str:
    found = measures.difference(studies[leading.STUDY], arm, measure)
    if found is None or found.low is None or found.high is None:
        return "-"
    effect, low, high = (scale * value for value in (found.effect, found.low, found.high))
    return f"{effect:+z.2f} [{low:+z.2f}, {high:+z.2f}]"
