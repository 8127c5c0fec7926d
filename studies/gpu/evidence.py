"""`ensemble`: many runs of one recipe and its variants on CIFAR-10, for differences of a point that three seeds hide.

Seed by seed over all variants: wherever it stops, the seeds before are complete. Every row is on the disk when
its run ends, in OUT/ensemble.jsonl and in the cache of the machine. What has a row in one of them, or in the results
that were merged before, is not run again; a run that was cut off goes on where the machine still has its folder.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from alexnet.experiments import results
from alexnet.experiments.ablation import effects, jobs_of
from alexnet.experiments.runner import Job, planned
from alexnet.experiments.together import rows_of
from alexnet.recipes.ingredients import BASE, Variant, variants_of
from alexnet.storage.files import append, cache_folder
from alexnet.training.monitor import stop_signals
from harness import ROOT
from studies.gpu.place import card, know_commit
from studies.gpu.session import Refused, Session
from studies.gpu.smoke import precisions
from studies.robustness import reliability

STUDY = "gpu_claims"
ROWS = "ensemble.jsonl"
COLUMNS = ("variant", "runs", "error", "difference", "low", "high", "sd", "needed")
# Base and eleven of what the paper claims, in the order of docs/claims.md.
CLAIMS = "tanh,no-lrn,plain-pooling,no-crops,no-flips,no-color,no-dropout,half-net,no-conv3,no-conv4,silent-towers"
HALF_WIDTH = 0.002  # of the interval that is wanted, in [0, 1]
# Fewer epochs, so that there are more runs in the time; the steps of the learning rate at the same shares of the run.
SCHEDULE = ("epochs=16", "optim.drop_epochs=[12,15]", "optim.conv1_drop_epochs=[12,15]", "evaluate_every=16")
TRIAL = ("epochs=1", "model.crop_size=20", "model.width=0.0625", "batch_size=64")


def plan(name: str) -> str:
    """The variants of a plan, as `alexnet ablate --vary` takes them.

    Raises:
        Refused: there is no such plan.
    """
    others = ",".join(f"precision={p}" for p in precisions() if p != "float32")
    plans = {"claims": CLAIMS, "precision": others}
    if name not in plans:
        raise Refused(f"--plan {name}: there are {', '.join(plans)}, or name variants with --vary.")
    return plans[name]


def jobs(
    data: str, base: str, vary: str, seeds: int, common: Sequence[str], study: str = STUDY
) -> tuple[list[Variant], list[Job]]:
    """The variants, and every run, seed by seed."""
    variants = variants_of(vary)
    return variants, jobs_of(data, base, variants, range(seeds), common, study=study, keep=False, views=(1,))


def identity(values: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two rows the same run: the key of its recipe and images, and what computed it."""
    facts = values.get("environment", {})
    return results.row_key(values), facts.get("device"), facts.get("card")


def measure(
    session: Session, data: str, base: str, vary: str, seeds: int, common: Sequence[str], together: int
) -> None:
    """Runs what has no row yet until the time is over, then fills the table.

    Args:
        common: changes of every run.
        together: runs at the same time on the one device.
    """
    variants, wanted = jobs(data, base, vary, seeds, common)
    runs = cache_folder() / "gpu-runs"
    files = (session.out / ROWS, runs / ROWS)
    session.facts |= {"data": Path(data).name, "base": base, "vary": vary, "changes": list(common)}
    known = rows_there(files)
    device, name = session.device, card(session.device)
    waiting = [job for job in wanted if _key(job, device, name) not in known]
    end = time.monotonic() + session.left
    with stop_signals() as requests:
        for row in rows_of(waiting, runs, requests, together=together, device=device, end=end):
            row["environment"] |= _facts(session, row)
            row["commit"] = know_commit()
            for file in files:
                append(file, row | ({"tiny": True} if session.tiny else {}))
            session.facts["runs"] = session.facts.get("runs", 0) + 1
            session.write()
    mine = {_key(job, device, name): job.variant for job in wanted}
    found = [row | {"variant": mine[key]} for key, row in rows_there(files).items() if key in mine]
    summarize(session, found, variants)


def rows_there(files: Sequence[Path]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows of this commit in these files, and those that were merged into the results before."""
    here = [row for file in files for row in results.read(file) if row["commit"] == know_commit()]
    return {identity(row): row for row in (*results.read(ROOT / "results" / f"{STUDY}.jsonl"), *here)}


def _key(job: Job, device: torch.device, name: str | None) -> tuple[Any, ...]:
    recipe, prepared = planned(job)
    row = {
        "settings": results.settings(recipe),
        "data": {"fingerprint": prepared.fingerprint},
        "until_train_error": job.until,
        "environment": {"device": device.type, "card": name},
    }
    return identity(row)


def _facts(session: Session, row: dict[str, Any]) -> dict[str, Any]:
    """What `merge` compares: on what and how a row was computed."""
    facts = {name: session.machine.get(name) for name in ("device", "card", "driver", "cuda", "cudnn")}
    return facts | {"precision": row["settings"].get("precision", "float32")}


def summarize(session: Session, rows: Sequence[dict[str, Any]], variants: Sequence[Variant]) -> None:
    """A row for the base and each variant: its error, and what it adds to the base's, in points with its interval.

    `sd` is the standard deviation between runs; `needed` is how many seeds an interval of +-0.2 points takes with it.
    """
    split = results.reported_split(rows)
    errors = _errors(rows, BASE, split)
    if errors:
        session.row(variant=BASE, runs=len(errors), error=100 * statistics.mean(errors), sd=_spread(errors))
    for effect in effects(rows, variants, split):
        added = effect.found.get("top1_error")
        if added is None:
            session.row(variant=effect.variant, runs=0, diverged=effect.diverged)
            continue
        errors = _errors(rows, effect.variant, split)  # none if every run diverged
        session.row(
            variant=effect.variant,
            runs=len(errors),
            error=100 * statistics.mean(errors) if errors else None,
            difference=100 * added.effect,
            low=None if added.low is None else 100 * added.low,
            high=None if added.high is None else 100 * added.high,
            sd=_spread(errors),
            needed=added.runs_for(HALF_WIDTH),
            diverged=effect.diverged,
        )


def _errors(rows: Sequence[dict[str, Any]], variant: str, split: str) -> list[float]:
    found = [results.error(row, "top1_error", split) for row in rows if row["variant"] == variant]
    return [error for error in found if error is not None]


def _spread(errors: Sequence[float]) -> float | None:
    return 100 * statistics.stdev(errors) if len(errors) > 1 else None


@contextmanager
def trial_images() -> Iterator[str]:
    """A folder of prepared noise, for a trial without images."""
    with tempfile.TemporaryDirectory() as text:
        yield str(reliability.pictures(Path(text) / "noise").folder)
