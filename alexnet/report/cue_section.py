"""The section of a report that sets the network, or nothing yet, beside what simple cues know."""

from collections.abc import Sequence
from html import escape

from alexnet.cues.judge import contest_line, leak_lines, leaks
from alexnet.cues.measure import Cues
from alexnet.cues.store import beside
from alexnet.evaluation.evaluate import Evaluation
from alexnet.evaluation.intervals import wilson_interval
from alexnet.report.html import interval_bar, percent, table


def beside_cues(cues: Cues, evaluations: Sequence[Evaluation] = ()) -> str:
    """Builds the section: leaks first, then a row for the network, for each cue and for guessing."""
    found = leaks(cues)
    rows = []
    result = beside(cues, evaluations)
    if result is not None:
        low, high = wilson_interval(result.network * result.images, result.images)
        rows.append(_row("<strong>the network</strong>", result.network, low, high, ""))
    for cue in sorted(cues.cues, key=lambda each: (each.kind, -each.accuracy)):
        told = "<strong>leak</strong>" if cue in found else "should know nothing" if cue.kind == "leak" else ""
        told = "the baseline" if cue.name == cues.baseline else told
        rows.append(_row(escape(cue.name), cue.accuracy, cue.low, cue.high, told))
    low, high = wilson_interval(cues.guessing * cues.images, cues.images)
    rows.append(_row("guessing the largest class", cues.guessing, low, high, ""))
    columns = {"Told from": "names", "Accuracy": "n", "95&nbsp;% interval": "", " ": "names"}
    loud = "".join(f"<p><strong>{escape(line)}.</strong></p>" for line in leak_lines(cues))
    verdict = "" if result is None else f"<p>The network is {escape(contest_line(cues, result))}.</p>"
    note = f" {escape(cues.note[0].upper() + cues.note[1:])}." if cues.note else ""
    return (
        f'{loud}{verdict}<div class="wide">{table(columns, rows)}</div><p class="note">A simple classifier was fitted '
        f"to each cue on at most {cues.train:,} training images and asked once on {cues.images:,} images of "
        f"{escape(cues.split)}. Color and shape are what a network has to beat. Size, file, compression and border of "
        "an image should know nothing of its class: if they do, the classes were photographed or saved in different "
        f"ways, and the accuracy will not hold for other images.{note}</p>"
    )


def _row(name: str, accuracy: float, low: float, high: float, told: str) -> list[str | tuple[str, str]]:
    return [name, percent(accuracy), interval_bar(accuracy, low, high), told]
