"""The verbs of the laboratory: ablations, comparisons, ensembles."""

import sys
from pathlib import Path
from typing import Any

import alexnet
from alexnet.cli.options import Changes, Checkpoint, Device, Labels, Views
from alexnet.language.speak import tell


def ablate(
    data: str | None = None,
    *changes: Changes,
    base: str = "photos",
    vary: str = "",
    seeds: int | None = None,
    until: float | None = None,
    out: Path | None = None,
    together: int = 1,
    views: Views = 1,
    dry_run: bool = False,
    ingredients: bool = False,
    labels: Labels = None,
    device: Device = "auto",
) -> None:
    """Switch ingredients one at a time, on the same seeds, and say what each is worth, with its interval.

    Stopped, the same command goes on; what is done is never done again. Every run is one that alexnet train would do.

    For example:
      alexnet ablate --ingredients
      alexnet ablate photos/ --base small-photos --vary no-lrn,plain-pooling,tanh --seeds 3
      alexnet ablate photos/ --base small-photos --vary no-lrn --until 0.6 --dry-run
      alexnet ablate photos/ --base small-photos --vary no-lrn,tanh --together 4
      alexnet ablate photos/ epochs=20 --vary model.dropout=0.3,no-flips+no-color --dry-run

    Parameters
    ----------
    data
        As for alexnet train.
    base
        The recipe that is varied; field=value changes it, in every run.
    vary
        Ingredients, or field=value, separated by commas; joined with + they are changed together.
    seeds
        How many, by default 3: seeds 0, 1 and 2. With one seed there is no interval. With --until at most so many, by
        default 30.
    until
        Go on until the 95 % interval of every change is at most so many points to either side: 6 seeds, then 2 more for
        each change whose interval is wider. Says of each change what is known, and how many seeds would settle it.
    out
        Folder of the results: rows.jsonl, effects.svg, report.html and the runs; by default ablations/BASE-DATA.
    together
        Runs at the same time; each gives what it gives alone. On a CPU each has a process, at most one for each core,
        and its share of the threads; on a GPU they take turns in one process.
    dry_run
        Show the runs and what they would cost, then stop.
    ingredients
        Show all ingredients, what one would type for each, and what the paper says.
    """
    from alexnet.cli import tables_experiments, terminal
    from alexnet.errors import UsageError
    from alexnet.text import duration

    if ingredients:
        tables_experiments.ingredients()
        return
    if data is None:
        raise UsageError("no images given", fix="alexnet ablate DATA --vary no-lrn, or --ingredients.", code="E290")
    plan = alexnet.ablate(
        data,
        base=base,
        vary=vary,
        seeds=seeds,
        until=until,
        changes=changes,
        out=out,
        together=together,
        views=views,
        labels=labels,
        device=device,
    )
    for name in plan.unchanged:
        terminal.say(f"{name}: {base} is so already; left out")
    terminal.say(f"{plan.runs} runs of {base}, {len(plan.missing)} to do; results in {plan.rows_file}")
    if plan.missing:
        seconds = plan.estimate()
        terminal.say(f"estimate   {duration(seconds)}, from a few steps of each variant")
        if until is not None:
            tables_experiments.expected_cost(until, plan.runs, seconds / len(plan.missing))
    if dry_run:
        for command in plan.commands:
            terminal.say(f"  {command}")
        return
    if not plan.run(on_row=_tell):
        tell("alexnet: stopped and saved; the same command goes on", stderr=True)
        sys.exit(130)
    tables_experiments.effects(plan.effects(), plan.split, views, plan.matters)
    terminal.say(f"report: {plan.report()}")


def compare(
    *runs: Path,
    split: str | None = None,
    views: Views = 1,
    checkpoint: Checkpoint = "best",
    out: Path | None = None,
    device: Device = "auto",
) -> None:
    """Set runs beside one another: curves, errors, whether a difference is chance, and the images they differ on.

    For example:
      alexnet compare runs/with-lrn runs/without
      alexnet compare runs/a runs/b runs/c --split val --views 10 --out three.html

    Parameters
    ----------
    runs
        Two or more run folders that were trained on the same images.
    split
        test, val or train; by default test where there is one, else val.
    out
        The page to write; by default a new comparison.html.
    """
    from alexnet.cli import tables_experiments, terminal
    from alexnet.storage.files import free_name

    page = out or free_name(Path("comparison.html"))
    found = alexnet.compare(
        *runs, split=split, views=views, checkpoint=checkpoint, out=page, device=device, progress=True
    )
    tables_experiments.comparison(found)
    terminal.say(f"report: {page}")


def ensemble(
    *runs: Path,
    split: str | None = None,
    weights_on: str | None = None,
    views: Views = 1,
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
) -> None:
    """Average the probabilities of several runs, as the entry of 2012 did with five networks, and report the gain.

    For example:
      alexnet ensemble runs/seed-0 runs/seed-1 runs/seed-2
      alexnet ensemble runs/a runs/b --split test --weights-on val --views 10

    Parameters
    ----------
    runs
        Two or more run folders that were trained on the same images.
    split
        What is reported: by default test where there is one, else val.
    weights_on
        Find weights on this split, which must be held out and another than the one reported; by default equal ones.
    """
    from alexnet.cli import tables_experiments

    result = alexnet.ensemble(
        *runs, split=split, weights_on=weights_on, views=views, checkpoint=checkpoint, device=device, progress=True
    )
    tables_experiments.ensemble(runs, result, weights_on)


def _tell(row: Any, left: int) -> None:
    from alexnet.cli import tables_experiments

    tables_experiments.row(row, left)
