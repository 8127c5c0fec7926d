"""`smoke`: the tests that need a GPU, and one step of every recipe on the device beside the same on the CPU.

The step is `train_step` as training calls it, on a few images of noise: the loss, the largest error of a gradient
relative to its own length, and the tensor that it is in. The CPU computes in float32 whatever the device computes in.
"""

from dataclasses import replace
from typing import Any, get_args, get_type_hints

import pytest
import torch

from alexnet.kernels.device import finish
from alexnet.models.build import build_model, outline
from alexnet.models.network import Network
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import Recipe
from alexnet.training.bench import without_weights
from alexnet.training.optim import build_optimizer
from alexnet.training.step import train_step
from harness import ROOT
from studies.gpu.session import Session, attempt

COLUMNS = ("what", "precision", "loss error", "gradient error", "at most", "ok")
ALLOWED = {"float32": 1e-5, "tf32": 1e-3, "bfloat16": 2e-2}  # relative to the CPU in float32
IMAGES, SMALL = 4, 600_000  # parameters of the networks of a trial
TESTS = "tests/gpu"


def precisions() -> tuple[str, ...]:
    """Those that a recipe can ask for."""
    return get_args(get_type_hints(Recipe)["precision"])


def measure(session: Session) -> tuple[str, ...]:
    """Adds a row for every test, then one for every recipe in every precision, float32 of all recipes first."""
    _tests(session)
    cuda = session.device.type == "cuda"
    for precision in precisions() if cuda else ("float32",):
        for name, recipe in RECIPES.items():
            if session.over():
                return COLUMNS
            config = without_weights(recipe)
            if not session.tiny or _parameters(config) <= SMALL:
                attempt(session, f"a step of {name}", lambda c=config, p=precision: _row(session, c, p))
    return COLUMNS


def _tests(session: Session) -> None:
    """Runs pytest in this process, so that every outcome is on the disk at once."""
    folder = ROOT / TESTS
    if not folder.is_dir():
        session.row(what=TESTS, failed="there is no such folder in this tree")
        return
    arguments = ["-q", "-m", "gpu", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--rootdir", str(ROOT)]
    threads, outcomes = torch.get_num_threads(), _Outcomes(session)
    code = pytest.main([*arguments, str(folder)], plugins=[outcomes])
    torch.set_num_threads(threads)  # the tests take one
    counts = outcomes.counts
    session.row(what=f"{TESTS}: {', '.join(f'{n} {name}' for name, n in counts.items())}", ok=not counts["failed"])
    if code not in (0, 1, 2, 5):
        session.row(what=TESTS, failed=f"pytest ended with {int(code)}")


class _Outcomes:
    """A plugin of pytest: a row for each test; no test begins after the time is over."""

    def __init__(self, session: Session):
        self.session = session
        self.counts = {"passed": 0, "skipped": 0, "failed": 0}

    def _add(self, outcome: str, report: Any, **values: Any) -> None:
        self.counts[outcome] += 1
        what = report.nodeid.rpartition("::")[2] or report.nodeid
        self.session.row(what=what, test=report.nodeid, **values)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._add("failed", report, failed=_last_line(str(report.longrepr)))

    def pytest_collection_finish(self, session: Any) -> None:
        self.session.facts["tests collected"] = len(session.items)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._add("failed", report, failed=_last_line(str(report.longrepr)))
        elif report.when == "call" or report.skipped:
            outcome = "passed" if report.passed else "skipped"
            self._add(outcome, report, seconds=report.duration, ok=report.passed or "skipped")

    def pytest_runtest_logfinish(self) -> None:
        if self.session.over():
            pytest.exit("no time left", returncode=2)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("E ")] or text.splitlines()
    return lines[0].removeprefix("E").strip()[:300] if lines else ""


def _parameters(recipe: Recipe) -> int:
    return sum(parameter.numel() for parameter in outline(recipe.model).parameters())


def _row(session: Session, recipe: Recipe, precision: str) -> None:
    loss, gradients = one_step(replace(recipe, precision="float32"), torch.device("cpu"))
    found, theirs = one_step(replace(recipe, precision=precision), session.device)
    errors = {name: relative(theirs[name], value) for name, value in gradients.items()}
    worst = max(errors, key=errors.__getitem__)
    loss_error, most = abs(found - loss) / max(abs(loss), 1e-9), ALLOWED[precision]
    session.row(
        what=f"a step of {recipe.name}",
        precision=precision,
        **{"loss error": loss_error, "gradient error": errors[worst], "at most": most},
        worst=worst,
        ok=loss_error <= most and errors[worst] <= most,
    )


def one_step(recipe: Recipe, device: torch.device) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of a step, and all gradients, on the CPU."""
    model: Network = build_model(recipe.model, seed=recipe.seed)
    model.input_mean.fill_(118.0)
    model = model.to(device).to(memory_format=torch.channels_last).train()
    random = torch.Generator().manual_seed(0)
    side, classes = recipe.model.crop_size, recipe.model.num_classes
    images = 255 * torch.rand(IMAGES, 3, side, side, generator=random)
    targets = torch.nn.functional.one_hot(torch.arange(IMAGES) % classes, classes).float()
    model.seed_dropout(recipe.seed, 0)
    placed = images.to(device).contiguous(memory_format=torch.channels_last)
    loss, _ = train_step(model, build_optimizer(model, recipe.optim), placed, targets.to(device), recipe)
    finish(device)
    named = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    return float(loss), named


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The length of the difference over the length of what was expected."""
    length = float(expected.double().norm())
    return float((found.double() - expected.double()).norm()) / (length or 1.0)
