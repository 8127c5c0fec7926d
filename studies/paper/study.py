"""What the studies share: their command line, subsets of images, and phases that build on the rows of those before.

A study is a list of phases. A phase looks at the rows that are there and says which runs it wants; what has a row is
never run again, so a study can be stopped at any moment and the same command goes on. Every run has one thread;
--together 2 does two at a time, and --device cuda on a card as many as one likes.
"""

import argparse
import hashlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from harness import ROOT

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: a run has one thread

import numpy as np
import torch

from alexnet.errors import AlexNetError
from alexnet.experiments import results, runner
from alexnet.experiments.ablation import rows_for
from alexnet.experiments.results import Row
from alexnet.experiments.runner import CPU, Job
from alexnet.experiments.together import run_jobs
from alexnet.kernels.device import choose_device
from alexnet.storage.files import cache_folder
from alexnet.text import duration, percent

RESULTS = ROOT / "results"


@dataclass(frozen=True)
class Options:
    """What was typed."""

    name: str  # of the study
    folders: tuple[str, ...]  # of images, in the order of the study's arguments
    seeds: int
    changes: tuple[str, ...]  # of every run, after the study's own
    together: int
    out: Path
    runs: Path
    device: torch.device = CPU

    def job(self, data: str, base: str, variant: str, changes: Sequence[str], seed: int, **options: Any) -> Job:
        """A run of this study; its folder is removed when it has its row, unless `keep` says otherwise."""
        options = {"keep": False, **options}
        return Job(data, base, variant, (*changes, *self.changes), seed, study=self.name, **options)

    def done(self, jobs: Sequence[Job]) -> list[Row]:
        """The rows of those jobs that are done, in order."""
        return rows_for(results.read(self.out), jobs, [runner.key(job, self.device) for job in jobs])


Phase = Callable[[Options], list[Job]]


def main(
    name: str, doc: str, data: Sequence[str], phases: Sequence[Phase], seeds: int = 3, rounds: Phase | None = None
) -> Options:
    """Runs a study from the command line.

    Args:
        doc: the docstring of the script, shown as help: question, sizes, minutes.
        data: names of the folders of images that it takes.
        rounds: a phase that comes after the others and is asked anew until every run that it wants has a row.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for folder in data:
        parser.add_argument(folder)
    parser.add_argument("--seeds", type=int, default=seeds, help=f"0 to N-1 are run; {seeds} by default")
    parser.add_argument("--together", type=int, default=1, help="runs at the same time; each gives what it gives alone")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps: rows of different devices are other runs")
    parser.add_argument("--out", type=Path, help="file of rows; by default that of the study, or of trials")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/studies" / name, help="folders of runs under way")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="for a trial: change every run")
    parser.add_argument("--dry-run", action="store_true", help="say what the next phase would run and cost, then stop")
    typed = parser.parse_args()
    folders = tuple(str(Path(getattr(typed, folder)).resolve()) for folder in data)
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, _stop)  # training saves by itself; this is for what comes between
    try:
        device = choose_device(typed.device)
        out = typed.out or (typed.runs / "trial.jsonl" if typed.set else RESULTS / f"{name}.jsonl")
        options = Options(name, folders, typed.seeds, tuple(typed.set), typed.together, out, typed.runs, device)
        for phase in phases:
            _run_phase(options, phase, typed.dry_run)
        while rounds is not None and _run_phase(options, rounds, typed.dry_run):
            pass
    except KeyboardInterrupt:
        _stopped(name)
    except AlexNetError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(f"{name}: done, {len(results.read(options.out))} rows in {options.out}")
    return options


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _stopped(name: str) -> NoReturn:
    print(f"{name}: stopped and saved; the same command goes on", file=sys.stderr)
    sys.exit(130)


def _run_phase(options: Options, phase: Phase, dry_run: bool) -> bool:
    """Does the runs of a phase that have no row; returns whether there were any."""
    jobs = runner.waiting(phase(options), options.out, options.device)
    if dry_run:
        seconds = runner.estimate(jobs, options.device)
        print(f"{options.name}: {len(jobs)} runs to do, {seconds / 60:.1f} minutes one by one", flush=True)
        for job in jobs:
            print(f"  {results.command(job.base, job.changes, job.seed)}")
        sys.exit(0)
    if not run_jobs(jobs, options.out, options.runs, together=options.together, device=options.device, tell=_tell):
        _stopped(options.name)
    return bool(jobs)


def _tell(row: dict[str, Any], left: int) -> None:
    split = results.reported_split([row])
    error = percent(results.error(row, "top1_error", split)) if row["results"] else row["outcome"]
    last = f"{len(row['curve'])} epochs, {split} {error}, {duration(row['seconds'] or 0)}"
    print(f"{row['variant']}, seed {row['seed']}: {last}; {left} left", flush=True)


def subset(folder: str, every: dict[str, int]) -> str:
    """A folder of links to every n-th image of each class, by name, for each split; made once, in the cache.

    Args:
        folder: with a folder for each split, and in it one for each class.
        every: split -> n.
    """
    name = "-".join(f"{split}{n}" for split, n in every.items())
    return _linked(folder, name, {split: (split, slice(None, None, n)) for split, n in every.items()})


def held_back(folder: str, last: int) -> str:
    """A folder of links to the training images alone: the last of each class, by name, are validation images."""
    parts = {"train": ("train", slice(None, -last)), "val": ("train", slice(-last, None))}
    return _linked(folder, f"last{last}", parts)


def itself(folder: str, n: int) -> str:
    """A folder of links to every n-th training image of each class, by name, which are the validation images too."""
    part = ("train", slice(None, None, n))
    return _linked(folder, f"itself{n}", {"train": part, "val": part})


def fold(folder: str, folds: int, number: int, seed: int) -> str:
    """A folder of links to the images of all parts: of each class one fold of those drawn by `seed` is held out.

    Args:
        folder: with a folder for each part, and in it one for each class.
    """
    root = Path(folder)
    out = _place_of_links(root, f"fold{number}of{folds}-seed{seed}")
    if not (out / "complete").exists():
        for kind in sorted({path.name for path in root.glob("*/*") if path.is_dir()}):
            pictures = sorted(picture for part in root.iterdir() for picture in (part / kind).glob("*"))
            for place, index in enumerate(np.random.default_rng([seed, *kind.encode()]).permutation(len(pictures))):
                picture = pictures[index]
                split = "val" if place % folds == number else "train"
                _link(out / split / kind / f"{picture.parent.parent.name}-{picture.name}", picture)
        (out / "complete").touch()
    return str(out)


def _linked(folder: str, name: str, parts: dict[str, tuple[str, slice]]) -> str:
    """A folder of links, made once, in the cache: split -> the split and the part of each class that it is made of."""
    root = Path(folder)
    out = _place_of_links(root, name)
    if not (out / "complete").exists():
        for split, (source, part) in parts.items():
            for kind in sorted(path for path in (root / source).iterdir() if path.is_dir()):
                for picture in sorted(kind.iterdir())[part]:
                    _link(out / split / kind.name / picture.name, picture)
        (out / "complete").touch()
    return str(out)


def _place_of_links(root: Path, name: str) -> Path:
    """Where links to a part of the images lie: another folder for images elsewhere, or when some came or went."""
    listing = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*/*"))
    digest = hashlib.sha256("\n".join([str(root.resolve()), *listing]).encode("utf-8", "surrogateescape"))
    return cache_folder() / "subsets" / digest.hexdigest()[:12] / f"{root.name}-{name}"


def _link(place: Path, picture: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(picture.resolve())
