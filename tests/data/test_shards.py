"""One shard written and read back, and everything that may be wrong with its two files."""

import hashlib
import io
import json
import os
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data import shards
from alexnet.data.shards import Shard, canonical, open_shard, read_checked, read_shard, shard_path, stored, write_shard
from alexnet.errors import DataError

SIZE, COUNT = 6, 20


def pictures(count: int = COUNT) -> list[tuple[str, int, np.ndarray]]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    return [(f"p{i}", i % 3, pixels[i]) for i in range(count)]


def written(folder: Path, encoding: str, room: int = COUNT) -> tuple[Path, dict]:
    """A shard with its JSON file, and what that says."""
    path = shard_path(folder, "train", 7, encoding)
    quality = 90 if encoding == "jpeg" else None
    contents = ((name, label, stored(pixels, quality)[0]) for name, label, pixels in pictures())
    facts = write_shard(path, contents, room, SIZE, raw=quality is None)
    path.with_suffix(".json").write_bytes(canonical(facts))
    return path, facts


@pytest.fixture(params=["raw", "jpeg"])
def shard(request, tmp_path) -> Shard:
    return open_shard(written(tmp_path, request.param)[0], SIZE)


def test_names_of_the_files(tmp_path):
    assert shard_path(tmp_path, "train", 0, "raw") == tmp_path / "train-0000.npy"
    assert shard_path(tmp_path, "val", 12345, "jpeg") == tmp_path / "val-12345.jpegs"


@pytest.mark.parametrize("room", [COUNT, COUNT + 80])
def test_raw_shards_are_numpy_files_of_what_there_was_whatever_was_expected(tmp_path, room):
    path, facts = written(tmp_path, "raw", room)
    stored = np.load(path, allow_pickle=False)
    assert stored.dtype == np.uint8
    assert stored.flags.c_contiguous
    np.testing.assert_array_equal(stored, [pixels for *_, pixels in pictures()])
    assert facts == {
        "names": [f"p{i}" for i in range(COUNT)],
        "labels": [i % 3 for i in range(COUNT)],
        "bytes": len(path.read_bytes()),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_jpeg_shards_are_jpeg_files_end_to_end_in_full_color_resolution(tmp_path):
    path, facts = written(tmp_path, "jpeg")
    content, offsets = path.read_bytes(), facts["offsets"]
    assert (offsets[0], offsets[-1], len(offsets)) == (0, len(content), COUNT + 1)
    assert facts["bytes"] == len(content)
    assert facts["sha256"] == hashlib.sha256(content).hexdigest()
    for (_, _, pixels), start, stop in zip(pictures(), offsets[:-1], offsets[1:], strict=True):
        with Image.open(io.BytesIO(content[start:stop])) as image:
            assert (image.format, image.size, image.layer) == (
                "JPEG", (SIZE, SIZE), [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 1)])  # fmt: skip
            own = io.BytesIO()
            Image.fromarray(pixels).save(own, "JPEG", quality=90, subsampling=0)
            assert content[start:stop] == own.getvalue()


def test_fewer_images_than_there_was_room_for_leave_jpegs_alone(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    exact, roomy = written(tmp_path / "a", "jpeg")[0], written(tmp_path / "b", "jpeg", COUNT + 9)[0]
    assert exact.read_bytes() == roomy.read_bytes()


def test_an_opened_shard_knows_its_images(shard):
    assert shard.names == tuple(f"p{i}" for i in range(COUNT))
    assert shard.labels.dtype == np.int64
    assert shard.labels.tolist() == [i % 3 for i in range(COUNT)]
    assert shard.sha256 == hashlib.sha256(shard.path.read_bytes()).hexdigest()
    assert (shard.pixels is None) == (shard.offsets is not None) == (shard.path.suffix == ".jpegs")
    if shard.pixels is not None:
        assert isinstance(shard.pixels, np.memmap)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("indices", [[], [4], [19, 0, 0, 7], list(range(COUNT))[::-1]])
def test_images_come_in_the_order_asked_for(shard, indices, threads):
    read = read_shard(shard, np.array(indices, np.int64), SIZE, threads)
    assert (read.shape, read.dtype) == ((len(indices), SIZE, SIZE, 3), np.uint8)
    alone = [read_shard(shard, np.array([i]), SIZE)[0] for i in indices]
    np.testing.assert_array_equal(read, np.array(alone, np.uint8).reshape(read.shape))
    for pixels, index in zip(read, indices, strict=True):
        difference = np.abs(pixels.astype(int) - pictures()[index][2]).mean()
        assert difference == 0 if shard.pixels is not None else difference < 15


@pytest.mark.parametrize(("threads", "count", "pools"), [(1, 20, 0), (2, 15, 0), (2, 16, 1), (3, 20, 1)])
def test_threads_are_started_only_where_they_pay(tmp_path, monkeypatch, threads, count, pools):
    started = []

    def pool(workers):
        started.append(workers)
        return ThreadPoolExecutor(workers)

    monkeypatch.setattr(shards, "ThreadPoolExecutor", pool)
    read_shard(open_shard(written(tmp_path, "jpeg")[0], SIZE), np.arange(count), SIZE, threads)
    assert started == [threads] * pools


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_shard_that_cannot_be_finished_leaves_nothing(tmp_path):
    def broken():
        yield from ((name, label, pixels.tobytes()) for name, label, pixels in pictures()[:3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "train-0000.npy", broken(), COUNT, SIZE, raw=True)
    assert list(tmp_path.iterdir()) == []


def test_missing_files_are_named(shard):
    about = shard.path.with_suffix(".json")
    content = about.read_bytes()
    about.unlink()
    with pytest.raises(DataError, match=r"train-0007\.json is damaged: the file is missing") as caught:
        open_shard(shard.path, SIZE)
    assert caught.value.fix == f"Delete the folder {shard.path.parent} and prepare the images again."
    assert caught.value.code == "E333"
    about.write_bytes(content)
    shard.path.unlink()
    with pytest.raises(DataError, match=rf"{shard.path.name} is damaged: the file is missing"):
        open_shard(shard.path, SIZE)


def test_the_json_file_must_be_the_one_that_is_known(shard):
    about = shard.path.with_suffix(".json")
    sha256 = hashlib.sha256(about.read_bytes()).hexdigest()
    assert open_shard(shard.path, SIZE, sha256).names == shard.names
    assert read_checked(about, sha256) == read_checked(about, None) == about.read_bytes()
    about.write_bytes(about.read_bytes() + b" ")
    assert open_shard(shard.path, SIZE).names == shard.names
    with pytest.raises(DataError, match=r"train-0007\.json is damaged: its bytes are not the ones that were written"):
        open_shard(shard.path, SIZE, sha256)


@pytest.mark.parametrize("change", [1, -1])
def test_a_data_file_of_another_length(shard, change):
    length = shard.path.stat().st_size
    os.truncate(shard.path, length + change)
    with pytest.raises(
        DataError, match=rf"{shard.path.name} is damaged: {length + change:,} bytes instead of {length:,}"
    ):
        open_shard(shard.path, SIZE)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", "{}", '{"names": 1, "labels": []}'])
def test_a_json_file_that_is_not_what_was_written(shard, text):
    shard.path.with_suffix(".json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"train-0007\.json is damaged: not the JSON that was written"):
        open_shard(shard.path, SIZE)


@pytest.mark.parametrize("change", ["a name less", "a label less", "both", "an offset more", "another size", "floats"])
def test_the_two_files_must_fit(shard, change):
    about = shard.path.with_suffix(".json")
    facts, size = json.loads(about.read_bytes()), SIZE
    if change in ("a name less", "both"):
        facts["names"].pop()
    if change in ("a label less", "both"):
        facts["labels"].pop()
    if change == "an offset more" and shard.offsets is not None:
        facts["offsets"].append(9)
    elif change in ("another size", "floats") and shard.pixels is not None:
        if change == "another size":
            size += 1
        else:
            np.save(shard.path, np.zeros((COUNT, SIZE, SIZE, 3), np.float32))
            facts["bytes"] = shard.path.stat().st_size
    elif not change.startswith(("a name", "a label", "both")):
        pytest.skip("says nothing of this encoding")
    about.write_bytes(canonical(facts))
    with pytest.raises(DataError, match=rf"{shard.path.name} is damaged: it does not hold what its JSON file says"):
        open_shard(shard.path, size)


def test_pickles_in_a_data_file_are_not_opened(tmp_path, capsys):
    path, facts = written(tmp_path, "raw")
    np.save(path, np.array([Canary()] * COUNT), allow_pickle=True)
    path.with_suffix(".json").write_bytes(canonical(facts | {"bytes": path.stat().st_size}))
    with pytest.raises(DataError, match="damaged"):
        open_shard(path, SIZE)
    assert capsys.readouterr().out == ""


class Canary:
    """Sings when it is unpickled."""

    def __reduce__(self):
        return print, ("sings",)


def jpeg_shard(path: Path, content: bytes) -> Shard:
    path.write_bytes(content)
    return Shard(path, "", ("cat.jpg",), np.array([0]), None, np.array([0, len(content)]))


def jpeg(mode: str, width: int, height: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), "#804020" if mode == "RGB" else 9).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        jpeg("RGB", 1, 1),
        jpeg("RGB", 1, SIZE),
        jpeg("RGB", 2 * SIZE, SIZE),
        jpeg("L", SIZE, SIZE),
        jpeg("RGB", SIZE, SIZE, "PNG"),
        b"",
        b"\0" * 200,
    ],
    ids=["one pixel, which would fill all", "one column", "wider", "grey", "a PNG", "nothing", "zeros"],
)
def test_anything_but_an_image_of_the_right_size_is_an_error_that_names_it(tmp_path, content):
    good, bad = (
        jpeg_shard(tmp_path / "a.jpegs", jpeg("RGB", SIZE, SIZE)),
        jpeg_shard(tmp_path / "b.jpegs", content or b"x"),
    )
    assert read_shard(good, np.array([0]), SIZE).shape == (1, SIZE, SIZE, 3)
    with pytest.raises(DataError, match=r"b\.jpegs is damaged: image cat\.jpg cannot be decoded"):
        read_shard(bad, np.array([0]), SIZE)


def test_damaged_jpegs_are_pixels_or_an_error(tmp_path):
    """What a flipped bit in a shard does to a reader that does not look at checksums."""
    chooser = random.Random(0)
    sound = jpeg("RGB", SIZE, SIZE)
    outcomes = set()
    for _ in range(300):
        content = bytearray(sound)
        for _ in range(chooser.choice((1, 2, 8))):
            content[chooser.randrange(len(content))] ^= 1 << chooser.randrange(8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read = read_shard(jpeg_shard(tmp_path / "a.jpegs", content), np.array([0]), SIZE)
            except DataError:
                outcomes.add("refused")
            else:
                assert read.shape == (1, SIZE, SIZE, 3)
                outcomes.add("read")
    assert outcomes == {"refused", "read"}


def test_json_has_one_spelling_and_is_ascii():
    assert canonical({"b": [1, None], "a": "猫"}) == b'{"a":"\\u732b","b":[1,null]}'
    assert json.loads(canonical("caf\udce9")) == "caf\udce9"
