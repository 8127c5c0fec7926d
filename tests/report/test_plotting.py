"""The report of a trained run depends on no setting of matplotlib, and what fails in it never hides the network."""

import os
import subprocess
import sys

import pytest

from alexnet.api import run as api_run
from alexnet.errors import DataError
from harness import ROOT
from harness.small_runs import TINY

BACKENDS = [
    *("module://matplotlib_inline.backend_inline", "module://no.such.module", "nonsense", "Qt5Agg", "MODULE://x"),
    *("agg", ""),  # innocent
]
DRAW = """
import os, sys
rows = [{"kind": "epoch", "epoch": e, "lr": 0.1, "crop_size": 20, "train_loss": 1.0, "val_loss": 1.0,
         "train_top1_error": 0.5, "val_top1_error": 0.5} for e in (1, 2)]
seen = set()
for backend in sys.argv[1:]:
    for name in [n for n in sys.modules if n.split(".")[0] in ("matplotlib", "alexnet")]:
        del sys.modules[name]
    os.environ["MPLBACKEND"] = backend
    from alexnet.api.notebook import learning_curves, run_curves
    from alexnet.report.figures import curves
    assert run_curves("a run", rows).count("<svg") == 1, backend
    seen.add(tuple(curves(rows, 1)))
    assert os.environ["MPLBACKEND"] == backend
    assert "matplotlib.pyplot" not in sys.modules, backend
assert len(seen) == 1, "the bytes of a report depend on the backend"
"""


def test_figures_are_drawn_whatever_backend_the_environment_names():
    done = subprocess.run(
        [sys.executable, "-c", DRAW, *BACKENDS], cwd=ROOT, env={**os.environ}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_style_of_the_user_decides_nothing():
    matplotlib = pytest.importorskip("matplotlib")
    from alexnet.report.figures import curves

    rows = [{"kind": "epoch", "epoch": e, "lr": 0.1, "crop_size": 20, "train_loss": 1.0} for e in (1, 2)]
    plain = curves(rows, 1)
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "axes.grid": False, "lines.linewidth": 9}):
        assert curves(rows, 1) == plain


FAILURES = [
    (ValueError("Key backend: 'x' is not a valid value"), 4, "E403"),
    (ImportError("libfreetype"), 4, "E403"),
    (AttributeError("half imported"), 4, "E403"),
    (RuntimeError("tex failed"), 4, "E403"),
    (ZeroDivisionError("division by zero"), 4, "E403"),
    (OSError(28, "No space left on device"), 5, "E501"),
    (PermissionError(13, "Permission denied"), 5, "E502"),
    (MemoryError(), 5, "E542"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 5, "E542"),
    (DataError("gone", fix="Put them back.", code="E350"), 3, "E350"),
    (KeyboardInterrupt(), 130, "stopped"),
]


@pytest.mark.parametrize(("failure", "code", "told"), FAILURES, ids=[repr(failure) for failure, _, _ in FAILURES])
def test_a_report_that_fails_leaves_the_network_and_says_how_to_use_it(
    failure, code, told, trained, tmp_path, alexnet, monkeypatch
):
    where = []

    def fail(*arguments, device, **options):
        where.append(str(device))
        raise failure

    monkeypatch.setattr(api_run, "report_run", fail)
    run = tmp_path / "run"
    outcome = alexnet(
        "train", trained / "photos", *TINY, "epochs=1", "growing_crops=[]", "--out", run, "--device", "cpu:0"
    )
    assert where == ["cpu:0"]  # the report is made where the training was
    assert outcome.code == code
    assert told in outcome.err
    assert "Traceback" not in outcome.err + outcome.out
    assert f"alexnet predict {run} IMAGE.jpg" in outcome.out
    assert f"alexnet report {run}" in outcome.out
    monkeypatch.undo()
    assert alexnet("evaluate", run, "--device", "cpu").code == 0
