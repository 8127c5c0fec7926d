"""One table of all speed benchmarks: reads results/*.json and writes RESULTS.md.

python benchmarks/results_table.py [--results FOLDER] [--out FILE]
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COLUMNS = ("what", "against", "target", "measured", "met")
PLACES = (
    *("card", "driver", "clock", "memory clock", "cuda", "cudnn", "limits"),  # where there is a GPU
    *("cpu", "threads", "torch", "numba", "python", "commit"),
)
GPU = "gpu_"  # how the results of a day with a GPU begin
SHARES = {128: 0.85, 32: 0.8}  # of the rate of a matrix product, that a training step should reach, by batch
RATIO_KEYS = ("ratio", "ours is faster by")
INTRODUCTION = (
    "Written by `make bench` from `benchmarks/results/*.json`; do not edit. A ratio says how many times as long the\n"
    "other takes; for the cold start, how many times as long ours takes."
)

RETIRED = """\
## Targets that were given up

- LRN at 20 times the speed of `nn.LocalResponseNorm`, forward and backward: what is left is the time to read and write
  the maps once, and a training step would hardly notice.
- Preparing photos at 1.3 times the speed of torchvision: both wait for the same JPEG decoder, and that would be faster
  than it is alone.

## Why some targets are missed, as far as we know

- Prediction, batch 1: half of it is reading the weights of the fully connected layers from memory once, which
  plain, torchvision and onnxruntime do as well.
- Peak memory of a prediction: the compiler of the loops is loaded once. `alexnet predict` of fewer than 64 images
  does without it.
- Training beside torchvision with memory kept on both sides: at batch 128 it would have to reach nearly the rate of the
  matrix product itself to be 1.15 times as fast as that network, which has no norms. The rest of a step is norms,
  pooling, dropout and the update of 61 million weights, each of which reads and writes memory once.
- Training beside plain at batch 32, ten crops: not every processor misses them. What is ours, the norms and the
  pooling, has a smaller share where products are slow, and those are PyTorch's on both sides.
- Growth with images: a shard holds 1,024 images, so the images of a batch lie in the more shards the more there are,
  at most one for each image, and each costs some microseconds. All of these batches are made far faster than a network
  takes them.
- Not measured: training in bfloat16 and loops of 512 bits, for this processor has neither AVX-512 nor AMX. The tests
  take longer than the five minutes that were hoped for, on two cores."""


def lines_of(rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """What, against what, target, measured and whether it was met, of every row that compares something."""
    for row in rows:
        ratio = next((row[key] for key in RATIO_KEYS if isinstance(row.get(key), int | float)), None)
        seconds = row.get("seconds")
        if ratio is None and seconds is None:
            continue
        what = row.get("what") or row.get("case", "")
        details = [row[key] for key in ("pass",) if key in row]
        if "variant" in row and "batch" in row:
            details.append(f"batch {row['batch']}")
        against = row.get("against") or row.get("variant") or ("plain" if "plain ms" in row else "")
        least, most = row.get("target") or None, row.get("at most") or None
        value = ratio if ratio is not None else seconds
        unit = "x" if ratio is not None else " s"
        target = f">= {least:g}{unit}" if least is not None else f"<= {most:g}{unit}" if most is not None else ""
        met = "" if not target else "yes" if (value >= least if least is not None else value <= most) else "no"
        yield ", ".join([str(what), *map(str, details)]), str(against), target, f"{value:.2f}{unit}", met
        wanted = SHARES.get(row.get("batch", 0))
        if wanted and str(against).startswith("ours") and isinstance(row.get("share of sgemm"), float):
            share, name = row["share of sgemm"], ", ".join([str(what), *map(str, details)])
            met = "yes" if share >= wanted else "no"
            yield f"{name}: arithmetic", "torch.mm, 4096", f">= {wanted:.0%}", f"{share:.0%}", met
        if str(against) == "plain" and "peak MiB" in row:
            own = next(
                r
                for r in rows
                if r.get("batch") == row["batch"] and r["variant"].startswith("ours") and r["what"] == what
            )
            ratio = own["peak MiB"] / row["peak MiB"]
            name = ", ".join([str(what), *map(str, details)])
            yield (
                f"{name}: peak memory of the process",
                "plain",
                "<= 1x",
                f"{ratio:.2f}x",
                "yes" if ratio <= 1 else "no",
            )


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The file: a table for each benchmark that has rows and a machine, with where it was taken.

    Args:
        results: by name, what the JSON files hold.
    """
    parts = ["# Speed", INTRODUCTION]
    for name, result in results.items():
        if not {"rows", "machine"} <= set(result):
            continue
        found = list(lines_of(result["rows"]))
        if not found:
            continue
        place = "; ".join(f"{key} {result['machine'][key]}" for key in PLACES if result["machine"].get(key) is not None)
        rows = [COLUMNS, tuple("---" for _ in COLUMNS), *found]
        body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        on_gpu = name.startswith(GPU)
        command = f"python -m studies.gpu {name.removeprefix(GPU)}" if on_gpu else f"benchmarks/{name}.py"
        parts += [f"## `{command}`", place, body]
    return "\n\n".join([*parts, RETIRED]) + "\n"


def main(results: Path, out: Path) -> None:
    """Reads every JSON file of a folder and writes the table."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    out.write_text(table(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    main(options.results, options.out)
