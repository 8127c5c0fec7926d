"""The command line: it parses and calls. Every verb imports what it needs when it runs, so that help is instant."""

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from alexnet.allocator import keep_memory
from alexnet.errors import AlexNetError, ResourceError, UsageError

if TYPE_CHECKING:
    from alexnet.dataset import Prepared
    from alexnet.run import Run

app = App(
    name="alexnet",
    help="AlexNet as the system it was: prepare, train, evaluate and use it on your own pictures.\n\n"
    "For example:\n  alexnet demo\n  alexnet train photos/\n  alexnet predict runs/2026-11-24-1530-photos cat.jpg",
    help_format="plaintext",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)

Paths = Annotated[str, Parameter(allow_leading_hyphen=True)]
Changes = Annotated[str, Parameter(allow_leading_hyphen=True, show_default=False)]


def main() -> None:
    """Runs the command line; leaves with 0, or with the code of the mistake and one message, never a traceback."""
    keep_memory()
    try:
        app(exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(UsageError.exit_code)
    except AlexNetError as error:
        _fail(str(error), error.exit_code)
    except (MemoryError, RuntimeError) as error:
        # PyTorch says so only in the words of a RuntimeError.
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        _fail("not enough memory\nUse a smaller batch_size, model.width or crop_size.", ResourceError.exit_code)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def _fail(message: str, code: int) -> None:
    print(f"alexnet: {message}", file=sys.stderr)
    sys.exit(code)


@app.command
def demo(*, out: Path = Path("runs/demo")) -> None:
    """Train LeNet and AlexNet on the 1,797 digits that ship with scikit-learn, and compare them. Under 3 minutes.

    For example:
      alexnet demo
      alexnet demo --out /tmp/demo

    Parameters
    ----------
    out
        Folder for the runs of the two networks; what an earlier demo left there is replaced.
    """
    from alexnet.demo import run_demo

    run_demo(out)


@app.command
def prepare(
    data: str,
    out: Path,
    *,
    size: int = 256,
    encoding: Literal["auto", "raw", "jpeg"] = "auto",
    strict: bool = False,
    verify: bool = False,
    workers: int | None = None,
) -> None:
    """Turn any pictures into squares of one size, once, with the statistics that training needs.

    For example:
      alexnet prepare photos/ prepared/
      alexnet prepare /data/ILSVRC2012 prepared/ --encoding jpeg

    Parameters
    ----------
    data
        A folder with one sub-folder per class, or with train/ and val/ that have them; ILSVRC-2012 as it comes;
        or digits, cifar10, fashion-mnist, imagenette, flowers102.
    out
        The folder to write. Interrupted, the same command goes on; done, it does nothing.
    size
        Pixels of the shorter side, and of the central square that is kept.
    encoding
        raw: 3 bytes a pixel, fastest; jpeg: a seventh of that; auto: raw unless it gets too large.
    strict
        Stop at the first picture that cannot be read, instead of leaving it out and listing it.
    verify
        Read everything in OUT again when it is done and compare the checksums.
    workers
        Threads; by default one per core.
    """
    from alexnet import dataset, tables
    from alexnet.prepare import prepare as prepare_source
    from alexnet.sources import open_source
    from alexnet.terminal import counting

    source = open_source(data)
    with counting("preparing") as progress:
        report = prepare_source(
            source, out, size=size, encoding=encoding, strict=strict, workers=workers, progress=progress
        )
    tables.prepared(report)
    if verify:
        with counting("verifying") as progress:
            dataset.verify(dataset.open_prepared(out), progress)
        print("verified: every file is as it was written")
    print(f"\nNext: alexnet train {out}")


@app.command
def train(
    data: str,
    *changes: Changes,
    recipe: str = "photos",
    out: Path | None = None,
    device: str = "auto",
    dry_run: bool = False,
) -> None:
    """Train a network on your pictures. Nothing but the path is needed.

    Every field of the recipe can be changed: field=value or --field value. alexnet recipes shows them all.

    For example:
      alexnet train photos/
      alexnet train photos/ epochs=20 --lr 0.005 model.dropout=0.3
      alexnet train /data/ILSVRC2012 --recipe alexnet-2012 --dry-run

    Parameters
    ----------
    data
        As for alexnet prepare, or a folder that it made.
    changes
        Fields of the recipe to change.
    recipe
        Where the fields start from: photos, alexnet-2012, demo, lenet.
    out
        The run folder; by default a new one in runs/.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    dry_run
        Show the plan and an estimate from a few real steps, then stop; only the prepared pictures stay.
    """
    from alexnet import tables
    from alexnet.recipes import for_classes, override
    from alexnet.train import choose_device
    from alexnet.trainer import check_recipe
    from alexnet.variants import find_recipe
    from alexnet.workflow import fitted, new_run_folder, prepared_for, rehearse, run_plan, start_run

    chosen = override(fitted(find_recipe(recipe), data), changes)
    place = choose_device(device)
    prepared = prepared_for(data, chosen.prepare_size, tables.prepared)
    chosen = for_classes(chosen, len(prepared.class_names))
    check_recipe(chosen, prepared)
    tables.plan(run_plan(chosen, recipe, prepared, place))
    if dry_run:
        took = tables.duration(rehearse(chosen, prepared, place))
        tables.say(f"estimate   {took} of training, from a few steps. Nothing was saved.")
        return
    _train(start_run(out or new_run_folder(data), chosen, data, prepared), prepared, place)


@app.command
def resume(run: Path, *, device: str = "auto") -> None:
    """Go on with a run that was stopped, as if it had not been.

    For example:
      alexnet resume runs/2026-11-24-1530-photos
      alexnet resume runs/2026-11-24-1530-photos --device cpu

    Parameters
    ----------
    run
        The run folder.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from alexnet import tables
    from alexnet.run import open_run
    from alexnet.train import choose_device
    from alexnet.workflow import prepared_of

    opened = open_run(run)
    _train(opened, prepared_of(opened, tables.prepared), choose_device(device))


@app.command
def evaluate(
    run: Path,
    data: str | None = None,
    *,
    split: str | None = None,
    views: int = 1,
    checkpoint: Literal["best", "last"] = "best",
    json: bool = False,
    device: str = "auto",
) -> None:
    """Measure a trained network: top-1 and top-5 error, log-loss, and every class.

    For example:
      alexnet evaluate runs/photos
      alexnet evaluate runs/photos other_photos/ --split test --views 10 --json

    Parameters
    ----------
    run
        The run folder.
    data
        Other pictures than those of the run, as for alexnet train.
    split
        train, val or test; by default test where there is one, else val.
    views
        1 (the centre) or 10 (corners, centre and mirrors, probabilities averaged, as in the paper).
    checkpoint
        The best on the held-out pictures, or the last.
    json
        Print JSON instead of tables.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from alexnet import tables
    from alexnet.evaluate import evaluate as evaluate_split
    from alexnet.run import load_model, open_run
    from alexnet.terminal import counting
    from alexnet.train import choose_device
    from alexnet.workflow import prepared_for, prepared_of

    opened = open_run(run)
    model = load_model(opened, checkpoint).to(choose_device(device))
    recipe = opened.recipe
    told = (lambda report: None) if json else tables.prepared
    prepared = prepared_of(opened, told) if data is None else prepared_for(data, recipe.prepare_size, told)
    chosen = split or ("test" if "test" in prepared.splits else "val")
    with counting("evaluating") as progress:
        result = evaluate_split(
            model,
            prepared,
            chosen,
            class_names=opened.class_names,
            views=views,
            precision=recipe.precision,
            progress=progress,
        )
    if json:
        print(json_module.dumps(result.summary(), indent=1, ensure_ascii=False))
    else:
        tables.evaluation(result)


@app.command
def predict(
    run: Path,
    *images: Paths,
    views: int = 1,
    topk: Annotated[int, Parameter(name=["--topk", "-k"])] = 5,
    format: Literal["table", "json", "csv"] = "table",
    checkpoint: Literal["best", "last"] = "best",
    device: str = "auto",
) -> None:
    """Say what is on pictures: files, folders, "globs", or - for a list of paths on standard input.

    For example:
      alexnet predict runs/photos cat.jpg holiday/
      find . -name '*.jpg' | alexnet predict runs/photos - --format csv

    Parameters
    ----------
    run
        The run folder.
    images
        What to look at.
    views
        1 (the centre) or 10 (corners, centre and mirrors).
    topk
        How many classes to name for each picture.
    format
        table, json (one object a line) or csv.
    checkpoint
        The best on the held-out pictures, or the last.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from alexnet import tables
    from alexnet.errors import DataError
    from alexnet.predict import find_images
    from alexnet.predict import predict as predict_images
    from alexnet.run import load_model, open_run
    from alexnet.train import choose_device

    if topk < 1:
        raise UsageError(f"--topk {topk}: at least one class must be named")
    named = [line.strip() for line in sys.stdin if line.strip()] if list(images) == ["-"] else list(images)
    if not named:
        raise UsageError(
            "no pictures given", fix="Name files, folders or patterns, or - to read paths from standard input."
        )
    opened = open_run(run)
    paths = find_images(named)
    model = load_model(opened, checkpoint).to(choose_device(device))
    answers = predict_images(
        model,
        paths,
        class_names=opened.class_names,
        prepare_size=opened.recipe.prepare_size,
        views=views,
        k=topk,
        precision=opened.recipe.precision,
    )
    unreadable = tables.predictions(answers, format)
    if unreadable:
        raise DataError(f"{unreadable} of {len(paths)} pictures could not be read; their reasons stand above")


@app.command
def summary(network: str = "alexnet-2012", *changes: Changes) -> None:
    """Show a network layer by layer: shapes, parameters, multiply-adds, memory, beside the paper's figures.

    For example:
      alexnet summary
      alexnet summary photos model.width=0.5

    Parameters
    ----------
    network
        The name of a recipe, or a run folder.
    changes
        Fields of the recipe to change; batch_size counts for the memory of a training step.
    """
    from alexnet import tables
    from alexnet.model import build_model
    from alexnet.recipes import override
    from alexnet.run import open_run
    from alexnet.summary import summarise
    from alexnet.variants import RECIPES, find_recipe

    is_run = network not in RECIPES and Path(network).is_dir()
    recipe = override(open_run(Path(network)).recipe if is_run else find_recipe(network), changes)
    tables.summary(summarise(build_model(recipe.model)), recipe)


@app.command
def recipes(name: str | None = None, other: str | None = None) -> None:
    """List the recipes; with a name, all its fields; with two, what differs.

    For example:
      alexnet recipes photos
      alexnet recipes alexnet-2012 photos

    Parameters
    ----------
    name
        A recipe.
    other
        Another one to compare it with.
    """
    from alexnet.recipes import differences, flat
    from alexnet.terminal import print_table
    from alexnet.variants import RECIPES, find_recipe

    if name is None:
        rows = [(r.name, r.model.architecture, str(r.epochs), str(r.model.crop_size)) for r in RECIPES.values()]
        print_table("", ("recipe", "network", "epochs", "crop"), rows, left=2)
    elif other is None:
        print_table("", ("field", name), [(k, str(v)) for k, v in flat(find_recipe(name)).items()], left=2)
    else:
        changed = differences(find_recipe(other), find_recipe(name))
        print_table("", ("field", name, other), [(k, str(a), str(b)) for k, (a, b) in changed.items()], left=3)


@app.command
def report(run: Path) -> None:
    """Evaluate a run anew and write its report.html.

    For example:
      alexnet report runs/photos
      alexnet report runs/demo/alexnet

    Parameters
    ----------
    run
        The run folder.
    """
    from alexnet import tables
    from alexnet.run import open_run
    from alexnet.workflow import prepared_of, report_run

    opened = open_run(run)
    tables.results(opened, *report_run(opened, prepared_of(opened, tables.prepared)))


def _train(run: "Run", prepared: "Prepared", device: Any) -> None:
    from alexnet import tables
    from alexnet.terminal import TrainingMonitor
    from alexnet.train import Interrupted
    from alexnet.train import train as train_run
    from alexnet.workflow import report_run

    print(f"run folder: {run.folder}   (Ctrl-C stops and saves)")
    try:
        with TrainingMonitor() as monitor:
            train_run(run, prepared, device=device, monitor=monitor)
    except Interrupted as stopped:
        _fail(
            f"stopped and saved at step {stopped.step}; go on with: alexnet resume {run.folder}",
            128 + stopped.signal_number,
        )
    tables.results(run, *report_run(run, prepared))
