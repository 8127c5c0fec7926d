"""Preparing folders made of images with known pixels: content, statistics, interruptions, refusals."""

import errno
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet.data import prepare_shards
from alexnet.data.dataset import open_prepared, verify
from alexnet.data.images import prepare_image
from alexnet.data.prepare import cache_key, prepare
from alexnet.data.samples import Samples, Source
from alexnet.data.sources import open_source
from alexnet.errors import DataError, ResourceError, UsageError
from alexnet.storage.locks import LOCK, in_turn
from harness import ROOT, SHARED
from harness.small_runs import noise

SIZE = 16


def photos(root: Path, per_class: int = 6, seed: int = 0) -> Path:
    """Two classes in train and val, lossless random images of 16x24 pixels."""
    generator = np.random.default_rng(seed)
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(per_class):
                low, high = sorted(generator.integers(0, 256, 2))
                pixels = generator.integers(low, high + 1, (16, 24, 3), np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- content ---------------------------------------------------------------------------------------------------------


def test_holds_the_prepared_images_in_the_order_of_the_source(tmp_path):
    source = open_source(photos(tmp_path / "pets"))
    report = prepare(source, tmp_path / "out", size=SIZE, shard_images=5)
    assert report.counts == {"train": {"cat": 6, "dog": 6}, "val": {"cat": 6, "dog": 6}}
    assert (report.encoding, report.size, report.skipped, report.oddities) == ("raw", SIZE, (), {})
    assert not report.already_done
    names = {path.name for path in (tmp_path / "out").iterdir()}
    shards = {f"{split}-000{i}.{end}" for split in ("train", "val") for i in range(3) for end in ("npy", "json")}
    assert names == {"prepared.json", "mean_image.npy"} | shards
    # Readable with nothing but NumPy, as the format promises.
    assert np.load(tmp_path / "out/train-0002.npy", allow_pickle=False).shape == (2, SIZE, SIZE, 3)
    prepared = open_prepared(tmp_path / "out")
    assert prepared.class_names == ("cat", "dog")
    for split, samples in source.splits.items():
        assert prepared.splits[split].names == samples.names
        np.testing.assert_array_equal(prepared.splits[split].labels, samples.labels)
        expected = [prepare_image(samples.image(i), SIZE) for i in range(len(samples))]
        np.testing.assert_array_equal(prepared.splits[split].read(range(len(samples))), expected)
    verify(prepared)


def test_jpeg_encoding_keeps_images_close_and_small(tmp_path):
    gradient = np.linspace(0, 255, 64).astype(np.uint8)
    pixels = np.stack([np.stack(np.meshgrid(gradient, np.roll(gradient, i)), 2) for i in range(20)])
    pixels = np.concatenate([pixels, pixels[..., :1]], 3)
    labels = np.arange(20, dtype=np.int64) % 2
    source = Source("made", ("a", "b"), {"train": Samples(tuple(map(str, range(20))), labels, arrays=pixels)})
    report = prepare(source, tmp_path / "out", size=64, encoding="jpeg")
    assert report.encoding == "jpeg"
    prepared = open_prepared(tmp_path / "out")
    read = prepared.splits["train"].read(range(20))
    assert np.abs(read.astype(int) - pixels).mean() < 2
    assert (tmp_path / "out/train-0000.jpegs").stat().st_size < pixels.nbytes / 3
    # The statistics are over what training reads, not over what was compressed.
    np.testing.assert_allclose(prepared.mean_image, read.mean(axis=0), atol=1e-4)
    for order in (list(range(20))[::-1], [3], [7, 7, 0]):
        np.testing.assert_array_equal(prepared.splits["train"].read(order), read[order])
    verify(prepared)


def test_auto_takes_raw_up_to_the_limit(tmp_path):
    source = noise(6)
    exactly = (6 + 4) * SIZE * SIZE * 3
    assert prepare(source, tmp_path / "a", size=SIZE, raw_limit_bytes=exactly).encoding == "raw"
    assert prepare(source, tmp_path / "b", size=SIZE, raw_limit_bytes=exactly - 1).encoding == "jpeg"
    with pytest.raises(UsageError, match="Choose auto, raw or jpeg"):
        prepare(source, tmp_path / "c", encoding="png")


# --- statistics ------------------------------------------------------------------------------------------------------


def test_statistics_against_numpy_over_all_pixels(tmp_path):
    mixing = np.array([[0.8, 0.1, 0.0], [0.5, 0.4, 0.1], [0.3, 0.2, 0.4]])
    latent = np.random.default_rng(1).uniform(0, 255, (40, SIZE, SIZE, 3))
    pixels = (latent @ mixing.T).round().clip(0, 255).astype(np.uint8)
    labels = np.arange(40, dtype=np.int64) % 2
    names = tuple(map(str, range(40)))
    splits = {"train": Samples(names, labels, arrays=pixels), "val": Samples(names, labels, arrays=255 - pixels)}
    prepare(Source("made", ("a", "b"), splits), tmp_path / "out", size=SIZE, shard_images=7, threads=3)
    prepared = open_prepared(tmp_path / "out")
    flat = pixels.reshape(-1, 3).astype(np.float64)
    assert prepared.mean_image.dtype == np.float32
    np.testing.assert_allclose(prepared.mean_image, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(prepared.channel_mean, flat.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(prepared.channel_std, flat.std(axis=0), rtol=1e-12)
    covariance = np.cov(flat.T, ddof=0)
    variances, vectors = np.linalg.eigh(covariance)
    np.testing.assert_allclose(prepared.color_stdevs, np.sqrt(variances), rtol=1e-9)
    for mine, theirs in zip(prepared.color_vectors.T, vectors.T, strict=True):
        assert mine[np.abs(mine).argmax()] > 0
        np.testing.assert_allclose(mine, theirs * np.sign(theirs @ mine), atol=1e-9)
    rebuilt = prepared.color_vectors @ np.diag(prepared.color_stdevs**2) @ prepared.color_vectors.T
    np.testing.assert_allclose(rebuilt, covariance, atol=1e-8)


def test_gray_images_have_one_color_axis(tmp_path):
    grey = np.random.default_rng(2).integers(0, 256, (6, SIZE, SIZE), np.uint8)
    labels = np.array([0, 1] * 3)
    source = Source("made", ("a", "b"), {"train": Samples(tuple("abcdef"), labels, arrays=grey)})
    prepare(source, tmp_path / "out", size=SIZE)
    prepared = open_prepared(tmp_path / "out")
    # A gray value g varies along (1, 1, 1)/sqrt(3) with standard deviation sqrt(3) std(g), and nowhere else.
    np.testing.assert_allclose(prepared.color_stdevs, [0, 0, np.sqrt(3) * grey.std()], atol=1e-5)
    np.testing.assert_allclose(prepared.color_vectors[:, 2], np.full(3, 1 / np.sqrt(3)), atol=1e-9)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(4, 20), threads=st.integers(1, 6), shard_images=st.integers(1, 8), data=st.data())
def test_number_of_threads_changes_nothing(tmp_path_factory, count, threads, shard_images, data):
    encoding = data.draw(st.sampled_from(["raw", "jpeg"]))
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    options = {"size": 8, "encoding": encoding, "shard_images": shard_images}
    first = prepare(noise(count, seed=count), one, threads=1, **options)
    second = prepare(noise(count, seed=count), two, threads=threads, **options)
    assert first.fingerprint == second.fingerprint
    assert content(one) == content(two)


def test_images_that_cannot_be_read_are_listed_in_order_over_pieces_that_threads_share(tmp_path, monkeypatch):
    root = photos(tmp_path / "pets", per_class=20)
    for path in sorted(root.rglob("*.png"))[::7]:
        path.write_bytes(b"no image")
    source = open_source(root)
    whole = prepare(source, tmp_path / "whole", size=SIZE, threads=1)
    monkeypatch.setattr(prepare_shards, "PIECE_PIXELS", 3 * SIZE**2)
    pieces = prepare(source, tmp_path / "pieces", size=SIZE, threads=4)
    assert pieces.skipped == whole.skipped
    assert content(tmp_path / "pieces") == content(tmp_path / "whole")
    for split in source.splits:
        names = [skipped.name for skipped in pieces.skipped if skipped.split == split]
        assert names == [name for name in source.splits[split].names if name in set(names)]


def test_a_full_disk_in_the_middle_of_a_shard_ends_the_threads_of_the_others(tmp_path, monkeypatch):
    def full(path, images, *arguments, **options):
        next(iter(images))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prepare_shards, "write_shard", full)
    with pytest.raises(ResourceError, match="writing"):
        prepare(noise(20), tmp_path / "out", size=8, shard_images=3, threads=2)


def test_fingerprint_is_of_the_content(tmp_path):
    prints = [
        prepare(source, tmp_path / str(i), size=SIZE).fingerprint
        for i, source in enumerate([noise(6), noise(6), noise(6, seed=1), noise(7)])
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    relabelled = noise(6)
    relabelled.splits["val"].labels[0] = 1
    assert prepare(relabelled, tmp_path / "r", size=SIZE).fingerprint != prints[0]
    shutil.move(tmp_path / "0", tmp_path / "moved")
    assert open_prepared(tmp_path / "moved").fingerprint == prints[0]
    verify(open_prepared(tmp_path / "moved"))


# --- again, and interrupted ------------------------------------------------------------------------------------------


def test_second_run_writes_nothing(tmp_path):
    source = open_source(photos(tmp_path / "pets"))
    first = prepare(source, tmp_path / "out", size=SIZE)
    before = times(tmp_path / "out")
    again = prepare(open_source(tmp_path / "pets"), tmp_path / "out", size=SIZE)
    assert again.already_done
    assert (again.counts, again.fingerprint) == (first.counts, first.fingerprint)
    assert times(tmp_path / "out") == before
    # A moved copy of both is still the same preparation.
    shutil.move(tmp_path / "pets", tmp_path / "animals")
    assert prepare(open_source(tmp_path / "animals"), tmp_path / "out", size=SIZE).already_done


def test_ctrl_c_keeps_finished_shards_and_the_next_run_goes_on(tmp_path):
    source = open_source(photos(tmp_path / "pets", per_class=30))
    out = tmp_path / "out"

    def interrupt(stage: str, done: int, total: int) -> None:
        assert total == 120
        if len(list(out.glob("*.json"))) > 3:
            raise KeyboardInterrupt

    samples = source.splits["train"]
    slow = Source(source.name, source.class_names, {"train": _Slow(samples), "val": source.splits["val"]})
    with pytest.raises(KeyboardInterrupt):
        prepare(slow, out, size=SIZE, shard_images=4, threads=2, progress=interrupt)
    assert not (out / "prepared.json").exists()
    assert not list(out.glob("*.tmp"))
    with pytest.raises(DataError, match="not finished"):
        open_prepared(out)
    kept = {name: when for name, when in times(out).items() if name.endswith(".npy")}
    assert 0 < len(kept) < 30
    report = prepare(source, out, size=SIZE, shard_images=4)
    assert report.reused_shards == len([name for name in kept if (out / name).with_suffix(".json").exists()])
    assert report.reused_shards >= 3
    assert {name: times(out)[name] for name in kept} == kept
    prepare(source, tmp_path / "straight", size=SIZE, shard_images=4)
    assert content(out) == content(tmp_path / "straight")


def test_ctrl_c_does_not_wait_for_the_end_of_a_shard(tmp_path):
    source = open_source(photos(tmp_path / "pets", per_class=50))
    slow = _Slow(source.splits["train"])

    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(Source("pets", source.class_names, {"train": slow}), tmp_path / "out", size=SIZE, progress=interrupt)
    assert 0 < slow.read[0] < 50


class _Slow(Samples):
    """Samples that take a while to read, so that the interruption comes in the middle."""

    def __init__(self, samples: Samples):
        super().__init__(samples.names, samples.labels, samples.root, samples.arrays)
        object.__setattr__(self, "read", [0])

    def image(self, index: int):
        self.read[0] += 1
        time.sleep(0.02)
        return super().image(index)


def test_kill_in_the_middle_then_go_on(tmp_path):
    photos(tmp_path / "pets", per_class=40)
    code = (
        "import sys, os, signal, pathlib\n"
        "from alexnet.data import prepare_shards as module\n"
        "from alexnet.data.prepare import prepare\n"
        "from alexnet.data.sources import open_source\n"
        "out, write = pathlib.Path(sys.argv[2]), module.write_shard\n"
        "def until_killed(images):\n"
        "    yield next(images)\n"
        "    while True:\n"
        "        if len(list(out.glob('train-*.json'))) == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "def write_shard(path, images, *rest, **named):\n"
        "    sixth = path.name == 'train-0005.npy'\n"
        "    return write(path, until_killed(images) if sixth else images, *rest, **named)\n"
        "module.write_shard = write_shard\n"
        "prepare(open_source(sys.argv[1]), out, size=16, shard_images=10, threads=1)\n"
    )
    out = tmp_path / "out"
    dead = subprocess.run([sys.executable, "-c", code, str(tmp_path / "pets"), str(out)], cwd=ROOT)
    assert dead.returncode == -signal.SIGKILL
    assert list(out.glob("*.tmp"))
    assert not (out / "prepared.json").exists()
    report = prepare(open_source(tmp_path / "pets"), out, size=16, shard_images=10)
    assert report.reused_shards == 5
    assert not list(out.glob("*.tmp"))
    prepare(open_source(tmp_path / "pets"), tmp_path / "straight", size=16, shard_images=10)
    assert content(out) == content(tmp_path / "straight")


def test_damaged_shards_of_an_interrupted_run_are_written_again(tmp_path):
    source = open_source(photos(tmp_path / "pets"))
    prepare(source, tmp_path / "straight", size=SIZE, shard_images=4)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare(source, out, size=SIZE, shard_images=4, progress=_at_the_end)
    assert len(list(out.glob("*.npy"))) == 6
    flip(out / "train-0000.npy", -1)
    (out / "train-0001.npy").unlink()
    (out / "train-0002.json").write_bytes(b"{")
    os.truncate(out / "val-0000.npy", 100)
    assert prepare(source, out, size=SIZE, shard_images=4).reused_shards == 2
    assert content(out) == content(tmp_path / "straight")


def test_an_interrupted_run_goes_on_after_the_images_were_moved(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare(open_source(photos(tmp_path / "pets")), out, size=SIZE, shard_images=4, progress=_at_the_end)
    shutil.move(tmp_path / "pets", tmp_path / "animals")
    for _ in range(2):  # the folder is that of the moved images now, and may be interrupted once more
        with pytest.raises(KeyboardInterrupt):
            prepare(open_source(tmp_path / "animals"), out, size=SIZE, shard_images=4, progress=_at_the_end)
    (tmp_path / "animals/val/cat/0.png").unlink()
    assert prepare(open_source(tmp_path / "animals"), out, size=SIZE, shard_images=4).reused_shards == 3  # of train
    with pytest.raises(KeyboardInterrupt):
        prepare(open_source(tmp_path / "animals"), tmp_path / "half", size=SIZE, progress=_at_the_end)
    with pytest.raises(DataError, match="prepared from something else"):
        prepare(open_source(photos(tmp_path / "cars")), tmp_path / "half", size=SIZE)


def test_any_flipped_bit_in_what_an_interrupted_run_says_of_its_shards_is_found(tmp_path):
    source = open_source(photos(tmp_path / "pets"))
    prepare(source, tmp_path / "straight", size=SIZE)
    intact = tmp_path / "intact"
    with pytest.raises(KeyboardInterrupt):
        prepare(source, intact, size=SIZE, progress=_at_the_end)
    length = (intact / "train-0000.json").stat().st_size
    for position in range(0, length, max(1, length // 40)):
        out = shutil.copytree(intact, tmp_path / f"out-{position}")
        flip(out / "train-0000.json", position)
        prepare(source, out, size=SIZE)
        assert content(out) == content(tmp_path / "straight")


def test_replaced_image_of_an_interrupted_run_is_prepared_again(tmp_path):
    source = open_source(photos(tmp_path / "pets"))
    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "out", size=SIZE, shard_images=4, progress=_at_the_end)
    Image.new("RGB", (30, 30), (1, 2, 3)).save(tmp_path / "pets/train/dog/0.png")
    assert prepare(open_source(tmp_path / "pets"), tmp_path / "out", size=SIZE, shard_images=4).reused_shards == 5
    train = open_prepared(tmp_path / "out").splits["train"]
    assert (train.read([train.names.index("train/dog/0.png")]) == (1, 2, 3)).all()


def _at_the_end(stage: str, done: int, total: int) -> None:
    if done == total:
        raise KeyboardInterrupt


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_progress_comes_in_the_callers_thread_and_ends_at_the_total(tmp_path):
    seen = []
    prepare(noise(9), tmp_path / "out", size=SIZE, progress=lambda *s: seen.append((*s, threading.current_thread())))
    assert seen[-1][:3] == ("preparing", 13, 13)
    assert {thread for *_, thread in seen} == {threading.current_thread()}


# --- refusals --------------------------------------------------------------------------------------------------------


def test_unreadable_images_are_skipped_and_listed(tmp_path):
    root = photos(tmp_path / "pets")
    (root / "train/cat/0.png").write_bytes(b"<html>404</html>")
    (root / "val/dog/5.png").write_bytes(b"")
    (root / "train/dog/3.png").unlink()
    (root / "train/dog/3.png").symlink_to(tmp_path / "none")
    Image.new("RGBA", (4, 4)).save(root / "train/dog/1.png")
    report = prepare(open_source(root), tmp_path / "out", size=SIZE, shard_images=5)
    assert [(each.split, each.name) for each in report.skipped] == [
        ("train", "train/cat/0.png"), ("train", "train/dog/3.png"), ("val", "val/dog/5.png")]  # fmt: skip
    assert [each.reason for each in report.skipped] == [
        "a web page, not an image; the download went wrong",
        "cannot be read: no such file or directory",
        "the file is empty",
    ]
    assert report.counts == {"train": {"cat": 5, "dog": 5}, "val": {"cat": 6, "dog": 5}}
    assert report.oddities == {"enlarged": 1, "transparent": 1}
    prepared = open_prepared(tmp_path / "out")
    train = prepared.splits["train"]
    assert len(train) == len(train.names) == 10
    for index, name in enumerate(train.names):
        np.testing.assert_array_equal(train.read([index])[0], prepare_image(root / name, SIZE))
    again = prepare(open_source(root), tmp_path / "out", size=SIZE, shard_images=5)
    assert (again.skipped, again.oddities) == (report.skipped, report.oddities)
    for out in ("out", "fresh"):
        with pytest.raises(DataError, match=r"train/cat/0.png \(train\) cannot be used: a web page"):
            prepare(open_source(root), tmp_path / out, size=SIZE, threads=1, strict=True)
    # A shard may lose all its images without its class doing so.
    report = prepare(open_source(root), tmp_path / "single", size=SIZE, shard_images=1, encoding="jpeg")
    assert open_prepared(tmp_path / "single").splits["train"].read(range(10)).shape == (10, SIZE, SIZE, 3)


@pytest.mark.parametrize("finished", [False, True])
def test_of_several_unreadable_images_the_first_is_named(tmp_path, finished):
    """The second split is known to be bad at once where its shard is finished, the first one only at its end."""
    root, out = photos(tmp_path / "pets"), tmp_path / "out"
    for name in ("train/dog/5.png", "val/cat/0.png"):
        (root / name).write_bytes(b"nothing")
    source = open_source(root)
    if finished:
        with pytest.raises(KeyboardInterrupt):
            prepare(source, out, size=SIZE, progress=_at_the_end)
        (out / "train-0000.json").unlink()
    slow = {"train": _Slow(source.splits["train"]), "val": source.splits["val"]}
    with pytest.raises(DataError, match=r"train/dog/5.png \(train\) cannot be used"):
        prepare(Source(source.name, source.class_names, slow), out, size=SIZE, threads=2, strict=True)


def test_a_class_that_loses_all_its_images(tmp_path):
    root = photos(tmp_path / "pets", per_class=2)
    for path in (root / "val/dog").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"no image of dog in val could be read .*val/dog/0.png"):
        prepare(open_source(root), tmp_path / "out", size=SIZE)
    assert not (tmp_path / "out/prepared.json").exists()
    for path in (root / "val/dog").iterdir():
        shutil.copy(root / "val/cat/1.png", path)
    report = prepare(open_source(root), tmp_path / "out", size=SIZE)
    assert report.counts["val"] == {"cat": 2, "dog": 2}
    assert report.reused_shards == 1


@pytest.mark.parametrize("change", [{"size": 8}, {"encoding": "jpeg"}, {"source": noise(7)}])
def test_other_things_do_not_go_into_the_same_folder(tmp_path, change):
    asked = {"source": noise(6), "size": SIZE, "encoding": "raw"}
    prepare(**asked, out=tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(DataError, match=r"prepared from something else.*\n.*Choose another folder"):
        prepare(**asked | change, out=tmp_path / "out")
    assert content(tmp_path / "out") == before
    with pytest.raises(KeyboardInterrupt):
        prepare(**asked, out=tmp_path / "half", progress=_at_the_end)
    if "source" not in change:
        with pytest.raises(DataError, match="Choose another folder"):
            prepare(**asked | change, out=tmp_path / "half")


def test_users_files_are_never_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("dear")
    with pytest.raises(DataError, match="holds other files"):
        prepare(noise(4), tmp_path / "out", size=SIZE)
    assert content(tmp_path / "out") == {"thesis.txt": b"dear"}
    with pytest.raises(DataError, match="is a file"):
        prepare(noise(4), tmp_path / "out/thesis.txt", size=SIZE)
    source = open_source(photos(tmp_path / "pets"))
    with pytest.raises(DataError, match="inside the folder of the images"):
        prepare(source, tmp_path / "pets/prepared", size=SIZE)
    assert not (tmp_path / "pets/prepared").exists()
    assert not prepare(source, tmp_path / "pets/.prepared", size=SIZE).already_done


def test_too_little_space_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 100, 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match=r"10 images need about 0.00 GB, 0.00 GB are free"):
        prepare(noise(6), tmp_path / "out", size=SIZE)
    assert not list((tmp_path / "out").glob("*.npy*"))


def test_disk_that_is_full_in_the_middle(tmp_path):
    """RLIMIT_FSIZE makes the system refuse as a full disk does (EFBIG instead of ENOSPC)."""
    code = (
        "import sys, resource, pathlib\n"
        "from harness.small_runs import noise\n"
        "from alexnet.data.prepare import prepare\n"
        "from alexnet.errors import ResourceError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "try:\n"
        "    prepare(noise(40, size=16), pathlib.Path(sys.argv[1]), size=16, shard_images=10)\n"
        "except ResourceError as error: print(error)\n"
    )
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", code, str(out)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "would be larger than the limit" in done.stdout
    assert "ulimit -f" in done.stdout
    assert not list(out.glob("*.tmp"))
    assert prepare(noise(40), out, size=16, shard_images=10).counts["train"] == {"even": 20, "odd": 20}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4000


def test_cache_key_follows_the_images_and_the_arguments(tmp_path):
    root = photos(tmp_path / "pets")
    key = cache_key(open_source(root), SIZE, "raw")
    assert key == cache_key(open_source(root), SIZE, "raw") == cache_key(open_source(root), SIZE)
    assert json.loads(_prepared_json(open_source(root), tmp_path / "out"))["key"] == key
    others = {key, cache_key(open_source(root), 8, "raw"), cache_key(open_source(root), SIZE, "jpeg")}
    others.add(cache_key(open_source(root), SIZE, "jpeg", jpeg_quality=80))
    others.add(cache_key(open_source(root), SIZE, "raw", max_pixels=1000))
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copy2)
    assert cache_key(open_source(tmp_path / "copy"), SIZE) == key
    os.utime(root / "val/cat/0.png", (1, 1))
    others.add(cache_key(open_source(root), SIZE))
    (root / "val/cat/0.png").rename(root / "val/dog/9.png")
    others.add(cache_key(open_source(root), SIZE))
    assert len(others) == 7
    relabelled = noise(4)
    relabelled.splits["val"].labels[0] = 1
    assert len({cache_key(source) for source in (noise(4), noise(4, seed=1), relabelled)}) == 3


def _prepared_json(source: Source, out: Path) -> bytes:
    prepare(source, out, size=SIZE)
    return (out / "prepared.json").read_bytes()


def test_real_photos(tmp_path):
    archive = SHARED / "clothing.tar"
    if not archive.is_file():
        pytest.skip(f"the real photos are not at {archive}")
    found: dict[str, int] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            split, _, rest = member.name.partition("/")
            name = rest.partition("/")[0]
            if split == "train" and member.isfile() and found.get(name, 0) < 5:
                found[name] = found.get(name, 0) + 1
                (tmp_path / "clothes" / name).mkdir(parents=True, exist_ok=True)
                path = tmp_path / "clothes" / name / Path(member.name).name
                path.write_bytes(tar.extractfile(member).read())
            if len(found) == 3 and min(found.values()) == 5:
                break
    source = open_source(tmp_path / "clothes")
    report = prepare(source, tmp_path / "out", size=256)
    assert report.skipped == ()
    prepared = open_prepared(tmp_path / "out")
    samples, train = source.splits["train"], prepared.splits["train"]
    for i in (0, len(train) - 1):
        with Image.open(io.BytesIO(samples.image(i).read_bytes())) as image:
            scale = 256 / min(image.size)
            whole = image.convert("RGB").resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
        left, top = (whole.width - 256) / 2, (whole.height - 256) / 2
        expected = np.asarray(whole.crop((int(left), int(top), int(left) + 256, int(top) + 256))).astype(int)
        assert np.abs(train.read([i])[0] - expected).mean() < 6
    # Photos: by far the most of the color variation is brightness (alexnet's authors found the same).
    assert prepared.color_stdevs[2] > 2 * prepared.color_stdevs[1]
    assert (prepared.color_vectors[:, 2] > 0.4).all()


# --- several at once -------------------------------------------------------------------------------------------------


def test_several_that_want_the_same_folder_get_it_from_the_one_that_was_first(tmp_path):
    """As trainings of the same photos do that are started together; the photos may lie in two places."""
    photos(tmp_path / "one" / "pets")
    shutil.copytree(tmp_path / "one", tmp_path / "two")  # with its times, so both have the same key
    sources = [open_source(tmp_path / place / "pets") for place in ("one", "two", "one", "two")]
    prepare(sources[0], tmp_path / "alone", size=SIZE, shard_images=2)
    together, reports = threading.Barrier(len(sources)), []

    def go(source):
        together.wait()
        reports.append(prepare(source, tmp_path / "out", size=SIZE, shard_images=2))

    threads = [threading.Thread(target=go, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.already_done for report in reports) == [False, True, True, True]
    assert content(tmp_path / "out") == content(tmp_path / "alone")


def test_who_waits_says_so_and_goes_on_when_the_other_is_gone(tmp_path):
    source, out, told, said = open_source(photos(tmp_path / "pets")), tmp_path / "out", [], threading.Event()

    def progress(stage, done, total):
        told.append((stage, done, total))
        said.set()

    out.mkdir()
    with in_turn(out / LOCK):
        waiter = threading.Thread(target=prepare, args=(source, out), kwargs={"size": SIZE, "progress": progress})
        waiter.start()
        assert said.wait(60)
        assert told == [("preparing", 0, 24)]
    waiter.join()
    assert len(open_prepared(out).splits["train"].labels) == 12
    assert not (out / LOCK).exists()


def test_a_folder_of_other_files_gets_no_lock(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other files"):
        prepare(open_source(photos(tmp_path / "pets")), tmp_path / "out", size=SIZE)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["letter.txt"]
