"""The worst file and request of each kind that we can think of: what each costs in processor time and memory.

python -m studies.robustness.worst_cases [--only TEXT ...]

Beside the random files of `fuzz_images` these are structured: each makes one loop or one allocation of a reader as
long or as large as its format allows (`harness/image_bombs.py`, `weights_bombs.py`, `request_bombs.py`), with innocent
twins. Each file is read in a process of its own; requests go to one service, whose peak of memory is set back before
each. A row is appended to results/worst_cases.jsonl as soon as it is measured; a row of the modules as they are is
not measured again, so the command can be interrupted. `table` writes docs/reliability.md's list from the rows, and a
test refuses rows that are older than the modules they measure.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from alexnet.data.image_bytes import pixel_limit
from alexnet.data.image_files import open_image
from alexnet.errors import DataError
from alexnet.weights import pickles
from harness import ROOT, image_bombs, request_bombs, weights_bombs
from studies.robustness import costs, recording
from studies.robustness.costs import in_a_process

ROWS = ROOT / "results" / "worst_cases.jsonl"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- worst cases -->\n", "<!-- end of worst cases -->\n"
COST = "studies/robustness/costs.py"
MEASURED = {
    "image": (
        *("alexnet/data/image_bytes.py", "alexnet/data/image_files.py", "alexnet/data/image_structure.py"),
        *("alexnet/data/image_guard.py", "alexnet/data/guarded_decoding.py", "alexnet/data/image_room.py"),
        *("alexnet/data/images.py", "alexnet/data/resample.py", "alexnet/data/netpbm.py"),
        *("harness/image_bombs.py", "harness/coded_images.py"),
        "harness/measure_reading.py",
    ),
    "weights": (
        *("alexnet/weights/read.py", "alexnet/weights/pickles.py", "alexnet/weights/pickle_opcodes.py"),
        *("alexnet/weights/protobuf.py", "alexnet/weights/onnx.py", "alexnet/weights/onnx_graph.py"),
        *("alexnet/weights/onnx_size.py", "alexnet/weights/identify.py"),
        *("alexnet/weights/caffe.py", "harness/weights_bombs.py", COST),
    ),
    "request": (
        *("alexnet/serving/server.py", "alexnet/serving/tarball.py", "alexnet/serving/json_body.py"),
        *("alexnet/serving/access.py", "alexnet/data/folders.py", "harness/request_bombs.py", COST),
    ),
}
GROUPS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {  # what may be costly, and innocent twins
    "image": (image_bombs.BOMBS, image_bombs.INNOCENT),
    "weights": (weights_bombs.WEIGHTS, weights_bombs.INNOCENT),
    "request": (request_bombs.REQUESTS, request_bombs.INNOCENT),
}
GOOD = ("pixels", "weights", "200")  # outcomes of what is read
OF_NO_NETWORK = ("belong to no convolutional", "is neither an AlexNet nor a LeNet")  # said of weights that were read
MOST_SECONDS = 5.5  # 5 s for reading, the rest to start the process that reads
# Beyond what the size that the header declares needs: of an image its pixels, of weights their numbers, which are read
# by one process, copied, written and read by another.
MOST_MEGABYTES, BYTES_PER_PIXEL, COPIES = 300, 16, 4


def was_read(outcome: str) -> bool:
    """Whether a file was read whole, even if its weights are of no known network."""
    return outcome in GOOD or any(words in outcome for words in OF_NO_NETWORK)


def kind_of(row: Mapping[str, Any]) -> str:
    """Of which group a row is."""
    return str(row.get("kind", "image"))


def fingerprint(kind: str = "image") -> str:
    """Of the modules that are measured, as they are now."""
    return recording.fingerprint(MEASURED[kind])


def rows() -> list[dict[str, Any]]:
    """What was measured, oldest first."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.is_file() else []


def measure_image(name: str, make: Callable[[], bytes], innocent: bool) -> None:
    """Appends a row. The file is made in one process and read in another, which has imported nothing else.

    The memory of a process does not shrink, and one that it starts counts as at least as large as itself.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        in_a_process(lambda: path.write_bytes(make()))
        command = [sys.executable, "-m", "harness.measure_reading", "--once", str(path)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
        found = json.loads(done.stdout)
        outcome = found["outcome"].replace(str(path), "image")
        pixels = declared(path.read_bytes())
        size = path.stat().st_size
    append(
        name,
        innocent,
        bytes=size,
        outcome=outcome,
        mb=found["mb"],
        cpu=found["cpu"],
        pixels=pixels,
        modules=fingerprint(),
    )


def append(name: str, innocent: bool, **found: Any) -> None:
    """Appends a row and prints it."""
    row = {"name": name, "innocent": innocent, **found, "machine": recording.machine(("pillow",))}
    with ROWS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(f"{name:50} {row['cpu']:6.2f} s {row['mb']:7.1f} MB  {str(row['outcome'])[:60]}", flush=True)


def declared(content: bytes) -> int:
    """The pixels that the header of a file declares; 0 if it is refused."""
    try:
        with open_image(content, pixel_limit(), header_only=True) as image:
            return int(image.width * image.height)
    except DataError:
        return 0


def allowed(row: Mapping[str, Any]) -> float:
    """The megabytes that reading what a row is of may take."""
    if kind_of(row) == "weights":
        return MOST_MEGABYTES + COPIES * float(row["bytes"]) / 1e6
    return MOST_MEGABYTES + BYTES_PER_PIXEL * row.get("pixels", 0) / 1e6


def table() -> str:
    """For each format the costliest files, those above the limits first if there are any."""
    measured = [row for row in rows() if not row["innocent"]]
    lines = ["| format | tried | most processor time | most memory |", "|---|---|---|---|"]
    for kind in dict.fromkeys(name.partition(":")[0] for costly, _ in GROUPS.values() for name in costly):
        group = [row for row in measured if row["name"].startswith(f"{kind}:")]
        if not group:
            continue
        slow, large = max(group, key=lambda row: row["cpu"]), max(group, key=lambda row: row["mb"])
        lines.append(
            f"| {kind} | {len(group)} | {slow['cpu']:.1f} s ({slow['name'].partition(': ')[2]}) "
            f"| {max(0, large['mb']):.0f} MB ({large['name'].partition(': ')[2]}) |"
        )
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """The page with the table of the rows."""
    head, _, rest = page.partition(BEGIN)
    return head + BEGIN + table() + END + rest.partition(END)[2]


def main() -> None:
    """Measures what is not measured yet, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    pickles.SECONDS = 3600  # on the clock; what is measured is processor time, and others may want the processor
    Image.init()
    kept = [row for row in rows() if row["modules"] == fingerprint(kind_of(row))]
    ROWS.write_text("".join(json.dumps(row) + "\n" for row in kept))
    done = {(row["name"], row["innocent"]) for row in kept}
    for kind, groups in GROUPS.items():
        wanted = [
            (name, make, innocent)
            for innocent, group in enumerate(groups)
            for name, make in group.items()
            if (name, bool(innocent)) not in done and (not options.only or any(each in name for each in options.only))
        ]
        if kind == "image":
            for name, make, innocent in wanted:
                measure_image(name, make, bool(innocent))
        elif wanted:
            measured = costs.of_weights if kind == "weights" else costs.of_requests
            for name, innocent, cost in measured(wanted):
                append(name, innocent, kind=kind, **cost, modules=fingerprint(kind))
    PAGE.write_text(with_table(PAGE.read_text()))


if __name__ == "__main__":
    main()
