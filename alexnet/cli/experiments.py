"""The verbs of the laboratory: ablations, comparisons, ensembles."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from alexnet.errors import UsageError

Changes = Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True, show_default=False)]


def ablate(
    data: str | None = None,
    *,
    base: str = "photos",
    vary: str = "",
    seeds: int = 3,
    changes: Changes = None,
    out: Path | None = None,
    jobs: int = 1,
    views: Literal[1, 10] = 1,
    dry_run: bool = False,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    device: str = "auto",
) -> None:
    """Switch ingredients one at a time, with paired seeds, and say what each is worth, with its interval.

    Stopped, the same command goes on; what is done is never done again. Every run is one that alexnet train would do.

    For example:
      alexnet ablate --list
      alexnet ablate photos/ --base small-photos --vary no-lrn,plain-pooling,tanh --seeds 3
      alexnet ablate photos/ --vary model.dropout=0.3,no-flips+no-colour --set epochs=20 --dry-run

    Parameters
    ----------
    data
        As for alexnet train.
    base
        The recipe that is varied.
    vary
        Ingredients, or field=value, separated by commas; joined with + they are changed together.
    seeds
        How many: 3 runs seeds 0, 1 and 2. With one seed there is no interval.
    changes
        Fields to change in every run, the base too.
    out
        Folder of the results: results.jsonl, effects.svg, report.html and the runs; by default ablations/BASE-DATA.
    jobs
        Runs at the same time, one thread each.
    views
        Views of a held-out picture that the table and the page report; the rows have both.
    dry_run
        Show the runs and what they would cost, then stop.
    list_
        Show all ingredients, what one would type for each, and what the paper says.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from alexnet.cli import tables_experiments

    if list_:
        tables_experiments.ingredients()
        return
    if data is None:
        raise UsageError("no pictures given", fix="alexnet ablate DATA --vary no-lrn, or --list.", code="E290")
    from alexnet.cli import tables
    from alexnet.experiments import results, runner
    from alexnet.experiments.ablation import effects, jobs_of, rows_for, unchanged
    from alexnet.experiments.page import title_of, write_ablation
    from alexnet.kernels.device import choose_device
    from alexnet.recipes.ingredients import variants_of
    from alexnet.text import duration

    variants, place = variants_of(vary), choose_device(device)
    planned = jobs_of(data, base, variants, range(seeds), changes or ())
    folder = out or Path("ablations") / f"{base}-{Path(data).resolve().name}"
    file = folder / "rows.jsonl"
    left = runner.waiting(planned, file)
    keys = [runner.key(job) for job in planned]
    same = unchanged(planned, keys)
    for name in same:
        tables.say(f"{name}: {base} is so already; left out")
    tables.say(f"{len(set(keys))} runs of {base}, {len(left)} to do; results in {file}")
    if left:
        tables.say(f"estimate   {duration(runner.estimate(left, place) / jobs)}, from a few steps of each variant")
    if dry_run:
        for job in left:
            tables.say(f"  {results.command(job.base, job.changes, job.seed)}")
        return
    if not runner.run_jobs(left, file, folder / "runs", processes=jobs, device=place, tell=_told):
        print("alexnet: stopped and saved; the same command goes on", file=sys.stderr)
        sys.exit(130)
    found = rows_for(results.read(file), planned, keys)
    shown = [variant for variant in variants if variant.name not in same]
    split = results.reported_split(found)
    worth = effects(found, shown, split, views)
    tables_experiments.effects(worth, split, views)
    _, page = write_ablation(folder, title_of(base, found), worth, found, split, views)
    tables.say(f"report: {page}")


def compare(
    *runs: Path,
    split: str | None = None,
    views: Literal[1, 10] = 1,
    checkpoint: Literal["best", "last"] = "best",
    out: Path = Path("comparison.html"),
    device: str = "auto",
) -> None:
    """Set runs beside one another: curves, errors, whether a difference is chance, and the pictures they differ on.

    For example:
      alexnet compare runs/with-lrn runs/without
      alexnet compare runs/a runs/b runs/c --split val --views 10 --out three.html

    Parameters
    ----------
    runs
        Two or more run folders that were trained on the same pictures.
    split
        test, val or train; by default test where there is one, else val.
    views
        1 (the centre) or 10 (corners, centre and mirrors).
    checkpoint
        The best on the held-out pictures, or the last.
    out
        The page to write.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from alexnet.cli import tables, tables_experiments
    from alexnet.cli.terminal import bars
    from alexnet.evaluation.compare import answers, disputed, held_out_name, open_runs, pairs
    from alexnet.experiments.page import write_comparison
    from alexnet.kernels.device import choose_device
    from alexnet.recipes.recipe import differences
    from alexnet.runs.metrics import epochs_of

    opened, prepared = open_runs(runs)
    chosen = held_out_name(prepared, split)
    with bars() as progress:
        evaluations = answers(
            opened,
            prepared,
            chosen,
            views=views,
            checkpoint=checkpoint,
            device=choose_device(device),
            progress=progress,
        )
    names, found = _names(runs), pairs(evaluations)
    tables_experiments.comparison(names, evaluations, found)
    changes: dict[str, dict[str, Any]] = {
        name: {k: new for k, (_, new) in differences(run.recipe, opened[0].recipe).items()}
        for name, run in zip(names, opened, strict=True)
    }
    page = write_comparison(
        out,
        names,
        [epochs_of(run) for run in opened],
        evaluations,
        found,
        disputed(evaluations, limit=40),
        prepared.splits[chosen].read,
        changes,
    )
    tables.say(f"report: {page}")


def ensemble(
    *runs: Path,
    split: str | None = None,
    weights_on: str | None = None,
    views: Literal[1, 10] = 1,
    checkpoint: Literal["best", "last"] = "best",
    device: str = "auto",
) -> None:
    """Average the probabilities of several runs, as the entry of 2012 did with five networks, and report the gain.

    For example:
      alexnet ensemble runs/seed-0 runs/seed-1 runs/seed-2
      alexnet ensemble runs/a runs/b --split test --weights-on val --views 10

    Parameters
    ----------
    runs
        Two or more run folders that were trained on the same pictures.
    split
        What is reported: by default test where there is one, else val.
    weights_on
        Find weights on this split, which must be held out and another than the one reported; by default equal ones.
    views
        1 (the centre) or 10 (corners, centre and mirrors).
    checkpoint
        The best on the held-out pictures, or the last.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from alexnet.cli import tables_experiments
    from alexnet.cli.terminal import bars
    from alexnet.evaluation.compare import answers, held_out_name, open_runs
    from alexnet.evaluation.ensemble import check_splits, combine, find_weights
    from alexnet.kernels.device import choose_device

    opened, prepared = open_runs(runs)
    chosen = held_out_name(prepared, split)
    check_splits(chosen, weights_on)
    place, weights = choose_device(device), None
    with bars() as progress:

        def look(name: str) -> Any:
            return answers(opened, prepared, name, views=views, checkpoint=checkpoint, device=place, progress=progress)

        if weights_on is not None:
            weights = find_weights(look(held_out_name(prepared, weights_on)))
        result = combine(look(chosen), weights)
    tables_experiments.ensemble(_names(runs), result, weights_on)


def _names(runs: tuple[Path, ...]) -> list[str]:
    """Short names of run folders: the last part of the path, or the whole where two end alike."""
    short = [run.resolve().name for run in runs]
    return short if len(set(short)) == len(short) else [str(run) for run in runs]


def _told(row: dict[str, Any], left: int) -> None:
    from alexnet.cli.tables import say
    from alexnet.experiments import results
    from alexnet.text import duration, percent

    split = results.reported_split([row])
    error = (
        "diverged"
        if row["outcome"] == "diverged"
        else f"{split} error {percent(results.error(row, 'top1_error', split))}"
    )
    say(f"{row['variant']}, seed {row['seed']}: {error}, {duration(row['seconds'] or 0)}; {left} runs left")
