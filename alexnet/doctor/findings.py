"""Judges the measured facts of all images: what is wrong with the dataset, and which images to leave out."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from alexnet.data.exclusions import Excluded
from alexnet.data.folders import Entries, Tree
from alexnet.data.image_files import HEIF_ENDINGS
from alexnet.data.samples import Source, balanced_weights
from alexnet.doctor.duplicates import connected, near_pairs, same
from alexnet.doctor.inspection import ImageFacts, Inspection
from alexnet.evaluation.evaluate import Evaluation

# Thresholds were chosen on photos of clothes with planted faults; results/doctor.json has what they find and miss.
SMALL_SIDE = 64  # pixels of the shorter side; half the median if a dataset consists of small images
DARK_LUMA = 40.0  # 95 % of the pixels are darker
BRIGHT_LUMA = 235.0  # 95 % are brighter
BLANK_SPREAD = 4.0  # gray levels: almost a single color
COMPARED_SPREAD = 8.0  # with less contrast any two images are similar, so they are only compared pixel by pixel
BLURRED = 10.0  # variance of the Laplacian
EXTREME_ASPECT = 4.0  # longer side over shorter side: three quarters are cut off, or all is squeezed
FEW_IMAGES = 10  # images of a class in train
IMBALANCE = 3.0  # images of the largest class over images of the smallest

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
    "HEIF": HEIF_ENDINGS,
}
HOW_READ = {
    "rotated by EXIF": "turned upright, as its EXIF tag says",
    "transparent": "its transparent parts became white",
    "CMYK": "converted to RGB without a color profile",
    "more than 8 bits": "scaled to 8 bits",
    "animated": "only its first frame is used",
}


@dataclass(frozen=True)
class Remark:
    """One remark about one image."""

    image: int  # index into Inspection.images
    kind: str
    detail: str


@dataclass(frozen=True)
class Group:
    """A group of images that are copies of one another."""

    images: tuple[int, ...]  # indices into Inspection.images: train before val before test
    how: tuple[str, ...]  # "same file", "same pixels", "nearly the same", "mirrored"
    difference: float  # the largest between two connected images, in gray levels of their small images
    leak: bool  # in more than one split
    conflict: bool  # in more than one class


@dataclass(frozen=True)
class ClassCounts:
    """The number of images of one class, and its weight."""

    name: str
    counts: dict[str, int]  # split -> number of images that can be read
    weight: float  # with class_weights=balanced; see `balanced_weights`


@dataclass(frozen=True)
class Findings:
    """Everything that was found without a trained network."""

    unreadable: tuple[Remark, ...]
    groups: tuple[Group, ...]  # leaks first, then conflicts, then other copies
    odd: tuple[Remark, ...]  # formats and how each was read
    poor: tuple[Remark, ...]  # small, dark, bright, blank, blurred, extreme aspect
    classes: tuple[ClassCounts, ...]
    class_remarks: tuple[str, ...]
    junk: tuple[str, ...]  # hidden files and folders, and empty folders, relative to the dataset folder
    notes: tuple[str, ...]  # decisions made when the source was read
    excluded: tuple[Excluded, ...]

    @property
    def imbalance(self) -> float:
        """Images of the largest class in train over images of the smallest class that has any."""
        counts = [each.counts["train"] for each in self.classes if each.counts["train"]]
        return max(counts) / min(counts) if counts else 1.0


def find(inspection: Inspection) -> Findings:
    """Judges the facts of all images."""
    images, source = inspection.images, inspection.source
    groups, direct_copies = find_copies(inspection)
    unreadable = tuple(Remark(i, "unreadable", facts.error) for i, facts in enumerate(images) if facts.error)
    classes = count_classes(source, images)
    return Findings(
        unreadable=unreadable,
        groups=groups,
        odd=tuple(each for i, facts in enumerate(images) if not facts.error for each in _oddities(i, facts)),
        poor=tuple(_poor(images)),
        classes=classes,
        class_remarks=tuple(_class_remarks(classes, source)),
        junk=tuple(_junk(source)),
        notes=source.notes,
        excluded=choose_excluded(images, unreadable, groups, direct_copies),
    )


def find_copies(inspection: Inspection) -> tuple[tuple[Group, ...], dict[int, set[int]]]:
    """Finds all groups of copies, and for every image in a group its direct copies, without copies of copies."""
    images = inspection.images
    readable = [i for i, facts in enumerate(images) if not facts.error]
    exact = [[readable[k] for k in each] for each in same([images[i].pixels_sha256 for i in readable])]
    textured = [k for k, cluster in enumerate(exact) if images[cluster[0]].spread > COMPARED_SPREAD]
    first = [exact[k][0] for k in textured]
    pairs, flipped, rms = near_pairs(inspection.hashes[first], inspection.mirrored[first], inspection.small[first])
    pairs = np.array(textured, np.int64)[pairs]
    direct_copies: dict[int, set[int]] = {}
    for cluster in exact:
        if len(cluster) > 1:
            for i in cluster:
                direct_copies.setdefault(i, set()).update(cluster)
    for a, b in pairs.tolist():
        for own_copies, other_copies in ((exact[a], exact[b]), (exact[b], exact[a])):
            for i in own_copies:
                direct_copies.setdefault(i, set()).update(other_copies)
    near = connected(len(exact), pairs)
    within = {k: number for number, clusters in enumerate(near) for k in clusters}
    kinds: list[set[str]] = [set() for _ in near]
    worst = [0.0] * len(near)
    for (a, _), mirror, distance in zip(pairs.tolist(), flipped.tolist(), rms.tolist(), strict=True):
        kinds[within[a]].add("mirrored" if mirror else "nearly the same")
        worst[within[a]] = max(worst[within[a]], distance)
    groups = [_group(images, [exact[k] for k in near[n]], kinds[n], worst[n]) for n in range(len(near))]
    groups += [_group(images, [c], set(), 0.0) for k, c in enumerate(exact) if len(c) > 1 and k not in within]
    groups.sort(key=lambda group: (not group.leak, not group.conflict, group.difference > 0, group.images))
    return tuple(groups), direct_copies


def _group(images: tuple[ImageFacts, ...], clusters: list[list[int]], kinds: set[str], worst: float) -> Group:
    members = sorted(i for cluster in clusters for i in cluster)
    for cluster in clusters:
        files = len({images[i].sha256 for i in cluster})
        kinds |= {"same file"} if files < len(cluster) else set()
        kinds |= {"same pixels"} if files > 1 else set()
    order = ("same file", "same pixels", "nearly the same", "mirrored")
    return Group(
        tuple(members),
        tuple(kind for kind in order if kind in kinds),
        worst,
        leak=len({images[i].split for i in members}) > 1,
        conflict=len({images[i].label for i in members}) > 1,
    )


def choose_excluded(
    images: tuple[ImageFacts, ...],
    unreadable: Iterable[Remark],
    groups: Iterable[Group],
    direct_copies: dict[int, set[int]],
) -> tuple[Excluded, ...]:
    """Chooses the images that should not be used; everything that is a matter of judgement stays.

    These are: unreadable images; of copies in two splits the one in train (the one in val, if the other is in test);
    all images with the same pixels in two classes of a split; of the same pixels in one class, all but the first.
    """
    reasons: dict[int, str] = {each.image: f"cannot be read: {each.detail}" for each in unreadable}
    ranks = {"train": 0, "val": 1, "test": 2}
    for group in groups:
        first_of: dict[tuple[str, int, str], int] = {}
        for i in group.images:
            image = images[i]
            copies = direct_copies[i] - {i}
            held_out = [j for j in copies if ranks[images[j].split] > ranks[image.split]]
            equal_pixels = [
                j for j in copies if images[j].pixels_sha256 == image.pixels_sha256 and images[j].split == image.split
            ]
            conflicting = [j for j in equal_pixels if images[j].label != image.label]
            if held_out:
                other = images[min(held_out, key=lambda j: (images[j].pixels_sha256 != image.pixels_sha256, j))]
                alike = "the same" if other.pixels_sha256 == image.pixels_sha256 else "nearly the same"
                reasons[i] = f"leak: {alike} as {other.name} in {other.split}"
            elif conflicting:
                reasons[i] = f"label conflict: the same pixels as {images[min(conflicting)].name}"
            elif equal_pixels:
                first = first_of.setdefault((image.split, image.label, image.pixels_sha256), i)
                if first != i:
                    reasons[i] = f"duplicate: the same pixels as {images[first].name}"
    return tuple(Excluded(images[i].split, images[i].name, images[i].sha256, reasons[i]) for i in sorted(reasons))


def _oddities(i: int, facts: ImageFacts) -> Iterable[Remark]:
    for oddity in (*facts.oddities, *(("animated",) if facts.animated and facts.format != "MPO" else ())):
        if oddity in HOW_READ:
            yield Remark(i, oddity, HOW_READ[oddity])
    suffix = os.path.splitext(facts.name)[1].lower()
    if facts.format and suffix not in SUFFIXES[facts.format]:
        yield Remark(i, "wrong ending", f"a {facts.format} file named {suffix}; read by its content")


def _poor(images: tuple[ImageFacts, ...]) -> Iterable[Remark]:
    """Finds images that are hard to learn from; a dark or bright image is not also reported as blank or blurred."""
    sides = [min(facts.width, facts.height) for facts in images if not facts.error]
    small = min(SMALL_SIDE, float(np.median(sides)) / 2) if sides else 0.0
    for i, facts in enumerate(images):
        if facts.error:
            continue
        if min(facts.width, facts.height) < small:
            yield Remark(i, "very small", f"{facts.width} x {facts.height} pixels")
        if max(facts.width, facts.height) >= EXTREME_ASPECT * min(facts.width, facts.height):
            yield Remark(i, "extreme aspect", f"{facts.width} x {facts.height}: most of it is cut off, or squeezed")
        if facts.bright < DARK_LUMA:
            yield Remark(i, "dark", f"95 % of it is darker than {facts.bright} of 255")
        elif facts.dark > BRIGHT_LUMA:
            yield Remark(i, "bright", f"95 % of it is brighter than {facts.dark} of 255")
        elif facts.spread <= BLANK_SPREAD:
            yield Remark(i, "blank", f"almost a single color (standard deviation {facts.spread:.1f} of 255)")
        elif facts.sharpness < BLURRED:
            yield Remark(i, "blurred", f"variance of the Laplacian {facts.sharpness:.1f}")


def count_classes(source: Source, images: tuple[ImageFacts, ...]) -> tuple[ClassCounts, ...]:
    """Counts the readable images of every class in every split, and computes the weight of every class."""
    counts = Counter((facts.split, facts.label) for facts in images if not facts.error)
    train = np.array([counts["train", label] for label in range(len(source.class_names))])
    weights = balanced_weights(train)
    return tuple(
        ClassCounts(name, {split: counts[split, label] for split in source.splits}, float(weights[label]))
        for label, name in enumerate(source.class_names)
    )


def _class_remarks(classes: tuple[ClassCounts, ...], source: Source) -> Iterable[str]:
    """Yields one sentence for every class that has too few images in some split."""
    for each in classes:
        train = each.counts["train"]
        absent = " and ".join(s for s in ("val", "test") if s in source.splits and not each.counts[s])
        if train == 0:
            yield f"{each.name} has no image in train"
        elif train < FEW_IMAGES:
            also_absent = f", and none in {absent}" if absent else ""
            yield f"{each.name} has only {train} image{'s' * (train > 1)} in train{also_absent}"
        elif absent:
            yield f"{each.name} has no image in {absent}, so its accuracy there cannot be measured"


def _junk(source: Source) -> Iterable[str]:
    """Finds hidden files and folders, those that this program wrote, and empty folders, in the dataset folder."""
    roots = {samples.root for samples in source.splits.values() if samples.root is not None}
    for root in sorted(roots):
        tree, waiting = Tree(), [root]
        while waiting:
            folder = waiting.pop()
            entries = tree.entries(folder)
            for path in entries.hidden:
                yield f"{path.relative_to(root).as_posix()}{'/' * path.is_dir()} is hidden: not used"
            for path in entries.own:
                yield f"{path.relative_to(root).as_posix()}/ was written by alexnet or Python: not used"
            if entries == Entries({}, (), (), (), ()):
                yield f"{folder.relative_to(root).as_posix()}/ is empty"
            # Links are not followed: they lead to other folders.
            waiting += [path for path in reversed(entries.folders.values()) if not path.is_symlink()]


DOUBTED = 0.1  # the label is less probable than this ...
BELIEVED = 0.6  # ... and another class is more probable than this


@dataclass(frozen=True)
class Suspect:
    """An image whose label is likely wrong."""

    split: str
    name: str
    given: str
    likely: str
    given_probability: float  # in [0, 1]
    likely_probability: float
    trained_on: bool  # the network was trained on this label: doubt is then rarer and means more


def find_suspects(evaluations: Sequence[Evaluation], trained_on: bool) -> tuple[Suspect, ...]:
    """Finds images whose label is improbable for the network while another class is probable, most certain first.

    Args:
        evaluations: one for each split of a dataset.
        trained_on: whether the network was trained on the split "train" of that dataset.
    """
    suspects = []
    for evaluation in evaluations:
        probabilities, names = evaluation.probabilities, evaluation.class_names
        given = probabilities[np.arange(evaluation.count), evaluation.labels]
        likely = probabilities.argmax(1)
        for i in np.flatnonzero((given < DOUBTED) & (probabilities.max(1) > BELIEVED)).tolist():
            suspects.append(
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
    return tuple(sorted(suspects, key=lambda s: (s.given_probability - s.likely_probability, s.split, s.name)))
