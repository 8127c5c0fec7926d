"""What `alexnet explore` opens: the runs that are given and the gallery, at an address that a lecture begins at."""

from pathlib import Path

import pytest

from alexnet.explorer.images import GALLERY

pytest.importorskip("fastapi")


@pytest.mark.parametrize(
    ("words", "runs", "address"),
    [
        ([], [GALLERY], "http://127.0.0.1:8000/"),
        (["RUN"], [Path("RUN"), GALLERY], "http://127.0.0.1:8000/"),
        (["RUN", "OTHER"], [Path("RUN"), Path("OTHER"), GALLERY], "http://127.0.0.1:8000/"),
        (["--lecture"], [GALLERY], "http://127.0.0.1:8000/#learn?lecture=1"),
        (["RUN", "--lecture"], [Path("RUN"), GALLERY], "http://127.0.0.1:8000/#learn?lecture=1"),
        ([str(GALLERY)], [GALLERY], "http://127.0.0.1:8000/"),
        (
            ["--lecture", "--host", "0.0.0.0"],
            [GALLERY],
            ":8000/?token=",
        ),
    ],
)
def test_the_verb_opens_the_gallery_beside_what_is_given(alexnet, monkeypatch, words, runs, address):
    shown = []

    def serve_runs(runs, settings, *, ready, **others):
        shown.extend(runs)
        ready(8000)

    monkeypatch.setattr("alexnet.serving.start.serve_runs", serve_runs)
    outcome = alexnet("explore", *words, "--no-browser")
    assert outcome.code == 0, outcome.err
    assert [Path(run) for run in shown] == runs
    first = outcome.out.splitlines()[-2]
    assert address in first
    assert first.endswith("#learn?lecture=1") == ("--lecture" in words)
    if ":8000/?token=" not in address:
        assert first == f"open {address}"
