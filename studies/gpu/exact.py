"""`exact`: runs that are interrupted, killed and repeated end with equal bytes, and what deterministic algorithms cost.

Small networks with everything that has a state or is drawn. Every run is trained twice without a break, and once with
one; the checksums of the network and of the state of training are compared. Then one run is killed again and again.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from alexnet.data.dataset import Prepared
from alexnet.training.loop import train
from alexnet.training.monitor import Interrupted
from studies.gpu import ladder
from studies.gpu.session import Session, attempt, timed
from studies.gpu.smoke import precisions
from studies.gpu.speed import in_turns
from studies.robustness import reliability

COLUMNS = ("what", "precision", "repeated", "resumed", "costs", "ok")
VARIANTS = {
    "sgd-2012": (),
    "sgd": ("optim.algorithm=sgd",),
    "nesterov": ("optim.algorithm=nesterov",),
    "adamw": ("optim.algorithm=adamw", "optim.lr=0.001"),
    "batch norm": ("model.batch_norm=true", "model.norm=none"),
    "growing crops": ("growing_crops=[[0, 16], [0.5, 20]]", "model.pool5_grid=1"),
}
EPOCHS, BROKEN_AT, KILLS = 2, 27, 40  # 20 steps an epoch
TRIED = ("sgd-2012", "adamw")  # in a trial
BATCH = 128


def measure(session: Session) -> tuple[str, ...]:
    """Adds a row for each variant and precision, then the cost, then the kills."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        prepared = reliability.pictures(folder / "images")
        for precision in precisions()[: 1 if session.tiny else None]:
            for name, changes in VARIANTS.items():
                if session.over():
                    return COLUMNS
                if not session.tiny or name in TRIED:
                    attempt(
                        session,
                        f"equal bytes, {name}, {precision}",
                        lambda n=name, c=changes, p=precision: equal_bytes(session, folder, prepared, n, c, p),
                    )
        for precision in precisions()[: 1 if session.tiny else None]:
            if not session.over():
                cost(session, precision)
        if not session.over():
            attempt(session, "kills", lambda: kills(session, folder, prepared))
    return COLUMNS


def equal_bytes(
    session: Session, folder: Path, prepared: Prepared, name: str, changes: tuple[str, ...], precision: str
) -> None:
    """One variant: twice without a break, and once with one."""
    ends = []
    epochs = 1 if session.tiny else EPOCHS
    for number, broken in enumerate((0, 0, 7 if session.tiny else BROKEN_AT)):
        place = folder / f"{name}-{precision}-{number}"
        run = reliability.new_run(place, prepared, f"epochs={epochs}", *changes, f"precision={precision}")
        if broken:
            with suppress(Interrupted):
                train(run, prepared, device=session.device, max_steps=broken)
        train(run, prepared, device=session.device)
        ends.append(reliability.final(run))
    repeated, resumed = ends[0] == ends[1], ends[0] == ends[2]
    what = f"equal bytes, {name}"
    session.row(what=what, precision=precision, repeated=repeated, resumed=resumed, ok=repeated and resumed)


@contextmanager
def algorithms(deterministic: bool) -> Iterator[None]:
    """Context in which PyTorch takes only deterministic algorithms, or the fastest that it finds."""
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(deterministic)
    cudnn.deterministic, cudnn.benchmark = deterministic, not deterministic
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.deterministic, cudnn.benchmark = before[1:]


def cost(session: Session, precision: str) -> None:
    """Seconds of a step of the network of 2012 with deterministic algorithms, beside the fastest."""
    batch = 2 if session.tiny else BATCH
    ours = ladder.our_step(precision, ladder.at_once, "kernels")
    step = attempt(session, f"cost, {precision}", lambda: ours(session.device, batch, session.tiny))
    if step is None:
        return

    def under(deterministic: bool) -> None:
        with algorithms(deterministic):
            step()

    turns = {
        "free": timed(lambda: under(False), session.device),
        "exact": timed(lambda: under(True), session.device),
    }
    seconds = in_turns(session, f"cost, {precision}", turns)
    if {"free", "exact"} <= set(seconds):
        session.row(
            what=f"a step of alexnet-2012, batch {batch}",
            precision=precision,
            **{"free ms": 1e3 * seconds["free"], "exact ms": 1e3 * seconds["exact"]},
            costs=seconds["exact"] / seconds["free"],
        )


def kills(session: Session, folder: Path, prepared: Prepared) -> None:
    """A run killed at random moments, against the same undisturbed."""
    place = folder / "kills"
    place.mkdir()
    until = time.monotonic() + 0.6 * session.left  # the rest of the run must fit, too
    trial = {"times": 1, "save_seconds": 0.5, "changes": ("epochs=1",)} if session.tiny else {"times": KILLS}
    found = reliability.killed(place, prepared, device=str(session.device), until=until, **trial)
    equal = bool(found["equal"]) and not found["damage"]
    session.row(what=f"{found['kills']} kills", resumed=found["equal"], ok=equal, **found)
