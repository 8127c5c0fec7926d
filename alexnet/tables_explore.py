"""What the verbs print that look into networks and hand them on."""

from pathlib import Path

from alexnet.answering import Answering
from alexnet.export import Exported
from alexnet.parity import TOLERANCE, Parity
from alexnet.tables import percent, say
from alexnet.terminal import print_table


def exported(found: Exported) -> None:
    """What was written, and how it compares with the run."""
    say(f"written: {found.out} ({found.bytes / 1e6:.1f} MB), after it had been asked the same as the run")
    rows = [
        ("run", percent(found.eager_accuracy)),
        ("exported", percent(found.accuracy)),
    ]
    print_table("", ("network", f"top-1 accuracy on {found.split}"), rows)
    _apart(found.parity)


def parity(first: Answering, second: Answering, found: Parity, errors: dict[Path, str]) -> None:
    """Whether two networks answer alike, in figures."""
    say(f"A: {first.name} ({first.kind}, pictures of {first.prepare_size} pixels)")
    say(f"B: {second.name} ({second.kind}, pictures of {second.prepare_size} pixels)")
    _apart(found)
    unread(errors)


def unread(errors: dict[Path, str]) -> None:
    """The pictures that could not be read, each with its reason."""
    for reason in errors.values():
        say(f"not read: {reason}")


def _apart(found: Parity) -> None:
    rows = [
        ("pictures", str(found.pictures)),
        ("largest difference of a probability", f"{found.max_probability:.2e}"),
        ("mean difference of a probability", f"{found.mean_probability:.2e}"),
        ("largest difference of a logit", f"{found.max_logit:.2e}"),
        ("largest logit", f"{found.largest_logit:.2f}"),
        ("same most probable class", percent(found.agreement)),
    ]
    print_table("", ("", "A and B"), rows)
    say(f"{'equal' if found.equal else 'NOT equal'} within {TOLERANCE:g}")
