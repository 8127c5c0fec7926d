"""Images that were left out of the cache are read again when the reader is another one; all else stays as it was."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data import reader_changes
from alexnet.data.dataset import PREPARED
from alexnet.data.open import open_images
from alexnet.data.prepare import PrepareReport
from alexnet.data.reader_changes import NOTE

SIZE = 8


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of three images, one of them a file that is no image yet."""
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            pixels = np.random.default_rng(10 * label + i).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


@pytest.fixture
def open_again(root: Path) -> Callable[[], PrepareReport]:
    def opened() -> PrepareReport:
        told: list[PrepareReport] = []
        prepared = open_images(str(root), SIZE, tell=told.append)
        assert prepared.folder == told[0].folder
        return told[0]

    return opened


def by_another_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the next version, or a new Pillow, changes."""
    monkeypatch.setattr(reader_changes, "READER", reader_changes.READER + 1)


def hide(path: Path) -> bytes:
    """Makes an image unreadable without changing its size."""
    content = path.read_bytes()
    path.write_bytes(b"?" * len(content))
    return content


def show(path: Path, content: bytes) -> None:
    """Makes it readable again; name, size and time are as they were, as when only the reader has changed."""
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_what_a_newer_reader_can_read_is_prepared_beside_the_old_folder(root, open_again, monkeypatch):
    content = hide(root / "cat/1.png")
    first = open_again()
    assert [each.name for each in first.skipped] == ["cat/1.png"]
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    show(root / "cat/1.png", content)
    assert open_again().folder == first.folder  # the same reader: nothing is looked at again
    by_another_reader(monkeypatch)
    second = open_again()
    assert second.folder != first.folder
    assert (second.already_done, second.skipped) == (False, ())
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before
    third = open_again()
    assert (third.folder, third.already_done) == (second.folder, True)


def test_what_it_cannot_read_either_leaves_the_folder_valid(root, open_again, monkeypatch):
    hide(root / "cat/1.png")
    hide(root / "dog/2.png")
    first = open_again()
    by_another_reader(monkeypatch)
    read: list[object] = []
    known = reader_changes.prepare_image
    monkeypatch.setattr(
        reader_changes, "prepare_image", lambda *image, **how: (read.append(image), known(*image, **how))[1]
    )
    for times in (2, 2):  # read once, then never again
        again = open_again()
        assert (again.folder, again.already_done, len(again.skipped)) == (first.folder, True, 2)
        assert len(read) == times


def test_a_folder_without_left_out_images_stays_whatever_the_reader(root, open_again, monkeypatch):
    first = open_again()
    assert not (first.folder / NOTE).exists()
    by_another_reader(monkeypatch)
    monkeypatch.setattr(reader_changes, "prepare_image", lambda *image, **how: pytest.fail("read again"))
    again = open_again()
    assert (again.folder, again.already_done) == (first.folder, True)


def test_a_folder_of_a_reader_that_said_nothing_of_itself_is_looked_at(root, open_again, monkeypatch):
    """As all those are that were prepared before there was a note."""
    content = hide(root / "dog/0.png")
    first = open_again()
    (first.folder / NOTE).unlink()
    show(root / "dog/0.png", content)
    second = open_again()
    assert second.folder != first.folder
    assert second.skipped == ()
    assert "skipped" in json.loads((second.folder / PREPARED).read_bytes())


def test_an_image_that_is_gone_is_no_reason(root, open_again, monkeypatch):
    hide(root / "cat/1.png")
    first = open_again()
    (root / "cat/1.png").unlink()
    by_another_reader(monkeypatch)
    assert open_again().skipped == ()
    assert (first.folder / PREPARED).exists()


def test_the_index_of_similar_images_reads_again_what_another_limit_left_out(root, monkeypatch):
    from alexnet.evaluation.classifier import Classifier
    from alexnet.interpret.image_index import update_index
    from alexnet.models.build import build_model
    from alexnet.recipes.config import AlexNetConfig

    config = AlexNetConfig(num_classes=2, crop_size=20, width=1 / 16, conv1_kernel=5, conv1_stride=1, conv1_padding=2)
    model = build_model(config, seed=0)
    Image.new("RGB", (40, 40)).save(root / "cat/large.png")

    def unread() -> list[str]:
        return [entry.name for entry in update_index(Classifier(model, (), 24), root, layer="fc7").unread]

    monkeypatch.setenv("ALEXNET_MAX_PIXELS", "1599")
    assert unread() == ["cat/large.png"]
    monkeypatch.setenv("ALEXNET_MAX_PIXELS", "1600")
    assert unread() == []
    hide(root / "cat/0.png")
    assert unread() == ["cat/0.png"]
    again = update_index(Classifier(model, (), 24), root, layer="fc7")
    assert (again.reused, again.added, again.changed) == (9, 0, 0)
