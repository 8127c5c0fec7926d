"""No file of up to 25 MB costs more than its size promises; its innocent twins are read as Pillow reads them alone."""

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import zlib
from functools import cache

import numpy as np
import PIL
import pytest
from PIL import Image

from alexnet.data import image_bytes, image_guard
from alexnet.data.image_bytes import count_scans
from alexnet.data.image_files import format_of, open_here, open_image
from alexnet.data.image_room import ROOM, room_for
from alexnet.data.image_structure import needs_guard, tags_are_costly
from alexnet.data.images import convert_image, orientation_of, prepare_image, read_image
from alexnet.errors import DataError
from harness import ROOT
from harness.coded_images import jpeg_head, jpeg_of_arithmetic_scans, jpeg_of_refinements, webp_of_tables
from harness.image_bombs import (
    BOMBS,
    INNOCENT,
    costly_tags,
    gif,
    jpeg,
    jpeg_repeating_scan,
    noise,
    png,
    riff,
    tiff_tile,
    webp_extended,
)
from harness.image_files import chunk, saved

# One of each kind, the cheapest to make and to refuse; `studies/robustness/worst_cases.py` measures them all.
CHEAP = (
    "JPEG: costly EXIF",
    "JPEG: costly list of images",
    "JPEG: one scan, 70,000 times",
    "PNG: costly EXIF in a text",
    "TIFF: a tile of 1 gigapixel",
    "AVIF: claims of the pixels",
)
SECONDS, MEGABYTES = 5, 300


@pytest.fixture(scope="module")
def readings(tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("bombs")
    for name in CHEAP:
        (folder / name).write_bytes(BOMBS[name]())
    command = [sys.executable, "-m", "harness.measure_reading", "--once", *(folder / name for name in CHEAP)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=True)
    return {reading["name"]: reading for reading in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", CHEAP)
def test_a_file_made_to_be_costly_is_not(readings, name):
    reading = readings[name]
    assert reading["cpu"] < SECONDS, reading
    assert reading["mb"] < MEGABYTES, reading


def faded(width: int, height: int) -> Image.Image:
    """Pixels of which the upper ones are transparent."""
    image = noise(width, height).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((width, height)))
    return image


def alone(content: bytes) -> np.ndarray:
    """The pixels as this process reads them, without limits."""
    image = open_here(io.BytesIO(content), 64_000_000)
    return convert_image(image)[0]


@cache
def twin(name: str) -> bytes:
    return INNOCENT[name]()


@pytest.mark.parametrize("name", INNOCENT)
def test_innocent_twins_give_the_same_pixels_with_and_without_limits(name):
    content = twin(name)
    np.testing.assert_array_equal(read_image(content), alone(content))


GUARDED = ("TIFF", "AVIF", "HEIF", "BMP: runs", "WEBP: lossless", "WEBP: with alpha", "WEBP: empty")


@pytest.mark.parametrize("name", INNOCENT)
def test_ordinary_files_are_read_without_another_process(name):
    content = twin(name)
    kind = name.partition(":")[0]
    assert needs_guard(kind, io.BytesIO(content), len(content)) == name.startswith(GUARDED)


PILLOW = tuple(map(int, PIL.__version__.split(".")[:2]))
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16")


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_comes_back_from_the_other_process(mode):
    image = noise(37, 29)
    if mode == "I;16":
        image = Image.fromarray(np.arange(37 * 29, dtype=np.uint16).reshape(29, 37) * 57)
    else:
        image = image.convert("L").convert(mode) if mode in ("I", "F", "LA") else image.convert(mode)
    content = saved(image, "TIFF")
    if mode == "YCbCr" and PILLOW < (12,):
        pytest.skip("Pillow 11 does not read such a TIFF, which it writes itself")
    np.testing.assert_array_equal(read_image(content), alone(content))
    np.testing.assert_array_equal(prepare_image(content, 16).shape, (16, 16, 3))


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "PNG", "WEBP"])
def test_rotation_is_the_same_from_the_other_process(kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    content = saved(noise(30, 20), kind, exif=exif)
    np.testing.assert_array_equal(read_image(content), alone(content))


def test_the_header_alone_is_read_without_the_pixels(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(saved(noise(60, 40), "TIFF", save_all=True, append_images=[noise(60, 40)]))
    with open_image(path, 64_000_000, header_only=True) as image:
        assert (image.size, image.format, image.mode) == ((60, 40), "TIFF", "RGB")
    assert format_of(path) == ("TIFF", True)


def test_the_process_that_died_of_an_image_is_replaced():
    content = tiff_tile(16, 32_768, bytes(1000), 1)
    good = saved(noise(16, 16), "TIFF")
    for _ in range(3):
        with pytest.raises(DataError):
            read_image(content)
        assert read_image(good).shape == (16, 16, 3)


def test_ctrl_c_is_heard_while_the_other_process_decodes(monkeypatch):
    """And what it still sends is not taken for the next image."""
    monkeypatch.setattr(image_guard, "_pixels", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        read_image(saved(noise(30, 20), "TIFF"))
    monkeypatch.undo()
    assert read_image(saved(noise(16, 12), "TIFF")).shape == (12, 16, 3)


@pytest.mark.parametrize(("signal_number", "code"), [(27, "E373"), (11, "E374"), (9, "E374"), (6, "E374")])
def test_time_and_memory_have_their_own_words(monkeypatch, signal_number, code):
    def dies(process, *_):
        process.send_signal(signal_number)
        raise EOFError

    monkeypatch.setattr(image_guard, "_pixels", dies)
    with pytest.raises(DataError) as caught:
        read_image(saved(noise(16, 12), "TIFF"))
    assert caught.value.code == code


def test_a_process_that_does_not_answer_is_ended_by_the_clock(monkeypatch):
    monkeypatch.setattr(image_guard, "CLOCK_SECONDS", 0)
    with pytest.raises(DataError) as caught:
        read_image(saved(noise(16, 12), "TIFF"))
    assert caught.value.code == "E373"


def test_large_images_wait_for_one_another():
    inside, together, lock = 0, [], threading.Lock()
    entered = threading.Barrier(2, timeout=0.2)

    def decode():
        nonlocal inside
        with room_for(ROOM * 2 // 3):
            with lock:
                inside += 1
                together.append(inside)
            with contextlib.suppress(threading.BrokenBarrierError):
                entered.wait()
            with lock:
                inside -= 1

    threads = [threading.Thread(target=decode) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert together == [1, 1, 1]


def test_an_image_that_needs_more_than_there_is_is_read_alone():
    with room_for(10 * ROOM):
        pass
    with room_for(ROOM // 2), room_for(ROOM // 2):
        pass


@pytest.mark.parametrize(("scans", "refused"), [(1, False), (3, False), (4, False), (5, True), (60, True)])
def test_a_sequential_jpeg_has_a_scan_for_each_color_at_most(scans, refused):
    """The scans here are made up, so a decoder may refuse them for what they hold, but not for their number."""
    content = jpeg_repeating_scan(scans - 1, 64, 64)
    assert count_scans(content) == scans
    told = ""
    try:
        assert read_image(content).shape == (64, 64, 3)
    except DataError as error:
        told = error.what
    assert (told == f"image: a JPEG of {scans} scans, more than the limit of 4") == refused


def test_runs_of_fill_bytes_are_passed_over_in_one_go():
    for content in (
        b"\xff\xd8" + b"\xff" * 300_000,
        b"\xff" * 300_000 + b"\0" * 9,
        b"\xff\xda\0\2" + b"\xff" * 300_000,
    ):
        assert count_scans(content) <= 1


@pytest.mark.parametrize(
    ("block", "costly"),
    [
        (b"", False),
        (b"II*\0", False),
        (b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0", False),
        (costly_tags(60_000, 4000), True),
        (costly_tags(60_000, 3), False),
        (b"Exif\0\0" + costly_tags(60_000, 4000), True),
        (costly_tags(1_000_000, 40_000), True),
        (b"MM\0*" + b"\xff" * 100, False),
        (b"junk" * 100, False),
    ],
)
def test_tags_that_share_their_bytes_are_costly(block, costly):
    assert tags_are_costly(block) == costly


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("PNG", lambda: png(chunk(b"abCd", b"") * 1500)),
        ("PNG", lambda: png(behind=chunk(b"IDAT", b"") * 1500)),
        ("GIF", lambda: gif(b"!\xfe" + b"\x01a" * 1100 + b"\0")),
        ("GIF", lambda: gif(b"\x01" * 1100)),
        ("GIF", lambda: gif(b"!\xfe\x01a\0" * 600)),
        ("JPEG", lambda: saved(noise(9, 9), "JPEG")[:2] + b"\xff\xef\0\2" * 1100 + saved(noise(9, 9), "JPEG")[2:]),
        ("JPEG", lambda: saved(noise(9, 9), "JPEG")[:2] + b"\xff" * 1100 + saved(noise(9, 9), "JPEG")[2:]),
        ("JPEG", lambda: jpeg()[:-2] + b"\xff" * 5000 + b"\0\xff\xd9"),
        ("JPEG", lambda: jpeg(progressive=True)[:-2] + b"\xff" * 5000 + b"\0\xff\xd9"),
        ("JPEG", lambda: jpeg_of_refinements(64, 64, 17)),
        ("JPEG", lambda: jpeg_of_arithmetic_scans(64, 64, 5)),
        ("WEBP", lambda: riff((b"VP8L", webp_of_tables(64)))),
        ("WEBP", lambda: webp_extended(0, (b"abcd", b"x"))),
        ("WEBP", lambda: saved(faded(40, 30), "WEBP")),
        ("WEBP", lambda: saved(noise(40, 30), "WEBP", save_all=True, append_images=[noise(40, 30).rotate(180)])),
    ],
)
def test_odd_but_small_files_are_read_behind_the_guard(kind, content):
    made = content()
    assert needs_guard(kind, io.BytesIO(made), len(made))
    np.testing.assert_array_equal(read_image(made), alone(made))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("JPEG", lambda: jpeg()[:-2] + b"\xff" * 500 + b"\0\xff\xd9"),
        ("JPEG", lambda: jpeg_of_refinements(64, 64, 16)),
        ("JPEG", lambda: jpeg(progressive=True)),
        ("WEBP", lambda: saved(noise(40, 30), "WEBP")),
        ("WEBP", lambda: saved(noise(40, 30), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0", icc_profile=bytes(3000))),
    ],
)
def test_what_is_only_a_little_odd_is_read_without_another_process(kind, content):
    made = content()
    assert not needs_guard(kind, io.BytesIO(made), len(made))
    np.testing.assert_array_equal(read_image(made), alone(made))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
@pytest.mark.parametrize(("count", "unpacked"), [(3, 3), (40, 40), (64, 64), (65, 0), (300, 0)])
def test_texts_that_are_left_out_are_not_unpacked(monkeypatch, kind, count, unpacked):
    seen = []
    real = image_bytes._is_long
    monkeypatch.setattr(image_bytes, "_is_long", lambda *chunk: seen.append(chunk) or real(*chunk))
    packed = b"a\0\1\0\0\0" if kind == b"iTXt" else b"a\0\0"
    one = chunk(kind, packed + zlib.compress(bytes((1 << 20) - 100), 9))
    content = png(one * (count // 2), one * (count - count // 2))
    left = image_bytes.without_refused_chunks(io.BytesIO(content)).getvalue()
    assert (len(seen), left.count(kind)) == (unpacked, unpacked)
    assert read_image(content).shape == (16, 16, 3)


@pytest.mark.parametrize("side", [1, 16, 300])
@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}])
def test_the_size_of_a_webp_is_read_before_its_reader_reserves_it(side, options):
    content = saved(noise(side, 2 * side + 1), "WEBP", **options)
    assert image_bytes.webp_size(content[:30]) == (side, 2 * side + 1)
    assert image_bytes.webp_size(saved(noise(9, 9), "PNG")[:30]) == (0, 0)
    with pytest.raises(DataError) as caught:
        read_image(content, side * (2 * side + 1) - 1)
    assert caught.value.code == "E305" if side > 1 else True


@pytest.mark.parametrize("start_of_frame", [0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_every_arithmetic_coding_is_read_behind_the_guard(start_of_frame):
    made = jpeg_head(start_of_frame, 16, 16)
    assert needs_guard("JPEG", io.BytesIO(made), len(made))


def test_a_jpeg_beyond_the_limit_is_reduced_behind_the_guard_too():
    content = saved(noise(600, 400), "JPEG")
    odd = content[:2] + b"\xff" * 1100 + content[2:]
    assert needs_guard("JPEG", io.BytesIO(odd), len(odd))
    assert read_image(odd, 600 * 400).shape == (400, 600, 3)
    np.testing.assert_array_equal(read_image(odd, 100_000), read_image(content, 100_000))
    assert read_image(odd, 100_000).shape == (200, 300, 3)
    with pytest.raises(DataError, match="more than the limit of 200,000"):
        read_image(odd, 50_000)


@pytest.mark.parametrize("kind", ["eXIf", "zTXt"])
def test_costly_tags_of_a_png_say_nothing_about_its_rotation(kind):
    block = costly_tags(60_000, 4000)
    packed = zlib.compress(b"\nexif\n1\n" + block.hex().encode())
    extra = chunk(b"eXIf", block) if kind == "eXIf" else chunk(b"zTXt", b"Raw profile type exif\0\0" + packed)
    with Image.open(io.BytesIO(png(extra))) as image:
        assert orientation_of(image) == 1
    assert read_image(png(extra)).shape == (16, 16, 3)
