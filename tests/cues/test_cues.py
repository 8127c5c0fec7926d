"""Planted leaks and their innocent twins, and the features and the classifier against other libraries and by hand."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.kernel_ridge import KernelRidge

from alexnet.cues import pixels
from alexnet.cues.files import facts_of
from alexnet.cues.judge import content_line, contest, contest_line, leaks, lines
from alexnet.cues.kernel import Choice, choose, evenly, fit, squared_distances
from alexnet.cues.look import cues_of_prepared
from alexnet.cues.measure import BORDER, COMPRESSION, FILE_SIZE, SIZE, Cues, binomial_tail, from_record
from alexnet.cues.store import read_cues
from alexnet.data.open import open_images
from alexnet.errors import UntrustedFileError
from alexnet.runs.damage import damage_of
from alexnet.runs.run import open_run
from harness.small_runs import TINY

PER_CLASS = 40


def scene(label: int, number: int, size: tuple[int, int] = (48, 48)) -> Image.Image:
    """A smooth picture that knows nothing of its class, and differs from all others."""
    rng = np.random.default_rng([label, number])
    coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options: object) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue(), ".jpg"


def png(image: Image.Image) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), ".png"


def quality(first, second):
    return lambda label, n: jpeg(scene(label, n), quality=(first, second)[label](n))


def framed(color_of, width=3):
    def make(label, n):
        image = scene(label, n, (48, 48))
        color = color_of(label, n)
        return png(image if color is None else ImageOps.expand(ImageOps.crop(image, width), width, color))

    return make


def sized(of):
    return lambda label, n: png(scene(label, n, of(label, n)))


def padded(label, n):
    content, ending = jpeg(scene(label, n), quality=80)
    return content + b"\0" * (4000 if label else 0), ending


def flat_or_noise(label, n):
    rng = np.random.default_rng([7, label, n])
    values = rng.integers(0, 256, (48, 48, 3)) if label else np.full((48, 48, 3), rng.integers(0, 256, 3))
    return jpeg(Image.fromarray(values.astype(np.uint8)), quality=80)


def mixed(low, high):
    return lambda n: low + (n * 7919) % (high - low)


PLANTED = {
    "quality 50 and 95": (quality(lambda n: 50, lambda n: 95), COMPRESSION),
    "quality 75 and 85": (quality(lambda n: 75, lambda n: 85), COMPRESSION),
    "quality 30-60 and 80-100": (quality(mixed(30, 60), mixed(80, 100)), COMPRESSION),
    "sampling": (lambda c, n: jpeg(scene(c, n), quality=90, subsampling=2 * c), COMPRESSION),
    "progressive": (lambda c, n: jpeg(scene(c, n), quality=90, progressive=bool(c)), COMPRESSION),
    "format": (lambda c, n: (png if c else jpeg)(scene(c, n)), COMPRESSION),
    "larger": (sized(lambda c, n: (64, 64) if c else (48, 48)), SIZE),
    "wider": (sized(lambda c, n: (64, 48) if c else (48, 64)), SIZE),
    "a little larger": (sized(lambda c, n: (50 + n % 5 + 8 * c,) * 2), SIZE),
    "turned by its tag": (
        lambda c, n: jpeg(scene(c, n, (64, 48)), exif=_turned(c)),
        SIZE,
    ),
    "black border": (framed(lambda c, n: "black" if c else None), BORDER),
    "white border": (framed(lambda c, n: "white" if c else None), BORDER),
    "borders of two colors": (framed(lambda c, n: ("black", "white")[c]), BORDER),
    "thin border": (framed(lambda c, n: "red" if c else None, 2), BORDER),
    "something behind the image": (padded, FILE_SIZE),
}
INNOCENT = {
    "one quality": quality(lambda n: 80, lambda n: 80),
    "the same mixture of qualities": quality(mixed(40, 95), mixed(40, 95)),
    "the same mixture of formats": lambda c, n: (png if n % 2 else jpeg)(scene(c, n)),
    "one size": sized(lambda c, n: (48, 48)),
    "the same mixture of sizes": sized(lambda c, n: (40 + n % 9, 40 + n % 7)),
    "one border for all": framed(lambda c, n: "black"),
    "borders of any color": framed(lambda c, n: ("black", "white", "red", None)[n % 4]),
    "flat images and noise": flat_or_noise,
    "turned, half of each": lambda c, n: jpeg(scene(c, n, (64, 48)), exif=_turned(n % 2)),
    "progressive, half of each": lambda c, n: jpeg(scene(c, n), progressive=bool(n % 2)),
}


def _turned(turned: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    return exif


def measured(folder: Path, make) -> Cues:
    for label, name in enumerate(("first", "second")):
        (folder / name).mkdir(parents=True)
        for n in range(PER_CLASS):
            content, ending = make(label, n)
            (folder / name / f"{n}{ending}").write_bytes(content)
    cues, why = cues_of_prepared(open_images(str(folder), 48), str(folder))
    assert cues is not None, why
    return cues


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_leak_is_said_loudly(kind, tmp_path):
    make, name = PLANTED[kind]
    cues = measured(tmp_path / "photos", make)
    assert name in [cue.name for cue in leaks(cues)]
    assert f"LEAK: {name} alone" in lines(cues)["warning"] or name != leaks(cues)[0].name


@pytest.mark.parametrize("kind", INNOCENT)
def test_an_innocent_twin_is_not_called_a_leak(kind, tmp_path):
    cues = measured(tmp_path / "photos", INNOCENT[kind])
    assert leaks(cues) == ()
    assert "warning" not in lines(cues)


def test_every_image_says_the_same_twice_and_comes_back_from_its_record(tmp_path):
    cues = measured(tmp_path / "photos", framed(lambda c, n: None))
    again, _ = cues_of_prepared(open_images(str(tmp_path / "photos"), 48), str(tmp_path / "photos"))
    assert cues == again == from_record(cues.record())


def test_the_classifier_is_kernel_ridge_regression_and_its_left_out_accuracy_that_of_leaving_out():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    points = (rng.normal(size=(60, 4)) + 1.2 * np.eye(4)[labels]).astype(np.float32)
    asked = rng.normal(size=(30, 4)).astype(np.float32)
    distances = squared_distances(points, points)
    targets = np.where(labels[:, None] == np.arange(3), 1.0, -1.0)
    choice = choose(distances, labels, 3)

    def other(train, rows, questions):
        ridge = KernelRidge(alpha=choice.penalty, kernel="rbf", gamma=choice.width).fit(train, targets[rows])
        return ridge.predict(questions).argmax(1)

    everything = np.arange(60)
    ours = fit(distances, labels, 3, choice).classes(squared_distances(asked, points))
    assert ours.tolist() == other(points, everything, asked).tolist()
    left = [other(np.delete(points, i, 0), np.delete(everything, i), points[i : i + 1])[0] for i in range(60)]
    assert choice.left_out == pytest.approx(np.mean(np.array(left) == labels))


def test_binomial_tail_by_hand():
    assert binomial_tail(3, 3, 0.5) == pytest.approx(1 / 8)
    assert binomial_tail(2, 3, 0.5) == pytest.approx(1 / 2)
    assert binomial_tail(0, 3, 0.2) == binomial_tail(3, 3, 1.0) == 1.0
    assert binomial_tail(1, 3, 0.0) == 0.0


@pytest.mark.parametrize("value", [1, 10, 25, 49, 50, 51, 75, 90, 95, 99])
def test_the_quality_of_a_jpeg_is_that_it_was_saved_with(value, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(scene(0, 0), quality=value)[0])
    facts = facts_of(tmp_path / "a.jpg")
    assert facts is not None
    # Entries of a table are rounded and at most 255, so that the sum is no exact multiple.
    assert facts.luma_quality == pytest.approx(value, abs=1.0 if value > 20 else 12)
    assert facts_of(tmp_path / "no.jpg") is None


def test_hog_of_a_grating_points_across_its_lines():
    wave = (127 + 100 * np.sin(np.arange(64) * 2 * math.pi / 16)).astype(np.uint8)
    upright = np.broadcast_to(wave[None, :, None], (64, 64, 3))
    described = pixels.hog(np.stack([upright, upright.swapaxes(0, 1)])).reshape(2, 7, 7, 4, 9)
    energy = described[:, 2:5, 2:5].sum((1, 2, 3))
    assert set(np.argsort(-energy[0])[:2]) == {0, 8}  # of 20 degrees each; 0 degrees lies between the two
    assert energy[1].argmax() == 4


def test_the_network_is_set_beside_the_baseline(tmp_path):
    cues = measured(tmp_path / "photos", framed(lambda c, n: None))
    right = np.ones(len(cues.names), bool)
    best = contest(cues, cues.names, right)
    assert best is not None
    assert best.only_network == len(cues.wrong)
    assert best.clear
    assert contest_line(cues, best).startswith("clearly better")
    as_good = contest(cues, cues.names[::-1], np.array([name not in cues.wrong for name in cues.names[::-1]]))
    assert as_good is not None
    assert (as_good.p, as_good.clear) == (1.0, False)
    assert contest(cues, ("other.png",), np.array([True])) is None
    assert "guessing 50.0 %" in content_line(cues)
    assert evenly(10, 3).tolist() == [0, 3, 6]
    assert Choice(1.0, 0.1, 0.5).width == 1.0


def test_training_reports_the_cues_keeps_them_and_is_not_changed_by_them(alexnet, tmp_path):
    make = quality(lambda n: 50, lambda n: 95)
    measured(tmp_path / "photos", make)
    told = {}
    for name, options in {"cues": (), "no-cues": ("--no-cues",)}.items():
        out = ("--out", tmp_path / name, "--device", "cpu")
        told[name] = alexnet("train", tmp_path / "photos", *TINY, "epochs=1", *options, *out)
        assert told[name].code == 0, told[name].err
    with_cues, without = told["cues"].out, told["no-cues"].out
    assert "LEAK: format and JPEG quality alone" in " ".join(with_cues.split())
    assert "better than the baseline" in " ".join(with_cues.split())
    assert "try: alexnet train" in " ".join(with_cues.split())
    assert "LEAK" not in without
    assert "baseline" not in without
    weights = [sorted((tmp_path / name / "checkpoints").rglob("*.safetensors")) for name in ("cues", "no-cues")]
    assert [path.read_bytes() for path in weights[0]] == [path.read_bytes() for path in weights[1]] != []
    page = (tmp_path / "cues/report.html").read_text()
    assert "Beside simple cues" in page
    assert "LEAK: format and JPEG quality" in page
    assert "Beside simple cues" not in (tmp_path / "no-cues/report.html").read_text()
    run = open_run(tmp_path / "cues")
    assert damage_of(run) == []
    kept = read_cues(run)
    assert kept is not None
    assert COMPRESSION in [cue.name for cue in leaks(kept)]
    path = tmp_path / "cues/cues.json"
    path.write_bytes(path.read_bytes().replace(b"true", b"false").replace(b"0.", b"1.", 1))
    assert damage_of(run) != []
    with pytest.raises(UntrustedFileError, match=r"cues\.json is not as it was written"):
        read_cues(run)


def test_the_doctor_says_the_same_of_the_cues_as_training(alexnet, tmp_path):
    cues = measured(tmp_path / "photos", quality(lambda n: 50, lambda n: 95))
    outcome = alexnet("doctor", tmp_path / "photos", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "LEAK: format and JPEG quality alone" in " ".join(outcome.out.split())
    record = json.loads((tmp_path / "out/doctor.json").read_text())
    leaking = {cue.name for cue in leaks(from_record(record["cues"]))}
    assert leaking == {cue.name for cue in leaks(cues)}
    assert record["summary"]["cues that give the classes away"] == len(leaking)
    assert "LEAK: format and JPEG quality" in (tmp_path / "out/doctor.html").read_text()
