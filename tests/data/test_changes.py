"""Folders that were changed, or only touched, after their images were prepared."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data import prepare, prepare_shards
from alexnet.data.dataset import Prepared
from alexnet.data.exclusions import Excluded
from alexnet.data.open import changes_since, open_images
from alexnet.data.prepare_plan import RESAMPLING
from alexnet.data.sources import open_source
from alexnet.errors import DataError

SIZE = 8


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of five images, one of which is broken, and a text beside them."""
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    for label, name in enumerate(("cat", "dog")):
        for i in range(5):
            picture(tmp_path / "photos" / name / f"{i}.png", 10 * label + i)
    (tmp_path / "photos/dog/4.png").write_bytes(b"")
    (tmp_path / "photos/dog/notes.txt").write_text("dear")
    return tmp_path / "photos"


def same_size_other_pixels(root: Path) -> None:
    """An image of the same length and time with other pixels: nothing but its change time tells."""
    path = root / "cat/1.png"
    status = path.stat()
    content = path.read_bytes()
    picture(path, 99)
    other = path.read_bytes()
    path.write_bytes(other + bytes(max(0, len(content) - len(other))))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def rewrite(path: Path, **options: object) -> None:
    """Other bytes, the same pixels."""
    with Image.open(path) as image:
        image.load()
    image.save(path, **options)


# name -> (what is done to the folder, what is said of it)
CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "an image is gone": (lambda r: (r / "cat/0.png").unlink(), "gone: cat/0.png"),
    "images of both classes are gone": (
        lambda r: [(r / name).unlink() for name in ("cat/0.png", "dog/3.png")], "gone: cat/0.png, dog/3.png"),
    "an image was added": (lambda r: picture(r / "dog/9.png", 77), "new: dog/9.png"),
    "a copy was added": (lambda r: shutil.copy(r / "cat/0.png", r / "cat/00.png"), "new: cat/00.png"),
    "an image was renamed": (lambda r: (r / "cat/0.png").rename(r / "cat/7.png"), "gone: cat/0.png; new: cat/7.png"),
    "an image changed its class": (
        lambda r: (r / "cat/0.png").rename(r / "dog/7.png"), "gone: cat/0.png; new: dog/7.png"),
    "two images were exchanged": (
        lambda r: [(r / "cat/0.png").rename(r / "x"), (r / "cat/1.png").rename(r / "cat/0.png"),
                   (r / "x").rename(r / "cat/1.png")], "another image: cat/"),
    "an image was replaced": (lambda r: picture(r / "cat/2.png", 55), "another image: cat/2.png"),
    "an image was replaced by one as old": (same_size_other_pixels, "another image: cat/1.png"),
    "an image is broken now": (lambda r: (r / "dog/0.png").write_bytes(b""), "another image: dog/0.png"),
    "a broken image was repaired": (lambda r: picture(r / "dog/4.png", 44), "another image: dog/4.png"),
    "a class was added": (lambda r: [picture(r / f"owl/{i}.png", 60 + i) for i in range(3)], "new: owl/0.png, owl/1"),
    "a class was renamed": (
        lambda r: (r / "cat").rename(r / "kitten"), "gone: cat/0.png, cat/1.png, cat/2.png and 2 more; new: kitten/"),
    "a class was removed": (lambda r: shutil.rmtree(r / "cat"), "has a single class (dog)"),
    "a class was emptied": (lambda r: [p.unlink() for p in (r / "cat").iterdir()], "has no images of cat"),
    "a split was made": (
        lambda r: shutil.copytree(r / "cat", r / "val/cat"), "val"),
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
@pytest.mark.parametrize("kind", CHANGES)
def test_changes_are_said(root, kind, encoding, monkeypatch):
    change, said = CHANGES[kind]
    prepared = prepare_as(encoding, root, monkeypatch)
    change(root)
    assert said in changes_since(prepared, str(root))
    assert said in changes_since(prepared, str(root)), "and not only once"


def labeled(root: Path, *rows: str) -> Path:
    table = root.parent / "labels.csv"
    table.write_text("\n".join(("filename,label,split", *rows)) + "\n")
    return table


OF_TABLE = ("cat/0.png,a,train", "cat/1.png,b,train", "cat/2.png,a,val", "cat/3.png,b,val")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("cat/0.png,b,train", "cat/1.png,a,train", *OF_TABLE[2:]), "another class: cat/0.png was a and is b"),
        ((OF_TABLE[2], "cat/3.png,b,train", *OF_TABLE[:2]), "another split: cat/3.png was in val and is in train"),
        (OF_TABLE[::-1], ""),
    ],
)
def test_changes_of_a_table_of_labels_are_said(root, rows, said):
    prepared = open_images(str(root), SIZE, labels=labeled(root, *OF_TABLE))
    table = labeled(root, *rows)
    for _ in range(2):
        assert changes_since(prepared, str(root), labels=table) == said


def prepare_as(encoding: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    if encoding == "jpeg":
        from alexnet.data import open as opening

        prepare, key = opening.prepare, opening.cache_key
        monkeypatch.setattr(opening, "prepare", lambda *a, **k: prepare(*a, **k, encoding="jpeg"))
        monkeypatch.setattr(opening, "cache_key", lambda source, size, _, **k: key(source, size, "jpeg", **k))
    prepared = open_images(str(root), SIZE)
    assert prepared.encoding == encoding
    return prepared


def touch_all(root: Path) -> None:
    for path in root.rglob("*.*"):
        os.utime(path, (1, 1))


def copied(root: Path) -> None:
    """A copy of everything in the place of the original, with times of its own."""
    shutil.copytree(root, root.with_name("copy"), copy_function=shutil.copyfile)
    shutil.rmtree(root)
    root.with_name("copy").rename(root)


def moved_away(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


def unmounted(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


# name -> what is done to the folder, after which it holds the same images, or nobody can tell
INNOCENT: dict[str, Callable[[Path], object]] = {
    "nothing": lambda r: None,
    "one image was touched": lambda r: os.utime(r / "cat/0.png"),
    "all were touched": touch_all,
    "copied": copied,
    "a broken image was touched": lambda r: os.utime(r / "dog/4.png", (1, 1)),
    "a broken image was removed": lambda r: (r / "dog/4.png").unlink(),
    "an image was packed anew": lambda r: rewrite(r / "cat/3.png", compress_level=0),
    "an image became a BMP by another name": lambda r: rewrite(r / "cat/3.png", format="BMP"),
    "an image became a link": lambda r: [(r / "cat/0.png").rename(r / ".x"), (r / "cat/0.png").symlink_to(r / ".x")],
    "a text was changed": lambda r: (r / "dog/notes.txt").write_text("dear all"),
    "a text was added": lambda r: (r / "cat/notes.txt").write_text("dear"),
    "a hidden image was added": lambda r: picture(r / "cat/._0.png", 5),
    "a hidden folder was added": lambda r: picture(r / ".thumbnails/0.png", 5),
    "the folder is gone": moved_away,
    "the folder is empty": unmounted,
}


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
@pytest.mark.parametrize("kind", INNOCENT)
def test_innocent_changes_are_none(root, kind, encoding, monkeypatch):
    prepared = prepare_as(encoding, root, monkeypatch)
    INNOCENT[kind](root)
    assert changes_since(prepared, str(root)) == ""


def test_the_same_images_are_compared_once(root):
    prepared, stages = open_images(str(root), SIZE), []
    for _ in range(2):
        assert changes_since(prepared, str(root), progress=lambda *s: stages.append(s)) == ""
    assert stages == [], "nothing is read as long as names, sizes and times are the same"
    touch_all(root)
    for _ in range(3):
        assert changes_since(prepared, str(root), progress=lambda *s: stages.append(s)) == ""
    assert stages == [("comparing", 10, 10)]
    picture(root / "cat/0.png", 1234)
    assert "cat/0.png" in changes_since(prepared, str(root))


def test_images_that_the_run_left_out_are_not_new(root):
    excluded = (Excluded("train", open_images(str(root), SIZE).splits["train"].names[0]),)
    prepared = open_images(str(root), SIZE, excluded=excluded, exclusions="list")
    assert changes_since(prepared, str(root), excluded=excluded) == ""
    assert changes_since(prepared, str(root)) == f"new: {excluded[0].name}"


def test_prepared_folders_and_named_datasets_have_no_folder_to_compare(root):
    prepared = open_images(str(root), SIZE)
    touch_all(root)
    (root / "cat/0.png").unlink()
    assert changes_since(prepared, str(prepared.folder)) == ""
    assert changes_since(prepared, "digits") == ""


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_tells_nothing(root):
    prepared = open_images(str(root), SIZE)
    root.chmod(0)
    try:
        assert changes_since(prepared, str(root)) == ""
    finally:
        root.chmod(0o755)


def prepared_by_an_earlier_version(root: Path) -> Prepared:
    """Its squares differ by a gray level here and there, and its settings say nothing of the order."""
    choose, prepare_noting = prepare.choose_settings, prepare_shards.prepare_image_noting

    def settings(*arguments, **options):
        return {name: value for name, value in choose(*arguments, **options).items() if name != RESAMPLING}

    def slightly_other(*arguments, **options):
        pixels, oddities = prepare_noting(*arguments, **options)
        return np.where(np.arange(3) == 1, pixels ^ 1, pixels), oddities

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "choose_settings", settings)
        patch.setattr(prepare_shards, "prepare_image_noting", slightly_other)
        return open_images(str(root), SIZE)


def test_whole_images_are_compared_as_they_were_prepared(tmp_path):
    for name, color in (("cat", "red"), ("dog", "blue")):
        (tmp_path / name).mkdir()
        for number in range(5):
            image = Image.new("RGB", (40, 20), color)
            image.putpixel((number, 0), (255, 255, 255))  # at the end, which the central square does not show
            image.save(tmp_path / name / f"{number}.png")
    prepared = open_images(str(tmp_path), SIZE, whole=True)
    assert prepared.whole
    assert prepared.fingerprint != open_images(str(tmp_path), SIZE).fingerprint
    file = tmp_path / "cat/1.png"
    shutil.copy(tmp_path / "cat/2.png", file)
    assert changes_since(prepared, str(tmp_path)) == "another image: cat/1.png"
    assert changes_since(open_images(str(tmp_path), SIZE, whole=True), str(tmp_path)) == ""


def test_a_folder_of_an_earlier_version_is_good_as_it_is(root):
    old = prepared_by_an_earlier_version(root)
    for path in root.rglob("*.png"):
        os.utime(path, ns=(1, 1))
    assert changes_since(old, str(root)) == ""
    same_size_other_pixels(root)
    assert changes_since(old, str(root)) == "another image: cat/1.png"


def test_preparing_into_a_folder_of_an_earlier_version_leaves_it_and_new_photos_are_prepared_anew(root):
    old = prepared_by_an_earlier_version(root)
    again = prepare.prepare(open_source(root), old.folder, size=SIZE)
    assert again.already_done
    assert again.fingerprint == old.fingerprint
    new = open_images(str(root), SIZE)
    assert new.folder != old.folder
    assert new.fingerprint != old.fingerprint
    picture(root / "cat/9.png", 77)
    with pytest.raises(DataError, match="images"):
        prepare.prepare(open_source(root), old.folder, size=SIZE)
