"""Builds the page of the doctor: all problems of a dataset in one file, worst first, with thumbnails."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from alexnet.cues import judge
from alexnet.cues.measure import Cues
from alexnet.data.images import read_image
from alexnet.doctor.findings import IMBALANCE, Findings, Group, Remark, Suspect
from alexnet.doctor.inspection import Inspection
from alexnet.errors import DataError
from alexnet.report.cue_section import beside_cues
from alexnet.report.figures import thumbnail
from alexnet.report.html import bar, page, percent, plural, table

SHOWN = 60  # findings of one kind shown with thumbnails; all are in doctor.json
IN_GROUP = 8  # images shown of one group
LISTED = 500  # rows of a table
THUMBNAIL = 160


def doctor_page(
    title: str,
    inspection: Inspection,
    findings: Findings,
    suspects: tuple[Suspect, ...] | None,
    next_steps: Sequence[str],
    cues: Cues | None = None,
) -> str:
    """Builds the whole page as HTML.

    Args:
        title: name of the dataset.
        suspects: None if no network was used.
        next_steps: sentences, then one command.
        cues: what simple cues know; None if they were not measured.
    """
    leaks = [group for group in findings.groups if group.leak]
    conflicts = [group for group in findings.groups if group.conflict and not group.leak]
    copies = [group for group in findings.groups if not group.leak and not group.conflict]
    parts = {
        "next": ("What to do", _overview(inspection, findings, next_steps)),
        "leaks": (_headed("Leaks between splits", leaks), _leaks(inspection, leaks)),
        "conflicts": (_headed("Copies in two classes", conflicts), _conflicts(inspection, conflicts)),
    }
    if cues is not None:
        parts["cues"] = (_headed("Cues that give the classes away", judge.leaks(cues)), beside_cues(cues))
    if suspects is not None:
        parts["labels"] = (_headed("Likely wrong labels", suspects), _suspects(inspection, suspects))
    parts |= {
        "unreadable": (_headed("Unreadable", findings.unreadable), _unreadable(inspection, findings.unreadable)),
        "copies": (_headed("Copies in one class", copies), _copies(inspection, copies)),
        "classes": ("Classes", _classes(inspection, findings)),
        "poor": (_headed("Hard to learn from", findings.poor), _poor(inspection, findings.poor)),
        "formats": (_headed("Formats", findings.odd), _formats(inspection, findings.odd)),
        "places": (_headed("Hidden files and empty folders", findings.junk), _paths(findings)),
    }
    return page(title, parts, "AlexNet doctor")


def _headed(name: str, items: Sequence[object]) -> str:
    return f'{name} <small class="muted">{len(items):,}</small>'


def _overview(inspection: Inspection, findings: Findings, next_steps: Sequence[str]) -> str:
    counts = {split: len(samples) for split, samples in inspection.source.splits.items()}
    leaking = {i for group in findings.groups if group.leak for i in group.images}
    held_out = sum(inspection.images[i].split != "train" for i in leaking)
    all_held_out = sum(count for split, count in counts.items() if split != "train")
    figures = (
        (sum(counts.values()), "images: " + ", ".join(f"{n:,} {split}" for split, n in counts.items())),
        (held_out, f"of {plural(all_held_out, 'held-out image')} have a copy in another split"),
        (len(findings.excluded), "proposed to be left out"),
    )
    big = "".join(f"<div><b>{number:,}</b>{escape(text)}</div>" for number, text in figures)
    *sentences, command = next_steps
    sentences_html = "".join(f"<p>{escape(sentence[0].upper() + sentence[1:])}</p>" for sentence in sentences)
    return (
        f'<div class="big">{big}</div>{sentences_html}<pre>{escape(command)}</pre>'
        '<p class="note">Nothing in the folder of the images was changed. The file exclude.jsonl lists the images that '
        "are proposed to be left out, one per line with a reason: unreadable images; of copies in two splits the one "
        "in train (or val); images with the same pixels in two classes; of images with the same pixels in one class, "
        "all but the first. Everything else on this page is for you to judge.</p>"
    )


def _leaks(inspection: Inspection, groups: Sequence[Group]) -> str:
    if not groups:
        return "<p>None: no image of one split has a copy in another split.</p>"
    return (
        '<p class="note">The same image is used for training and for testing, so the measured accuracy is too high. '
        "The copies in train (in val, if the other one is in test) are proposed to be left out.</p>"
        + _groups(inspection, groups)
    )


def _conflicts(inspection: Inspection, groups: Sequence[Group]) -> str:
    if not groups:
        return "<p>None within a split.</p>"
    return (
        '<p class="note">One image with two labels: at least one label is wrong. If the pixels are the same, all of '
        "them are proposed to be left out. Images that are only nearly the same may differ in the detail that matters, "
        "so check them yourself.</p>" + _groups(inspection, groups)
    )


def _copies(inspection: Inspection, groups: Sequence[Group]) -> str:
    if not groups:
        return "<p>None.</p>"
    return (
        '<p class="note">Copies count more than once in training. Of images with the same pixels, all but the first '
        "are proposed to be left out; near copies are not.</p>" + _groups(inspection, groups)
    )


def _groups(inspection: Inspection, groups: Sequence[Group]) -> str:
    cards = []
    for group in groups[:SHOWN]:
        heading = f"<strong>{', '.join(group.how)}</strong>"
        if group.difference:
            heading += f' <small class="muted">differ by {group.difference:.1f} of 255</small>'
        if group.leak and group.conflict:
            heading += " · <strong>in two classes</strong>"
        images = "".join(_card(inspection, i, 112) for i in group.images[:IN_GROUP])
        not_shown = len(group.images) - IN_GROUP
        not_shown_note = f'<p class="muted">and {not_shown:,} more</p>' if not_shown > 0 else ""
        cards.append(f'<div class="group">{heading}<div class="copies">{images}</div>{not_shown_note}</div>')
    return f'<div class="groups">{"".join(cards)}</div>{_more(groups, SHOWN)}'


def _suspects(inspection: Inspection, suspects: Sequence[Suspect]) -> str:
    note = (
        '<p class="note">The network gives another class a high probability and the label a low one. The network can '
        "be wrong too, so check these images yourself; the most certain ones come first, and none is proposed to be "
        "left out. A network partly memorizes the labels that it was trained on, so wrong labels in train may be "
        "missing here. Labels of held-out images are judged fairly.</p>"
    )
    if not suspects:
        return f"<p>None.</p>{note}"
    index = {(facts.split, facts.name): i for i, facts in enumerate(inspection.images)}
    cards = []
    for each in suspects[:SHOWN]:
        trained_note = " · trained on" if each.trained_on else ""
        cards.append(
            f"<figure>{_thumbnail(inspection, index[each.split, each.name], 320)}<figcaption>"
            f"<strong>{escape(each.given)}</strong><br>"
            f'<small class="muted">{escape(each.name)} · {each.split}{trained_note}</small></figcaption>'
            f"{bar(each.likely_probability, escape(each.likely), percent(each.likely_probability))}"
            f"{bar(each.given_probability, escape(each.given), percent(each.given_probability), 'true')}</figure>"
        )
    return f'{note}<div class="cards">{"".join(cards)}</div>{_more(suspects, SHOWN)}'


def _unreadable(inspection: Inspection, remarks: Sequence[Remark]) -> str:
    if not remarks:
        return "<p>None: every image was decoded completely.</p>"
    return _lines(inspection, remarks, "Reason") + '<p class="note">All are proposed to be left out.</p>'


def _formats(inspection: Inspection, remarks: Sequence[Remark]) -> str:
    if not remarks:
        return "<p>Nothing unusual.</p>"
    return '<p class="note">These images are used; the table says how each was read.</p>' + _lines(
        inspection, remarks, "How read"
    )


def _poor(inspection: Inspection, remarks: Sequence[Remark]) -> str:
    if not remarks:
        return "<p>None.</p>"
    kinds: dict[str, list[Remark]] = {}
    for each in remarks:
        kinds.setdefault(each.kind, []).append(each)
    out = [
        '<p class="note">None of these is proposed to be left out: a network often learns most from hard images.</p>'
    ]
    for kind, remarks_of_kind in kinds.items():
        cards = "".join(
            f"<figure>{_thumbnail(inspection, each.image, THUMBNAIL)}<figcaption>{escape(each.detail)}<br>"
            f'<small class="muted">{_name(inspection, each.image)}</small></figcaption></figure>'
            for each in remarks_of_kind[: SHOWN // 2]
        )
        heading = f"{kind[0].upper()}{kind[1:]}"
        out.append(
            f'<h3>{heading} <small class="muted">{len(remarks_of_kind):,}</small></h3><div class="cards">{cards}</div>'
            f"{_more(remarks_of_kind, SHOWN // 2)}"
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
    imbalanced = findings.imbalance >= IMBALANCE
    advice = " With class_weights=balanced, rare classes count more, at most ten times." if imbalanced else ""
    return (
        (f"<ul>{remarks}</ul>{_more(findings.class_remarks, LISTED)}" if remarks else "")
        + f'<div class="tall">{table(columns, rows, "sortable")}</div><p class="note">The largest class of train has '
        f"{findings.imbalance:.1f} times as many images as the smallest.{advice} Weight: images of train / classes / "
        "images of the class, and at most ten times that of another class. Only readable images are counted.</p>"
    )


def _paths(findings: Findings) -> str:
    lines = "".join(f"<li>{escape(text)}</li>" for text in findings.junk[:LISTED])
    notes = "".join(f"<li>{escape(text)}</li>" for text in findings.notes)
    notes_html = f"<h3>How the folder was read</h3><ul>{notes}</ul>" if notes else ""
    return (f"<ul>{lines}</ul>{_more(findings.junk, LISTED)}" if lines else "<p>None.</p>") + notes_html


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
    columns = {"Image": "names", "Split": "", "Kind": "", heading: "names"}
    return f'<div class="tall">{table(columns, rows, "sortable")}</div>{_more(remarks, LISTED)}'


def _card(inspection: Inspection, i: int, side: int) -> str:
    facts = inspection.images[i]
    label = escape(inspection.source.class_names[facts.label])
    return (
        f"<figure>{_thumbnail(inspection, i, side)}<figcaption><strong>{facts.split}</strong> · {label}<br>"
        f'<small class="muted">{_name(inspection, i)}</small></figcaption></figure>'
    )


def _thumbnail(inspection: Inspection, i: int, side: int) -> str:
    facts = inspection.images[i]
    source = inspection.source.splits[facts.split].image(facts.index)
    try:
        pixels = read_image(source) if isinstance(source, Path) else source
    except DataError:  # the file was deleted or changed since the examination
        return ""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return thumbnail(pixels, side, facts.name)


def _name(inspection: Inspection, i: int) -> str:
    return f"<bdi>{escape(inspection.images[i].name)}</bdi>"


def _more(items: Iterable[object], shown: int) -> str:
    not_shown = len(list(items)) - shown
    return f'<p class="muted">{not_shown:,} more in doctor.json.</p>' if not_shown > 0 else ""
