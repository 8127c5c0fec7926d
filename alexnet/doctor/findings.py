"""What is wrong with a set of pictures, judged from one look at each, and which of them had better be left out."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet.data.exclusions import Excluded
from alexnet.data.samples import Source
from alexnet.data.sources import JUNK
from alexnet.doctor.duplicates import connected, near_pairs, same
from alexnet.doctor.inspection import ImageFacts, Inspection
from alexnet.evaluation.evaluate import Evaluation

# Thresholds were chosen on photos of clothes with planted faults; results/doctor.json has what they find and miss.
SMALL_SIDE = 64  # pixels of the shorter side; of sets that are small throughout, half the median
DARK_LUMA = 40.0  # 95 % of the pixels are darker
BRIGHT_LUMA = 235.0  # 95 % are brighter
BLANK_SPREAD = 4.0  # grey levels: hardly more than one colour
COMPARED_SPREAD = 8.0  # with less contrast any two are near; they are compared byte by byte only
BLURRED = 10.0  # variance of the Laplacian
EXTREME_ASPECT = 4.0  # longer side over shorter: the square that is kept shows less than a quarter
FEW_IMAGES = 10  # of a class in train
IMBALANCE = 3.0  # pictures of the largest class over those of the smallest

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "MPO": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "AVIF": (".avif",),
}
HOW_READ = {
    "rotated by EXIF": "turned upright, as its EXIF tag says",
    "transparent": "laid over white",
    "CMYK": "converted to RGB without a colour profile",
    "more than 8 bits": "scaled to 8 bits",
    "animated": "its first frame",
}


@dataclass(frozen=True)
class Remark:
    """Something about one picture."""

    image: int  # index into the looks
    kind: str
    detail: str


@dataclass(frozen=True)
class Group:
    """Pictures that are copies of one another."""

    images: tuple[int, ...]  # indices into the looks: train before val before test
    how: tuple[str, ...]  # "same file", "same pixels", "nearly the same", "mirrored"
    difference: float  # the largest between two that are joined, in grey levels of small pictures
    leak: bool  # in more than one split
    conflict: bool  # in more than one class


@dataclass(frozen=True)
class ClassCounts:
    """One class in numbers."""

    name: str
    counts: dict[str, int]  # split -> pictures that can be read
    weight: float  # n / (classes * n_c) over train


@dataclass(frozen=True)
class Findings:
    """Everything that was found, but for what a trained network says."""

    unreadable: tuple[Remark, ...]
    groups: tuple[Group, ...]  # leaks first, then conflicts, then other copies
    odd: tuple[Remark, ...]  # formats and how each was read
    poor: tuple[Remark, ...]  # small, dark, bright, blank, blurred, extreme aspect
    classes: tuple[ClassCounts, ...]
    class_remarks: tuple[str, ...]
    junk: tuple[str, ...]  # hidden and empty places in the folder, relative to it
    notes: tuple[str, ...]  # what was decided in reading the source
    excluded: tuple[Excluded, ...]

    @property
    def imbalance(self) -> float:
        """Pictures of the largest class of train over those of the smallest that has any."""
        counts = [each.counts["train"] for each in self.classes if each.counts["train"]]
        return max(counts) / min(counts) if counts else 1.0


def find(inspection: Inspection) -> Findings:
    """Judges all looks."""
    looks, source = inspection.images, inspection.source
    groups, joined = find_copies(inspection)
    unreadable = tuple(Remark(i, "unreadable", look.error) for i, look in enumerate(looks) if look.error)
    classes = count_classes(source, looks)
    return Findings(
        unreadable=unreadable,
        groups=groups,
        odd=tuple(each for i, look in enumerate(looks) if not look.error for each in _oddities(i, look)),
        poor=tuple(_poor(looks)),
        classes=classes,
        class_remarks=tuple(_class_remarks(classes, source)),
        junk=tuple(_junk(source)),
        notes=source.notes,
        excluded=choose_excluded(looks, unreadable, groups, joined),
    )


def find_copies(inspection: Inspection) -> tuple[tuple[Group, ...], dict[int, set[int]]]:
    """All groups of copies, and for every picture in one those that it is a copy of itself, not by way of others."""
    looks = inspection.images
    readable = [i for i, look in enumerate(looks) if not look.error]
    exact = [[readable[k] for k in each] for each in same([looks[i].pixels_sha256 for i in readable])]
    lively = [k for k, cluster in enumerate(exact) if looks[cluster[0]].spread > COMPARED_SPREAD]
    first = [exact[k][0] for k in lively]
    pairs, flipped, rms = near_pairs(inspection.hashes[first], inspection.mirrored[first], inspection.small[first])
    pairs = np.array(lively, np.int64)[pairs]
    joined: dict[int, set[int]] = {}
    for cluster in exact:
        if len(cluster) > 1:
            for i in cluster:
                joined.setdefault(i, set()).update(cluster)
    for a, b in pairs.tolist():
        for here, there in ((exact[a], exact[b]), (exact[b], exact[a])):
            for i in here:
                joined.setdefault(i, set()).update(there)
    near = connected(len(exact), pairs)
    within = {k: number for number, clusters in enumerate(near) for k in clusters}
    ways: list[set[str]] = [set() for _ in near]
    worst = [0.0] * len(near)
    for (a, _), mirror, distance in zip(pairs.tolist(), flipped.tolist(), rms.tolist(), strict=True):
        ways[within[a]].add("mirrored" if mirror else "nearly the same")
        worst[within[a]] = max(worst[within[a]], distance)
    groups = [_group(looks, [exact[k] for k in near[n]], ways[n], worst[n]) for n in range(len(near))]
    groups += [_group(looks, [c], set(), 0.0) for k, c in enumerate(exact) if len(c) > 1 and k not in within]
    groups.sort(key=lambda group: (not group.leak, not group.conflict, group.difference > 0, group.images))
    return tuple(groups), joined


def _group(looks: tuple[ImageFacts, ...], clusters: list[list[int]], ways: set[str], worst: float) -> Group:
    images = sorted(i for cluster in clusters for i in cluster)
    for cluster in clusters:
        files = len({looks[i].sha256 for i in cluster})
        ways |= {"same file"} if files < len(cluster) else set()
        ways |= {"same pixels"} if files > 1 else set()
    order = ("same file", "same pixels", "nearly the same", "mirrored")
    return Group(
        tuple(images),
        tuple(way for way in order if way in ways),
        worst,
        leak=len({looks[i].split for i in images}) > 1,
        conflict=len({looks[i].label for i in images}) > 1,
    )


def choose_excluded(
    looks: tuple[ImageFacts, ...], unreadable: Iterable[Remark], groups: Iterable[Group], joined: dict[int, set[int]]
) -> tuple[Excluded, ...]:
    """Pictures that training does better without; whatever is a matter of taste stays.

    Unreadable ones; of copies in two splits those on the training side (in val, if the other is in test); pictures with
    the same pixels in two classes of a split, all of them; of the same pixels in one class all but the first.
    """
    reasons: dict[int, str] = {each.image: f"cannot be read: {each.detail}" for each in unreadable}
    ranks = {"train": 0, "val": 1, "test": 2}
    for group in groups:
        kept: dict[tuple[str, int, str], int] = {}
        for i in group.images:
            me = looks[i]
            copies = joined[i] - {i}
            held_out = [j for j in copies if ranks[looks[j].split] > ranks[me.split]]
            twins = [j for j in copies if looks[j].pixels_sha256 == me.pixels_sha256 and looks[j].split == me.split]
            opposed = [j for j in twins if looks[j].label != me.label]
            if held_out:
                other = looks[min(held_out, key=lambda j: (looks[j].pixels_sha256 != me.pixels_sha256, j))]
                alike = "the same" if other.pixels_sha256 == me.pixels_sha256 else "nearly the same"
                reasons[i] = f"leak: {alike} as {other.name} in {other.split}"
            elif opposed:
                reasons[i] = f"label conflict: the same pixels as {looks[min(opposed)].name}"
            elif twins:
                first = kept.setdefault((me.split, me.label, me.pixels_sha256), i)
                if first != i:
                    reasons[i] = f"duplicate: the same pixels as {looks[first].name}"
    return tuple(Excluded(looks[i].split, looks[i].name, looks[i].sha256, reasons[i]) for i in sorted(reasons))


def _oddities(i: int, look: ImageFacts) -> Iterable[Remark]:
    for oddity in (*look.oddities, *(("animated",) if look.animated and look.format != "MPO" else ())):
        if oddity in HOW_READ:
            yield Remark(i, oddity, HOW_READ[oddity])
    suffix = os.path.splitext(look.name)[1].lower()
    if look.format and suffix not in SUFFIXES[look.format]:
        yield Remark(i, "wrong ending", f"a {look.format} file named {suffix}; read by its content")


def _poor(looks: tuple[ImageFacts, ...]) -> Iterable[Remark]:
    """What makes a picture hard to learn from; one that is dark or bright is not called blank or blurred as well."""
    sides = [min(look.width, look.height) for look in looks if not look.error]
    small = min(SMALL_SIDE, float(np.median(sides)) / 2) if sides else 0.0
    for i, look in enumerate(looks):
        if look.error:
            continue
        if min(look.width, look.height) < small:
            yield Remark(i, "very small", f"{look.width} x {look.height} pixels")
        if max(look.width, look.height) >= EXTREME_ASPECT * min(look.width, look.height):
            yield Remark(i, "extreme aspect", f"{look.width} x {look.height}: most of it is cut off")
        if look.bright < DARK_LUMA:
            yield Remark(i, "dark", f"95 % of it is darker than {look.bright:.0f} of 255")
        elif look.dark > BRIGHT_LUMA:
            yield Remark(i, "bright", f"95 % of it is brighter than {look.dark:.0f} of 255")
        elif look.spread <= BLANK_SPREAD:
            yield Remark(i, "blank", f"hardly more than one colour (deviation {look.spread:.1f} of 255)")
        elif look.sharpness < BLURRED:
            yield Remark(i, "blurred", f"variance of the Laplacian {look.sharpness:.1f}")


def count_classes(source: Source, looks: tuple[ImageFacts, ...]) -> tuple[ClassCounts, ...]:
    """Readable pictures of every class in every split, and its weight."""
    counts = Counter((look.split, look.label) for look in looks if not look.error)
    train = np.array([counts["train", label] for label in range(len(source.class_names))])
    weights = np.where(train > 0, train.sum() / (max((train > 0).sum(), 1) * np.maximum(train, 1)), 0.0)
    return tuple(
        ClassCounts(name, {split: counts[split, label] for split in source.splits}, float(weights[label]))
        for label, name in enumerate(source.class_names)
    )


def _class_remarks(classes: tuple[ClassCounts, ...], source: Source) -> Iterable[str]:
    """One sentence for every class that has too few pictures somewhere."""
    for each in classes:
        train = each.counts["train"]
        absent = " and ".join(s for s in ("val", "test") if s in source.splits and not each.counts[s])
        if train == 0:
            yield f"{each.name} has no picture in train"
        elif train < FEW_IMAGES:
            more = f", and none in {absent}" if absent else ""
            yield f"{each.name} has only {train} picture{'s' * (train > 1)} in train{more}"
        elif absent:
            yield f"{each.name} has no picture in {absent}: nobody can say how well it is known"


def _junk(source: Source) -> Iterable[str]:
    """Hidden files and folders, and folders without any file, in the folder of the pictures."""
    roots = {samples.root for samples in source.splits.values() if samples.root is not None}
    for root in sorted(roots):
        for here, below, files in os.walk(root):  # links to folders are not followed: theirs are not ours to judge
            place = Path(here).relative_to(root).as_posix()
            prefix = "" if place == "." else f"{place}/"
            hidden = sorted(name for name in below if _hidden(name))
            yield from (f"{prefix}{name}/ is hidden: not used" for name in hidden)
            yield from (f"{prefix}{name} is hidden: not used" for name in sorted(files) if _hidden(name))
            below[:] = sorted(set(below) - set(hidden))
            if not below and not files and not hidden:
                yield f"{place}/ is empty"


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


DOUBTED = 0.1  # the given class is less probable than this ...
BELIEVED = 0.6  # ... and another more probable than this


@dataclass(frozen=True)
class Suspect:
    """A picture whose label is likely wrong."""

    split: str
    name: str
    given: str
    likely: str
    given_probability: float  # in [0, 1]
    likely_probability: float
    trained_on: bool  # the network has learned this very label, so that its doubt is rare and weighs more


def find_suspects(evaluations: Sequence[Evaluation], trained_on: bool) -> tuple[Suspect, ...]:
    """Pictures whose given class the network holds for improbable and another for probable, the surest first.

    Args:
        evaluations: of the splits of one set of pictures.
        trained_on: whether the split "train" of that set is what the network was trained on.
    """
    found = []
    for evaluation in evaluations:
        probabilities, names = evaluation.probabilities, evaluation.class_names
        given = probabilities[np.arange(evaluation.count), evaluation.labels]
        likely = probabilities.argmax(1)
        for i in np.flatnonzero((given < DOUBTED) & (probabilities.max(1) > BELIEVED)).tolist():
            found.append(
                Suspect(
                    evaluation.split,
                    evaluation.names[i],
                    names[evaluation.labels[i]],
                    names[likely[i]],
                    float(given[i]),
                    float(probabilities[i, likely[i]]),
                    trained_on and evaluation.split == "train",
                )
            )
    return tuple(sorted(found, key=lambda s: (s.given_probability - s.likely_probability, s.split, s.name)))
