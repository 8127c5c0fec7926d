"""`alexnet train FOLDER` beside what a user would try else, on any folders: same split, same minutes of one core.

    python benchmarks/own_photos.py FOLDER... [--minutes 5] [--seeds 0 1 2] [--who ours cues resnet18 alexnet]
    python benchmarks/own_photos.py FOLDER... --who default [--seeds 0 1 2]
    python benchmarks/own_photos.py --table
    python benchmarks/own_photos.py --readme README.md README.zh-CN.md

Ours is `alexnet train FOLDER --minutes M` with nothing else, on one thread; "default" is `alexnet train FOLDER` with
nothing but the path, on all cores. The classical baselines are kernel classifiers of a color histogram, of HOG and of
both (`alexnet.cues`), which take seconds. torchvision's ResNet-18 (crops of 96 pixels) and AlexNet (of 128) train from
scratch with random crops and mirror images for as many minutes of processor time, AdamW with a learning rate that rises
and falls over that time. They and the baselines see the central squares at 192 pixels, as torchvision cuts them; ours
sees whole images, as its recipe says. `test` is reported where there is one, otherwise `val`, on which our best epoch
and the share of the cues were chosen; the others choose nothing on it, and report their last weights.

A row for each set, method and seed goes to benchmarks/results/own_photos.jsonl; what it holds is not done again.
`right` has a bit for every image of the split, so that methods can be compared image by image.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results" / "own_photos.jsonl"
OURS, DEFAULT, CUES, RESNET, ALEXNET = "ours", "default", "cues", "resnet18", "alexnet"
NAMES = {
    OURS: "`alexnet train FOLDER --minutes 10`",
    DEFAULT: "nothing but the path, two cores",
    RESNET: "ResNet-18",
    ALEXNET: "torchvision's AlexNet",
}
CHINESE = {
    "set (images, split)": "数据集（图像数，划分）",
    "nothing but the path, two cores": "只给路径，两核",
    "minutes": "分钟",
    "better of color histogram and HOG": "颜色直方图与 HOG 中较好者",
    "torchvision's AlexNet": "torchvision 的 AlexNet",
    "ours only : baseline only": "仅我们对 : 仅基线对",
    "{0} ± {1} ({2} seeds)": "{0} ± {1}（{2} 个种子）",
    "{0} ± {1} ({2} seeds), {3} minutes": "{0} ± {1}（{2} 个种子），{3} 分钟",
    "{0}; ours took {1} to {2}": "{0}；我们用了 {1} 到 {2}",
}
CROPS = {RESNET: 96, ALEXNET: 128}
RATES = {RESNET: 1e-3, ALEXNET: 3e-4}
BATCH = 64
COMMAND = "python benchmarks/own_photos.py"


def ours(folder: str, seed: int, minutes: float | None) -> dict[str, Any]:
    """One run of `alexnet train FOLDER --minutes M seed=SEED`, or without minutes."""
    import alexnet

    with tempfile.TemporaryDirectory() as out:
        run = alexnet.train(folder, out=f"{out}/run", minutes=minutes, seed=seed, device="cpu", cues=minutes is None)
        split = reported(prepared_of(folder, run.recipe.prepare_size))
        found = alexnet.load(run.folder).evaluate(split=split)
        recipe = run.recipe
        told = {"epochs": recipe.epochs, "width": getattr(recipe.model, "width", 1), "crop": recipe.model.crop_size}
    return {"split": split, "right": found.probabilities.argmax(1) == found.labels, **told}


def cues(folder: str) -> dict[str, Any]:
    """The best of color histogram, HOG and both, chosen on training images."""
    from alexnet.cues.kernel import choose, fit, squared_distances, typical_distance
    from alexnet.cues.look import _look
    from alexnet.cues.pixels import color_histogram, hog

    prepared = prepared_of(folder, 192)
    split, classes = reported(prepared), len(prepared.class_names)
    seen, asked = (_look(prepared.splits[name], 10**9, (), lambda *_: None) for name in ("train", split))
    pairs = {}
    for name, of in (("color histogram", color_histogram), ("HOG", hog)):
        features, others = of(seen.squares), of(asked.squares)
        distances = squared_distances(features, features)
        typical = typical_distance(distances)
        pairs[name] = distances / typical, squared_distances(others, features) / typical
    first, second = pairs.values()
    pairs["both"] = first[0] + second[0], first[1] + second[1]
    chosen = {name: choose(pair[0], seen.labels, classes) for name, pair in pairs.items()}
    best = max(chosen, key=lambda name: chosen[name].left_out)
    answers = fit(pairs[best][0], seen.labels, classes, chosen[best]).classes(pairs[best][1])
    return {"split": split, "right": answers == asked.labels, "cue": best}


def theirs(who: str, folder: str, seed: int, minutes: float) -> dict[str, Any]:
    """A network of torchvision from scratch, for some minutes of processor time."""
    from torchvision import models

    from alexnet.data.augment import ColorStatistics
    from alexnet.data.crops import as_batch, shrink
    from alexnet.data.loader import epoch_order, read_views
    from alexnet.recipes.config import AugmentConfig

    torch.manual_seed(seed)
    prepared, size = prepared_of(folder, 192), CROPS[who]
    split, train = reported(prepared), prepared.splits["train"]
    model = {RESNET: models.resnet18, ALEXNET: models.alexnet}[who](num_classes=len(prepared.class_names))
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATES[who], weight_decay=0.05)
    augment = AugmentConfig(view="zoom", color_noise=0.0, min_area=0.35)
    mean = torch.from_numpy(prepared.mean_image.mean((0, 1)).astype(np.float32)).view(3, 1, 1)
    scale = torch.from_numpy(np.maximum(prepared.channel_std, 1).astype(np.float32)).view(3, 1, 1)
    colors = ColorStatistics(mean, prepared.color_stdevs, prepared.color_vectors)
    labels = torch.from_numpy(train.labels)
    began, epochs, share = time.process_time(), 0, 0.0
    while share < 1:
        epochs += 1
        order = epoch_order(len(train), seed, epochs)
        for start in range(0, len(order) - 1, BATCH):
            rows = order[start : start + BATCH]
            if len(rows) < 2:
                continue
            views = read_views(train, size, augment, colors, seed=seed, epoch=epochs, samples=rows)
            rate = RATES[who] * (share / 0.1 if share < 0.1 else 0.5 * (1 + math.cos(math.pi * (share - 0.1) / 0.9)))
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = F.cross_entropy(model((views.float() - mean) / scale), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            share = (time.process_time() - began) / (60 * minutes)
            if share >= 1:
                break
    model.eval()
    asked, answers = prepared.splits[split], []
    with torch.inference_mode():
        for start in range(0, len(asked), BATCH):
            images = as_batch(asked.read(np.arange(start, min(start + BATCH, len(asked)))))
            answers.append(model((shrink(images, size).float() - mean) / scale).argmax(1).numpy())
    return {"split": split, "right": np.concatenate(answers) == asked.labels, "epochs": epochs, "crop": size}


def prepared_of(folder: str, size: int) -> Any:
    """The prepared images of a folder."""
    from alexnet.data.open import open_images

    return open_images(folder, size)


def reported(prepared: Any) -> str:
    """The split that is reported."""
    return "test" if "test" in prepared.splits else "val"


def packed(right: NDArray[np.bool_]) -> str:
    """A bit for every image, as hexadecimal digits."""
    return np.packbits(right).tobytes().hex()


def unpacked(row: dict[str, Any]) -> NDArray[np.bool_]:
    """Whether each image of a row was right."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(row["right"]), np.uint8))[: row["images"]].astype(bool)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Accuracy of every set and method in %, mean over the seeds; of ours with what the baseline gets on top of it.

    The last column counts the images that only one of the two gets right, for the first seed, and McNemar's exact test.
    """
    from alexnet.evaluation.intervals import mcnemar, wilson_interval

    names = (NAMES[DEFAULT], "minutes", NAMES[OURS], "better of color histogram and HOG", NAMES[RESNET], NAMES[ALEXNET])
    head = ("set (images, split)", *names, "ours only : baseline only")
    lines = [head, tuple("---" for _ in head)]
    for key in dict.fromkeys((row["set"], row["minutes"]) for row in rows if row["who"] == OURS):
        own = [row for row in rows if row["set"] == key[0] and row["minutes"] in (key[1], 0)]
        first = next(row for row in own if row["who"] == OURS)

        def cell(who: str, own: list[dict[str, Any]] = own) -> str:
            found = [row for row in own if row["who"] == who]
            if not found:
                return "-"
            shares = [100 * row["hits"] / row["images"] for row in found]
            if len(shares) > 1:
                return f"{statistics.mean(shares):.1f} ± {statistics.stdev(shares):.1f} ({len(shares)} seeds)"
            low, high = wilson_interval(found[0]["hits"], found[0]["images"])
            return f"{shares[0]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"

        base = next((row for row in own if row["who"] == CUES), None)
        contest = "-"
        if base is not None and base["split"] == first["split"]:
            a, b = unpacked(first), unpacked(base)
            only = int((a & ~b).sum()), int((b & ~a).sum())
            contest = f"{only[0]} : {only[1]}, p = {mcnemar(*only):.2g}"
        cells = map(cell, (OURS, CUES, RESNET, ALEXNET))
        spent = [row["processor_minutes"] for row in own if row["who"] == OURS]
        minutes = f"{key[1]:g}; ours took {min(spent):.1f} to {max(spent):.1f}"
        clock = [row["clock_minutes"] for row in own if row["who"] == DEFAULT and row["clock_minutes"]]
        default = f"{cell(DEFAULT)}, {max(clock):.0f} minutes" if clock else "-"
        lines.append((f"{key[0]} ({first['images']}, {first['split']})", default, minutes, *cells, contest))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def in_chinese(shown: str) -> str:
    """The table for the Chinese page: the same cells, said by `CHINESE`."""
    from alexnet.language.words import Words

    say = Words("zh", CHINESE)
    lines = [line.strip("| ").split(" | ") for line in shown.splitlines()]
    return "\n".join("| " + " | ".join(map(say, line)) + " |" for line in lines)


def with_table(text: str, new: str) -> str:
    """A page with its table of these results replaced: the lines from the one that begins as the first on."""
    lines, first = text.splitlines(keepends=True), new.splitlines()[0].split("|")[1]
    start = next(i for i, line in enumerate(lines) if line.startswith(f"|{first}|"))
    end = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    return "".join([*lines[:start], new + "\n", *lines[end:]])


def read_results(path: Path = RESULTS) -> list[dict[str, Any]]:
    """The rows so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    """Does what the result file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--who", nargs="+", default=[OURS, CUES, RESNET, ALEXNET])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--readme", type=Path, nargs="*", default=[], help="pages whose table is written anew")
    arguments = parser.parse_args()
    for page in arguments.readme:
        new = table(read_results(arguments.out))
        page.write_text(with_table(page.read_text(), in_chinese(new) if "zh-CN" in page.name else new))
    if arguments.readme:
        return
    if arguments.table:
        print(table(read_results(arguments.out)))
        return
    from measuring import circumstances

    from alexnet.kernels.device import keep_memory

    keep_memory()  # as the command line does
    cores = torch.get_num_threads()
    for seed in arguments.seeds:
        for who in arguments.who:
            for folder in arguments.folders:
                name, minutes = Path(folder).name, 0 if who in (CUES, DEFAULT) else arguments.minutes
                torch.set_num_threads(cores if who == DEFAULT else 1)
                number = 0 if who == CUES else seed
                done = {(r["set"], r["who"], r["seed"], r["minutes"]) for r in read_results(arguments.out)}
                if (name, who, number, minutes) in done:
                    continue
                clock, processor = time.monotonic(), time.process_time()
                if who in (OURS, DEFAULT):
                    found = ours(folder, seed, minutes or None)
                else:
                    found = cues(folder) if who == CUES else theirs(who, folder, seed, minutes)
                right = found.pop("right")
                spent = {
                    "processor_minutes": round((time.process_time() - processor) / 60, 2),
                    "clock_minutes": round((time.monotonic() - clock) / 60, 2),
                }
                asked = f" --minutes {minutes:g}" if minutes else ""
                row = {
                    "set": name,
                    "who": who,
                    "seed": number,
                    "minutes": minutes,
                    **found,
                    "images": len(right),
                    "hits": int(right.sum()),
                    **spent,
                    "right": packed(right),
                    "command": f"{COMMAND} {name}{asked} --seeds {number} --who {who}",
                    **circumstances(),
                }
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                with arguments.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{name}, {who}, seed {number}: {100 * right.mean():.1f} %, {spent}", flush=True)


if __name__ == "__main__":
    main()
