"""Keeps what the cues know in a run folder, and sets the trained network beside it."""

import json
from collections.abc import Sequence
from shlex import quote

from alexnet.cues.judge import Contest, contest, contest_line
from alexnet.cues.measure import COLOR, Cues, from_record
from alexnet.cues.mix import mix_of
from alexnet.errors import UntrustedFileError
from alexnet.evaluation.compare import right
from alexnet.evaluation.evaluate import Evaluation
from alexnet.recipes.recipe import Recipe
from alexnet.runs.forms import foreign, record_of
from alexnet.runs.run import RunFolder, sealing
from alexnet.storage.checksums import read_sums
from alexnet.storage.files import file_sha256, write_file

CUES = "cues.json"
COLOR_FIELDS = ("jitter", "color_noise", "mixup", "cutmix")  # what blurs the colors of classes


def write_cues(run: RunFolder, cues: Cues) -> None:
    """Writes the cues into a run folder that has none, with their checksum."""
    if not (run.folder / CUES).exists():
        with sealing(run, CUES):
            write_file(run.folder / CUES, json.dumps(cues.record(), indent=1).encode())


def read_cues(run: RunFolder) -> Cues | None:
    """The cues of a run; None if they were not measured.

    Raises:
        UntrustedFileError: E651, the file is not as it was written; E6060, it is of another form.
    """
    path = run.folder / CUES
    if not path.is_file():
        return None
    if file_sha256(path) != read_sums(run.folder).get(CUES):
        raise UntrustedFileError(
            f"{path} is not as it was written: damaged, or edited by hand",
            fix="Put it back from a copy, or remove it: nothing that was trained depends on it.",
            code="E651",
        )
    try:
        return from_record(record_of(path, path.read_bytes()))
    except (KeyError, TypeError, ValueError) as error:
        raise foreign(path, str(error)) from None


def beside(cues: Cues, evaluations: Sequence[Evaluation]) -> Contest | None:
    """The network against the baseline on the validation images; None if they were not evaluated with one view."""
    for each in evaluations:
        if each.split == cues.split and each.views == 1:
            return contest(cues, each.names, right(each))
    return None


def verdict_lines(run: RunFolder, evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    """What is said at the end of training: the network beside the baseline, and what to try if it is not better."""
    cues, mix = read_cues(run), mix_of(run)
    mixed = () if mix is None else (mix.line(),)
    result = None if cues is None else beside(cues, evaluations)
    if cues is None or result is None:
        return mixed
    line = contest_line(cues, result)
    if result.clear:
        return (*mixed, line)
    data = quote(str(run.data.get("source", "DATA")))
    data += f" --labels {quote(run.data['labels'])}" if "labels" in run.data else ""
    return *mixed, line, f"try:    {next_step(run.recipe, cues, data)}"


def next_step(recipe: Recipe, cues: Cues, data: str) -> str:
    """The next thing to try for a network that is not clearly better than the baseline, as a command for `data`."""
    if cues.baseline.startswith(COLOR):
        on = [f"augment.{name}=0" for name in COLOR_FIELDS if getattr(recipe.augment, name)]
        if on:
            return f"alexnet train {data} {' '.join(on)}   (color tells the classes apart, and these change it)"
    if recipe.weights is None:
        return f"alexnet train {data} --weights imagenet   (pretrained weights need fewer images)"
    return f"more images; alexnet doctor {data} finds classes with few of them, copies and wrong labels"
