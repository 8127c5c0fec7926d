"""What the verbs print when they are done: results as tables, or as JSON and CSV for programs."""

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alexnet.cli.terminal import explain, has_all_letters, print_json, print_table, say, show
from alexnet.data.dataset import SPLITS
from alexnet.evaluation.compare import balanced_accuracy, is_uneven
from alexnet.evaluation.out_of_distribution import FLAGGED, NONE_OF_THESE
from alexnet.evaluation.predict import Prediction
from alexnet.evaluation.promises import NO_PROMISE, Promise
from alexnet.language.speak import said, tell
from alexnet.text import columns, percent

if TYPE_CHECKING:  # each verb brings what it needs; none waits for what the others need
    from alexnet.data.prepare import PrepareReport
    from alexnet.doctor.examine import Examination
    from alexnet.evaluation.evaluate import Evaluation

CLASSES_SHOWN = 30


def plan(rows: Mapping[str, str]) -> None:
    """What is about to happen."""
    names = {name: said(name) for name in rows}
    width = max(map(columns, names.values()))
    for name, value in rows.items():
        show(f"{names[name]}{' ' * (width - columns(names[name]))}  {said(value)}", hang=width + 2)


def prepared(report: "PrepareReport") -> None:
    """What preparing did: every class counted, every picture left out with its reason."""
    if report.already_done:
        say(f"images     prepared before: {report.folder}")
        for note in report.notes:
            say(f"  note: {note}")
        return
    kept = sum(sum(counts.values()) for counts in report.counts.values())
    say(f"prepared {kept} images in {report.seconds:.1f} s: {report.folder}")
    for note in report.notes:
        say(f"  note: {note}")
    for kind, count in report.oddities.items():
        say(f"  {count} {kind}")
    for skipped in report.skipped:
        say(f"  left out: {skipped.name}: {skipped.reason}")
    splits = [split for split in SPLITS if split in report.counts]
    names = list(report.counts["train"])
    rows = [(name, *(str(report.counts[split].get(name, 0)) for split in splits)) for name in names[:CLASSES_SHOWN]]
    if len(names) > CLASSES_SHOWN:
        rows.append((f"... {len(names) - CLASSES_SHOWN} more", *("" for _ in splits)))
    print_table("", ("class", *splits), rows)


def evaluation(result: "Evaluation") -> None:
    """The figures of one evaluation and of every class."""
    facts = result.summary()
    say(
        f"{result.split}, {result.count} images, {result.views} view{'s' if result.views > 1 else ''}: "
        f"top-1 error {percent(result.top1_error)} (accuracy {percent(1 - result.top1_error)}), "
        f"top-5 error {percent(facts['top5_error'])}, log loss {result.log_loss:.3f}"
    )
    rows = [(name, str(c["images"]), percent(c["top1_error"])) for name, c in facts["classes"].items()]
    print_table("", ("class", "images", "top-1 error"), rows)


def evaluation_csv(result: "Evaluation") -> None:
    """One line for all images and one for every class; errors in [0, 1]."""
    facts = result.summary()
    writer = csv.writer(sys.stdout)
    writer.writerow(["split", "views", "class", "images", "top1_error", "top5_error", "log_loss"])
    top5 = "" if facts["top5_error"] is None else facts["top5_error"]
    head = [result.split, result.views]
    writer.writerow([*head, "", facts["images"], facts["top1_error"], top5, facts["log_loss"]])
    for name, row in facts["classes"].items():
        error = "" if row["top1_error"] is None else row["top1_error"]
        writer.writerow([*head, name, row["images"], error, "", ""])


def results(folder: Path, evaluations: "Sequence[Evaluation]", page: Path) -> None:
    """The end of a run."""
    rows = [
        (
            e.split,
            str(e.views),
            str(e.count),
            percent(1 - e.top1_error),
            percent(e.summary()["top5_error"]),
            f"{e.log_loss:.3f}",
        )
        for e in evaluations
    ]
    print_table("", ("split", "views", "images", "top-1 accuracy", "top-5 error", "log loss"), rows)
    first = evaluations[0]
    if is_uneven(first):
        shares = {name: row["top1_error"] for name, row in first.summary()["classes"].items() if row["images"]}
        recalls = ", ".join(f"{name} {percent(1 - error)}" for name, error in list(shares.items())[:CLASSES_SHOWN])
        balanced = percent(balanced_accuracy(first))
        explain(f"balanced accuracy on {first.split}: {balanced}; right of each class: {recalls}")
    say(f"report: {page}")
    say(f"next:   alexnet predict {folder} IMAGE.jpg")


@contextmanager
def trained(folder: Path) -> Iterator[None]:
    """Says where the trained network is, and how it is used, if what is done with it after training fails."""
    try:
        yield
    except BaseException:
        tell(f"trained: {folder}   (the network is complete and saved; what failed came after it)")
        tell(f"next:    alexnet evaluate {folder}")
        tell(f"         alexnet predict {folder} IMAGE.jpg")
        tell(f"         alexnet report {folder}   to try the report again")
        raise


def predictions(
    answers: Iterable[Prediction], form: str, promise: Promise = NO_PROMISE, measured: bool = False
) -> tuple[int, int]:
    """Prints the answers as table, json (one object a line) or csv; returns how many failed, and how many there are.

    Args:
        promise: what was asked for beside the classes; without it there are no columns for that.
        measured: the run knows what its training images are like, so that json and csv say of each whether it is.
    """
    fields = [*(["none_of_these"] if measured else []), *_asked(promise)]
    unread, count, unlike, rows, errors = 0, 0, 0, [], []
    block = "█" if has_all_letters() else "#"
    writer = csv.writer(sys.stdout)
    if form == "csv":
        writer.writerow(["path", "rank", "class", "probability", "error", *fields])
    for answer in answers:
        count += 1
        unread += bool(answer.error)
        if form == "json":
            top = [{"class": name, "probability": p} for name, p in answer.top]
            record = {"path": str(answer.path), "top": top, "error": answer.error or None}
            print_json(record | {name: getattr(answer, name) for name in fields})
        elif form == "csv":
            lines = [(str(rank), name, f"{p:.6f}", "") for rank, (name, p) in enumerate(answer.top, 1)]
            more = [_cell(getattr(answer, name), name) for name in fields]
            writer.writerows((answer.path, *line, *more) for line in lines or [("", "", "", answer.error)])
        elif answer.error:
            errors.append(answer.error)
        else:
            unlike += bool(answer.none_of_these)
            if answer.none_of_these:
                rows.append((str(answer.path), NONE_OF_THESE, "", *("" for _ in _asked(promise)), ""))
            for rank, (name, p) in enumerate(answer.top):
                best = [] if rank else [said(_cell(getattr(answer, asked), asked)) for asked in _asked(promise)]
                more = best or [""] * len(_asked(promise))
                path = "" if rank or answer.none_of_these else str(answer.path)
                rows.append((path, name, block * round(20 * p), *more, percent(p)))
    if form == "table":
        columns = ("image", "class", "", *(name.replace("_", " ") for name in _asked(promise)), "probability")
        print_table("", columns, rows, left=len(columns) - 1)
        for note in promise.notes():
            explain(note)
        if unlike:
            explain(
                f"none of these: {unlike} of {count} image{'s' * (count > 1)}; of images like those of the training at "
                f"most {100 * FLAGGED:g} in 100 are called so, and the classes named for them are guesses"
            )
        for error in errors:
            say(f"not read: {error}")
    return unread, count


def _asked(promise: Promise) -> list[str]:
    """The fields of an answer that are shown because they were asked for."""
    asked = {"sure": promise.threshold is not None, "prediction_set": promise.coverage is not None}
    return [name for name, wanted in asked.items() if wanted]


def _cell(value: bool | tuple[str, ...] | None, name: str) -> str:
    no = "not sure" if name == "sure" else "no"
    return ", ".join(value) if isinstance(value, tuple) else {True: "yes", False: no, None: ""}[value]


def examination(found: "Examination") -> None:
    """How many of each kind, the worst leak, and what to do next."""
    from alexnet.doctor.examine import PAGE

    counts = found.summary()
    looked = len(found.inspection.images)
    say(f"looked at {looked:,} images of {len(found.findings.classes)} classes; nothing was changed")
    rows = [(name, f"{count:,}") for name, count in counts.items() if count]
    if rows:
        print_table("", ("found", "how many"), rows)
    else:
        say("nothing is wrong with them")
    looks = found.inspection.images
    for group in found.findings.groups[:1]:  # the worst comes first
        where = "two splits" if group.leak else "two classes" if group.conflict else "one class"
        names = " and ".join(looks[i].name for i in group.images[:2])
        say(f"in {where}, for example: {names} ({', '.join(group.how)})")
    remarks = found.findings.class_remarks
    for remark in remarks[:5]:
        say(f"note: {remark}")
    if len(remarks) > 5:
        say(f"note: {len(remarks) - 5} more classes of which there are too few images")
    for name, line in found.cue_lines().items():
        told = said(f"{name}:")
        show(f"{told}{' ' * max(1, 8 - columns(told))}{said(line)}", hang=8)
    say(f"page:   {found.folder / PAGE}")
    excluded = len(found.findings.excluded)
    if excluded:
        say(f"to be left out, if you agree: {excluded:,} image{'s' * (excluded > 1)}")
    *sentences, command = found.next_steps()
    for sentence in sentences:
        say(f"next:   {sentence}")
    tell(f"next:   {command}")  # not wrapped: it is there to be copied
