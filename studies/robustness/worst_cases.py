"""The worst file of each kind that we can think of: what each costs in processor time and memory.

python -m studies.robustness.worst_cases [--only TEXT ...]

Beside the random files of `fuzz_images` these are structured: each makes one loop or one allocation of a reader as
long or as large as its format allows (`harness/image_bombs.py`), with innocent twins. Each is read in a process of
its own. A row is appended to results/worst_cases.jsonl as soon as it is measured; a row of the modules as they are is
not measured again, so the command can be interrupted. `table` writes docs/reliability.md's list from the rows, and a
test refuses rows that are older than the modules they measure.
"""

import argparse
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from alexnet.data.image_bytes import pixel_limit
from alexnet.data.image_files import open_image
from alexnet.data.images import read_image
from alexnet.errors import DataError
from harness import ROOT
from harness.image_bombs import BOMBS, INNOCENT
from harness.measure_reading import cost_of
from studies.robustness.recording import machine

ROWS = ROOT / "results" / "worst_cases.jsonl"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- worst cases -->\n", "<!-- end of worst cases -->\n"
MEASURED = (
    *("alexnet/data/image_bytes.py", "alexnet/data/image_files.py", "alexnet/data/image_structure.py"),
    *("alexnet/data/image_guard.py", "alexnet/data/guarded_decoding.py", "alexnet/data/image_room.py"),
    *("alexnet/data/images.py", "alexnet/data/netpbm.py", "harness/image_bombs.py", "harness/measure_reading.py"),
)
MOST_SECONDS = 5.5  # 5 s for decoding, the rest to start the process that decodes
MOST_MEGABYTES, BYTES_PER_PIXEL = 300, 16  # beyond what the size that the header declares needs


def fingerprint() -> str:
    """Of the modules that are measured, as they are now."""
    digest = hashlib.sha256()
    for name in MEASURED:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()[:16]


def rows() -> list[dict[str, Any]]:
    """What was measured, oldest first."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.is_file() else []


def measure(name: str, make: Callable[[], bytes], innocent: bool) -> None:
    """Appends a row. The file is made in one process and read in another.

    The memory of a process does not shrink, and one that it starts counts as at least as large as itself.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        _in_a_process(lambda: path.write_bytes(make()))
        _in_a_process(lambda: _append(name, path.read_bytes(), innocent))


def _in_a_process(work: Callable[[], object]) -> None:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _append(name: str, content: bytes, innocent: bool) -> None:
    row = {"name": name, "innocent": innocent, "bytes": len(content), **cost_of(lambda: read_image(content))}
    row |= {"pixels": declared(content), "modules": fingerprint(), "machine": machine(("pillow",))}
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
    """The megabytes that reading the file of a row may take."""
    return MOST_MEGABYTES + BYTES_PER_PIXEL * row["pixels"] / 1e6


def table() -> str:
    """For each format the costliest files, those above the limits first if there are any."""
    measured = [row for row in rows() if not row["innocent"]]
    lines = ["| format | files | most processor time | most memory |", "|---|---|---|---|"]
    for kind in dict.fromkeys(row["name"].partition(":")[0] for row in measured):
        group = [row for row in measured if row["name"].startswith(f"{kind}:")]
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
    Image.init()
    kept = [row for row in rows() if row["modules"] == fingerprint()]
    ROWS.write_text("".join(json.dumps(row) + "\n" for row in kept))
    done = {row["name"] for row in kept if not row["innocent"]}, {row["name"] for row in kept if row["innocent"]}
    for files, innocent in ((BOMBS, False), (INNOCENT, True)):
        for name, make in files.items():
            if name not in done[innocent] and (not options.only or any(each in name for each in options.only)):
                measure(name, make, innocent)
    PAGE.write_text(with_table(PAGE.read_text()))


if __name__ == "__main__":
    main()
