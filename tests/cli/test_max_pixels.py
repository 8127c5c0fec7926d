"""--max-pixels is one option with one meaning, wherever a verb reads images."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.cli.main import READ_IMAGES, VERBS
from alexnet.data.image_bytes import MAX_PIXELS, PIXELS_VARIABLE, pixel_limit
from alexnet.data.images import prepare_image, read_image
from alexnet.errors import UsageError
from alexnet.serving import start
from alexnet.serving.settings import SENT_PIXELS, Settings
from harness.small_runs import TINY

LARGE = (60, 50)  # 3,000 pixels; all others have fewer than 1,000


@pytest.fixture(scope="module")
def large(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos of the trained run, and one of them larger than the others."""
    root = tmp_path_factory.mktemp("pixels") / "photos"
    shutil.copytree(trained / "photos", root)
    pixels = np.random.default_rng(3).integers(0, 256, (LARGE[1], LARGE[0], 3), np.uint8)
    Image.fromarray(pixels).save(root / "red" / "large.png")
    return root


@pytest.mark.parametrize("verb", [verb for verbs in VERBS.values() for verb in verbs], ids=lambda verb: verb.__name__)
def test_every_verb_that_reads_images_has_the_option_and_no_other(alexnet, verb):
    name = "import" if verb.__name__ == "import_weights" else verb.__name__
    assert ("--max-pixels" in alexnet(name, "--help").out) == (verb in READ_IMAGES)


READING = {
    "predict": (("predict", "RUN", "LARGE"), 3),
    "features": (("features", "RUN", "LARGE", "--layer", "fc7", "--out", "OUT.npy"), 3),
    "why": (("why", "RUN", "LARGE", "--out", "OUT.png"), 3),
    "similar": (("similar", "RUN", "LARGE", "--index", "PHOTOS", "--out", "OUT.png"), 3),
    "prepare": (("prepare", "PHOTOS", "OUT", "--size", "24"), 0),
    "check": (("check", "PHOTOS", *TINY, "--device", "cpu"), None),
    "doctor": (("doctor", "PHOTOS", "--out", "OUT"), 0),
    "evaluate": (("evaluate", "RUN", "PHOTOS", "--split", "train"), 0),
    "parity": (("parity", "RUN", "RUN", "LARGE"), 2),
}


@pytest.mark.parametrize("kind", READING)
def test_the_limit_holds_wherever_images_are_read(alexnet, trained, large, tmp_path, kind, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    typed, code = READING[kind]
    named = {"RUN": trained / "run", "LARGE": large / "red/large.png", "PHOTOS": large}

    def words(out: str) -> list[object]:
        return [named.get(each, str(tmp_path / each.replace("OUT", out)) if "OUT" in each else each) for each in typed]

    low = alexnet(*words("low"), "--max-pixels", 2999)
    low_said = low.out + low.err
    if kind == "doctor":
        low_said = (tmp_path / "low" / "doctor.json").read_text()
    prepared = [path.read_text() for path in (tmp_path / "cache").rglob("prepared.json")]
    assert "limit of 2,999" in low_said + "".join(prepared)
    assert code is None or low.code == code, low.err
    high = alexnet(*words("high"), "--max-pixels", 3000)
    assert "limit of" not in high.out + high.err
    assert high.code == (0 if code else low.code), high.err
    assert PIXELS_VARIABLE not in os.environ


def test_a_run_keeps_the_limit_that_it_was_trained_with(alexnet, large, tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    done = alexnet("train", large, *TINY, "epochs=1", "--out", run, "--device", "cpu", "--max-pixels", 2999)
    assert done.code == 0, done.err
    assert "large.png: 60 x 50 pixels, more than the limit of 2,999" in done.out
    assert json.loads((run / "data.json").read_bytes())["max_pixels"] == 2999
    shutil.rmtree(tmp_path / "cache")
    again = alexnet("evaluate", run)
    assert again.code == 0, again.err
    shutil.rmtree(tmp_path / "cache")
    facts = json.loads((run / "data.json").read_bytes())
    del facts["max_pixels"]  # as one trained with the limit of today; then the large one belongs to it
    assert alexnet("evaluate", run, "--max-pixels", 5000).code == 0


@pytest.mark.parametrize(("given", "sent"), [((), SENT_PIXELS), (("--max-pixels", 100_000_000), 100_000_000)])
@pytest.mark.parametrize("verb", ["serve", "explore"])
def test_a_service_takes_the_same_option_for_what_is_sent(alexnet, trained, monkeypatch, verb, given, sent):
    seen: list[Settings] = []
    monkeypatch.setattr(start, "serve_runs", lambda runs, settings, **options: seen.append(settings))
    assert alexnet(verb, trained / "run", *given).code == 0
    assert [settings.max_pixels for settings in seen] == [sent]


@pytest.mark.parametrize("value", ["0", "-5", "many", ""])
def test_what_is_no_number_of_pixels_is_refused_before_anything_is_done(alexnet, tmp_path, value):
    refused = alexnet("prepare", tmp_path / "nowhere", tmp_path / "out", f"--max-pixels={value}")
    assert (refused.code, refused.err.split()[1]) == (2, "E203")


@pytest.mark.parametrize("value", ["0", "-5", "many", "1.5", "1e6", " "])
def test_nor_is_it_one_in_the_environment(alexnet, tmp_path, monkeypatch, value):
    monkeypatch.setenv(PIXELS_VARIABLE, value)
    refused = alexnet("prepare", tmp_path / "nowhere", tmp_path / "out")
    assert (refused.code, refused.err.split()[1]) == (2, "E203")
    with pytest.raises(UsageError, match="no number of pixels"):
        read_image(tmp_path / "nothing.png")


def test_the_environment_says_it_in_python(large, monkeypatch):
    assert pixel_limit() == MAX_PIXELS
    monkeypatch.setenv(PIXELS_VARIABLE, "2999")
    assert (pixel_limit(), pixel_limit(5)) == (2999, 2999)
    with pytest.raises(Exception, match="60 x 50 pixels, more than the limit of 2,999"):
        prepare_image(large / "red/large.png", 8)
    assert prepare_image(large / "red/large.png", 8, max_pixels=3000).shape == (8, 8, 3)
    monkeypatch.setenv(PIXELS_VARIABLE, "")
    assert pixel_limit(7) == 7
