"""The programme of a day with a GPU: docs/gpu.md has the order, and what each command proves.

    python -m studies.gpu env|smoke|speed|data|exact|ensemble [--device cuda] [--seconds 540] [--out DIR] [--tiny]
    python -m studies.gpu pack [--cifar10 FOLDER] [--clothing FOLDER]
    python -m studies.gpu merge FOLDER

Each command stops by itself 20 seconds before its time is over, writes DIR/NAME.json as it goes, and prints one table
of 80 columns at the end. --tiny is the same in seconds on a CPU, and proves only that the command runs.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first handle, or cuBLAS is not deterministic

from alexnet.errors import AlexNetError
from alexnet.kernels.device import choose_device
from harness import ROOT
from studies.gpu.session import Refused, Session, guard, release

MEASURED = ("env", "smoke", "speed", "data", "exact", "ensemble")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m studies.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True)
    for name in MEASURED:
        one = commands.add_parser(name)
        one.add_argument("--device", default="auto", help="cuda, cpu; auto takes a GPU where there is one")
        one.add_argument("--seconds", type=float, default=540, help="after which it must have ended")
        one.add_argument("--out", type=Path, default=Path("gpu-day"), help="the folder of what it writes")
        one.add_argument("--tiny", action="store_true", help="a trial: seconds, and no evidence")
        if name == "ensemble":
            one.add_argument("--data", default="cifar10", help="what `pack` packed, or a folder of images")
            one.add_argument("--base", default="small-cifar", help="a recipe")
            one.add_argument("--plan", default="claims", help="claims or precision: which variants")
            one.add_argument("--vary", help="variants instead of a plan, as for alexnet ablate")
            one.add_argument("--seeds", type=int, default=64, help="0 to N-1 are run")
            one.add_argument("--jobs", type=int, default=8, help="runs at the same time on the device")
            one.add_argument("--set", nargs="+", metavar="FIELD=VALUE", help="changes of every run, for the schedule")
    packing = commands.add_parser("pack")
    packing.add_argument("--cifar10", type=Path, help="its folder: train/ and test/ with class folders")
    packing.add_argument("--clothing", type=Path, help="its folder")
    packing.add_argument("--no-wheels", action="store_true", help="for a machine that has all packages")
    merging = commands.add_parser("merge")
    merging.add_argument("folder", type=Path, help="what came back: the folder of --out")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0, or 2 with one sentence about what was refused."""
    asked = parser().parse_args(arguments)
    try:
        if asked.command == "pack":
            from studies.gpu.pack import pack

            folders = {"cifar10": asked.cifar10, "clothing": asked.clothing}
            print("\n".join(pack(ROOT, folders, wheels=not asked.no_wheels)))
        elif asked.command == "merge":
            from studies.gpu.merging import merge

            print("\n".join(merge(asked.folder, ROOT)))
        else:
            measured(asked)
    except (Refused, AlexNetError) as error:
        print(f"{asked.command}: {error}", file=sys.stderr)
        return 2
    return 0


def measured(asked: argparse.Namespace) -> None:
    """Runs one of the commands that measure, and prints its table."""
    from studies.gpu.pack import unpack

    guard(asked.seconds)
    try:
        unpack(ROOT, lambda text: print(text, flush=True))
        session = Session(asked.command, choose_device(asked.device), asked.seconds, asked.out, asked.tiny)
        print(session.end(part(asked, session)))
    finally:
        release()


def part(asked: argparse.Namespace, session: Session) -> Sequence[str]:
    """Does what the command is for; returns the columns of its table. Imports only what it needs."""
    if asked.command == "env":
        from studies.gpu.limits import measure
    elif asked.command == "smoke":
        from studies.gpu.smoke import measure
    elif asked.command == "speed":
        from studies.gpu.speed import measure
    elif asked.command == "data":
        from studies.gpu.data_path import measure
    elif asked.command == "exact":
        from studies.gpu.exact import measure
    else:
        return evidence(asked, session)
    return measure(session)


def evidence(asked: argparse.Namespace, session: Session) -> Sequence[str]:
    """The runs of `ensemble`."""
    from studies.gpu import evidence
    from studies.gpu.pack import images

    vary = asked.vary or evidence.plan(asked.plan)
    common = tuple(asked.set or evidence.SCHEDULE)
    if session.tiny:
        with evidence.trial_images() as data:
            evidence.measure(session, data, "small-cifar", "tanh", min(asked.seeds, 2), evidence.TRIAL, asked.jobs)
    else:
        evidence.measure(session, images(asked.data), asked.base, vary, asked.seeds, common, asked.jobs)
    return evidence.COLUMNS


if __name__ == "__main__":
    sys.exit(main())
