"""The page of the doctor: what is wrong with the pictures, worst first, each with its thumbnail, in one file."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from alexnet.data.images import read_image
from alexnet.doctor.findings import IMBALANCE, Findings, Group, Remark, Suspect
from alexnet.doctor.inspection import Inspection
from alexnet.errors import DataError
from alexnet.report.figures import thumbnail
from alexnet.report.html import bar, page, percent, plural, table

SHOWN = 60  # of a kind with thumbnails; all stand in doctor.json
IN_GROUP = 8  # pictures of one group
LISTED = 500  # lines of a table
THUMBNAIL = 160


def doctor_page(
    title: str,
    inspection: Inspection,
    findings: Findings,
    suspects: tuple[Suspect, ...] | None,
    next_steps: Sequence[str],
) -> str:
    """The whole page as HTML.

    Args:
        title: what the pictures are called.
        suspects: None if no network was asked.
        next_steps: sentences and commands, the last one a command.
    """
    leaks = [group for group in findings.groups if group.leak]
    conflicts = [group for group in findings.groups if group.conflict and not group.leak]
    copies = [group for group in findings.groups if not group.leak and not group.conflict]
    parts = {
        "next": ("What to do", _overview(inspection, findings, next_steps)),
        "leaks": (_headed("Leaks between splits", leaks), _leaks(inspection, leaks)),
        "conflicts": (_headed("Copies in two classes", conflicts), _conflicts(inspection, conflicts)),
    }
    if suspects is not None:
        parts["labels"] = (_headed("Likely wrong labels", suspects), _suspects(inspection, suspects))
    parts |= {
        "unreadable": (_headed("Unreadable", findings.unreadable), _unreadable(inspection, findings.unreadable)),
        "copies": (_headed("Copies in one class", copies), _copies(inspection, copies)),
        "classes": ("Classes", _classes(inspection, findings)),
        "poor": (_headed("Hard to learn from", findings.poor), _poor(inspection, findings.poor)),
        "formats": (_headed("Formats", findings.odd), _formats(inspection, findings.odd)),
        "places": (_headed("Hidden and empty places", findings.junk), _places(findings)),
    }
    return page(title, parts, "AlexNet doctor")


def _headed(name: str, found: Sequence[object]) -> str:
    return f'{name} <small class="muted">{len(found):,}</small>'


def _overview(inspection: Inspection, findings: Findings, next_steps: Sequence[str]) -> str:
    counts = {split: len(samples) for split, samples in inspection.source.splits.items()}
    leaking = {i for group in findings.groups if group.leak for i in group.images}
    held_out = sum(inspection.images[i].split != "train" for i in leaking)
    rest = sum(count for split, count in counts.items() if split != "train")
    figures = {
        f"{sum(counts.values()):,}": "pictures: " + ", ".join(f"{n:,} {split}" for split, n in counts.items()),
        f"{held_out:,}": f"of {plural(rest, 'held-out image')} have a copy in another split",
        f"{len(findings.excluded):,}": "proposed to be left out",
    }
    big = "".join(f"<div><b>{number}</b>{escape(text)}</div>" for number, text in figures.items())
    *sentences, command = next_steps
    told = "".join(f"<p>{escape(sentence[0].upper() + sentence[1:])}</p>" for sentence in sentences)
    return (
        f'<div class="big">{big}</div>{told}<pre>{escape(command)}</pre>'
        '<p class="note">Nothing in the folder of the pictures was changed. What is proposed to be left out stands in '
        "exclude.jsonl, one line a picture with its reason: unreadable pictures; the training side of copies in two "
        "splits; pictures that lie in two classes with the same pixels; all but the first of the same pixels in one "
        "class. Everything else on this page is for you to judge.</p>"
    )


def _leaks(inspection: Inspection, groups: Sequence[Group]) -> str:
    if not groups:
        return "<p>None: no picture of one split has a copy in another.</p>"
    return (
        '<p class="note">The same picture to learn from and to be tested on: accuracy comes out too high. '
        "The copies in train (in val, if the other is in test) are proposed to be left out.</p>"
        + _groups(inspection, groups)
    )


def _conflicts(inspection: Inspection, groups: Sequence[Group]) -> str:
    if not groups:
        return "<p>None within a split.</p>"
    return (
        '<p class="note">One picture, two labels: at least one is wrong. With the same pixels all of them are proposed '
        "to be left out; those that are only nearly the same may differ in just what matters, so look.</p>"
        + _groups(inspection, groups)
    )


def _copies(inspection: Inspection, groups: Sequence[Group]) -> str:
    if not groups:
        return "<p>None.</p>"
    return (
        '<p class="note">They count more than once. Of the same pixels, all but the first are proposed to be left out; '
        "near copies are not.</p>" + _groups(inspection, groups)
    )


def _groups(inspection: Inspection, groups: Sequence[Group]) -> str:
    cards = []
    for group in groups[:SHOWN]:
        alike = f"<strong>{', '.join(group.how)}</strong>"
        if group.difference:
            alike += f' <small class="muted">differ by {group.difference:.1f} of 255</small>'
        if group.leak and group.conflict:
            alike += " · <strong>in two classes</strong>"
        shown = "".join(_card(inspection, i, 112) for i in group.images[:IN_GROUP])
        rest = len(group.images) - IN_GROUP
        more = f'<p class="muted">and {rest:,} more</p>' if rest > 0 else ""
        cards.append(f'<div class="group">{alike}<div class="copies">{shown}</div>{more}</div>')
    return f'<div class="groups">{"".join(cards)}</div>{_more(groups, SHOWN)}'


def _suspects(inspection: Inspection, suspects: Sequence[Suspect]) -> str:
    note = (
        '<p class="note">The network gives another class a high probability and the label a low one. It errs too: '
        "these are pictures to look at, the surest first; none of them is proposed to be left out. Labels that it was "
        "trained on it has partly learned by heart, so that wrong ones among them may be missing here; those of "
        "held-out pictures are judged fairly.</p>"
    )
    if not suspects:
        return f"<p>None.</p>{note}"
    index = {(look.split, look.name): i for i, look in enumerate(inspection.images)}
    cards = []
    for each in suspects[:SHOWN]:
        seen = " · trained on" if each.trained_on else ""
        cards.append(
            f"<figure>{_thumbnail(inspection, index[each.split, each.name], 320)}<figcaption>"
            f"<strong>{escape(each.given)}</strong><br>"
            f'<small class="muted">{escape(each.name)} · {each.split}{seen}</small></figcaption>'
            f"{bar(each.likely_probability, escape(each.likely), percent(each.likely_probability))}"
            f"{bar(each.given_probability, escape(each.given), percent(each.given_probability), 'true')}</figure>"
        )
    return f'{note}<div class="cards">{"".join(cards)}</div>{_more(suspects, SHOWN)}'


def _unreadable(inspection: Inspection, remarks: Sequence[Remark]) -> str:
    if not remarks:
        return "<p>None: every picture was decoded to its last pixel.</p>"
    return _lines(inspection, remarks, "Why") + '<p class="note">All are proposed to be left out.</p>'


def _formats(inspection: Inspection, remarks: Sequence[Remark]) -> str:
    if not remarks:
        return "<p>Nothing out of the ordinary.</p>"
    return '<p class="note">These are read all the same; this is how.</p>' + _lines(inspection, remarks, "How read")


def _poor(inspection: Inspection, remarks: Sequence[Remark]) -> str:
    if not remarks:
        return "<p>None.</p>"
    kinds: dict[str, list[Remark]] = {}
    for each in remarks:
        kinds.setdefault(each.kind, []).append(each)
    out = ['<p class="note">None of these is proposed to be left out: hard pictures are often the ones that teach.</p>']
    for kind, some in kinds.items():
        cards = "".join(
            f"<figure>{_thumbnail(inspection, each.image, THUMBNAIL)}<figcaption>{escape(each.detail)}<br>"
            f'<small class="muted">{_name(inspection, each.image)}</small></figcaption></figure>'
            for each in some[: SHOWN // 2]
        )
        heading = f"{kind[0].upper()}{kind[1:]}"
        out.append(
            f'<h3>{heading} <small class="muted">{len(some):,}</small></h3><div class="cards">{cards}</div>'
            f"{_more(some, SHOWN // 2)}"
        )
    return "".join(out)


def _classes(inspection: Inspection, findings: Findings) -> str:
    splits = list(inspection.source.splits)
    most = max((each.counts["train"] for each in findings.classes), default=1) or 1
    rows: list[list[str | tuple[str, str]]] = [
        [
            f"<bdi>{escape(each.name)}</bdi>",
            *((f"{each.counts[split]:,}", f"{each.counts[split]}") for split in splits),
            (f"{each.weight:.2f}" if each.weight else "–", f"{each.weight:.4f}"),
            (bar(each.counts["train"] / most, "", ""), f"{each.counts['train']}"),
        ]
        for each in findings.classes
    ]
    columns = {"Class": "names", **dict.fromkeys(splits, "n"), "Weight": "n", "In train": "share"}
    remarks = "".join(f"<li>{escape(text)}</li>" for text in findings.class_remarks[:LISTED])
    large = findings.imbalance >= IMBALANCE
    advice = " --class-weights balanced makes them count alike." if large else ""
    return (
        (f"<ul>{remarks}</ul>{_more(findings.class_remarks, LISTED)}" if remarks else "")
        + f'<div class="tall">{table(columns, rows, "sortable")}</div><p class="note">The largest class of train has '
        f"{findings.imbalance:.1f} times as many pictures as the smallest.{advice} Weight: pictures over classes over "
        "pictures of the class. Only pictures that can be read are counted.</p>"
    )


def _places(findings: Findings) -> str:
    lines = "".join(f"<li>{escape(text)}</li>" for text in findings.junk[:LISTED])
    notes = "".join(f"<li>{escape(text)}</li>" for text in findings.notes)
    told = f"<h3>How the folder was read</h3><ul>{notes}</ul>" if notes else ""
    return (f"<ul>{lines}</ul>{_more(findings.junk, LISTED)}" if lines else "<p>None.</p>") + told


def _lines(inspection: Inspection, remarks: Sequence[Remark], heading: str) -> str:
    rows = [
        [
            _name(inspection, each.image),
            escape(inspection.images[each.image].split),
            escape(each.kind),
            escape(each.detail),
        ]
        for each in remarks[:LISTED]
    ]
    columns = {"Picture": "names", "Split": "", "Kind": "", heading: "names"}
    return f'<div class="tall">{table(columns, rows, "sortable")}</div>{_more(remarks, LISTED)}'


def _card(inspection: Inspection, i: int, side: int) -> str:
    look = inspection.images[i]
    label = escape(inspection.source.class_names[look.label])
    return (
        f"<figure>{_thumbnail(inspection, i, side)}<figcaption><strong>{look.split}</strong> · {label}<br>"
        f'<small class="muted">{_name(inspection, i)}</small></figcaption></figure>'
    )


def _thumbnail(inspection: Inspection, i: int, side: int) -> str:
    look = inspection.images[i]
    source = inspection.source.splits[look.split].image(look.index)
    try:
        pixels = read_image(source) if isinstance(source, Path) else source
    except DataError:  # it was there a moment ago
        return ""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return thumbnail(pixels, side, look.name)


def _name(inspection: Inspection, i: int) -> str:
    return f"<bdi>{escape(inspection.images[i].name)}</bdi>"


def _more(found: Iterable[object], shown: int) -> str:
    rest = len(list(found)) - shown
    return f'<p class="muted">{rest:,} more in doctor.json.</p>' if rest > 0 else ""
