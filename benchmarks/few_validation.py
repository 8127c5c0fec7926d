"""On how many validation images may be decided what color and shape add to a network? Behind `FEWEST` of cues/mix.py.

    OMP_NUM_THREADS=1 python benchmarks/few_validation.py FOLDER... [--minutes 2]
    python benchmarks/few_validation.py --table

Twenty images of each class, drawn with seed 0 from the training images of a folder, train a network for some minutes
(`alexnet train` without the cues); a hundred others of each class at most are what it is asked about. Of these, 300
times, a few are drawn as if they were all the validation images there are; they decide what the cues add, and the
others tell what that gains. A row for each folder and number of images goes to benchmarks/results/few_validation.jsonl;
what it holds is not done again.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import alexnet
from alexnet.cues.mix import asked_of, mixing_weights
from alexnet.data.open import open_images
from alexnet.data.sources import open_source
from alexnet.runs.checkpoint import load_model
from alexnet.storage.files import append, read_rows

RESULTS = Path(__file__).parent / "results" / "few_validation.jsonl"
TRAIN, ASKED = 20, 100  # images of each class
SIZES = (6, 8, 10, 12, 16, 20, 30, 40, 80)
SHOWN = (8, 12, 20, 40, 80)  # of them in the table
DRAWS = 300


def divided(folder: Path, out: Path) -> None:
    """Makes train/ and val/ of links to the training images of a folder."""
    source = open_source(folder)
    samples = source.splits["train"]
    order = np.random.default_rng(0).permutation(len(samples))
    for label, name in enumerate(source.class_names):
        mine = [index for index in order if samples.labels[index] == label]
        for split, some in (("train", mine[:TRAIN]), ("val", mine[TRAIN : TRAIN + ASKED])):
            (out / split / name).mkdir(parents=True)
            for index in some:
                path = Path(samples.image(int(index))).resolve()
                (out / split / name / f"{index}{path.suffix}").symlink_to(path)


def gains(
    network: NDArray[np.float64], says: dict[str, NDArray[np.float64]], labels: NDArray[np.int64], images: int
) -> dict[str, Any]:
    """What it gains to decide on so many images, in points of accuracy on the others."""
    rng = np.random.default_rng(images)
    found, used = [], 0
    for _ in range(DRAWS):
        order = rng.permutation(len(labels))
        few, rest = order[:images], order[images:]
        factors = mixing_weights(network[few], {name: said[few] for name, said in says.items()}, labels[few])
        used += any(factors.values())
        mixed = network[rest] + sum(factor * says[name][rest] for name, factor in factors.items())
        right, before = (answers.argmax(1) == labels[rest] for answers in (mixed, network[rest]))
        found.append(100 * float(right.mean() - before.mean()))
    return {
        "images": images,
        "used": used / DRAWS,
        "gain": round(float(np.mean(found)), 2),
        "gain_5_percent": round(float(np.quantile(found, 0.05)), 2),
        "gain_least": round(min(found), 2),
    }


def rows_of(folder: Path, minutes: float) -> list[dict[str, Any]]:
    """Trains on a few images of a folder and draws."""
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / folder.name
        divided(folder, photos)
        trained = alexnet.train(photos, out=f"{place}/run", minutes=minutes, device="cpu", cues=False, seed=0)
        recipe = trained.recipe
        prepared = open_images(str(photos), recipe.prepare_size, whole=recipe.prepare_whole)
        network = load_model(trained.record)
        network.cue = None
        splits, classes = prepared.splits, len(prepared.class_names)
        _, says, answers, labels = asked_of(network, splits["train"], splits["val"], classes)
    accuracy = {name: round(100 * float((said.argmax(1) == labels).mean()), 2) for name, said in says.items()}
    alone = {"network": round(100 * float((answers.argmax(1) == labels).mean()), 2), **accuracy}
    return [{"set": folder.name, "accuracy": alone, **gains(answers, says, labels, images)} for images in SIZES]


def table(rows: list[dict[str, Any]]) -> str:
    """The lines of docs/own_photos.md: the mean gain, what one draw in twenty falls below, and the worst of them."""
    lines = []
    for images in SHOWN:
        mine = [row for row in rows if row["images"] == images]
        cells = [f"{row['gain']:+.1f} ({row['gain_5_percent']:+.1f}, {row['gain_least']:+.1f})" for row in mine]
        lines.append(f"| {images} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Does what the result file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(read_rows(arguments.out)[0]))
        return
    from measuring import circumstances

    done = {row["set"] for row in read_rows(arguments.out)[0]}
    for folder in arguments.folders:
        if folder.name in done:
            continue
        how = {
            "minutes": arguments.minutes,
            "command": f"python benchmarks/few_validation.py {folder.name} --minutes {arguments.minutes:g}",
            **circumstances(),
        }
        for row in rows_of(folder, arguments.minutes):
            append(arguments.out, row | how)
            print(f"{row['set']}: {row['images']} images, {row['gain']:+.2f} points", flush=True)


if __name__ == "__main__":
    main()
