"""What `alexnet doctor` finds of 30 planted faults of each kind, and what it reports on good photos.

python -m studies.robustness.doctor PHOTOS [--count 30] [--seed 0] [--run RUN]

PHOTOS has train/, validation/ and test/ with class folders. First the photos as they come are examined. What was found
there was looked at by eye, and the verdicts stand in `SEEN`; photos with a real fault are left out of the control. The
faults are planted in a copy of the control. With --run, the labels of some held-out photos are swapped and the network
of that run is asked. Writes results/doctor.json.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from alexnet.doctor.examine import examine
from studies.robustness.planting import missed, plant, surplus
from studies.robustness.recording import ROOT, record

# What the doctor says of the clothing photos, looked at by eye: kind -> name -> whether it is right.
SEEN: dict[str, dict[str, bool]] = json.loads((ROOT / "studies/robustness/doctor_seen.json").read_text())
SPLITS = {"train": "train", "val": "validation", "test": "test"}


def copy_set(photos: Path, out: Path, without: frozenset[str] = frozenset()) -> Path:
    """A copy that may be changed, with val/ for validation/."""
    for split, folder in SPLITS.items():
        for path in sorted((photos / folder).rglob("*")):
            if path.is_file() and path.relative_to(photos).as_posix() not in without:
                target = out / split / path.relative_to(photos / folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    return out


def examined(data: Path, out: Path, run: Path | None = None) -> tuple[dict, float]:
    """The record of an examination, and its seconds."""
    started = time.monotonic()
    examination = examine(str(data), out, run)
    return examination.record(), time.monotonic() - started


def natural(found: dict) -> dict[str, dict]:
    """What was found on the photos as they come, beside the verdicts of the eye: kind -> counts and names."""
    names: dict[str, list[str]] = {}
    for group in found["copies"]:
        kind = "leak" if group["leak"] else "conflict" if group["conflict"] else "copy"
        names.setdefault(kind, []).append(" = ".join(each["name"] for each in group["images"]))
    for part in ("unreadable", "poor", "formats"):
        for each in found[part]:
            names.setdefault(each["kind"], []).append(each["name"])
    out = {}
    for kind, some in names.items():
        verdicts = Counter(
            {True: "right", False: "wrong", None: "not looked at"}[SEEN.get(kind, {}).get(n)] for n in some
        )
        out[kind] = {"found": len(some), **verdicts}
    return out


def swapped_labels(root: Path, count: int, seed: int) -> set[str]:
    """Moves `count` held-out photos to another class each; their new names."""
    rng = np.random.default_rng(seed)
    files = sorted(path for path in (root / "val").rglob("*") if path.is_file())
    moved = set()
    for i in rng.choice(len(files), count, replace=False).tolist():
        others = sorted(each for each in (root / "val").iterdir() if each != files[i].parent)
        target = others[int(rng.integers(len(others)))] / f"swapped-{files[i].name}"
        shutil.move(files[i], target)
        moved.add(target.relative_to(root).as_posix())
    return moved


def main() -> None:
    """Examines the photos, the control with planted faults, and swapped labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "results/doctor.json")
    options = parser.parse_args()
    results: dict = {"count": options.count, "seed": options.seed}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        found, seconds = examined(options.photos, place / "natural", options.run)
        results["photos"] = {"pictures": sum(found["images"].values()), "seconds": round(seconds, 1)}
        results["photos"]["found"] = natural(found)
        if options.run is not None:
            doubted = Counter(each["split"] for each in found["likely_wrong_labels"])
            results["photos"]["labels doubted"] = dict(doubted)
        print(json.dumps(results, indent=1), flush=True)

        # Of a group of copies the first may stay; images with other real faults go.
        faulty = {each["name"] for part in ("unreadable", "poor", "formats") for each in found[part]}
        faulty = {name for name in faulty if any(seen.get(name) for seen in SEEN.values())}
        for group in found["copies"]:
            names = [each["name"] for each in group["images"]]
            if any(seen.get(" = ".join(names)) for seen in SEEN.values()):
                faulty.update(names[1:])
        control = copy_set(options.photos, place / "control", frozenset(faulty))
        clean, _ = examined(control, place / "clean")
        results["control"] = {"pictures": sum(clean["images"].values()), "reported": surplus({}, clean)}
        print(json.dumps(results["control"], indent=1), flush=True)
        if options.run is not None:
            swapped = swapped_labels(copy_set(options.photos, place / "swapped"), options.count, options.seed)
            asked, _ = examined(place / "swapped", place / "asked", options.run)
            doubted = [each for each in asked["likely_wrong_labels"] if each["split"] == "val"]
            hits = [each["name"] in swapped for each in doubted]
            results["swapped labels"] = {
                "planted": len(swapped),
                "held-out pictures": asked["images"]["val"],
                "reported": len(hits),
                "of them planted": sum(hits),
                "of the first 10": sum(hits[:10]),
            }
            print(json.dumps(results["swapped labels"], indent=1), flush=True)
        shutil.rmtree(control / "test")  # the planted classes have no images there
        planted = plant(control, options.count, options.seed)
        sick, seconds = examined(control, place / "sick")
        lost = missed(planted, sick)
        results["planted"] = {
            "pictures": sum(sick["images"].values()),
            "seconds": round(seconds, 1),
            "kinds": {
                kind: {"planted": len(faults), "found": len(faults) - len(lost[kind])}
                for kind, faults in planted.items()
            },
            "missed": {kind: some for kind, some in lost.items() if some and not kind.startswith("hard copy")},
            "reported and not planted": surplus(planted, sick),
        }
    print(json.dumps(results["planted"], indent=1))
    record(options.out, ("numpy", "pillow", "torch"), **results)


if __name__ == "__main__":
    main()
