"""How well can images unlike the training images be told apart? Seven known scores on networks of three datasets.

python -m studies.robustness.none_of_these DATA [--runs FOLDER] [--out FILE]

DATA has the unpacked folders clothing, trash, fashion-mnist-4000, mnist-test-1000 and cifar10. Each network is trained
on one of them for some minutes; then IMAGES images of every other set, and noise, blobs and single colors, are to be
told from held-out images of its own. Every score sees the same images. A row has the AUROC of each score and set, with
a 95 % interval (Hanley and McNeil 1982), and the share that the threshold of the package flags. Half of the validation
images, every second one, sets thresholds; the other half (of clothing, its test images) is held out.

The score of the package was chosen on the networks of clothing; those of trash and fashion were looked at once, after.

About 30 minutes of one core (Xeon, Sapphire Rapids).
"""

import argparse
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: a run has one thread

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import alexnet
from alexnet.data.images import Pixels
from alexnet.data.open import open_images
from alexnet.evaluation.classifier import Classifier, answers_and_vectors
from alexnet.evaluation.out_of_distribution import FLAGGED, describe, none_of_these
from alexnet.interpret.features import activation, last_hidden
from alexnet.runs.environment import commit, environment
from alexnet.storage.files import append, read_rows
from harness import ROOT

OUT = ROOT / "results/none_of_these.jsonl"
IMAGES, MADE, NEIGHBORS = 300, 200, 10
TRAINING = 1000  # training images that are measured, as by the package
SMALL = ("epochs=8",)
PHOTOS = ("prepare_size=80", "model.crop_size=64", "model.test_size=64", "growing_crops=[]", "model.width=0.5")
CASES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "clothing-small": ("clothing", "small-photos", SMALL),
    "clothing-photos": ("clothing", "photos", (*PHOTOS, "evaluate_every=4", "epochs=12")),
    "trash-photos": ("trash/trash", "photos", (*PHOTOS, "evaluate_every=4", "epochs=12")),
    "fashion-small": ("fashion-mnist-4000/fashion", "small-cifar", SMALL),
}
SETS = {
    "clothing": "clothing/test",
    "trash": "trash/trash",
    "fashion": "fashion-mnist-4000/fashion/val",
    "mnist": "mnist-test-1000/test",
    "cifar10": "cifar10/test",
}
Scores = NDArray[np.float64]


def foreign(data: Path, classifier: Classifier) -> dict[str, Pixels]:
    """Prepared images (N, size, size, 3) of every set, and three kinds that are made."""
    draws, size, sets = np.random.default_rng(1), classifier.prepare_size, {}
    for name, folder in SETS.items():
        files = sorted(path for path in (data / folder).rglob("*") if path.is_file())
        chosen = sorted(np.random.default_rng(0).permutation(len(files))[:IMAGES].tolist())
        sets[name] = np.stack([classifier.prepare(files[i]) for i in chosen])
    sets["noise"] = draws.integers(0, 256, (MADE, size, size, 3), np.uint8)
    coarse = draws.integers(0, 256, (MADE, 6, 6, 3), np.uint8)
    blobs = [np.asarray(Image.fromarray(each).resize((size, size), Image.Resampling.BICUBIC)) for each in coarse]
    sets["blobs"] = np.stack(blobs)
    sets["one color"] = np.repeat(draws.integers(0, 256, (MADE, 1, 3), np.uint8), size * size, 1).reshape(
        MADE, size, size, 3
    )
    return sets


def auroc(own: Scores, others: Scores) -> float:
    """The probability that an image of another set has the larger score; ties count half."""
    ordered = np.sort(own)
    below, up_to = (np.searchsorted(ordered, others, side=side) for side in ("left", "right"))
    return float((below + up_to).sum() / (2 * len(own) * len(others)))


def interval(area: float, own: int, others: int) -> tuple[float, float]:
    """The 95 % interval of an AUROC by Hanley and McNeil (1982)."""
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (others - 1) * (first - area**2) + (own - 1) * (second - area**2)
    half = 1.96 * math.sqrt(max(spread, 0.0) / (own * others))
    return max(0.0, area - half), min(1.0, area + half)


def _of_logits(logits: NDArray[np.float64]) -> dict[str, Scores]:
    most = logits.max(1)
    energy = most + np.log(np.exp(logits - most[:, None]).sum(1))
    return {"max probability": -np.exp(most - energy), "max logit": -most, "energy": -energy}


def _of_features(training: Scores, labels: NDArray[np.int64]) -> dict[str, Callable[[Scores], Scores]]:
    """Mahalanobis with one covariance, shrunk as Ledoit and Wolf (2004) say, and k nearest neighbors."""
    means = np.stack([training[labels == label].mean(0) for label in np.unique(labels)])
    position = np.searchsorted(np.unique(labels), labels)

    def mahalanobis(values: Scores, means: Scores) -> Callable[[Scores], Scores]:
        away = values - means[position]
        covariance, count = away.T @ away / len(away), len(away)
        level = np.trace(covariance) / len(covariance)
        spread = ((covariance - level * np.eye(len(covariance))) ** 2).sum()
        noise = ((away**2).sum(1) ** 2).sum() / count**2 - (covariance**2).sum() / count
        share = min(max(noise / spread, 0.0), 1.0)
        root = np.linalg.cholesky(np.linalg.inv((1 - share) * covariance + share * level * np.eye(len(covariance))))
        return lambda x: np.asarray(np.min([(((x - mean) @ root) ** 2).sum(1) for mean in means], 0))

    unit = _unit(training)
    units = np.stack([unit[labels == label].mean(0) for label in np.unique(labels)])
    normalized = mahalanobis(unit, units)
    return {
        "Mahalanobis": mahalanobis(training, means),
        "Mahalanobis, unit vectors": lambda x: normalized(_unit(x)),
        "nearest neighbors": lambda x: -np.sort(_unit(x) @ unit.T, 1)[:, -NEIGHBORS],
    }


def _unit(x: Scores) -> Scores:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9))


def measure(case: str, seed: int, data: Path, runs: Path) -> dict[str, Any]:
    """Trains a network, unless it is there, and measures every score; the row."""
    folder, recipe, changes = CASES[case]
    place = runs / f"{case}-{seed}"
    if not (place / "calibration.json").is_file():
        alexnet.train(data / folder, recipe=recipe, changes=(*changes, f"seed={seed}"), out=place, cues=False)
    model = alexnet.load(place, device="cpu")
    network, classifier = model.network.eval(), model.classifier
    prepared = open_images(str(data / folder), classifier.prepare_size, whole=classifier.whole)
    train, val = prepared.splits["train"], prepared.splits["val"]
    chosen = np.sort(np.random.default_rng(0).permutation(len(train))[:TRAINING])
    numbers = np.arange(len(val))
    sets = {"train": train.read(chosen), "val": val.read(numbers[::2])}
    own = prepared.splits.get("test")
    sets["own"] = val.read(numbers[1::2]) if own is None else own.read(np.arange(len(own)))
    outside = foreign(data, classifier)
    outside.pop(case.partition("-")[0])
    sets |= outside
    logits, hidden, vectors = {}, {}, {}
    for name, images in sets.items():
        with torch.inference_mode():
            found = [
                (network(view, check_range=False), activation(network, view, last_hidden(network)))
                for view in _views(model, images)
            ]
        logits[name] = np.concatenate([a.numpy() for a, _ in found]).astype(np.float64)
        hidden[name] = np.concatenate([b.numpy() for _, b in found]).astype(np.float64)
        vectors[name] = answers_and_vectors(network, images.__getitem__, len(images))[1]
    scores: dict[str, dict[str, Scores]] = {name: _of_logits(each) for name, each in logits.items()}
    for score, function in _of_features(hidden["train"], train.labels[chosen]).items():
        for name in sets:
            scores[name][score] = function(hidden[name])
    known = describe(vectors["train"], vectors["val"])
    for name in sets:
        scores[name]["this package"] = known.score(vectors[name])
    flagged = {
        name: float(np.mean([none_of_these(share) for share in known.likeness(each)])) for name, each in vectors.items()
    }
    areas = {
        score: {name: _area(scores["own"][score], scores[name][score]) for name in outside} for score in scores["own"]
    }
    accuracy = model.evaluate(split="val" if own is None else "test").top1_error
    return {
        "study": "none_of_these",
        "case": case,
        "seed": seed,
        "accuracy": round(1 - accuracy, 4),
        "images": {name: len(each) for name, each in sets.items()},
        "auroc": areas,
        "flagged": {name: round(share, 4) for name, share in flagged.items() if name not in ("train", "val")},
        "promised": FLAGGED,
        "command": f"alexnet train {folder} --recipe {recipe} {' '.join(changes)} seed={seed}",
        "commit": commit(),
        "environment": {name: value for name, value in environment().items() if name != "command"},
    }


def _views(model: alexnet.Model, images: Pixels) -> list[torch.Tensor]:
    return [torch.cat([model.classifier.view(each) for each in images[i : i + 50]]) for i in range(0, len(images), 50)]


def _area(own: Scores, others: Scores) -> list[float]:
    area = auroc(own, others)
    return [round(each, 4) for each in (area, *interval(area, len(own), len(others)))]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The table of docs/probabilities.md: the mean AUROC of each score over the other sets, and the lowest, in %."""
    lines = [
        "| network (accuracy) | " + " | ".join(rows[0]["auroc"]) + " |",
        "|---" * (len(rows[0]["auroc"]) + 1) + "|",
    ]
    for row in rows:
        cells = []
        for areas in row["auroc"].values():
            values = [area for area, _, _ in areas.values()]
            cells.append(f"{100 * sum(values) / len(values):.0f} ({100 * min(values):.0f})")
        lines.append(f"| {row['case']} ({100 * row['accuracy']:.0f} %) | {' | '.join(cells)} |")
    return "\n".join(lines)


def table_of_sets(rows: Sequence[dict[str, Any]]) -> str:
    """The second table: for each set the AUROC of the package with its interval, and the share flagged, in %."""
    sets = list(dict.fromkeys(name for row in rows for name in row["auroc"]["this package"]))
    lines = [f"| network | own images | {' | '.join(sets)} |", "|---" * (len(sets) + 2) + "|"]
    for row in rows:
        cells = [f"{100 * row['flagged']['own']:.0f}"]
        for name in sets:
            if name not in row["auroc"]["this package"]:
                cells.append("")
                continue
            area, low, high = (100 * value for value in row["auroc"]["this package"][name])
            cells.append(f"{area:.0f} [{low:.0f}-{high:.0f}], {100 * row['flagged'][name]:.0f}")
        lines.append(f"| {row['case']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measures every case that the file of results does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/studies/none_of_these")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = {(row["case"], row["seed"]) for row in read_rows(options.out)[0]} if options.out.is_file() else set()
    for seed in range(options.seeds):
        for case in CASES:
            if (case, seed) not in done:
                row = measure(case, seed, options.data.resolve(), options.runs)
                append(options.out, row)
                print(case, seed, row["accuracy"], row["flagged"], row["auroc"]["this package"], flush=True)


if __name__ == "__main__":
    main()
