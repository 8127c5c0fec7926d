"""calibration.json of a run: written after training, sealed, used by every answer, and only with its own weights."""

import json
import shutil

import numpy as np
import pytest

import alexnet as face
from alexnet.errors import DataError, UntrustedFileError, UsageError
from alexnet.evaluation.calibration import fit_temperature, logarithms, scaled
from alexnet.evaluation.promises import Calibration, promise_of, view_calibration
from alexnet.runs.damage import damage_of
from harness.small_runs import reseal

FILE = "calibration.json"


@pytest.fixture
def run(trained, tmp_path):
    return face.Run.open(shutil.copytree(trained / "run", tmp_path / "run"))


def test_training_measures_the_validation_split_and_every_answer_is_scaled(trained):
    model = face.load(trained / "run", device="cpu")
    stored = json.loads((trained / "run" / FILE).read_text())
    assert (stored["split"], stored["images"], stored["weights"]) == ("val", 6, model.fingerprint)
    assert list(stored["views"]) == ["1", "10"]  # the recipe flips images
    for views in (1, 10):
        raw, answered = (model.evaluate(split="val", views=views, raw=each) for each in (True, False))
        temperature = fit_temperature(logarithms(raw.probabilities), raw.labels, prior=1.0)
        assert stored["views"][str(views)]["temperature"] == pytest.approx(min(temperature, 20), rel=1e-6)
        assert (answered.probabilities == scaled(raw.probabilities, model.classifier.temperature(views))).all()
        assert not (answered.probabilities == raw.probabilities).all()
        assert answered.top1_error == raw.top1_error
        right = (raw.probabilities.argmax(1) == raw.labels).tolist()
        assert stored["views"][str(views)]["right"] == right


def test_a_run_without_it_answers_as_before_and_a_resumed_one_gets_it(trained, run):
    expected = (run.folder / FILE).read_bytes()
    (run.folder / FILE).unlink()
    reseal_without(run)
    model = run.load(device="cpu")
    assert model.classifier.calibration is None
    raw = face.load(trained / "run", device="cpu").evaluate(split="val", raw=True)
    assert (model.evaluate(split="val").probabilities == raw.probabilities).all()
    with pytest.raises(DataError) as caught:
        model.predict(trained / "photos" / "red" / "3.png", min_precision=0.9)
    assert caught.value.code == "E389"
    face.resume(run.folder, device="cpu")  # nothing is left to train
    assert (run.folder / FILE).read_bytes() == expected
    assert damage_of(run.record) == []


def reseal_without(run) -> None:
    sums = run.folder / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text().splitlines(True) if FILE not in line))


def test_it_is_not_used_with_other_weights(run):
    stored = json.loads((run.folder / FILE).read_text())
    (run.folder / FILE).write_text(json.dumps({**stored, "weights": "0" * 64}))
    reseal(run.folder)
    assert run.load(device="cpu").classifier.calibration is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{}", b'{"weights": "", "views": {}}', b'{"weights": "", "views": {"1": {}}}', b"\xff"],
)
@pytest.mark.parametrize("sealed", [True, False])
def test_a_damaged_file_is_a_mistake_in_words(run, content, sealed):
    (run.folder / FILE).write_bytes(content)
    if sealed:
        reseal(run.folder)
    with pytest.raises(UntrustedFileError) as caught:
        run.load(device="cpu")
    assert caught.value.code == "E651"
    assert FILE in caught.value.what


def measured(count: int = 200, wrong: int = 0) -> Calibration:
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 3, count)
    probabilities = np.full((count, 3), 0.1, np.float32)
    probabilities[np.arange(count), (labels + (np.arange(count) < wrong)) % 3] = 0.8
    return Calibration("", {1: view_calibration(probabilities, labels)})


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 1.5, 95.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["min_precision", "coverage"])
def test_a_share_lies_between_0_and_1(share, name):
    shares = {"min_precision": None, "coverage": None, name: share}
    with pytest.raises(UsageError) as caught:
        promise_of(measured(), 1, **shares)
    assert caught.value.code == "E203"


def test_what_a_promise_says():
    assert promise_of(None, 1, None, None).notes() == []
    (said,) = promise_of(measured(), 1, 0.95, None).notes()
    assert "95 %" in said
    assert "100.0 % are answered" in said
    (said,) = promise_of(measured(40), 1, 0.95, None).notes()
    assert "40 validation images do not prove a precision of 95 %" in said
    assert "92.8 %" in said  # 0.05 to the power of 1 / 40
    sets = promise_of(measured(), 1, None, 0.9)
    assert sets.sure(np.array([0.9, 0.1, 0.0], np.float32)) is None
    assert "at least 90 %" in sets.notes()[0]
    with pytest.raises(DataError, match="ten views"):
        promise_of(measured(), 10, 0.9, None)


def test_an_exported_folder_answers_with_the_temperature_and_promises_nothing(trained, run, tmp_path):
    run.load(device="cpu").export(tmp_path / "net-hf", to="hf")
    photo = trained / "photos" / "red" / "3.png"
    face.import_weights(tmp_path / "net-hf" / "model.safetensors", out=tmp_path / "imported")
    expected = run.load(device="cpu").predict(photo)[0].top
    raw = run.load(device="cpu").predict(photo, raw=True)[0].top
    assert expected != raw
    for model in (face.load(tmp_path / "net-hf", device="cpu"), face.load(tmp_path / "imported", device="cpu")):
        assert model.predict(photo)[0].top == expected
        assert model.predict(photo, raw=True)[0].top == raw
        with pytest.raises(DataError) as caught:
            model.predict(photo, min_precision=0.9)
        assert caught.value.code == "E389"
