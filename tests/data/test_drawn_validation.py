"""A validation split that was drawn at random, where images of it, or of what is left for training, cannot be read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data.dataset import open_prepared, verify
from alexnet.data.exclusions import Excluded, leave_out
from alexnet.data.open import open_images
from alexnet.data.prepare import prepare
from alexnet.data.sources import open_source
from alexnet.errors import DataError

SIZE = 8
BROKEN = (b"", b"<html>404</html>", b"\xff\xd8\xff", b"%PDF-1.7\n", b"nothing")


def folder(root: Path, **classes: int) -> Path:
    """Class folders with so many images each, all different."""
    for label, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng(100 * label + i).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def spoil(root: Path, *names: str) -> None:
    for i, name in enumerate(names):
        (root / name).write_bytes(BROKEN[i % len(BROKEN)])


def images(out: Path) -> dict[str, list[tuple[str, bytes]]]:
    """split -> (name, pixels) of every image."""
    splits = open_prepared(out).splits
    return {split: [(name, s.read([i])[0].tobytes()) for i, name in enumerate(s.names)] for split, s in splits.items()}


@pytest.mark.parametrize("broken", range(5))
def test_whichever_image_of_a_class_is_broken_the_set_is_prepared(tmp_path, broken):
    root = folder(tmp_path / "pets", cat=5, dog=5, owl=5)
    spoil(root, *(f"{name}/{broken}.png" for name in ("cat", "dog", "owl")))
    report = prepare(open_source(root), tmp_path / "out", size=SIZE)
    assert report.counts == {"train": dict.fromkeys(("cat", "dog", "owl"), 3),
                             "val": dict.fromkeys(("cat", "dog", "owl"), 1)}  # fmt: skip
    assert sorted(each.name for each in report.skipped) == [f"{name}/{broken}.png" for name in ("cat", "dog", "owl")]
    verify(open_prepared(tmp_path / "out"))


# images of cat -> those that are broken, and how many are in train and val in the end
CLASSES = {
    "one of two": (2, (0,), (1, 0)),
    "the other of two": (2, (1,), (1, 0)),
    "two of three": (3, (0, 1), (1, 0)),
    "two others of three": (3, (1, 2), (1, 0)),
    "one of three": (3, (2,), (2, 0)),
    "four of five": (5, (0, 1, 2, 3), (1, 0)),
    "three of five": (5, (1, 2, 4), (1, 1)),
    "nine of ten": (10, tuple(range(9)), (1, 0)),
    "eight of ten": (10, tuple(range(2, 10)), (1, 1)),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_a_class_is_used_as_long_as_one_image_can_be_read(tmp_path, kind):
    count, broken, _ = CLASSES[kind]
    root = folder(tmp_path / "pets", cat=count, dog=6)
    spoil(root, *(f"cat/{i}.png" for i in broken))
    report = prepare(open_source(root), tmp_path / "out", size=SIZE)
    readable = count - len(broken)
    in_train, in_val = report.counts["train"]["cat"], report.counts["val"]["cat"]
    assert in_train + in_val == readable
    assert in_train >= 1
    assert (in_val >= 1) == (readable >= 2), "a class of two or more readable images has one in each part"
    said = any("val has no image of cat: the only image of a class that can be read" in note for note in report.notes)
    assert said == (readable == 1)
    assert (report.counts["train"]["dog"], report.counts["val"]["dog"]) == (5, 1)
    assert len(report.skipped) == len(broken)


def test_the_division_is_the_one_that_the_folder_without_broken_files_gets(tmp_path):
    root, clean = folder(tmp_path / "pets", cat=7, dog=7), folder(tmp_path / "clean", cat=7, dog=7)
    drawn = open_source(root).splits["val"].names
    spoil(root, *drawn)
    for name in drawn:
        (clean / name).unlink()
    prepare(open_source(root), tmp_path / "out", size=SIZE, shard_images=3)
    prepare(open_source(clean), tmp_path / "clean-out", size=SIZE, shard_images=3)
    found, expected = images(tmp_path / "out"), images(tmp_path / "clean-out")
    assert {split: sorted(rows) for split, rows in found.items()} == {
        split: sorted(rows) for split, rows in expected.items()
    }


def test_threads_and_interruptions_change_nothing(tmp_path):
    root = folder(tmp_path / "pets", cat=9, dog=9)
    spoil(root, *open_source(root).splits["val"].names)
    first = prepare(open_source(root), tmp_path / "one", size=SIZE, shard_images=3, threads=1)
    content = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}

    def interrupt(stage: str, done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(open_source(root), tmp_path / "two", size=SIZE, shard_images=3, progress=interrupt)
    second = prepare(open_source(root), tmp_path / "two", size=SIZE, shard_images=3, threads=4)
    assert {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()} == content
    assert first.fingerprint == second.fingerprint
    again = prepare(open_source(root), tmp_path / "two", size=SIZE, shard_images=3)
    assert again.already_done
    assert (again.skipped, again.notes, again.counts) == (first.skipped, first.notes, first.counts)


def test_no_shard_of_the_first_division_stays(tmp_path):
    root = folder(tmp_path / "pets", cat=2, dog=3)
    samples = open_source(root).splits
    spoil(root, *(name for name in samples["val"].names if name.startswith("cat")))
    prepare(open_source(root), tmp_path / "out", size=SIZE, shard_images=1)
    prepared = open_prepared(tmp_path / "out")
    used = {path.name for split in prepared.splits.values() for shard in split.shards
            for path in (shard.path, shard.path.with_suffix(".json"))}  # fmt: skip
    assert {path.name for path in (tmp_path / "out").iterdir()} == used | {"prepared.json", "mean_image.npy"}


@pytest.mark.parametrize("broken", [(), ("cat/0.png",), ("cat/1.png",), ("cat/0.png", "dog/3.png")])
def test_sets_that_need_no_other_division_keep_theirs(tmp_path, broken):
    """Fingerprints of sets that could be prepared before stay: here the division is that of the source."""
    root = folder(tmp_path / "pets", cat=10, dog=10)
    source = open_source(root)
    assert ("cat/0.png" in source.splits["val"].names) != ("cat/1.png" in source.splits["val"].names)
    spoil(root, *broken)
    report = prepare(source, tmp_path / "out", size=SIZE)
    assert not any("divided again" in note for note in report.notes)
    for split, rows in images(tmp_path / "out").items():
        assert [name for name, _ in rows] == [name for name in source.splits[split].names if name not in broken]


def test_what_the_user_divided_is_not_divided_again(tmp_path):
    root = tmp_path / "pets"
    folder(root / "train", cat=4, dog=4)
    folder(root / "val", cat=2, dog=2)
    spoil(root, "val/cat/0.png", "val/cat/1.png")
    with pytest.raises(DataError, match="no image of cat in val could be read") as caught:
        prepare(open_source(root), tmp_path / "out", size=SIZE)
    assert caught.value.code == "E339"


def test_a_class_without_any_readable_image_is_still_refused(tmp_path):
    root = folder(tmp_path / "pets", cat=3, dog=3)
    spoil(root, *(f"cat/{i}.png" for i in range(3)))
    with pytest.raises(DataError, match="no image of cat in train could be read") as caught:
        prepare(open_source(root), tmp_path / "out", size=SIZE)
    assert caught.value.code == "E339"


def test_one_readable_image_in_every_class_leaves_none_for_validation(tmp_path):
    root = folder(tmp_path / "pets", cat=2, dog=2)
    spoil(root, "cat/0.png", "dog/1.png")
    with pytest.raises(DataError, match="every class has a single image that can be read") as caught:
        prepare(open_source(root), tmp_path / "out", size=SIZE)
    assert caught.value.code == "E319"


def test_images_left_out_on_purpose_count_as_absent(tmp_path):
    root = folder(tmp_path / "pets", cat=4, dog=4)
    source = open_source(root)
    held = next(name for name in source.splits["val"].names if name.startswith("cat"))
    kept = [name for name in source.splits["train"].names if name.startswith("cat")]
    spoil(root, held)
    left = leave_out(source, [Excluded("train", kept[0])], "list")
    report = prepare(left, tmp_path / "out", size=SIZE)
    assert (report.counts["train"]["cat"], report.counts["val"]["cat"]) == (1, 1)
    assert kept[0] not in {name for rows in images(tmp_path / "out").values() for name, _ in rows}


def test_the_cache_is_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    root = folder(tmp_path / "pets", cat=5, dog=5)
    spoil(root, *open_source(root).splits["val"].names)
    reports = []
    prepared = [open_images(str(root), SIZE, tell=reports.append) for _ in range(2)]
    assert prepared[0].fingerprint == prepared[1].fingerprint
    assert [report.already_done for report in reports] == [False, True]
