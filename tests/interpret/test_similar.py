"""Exact neighbours against float64, and an index that follows its folder whatever happens to the files."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import alexnet.interpret.image_index as searching
from alexnet.evaluation.classifier import Classifier
from alexnet.interpret.features import features, last_hidden
from alexnet.interpret.image_index import index_path, update_index
from alexnet.interpret.similar import nearest, similar
from alexnet.models.build import build_model
from alexnet.recipes.config import AlexNetConfig
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import open_run

CONFIG = AlexNetConfig(
    num_classes=3,
    crop_size=20,
    channels=(4, 4, 4, 4, 4),
    fc_features=(6, 5),
    conv1_kernel=5,
    conv1_stride=1,
    pool5_grid=1,
    init="kaiming",
)


@given(
    st.integers(1, 700),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 1e-4, 0.0]),
)
def test_the_nearest_are_those_of_float64(count, k, seed, spread):
    rng = np.random.default_rng(seed)
    vectors = (1 + spread * rng.standard_normal((count, 5))).astype(np.float32)
    vectors[rng.integers(count)] = vectors[0]  # ties
    query = vectors[rng.integers(count)] + np.float32(spread) * rng.standard_normal(5).astype(np.float32)
    exact = np.sqrt(((vectors.astype(np.float64) - query.astype(np.float64)) ** 2).sum(1))
    rows, distances = nearest(vectors, query, k)
    assert rows.tolist() == np.argsort(exact, kind="stable")[:k].tolist()
    np.testing.assert_allclose(distances, exact[rows])


def paint(path: Path, seed: int) -> Path:
    """A PNG of noise without compression, so that all are of one length."""
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "BMP")
    return path


class Scene:
    """A folder of images, a network, and what was computed since the last update."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
        self.root, self.model = tmp_path / "photos", build_model(CONFIG, seed=1).eval()
        self.layer = last_hidden(self.model)
        self.computed: list[str] = []
        self.older(*(paint(self.root / "a" / f"{n}.bmp", n) for n in range(4)))

        def watched(classifier, paths, **options):
            self.computed += [str(path.relative_to(self.root)) for path in paths]
            return features(classifier, paths, **options)

        monkeypatch.setattr(searching, "features", watched)

    def older(self, *paths: Path) -> None:
        for path in paths:
            os.utime(path, ns=(10**18, 10**18))

    def update(self):
        """The index now, which must have the vectors of exactly the files that are there; and what it computed."""
        self.computed.clear()
        classifier = Classifier(self.model, (), 24)
        index = update_index(classifier, self.root, layer=self.layer)
        there = sorted(p for p in self.root.rglob("*.bmp") if p.stat().st_size > 100)
        assert sorted(index.paths) == there
        expected = features(classifier, index.paths, layer=self.layer).values
        np.testing.assert_allclose(index.vectors, expected, rtol=1e-4, atol=1e-5)
        return index, sorted(self.computed)


@pytest.fixture
def scene(tmp_path, monkeypatch):
    return Scene(tmp_path, monkeypatch)


def test_what_has_not_changed_is_not_computed_again(scene):
    index, computed = scene.update()
    assert (len(computed), index.added, index.reused) == (4, 4, 0)
    index, computed = scene.update()
    assert (computed, index.added, index.reused) == ([], 0, 4)


def test_new_and_removed_and_renamed_files_are_noticed(scene):
    scene.update()
    (scene.root / "a/0.bmp").unlink()
    (scene.root / "a/1.bmp").rename(scene.root / "a/9.bmp")
    paint(scene.root / "b/5.bmp", 5)
    index, computed = scene.update()
    assert computed == ["a/9.bmp", "b/5.bmp"]
    assert (index.added, index.changed, index.removed, index.reused) == (2, 0, 2, 2)
    assert scene.update()[1] == []


def test_a_file_of_the_same_length_and_time_with_other_pixels_is_noticed(scene):
    scene.update()
    paint(scene.root / "a/2.bmp", 77)
    scene.older(scene.root / "a/2.bmp")  # the time is put back
    index, computed = scene.update()
    assert computed == ["a/2.bmp"]
    assert (index.changed, index.reused) == (1, 3)


def test_two_files_that_change_names_are_noticed(scene):
    scene.update()
    for old, new in (("0", "x"), ("1", "0"), ("x", "1")):
        (scene.root / f"a/{old}.bmp").rename(scene.root / f"a/{new}.bmp")
    assert scene.update()[1] == ["a/0.bmp", "a/1.bmp"]


def test_a_file_that_was_only_touched_is_read_but_not_computed(scene):
    scene.update()
    os.utime(scene.root / "a/3.bmp")
    index, computed = scene.update()
    assert (computed, index.reused) == ([], 4)


def test_a_file_that_cannot_be_read_is_told_of_and_tried_again_when_it_changes(scene):
    (scene.root / "a/1.bmp").write_bytes(b"nothing")
    index, _ = scene.update()
    assert [entry.name for entry in index.unread] == ["a/1.bmp"]
    assert scene.update()[1] == []
    paint(scene.root / "a/1.bmp", 1)
    index, computed = scene.update()
    assert (computed, index.unread) == (["a/1.bmp"], ())


def test_the_time_of_change_alone_tells_of_other_pixels(scene, monkeypatch):
    monkeypatch.setattr(searching, "COARSE", -(10**20))  # as if every file had been written long before it was read
    scene.update()
    paint(scene.root / "a/2.bmp", 77)
    scene.older(scene.root / "a/2.bmp")
    assert scene.update()[1] == ["a/2.bmp"]


def test_a_file_written_just_before_it_was_read_is_compared_by_its_bytes(scene):
    file = scene.root / "a/0.bmp"
    status = file.stat()
    times = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    later = {
        seconds: searching.Entry("a/0.bmp", *times, status.st_ctime_ns + seconds * 10**9, "other bytes")
        for seconds in (1, 10)
    }
    assert searching._unchanged(file, later[1]) is None  # it may have been written again within the same tick
    assert searching._unchanged(file, later[10]) == later[10]


def test_an_index_with_one_wrong_bit_is_made_anew(scene):
    scene.update()
    path = index_path(Classifier(scene.model, (), 24), scene.layer, scene.root)
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x40
    path.write_bytes(bytes(content))
    assert len(scene.update()[1]) == 4
    path.write_bytes(b"nothing")
    assert len(scene.update()[1]) == 4


def test_another_network_layer_size_way_or_folder_has_an_index_of_its_own(scene):
    other = build_model(CONFIG, seed=2)
    paths = {
        index_path(Classifier(model, (), size, whole=whole), layer, root)
        for model in (scene.model, other)
        for layer in (scene.layer, "fc6")
        for size in (24, 25)
        for whole in (False, True)
        for root in (scene.root, scene.root / "a")
    }
    assert len(paths) == 32
    scene.update()
    scene.model = other.eval()
    assert len(scene.update()[1]) == 4


def test_an_image_is_not_its_own_neighbour_but_its_copy_is(scene):
    copy = shutil.copy(scene.root / "a/1.bmp", scene.root / "a/copy.bmp")
    index, _ = scene.update()
    classifier = Classifier(scene.model, ("red", "green", "blue"), prepare_size=24)
    found = similar(classifier, index, [scene.root / "a/1.bmp"], layer=scene.layer, k=2)
    (answer,) = found.answers
    assert found.errors == {}
    assert answer.found[0][0] == Path(copy)
    assert answer.found[0][1] == pytest.approx(0, abs=1e-4)
    assert len(answer.found) == 2
    assert scene.root / "a/1.bmp" not in [path for path, _ in answer.found]


def test_the_command_finds_the_image_and_draws_it(trained, tmp_path, alexnet, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    image = sorted((trained / "photos").rglob("*.png"))[0]
    outside = Path(shutil.copy(image, tmp_path / "query.png"))
    outcome = alexnet(
        *("similar", trained / "run", outside, "--index", trained / "photos", "-k", 3, "--out", tmp_path / "f.png")
    )
    assert (outcome.code, outcome.err) == (0, "")
    rows = [line.split() for line in outcome.out.splitlines() if line.rstrip().endswith("0.000")]
    assert rows[0][-2] == str(image)
    with Image.open(tmp_path / "f.png") as drawn:
        assert drawn.size == (6 + 4 * 134 + 12, 140)


def test_the_index_of_a_run_is_the_last_hidden_layer(trained):
    model = load_model(open_run(trained / "run"))
    assert last_hidden(model) == "relu7"
