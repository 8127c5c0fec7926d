"""HEIC images: read where pillow-heif is installed, and told by their content where it is not."""

import numpy as np
import pytest
from PIL import Image

from alexnet.data import image_files
from alexnet.data.image_files import NO_HEIF
from alexnet.data.images import prepare_image, read_image
from alexnet.data.sources import open_source
from alexnet.errors import DataError
from harness.image_files import saved

BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"hevc", b"heim", b"heis")


@pytest.mark.parametrize("brand", BRANDS)
def test_without_pillow_heif_the_message_says_just_that(brand, monkeypatch):
    monkeypatch.setattr(image_files, "heif_reader", lambda: None)
    with pytest.raises(DataError) as caught:
        read_image(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(500))
    assert caught.value.what == f"image: {NO_HEIF}"
    assert caught.value.code == "E304"
    assert "alexnet[heif]" in caught.value.what


def test_avif_is_not_taken_for_heic(monkeypatch):
    monkeypatch.setattr(image_files, "heif_reader", lambda: pytest.fail("asked for HEIC"))
    gray = saved(Image.new("RGB", (20, 10), (90, 90, 90)), "AVIF", quality=90)
    renamed = gray.replace(b"ftypavif", b"ftypmif1", 1)
    for content in (gray, renamed):
        assert np.abs(read_image(content).astype(int) - 90).max() <= 4


def test_heic_is_read_upright():
    pillow_heif = pytest.importorskip("pillow_heif")
    image = Image.new("RGB", (64, 32), (200, 100, 50))
    image.paste((0, 0, 0), (0, 0, 32, 32))
    content = bytes(_heic(pillow_heif, image))
    pixels = read_image(content)
    assert pixels.shape == (32, 64, 3)
    assert np.abs(pixels[:, 40:].astype(int) - (200, 100, 50)).max() <= 12
    assert prepare_image(content, 16).shape == (16, 16, 3)
    with pytest.raises(DataError, match="more than the limit of 100"):
        read_image(content, max_pixels=100)
    with pytest.raises(DataError, match="cannot be read"):
        read_image(content[:200])


def _heic(pillow_heif, image: Image.Image) -> bytes:
    import io

    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=90)
    return buffer.getvalue()


def test_files_that_are_not_used_for_want_of_pillow_heif_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr("alexnet.data.folders.EXTENSIONS", (".png",))
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.new("RGB", (4, 4)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "cat/IMG_0001.HEIC").write_bytes(b"x")
    assert any("1 .heic (pip install 'alexnet[heif]' reads them)" in note for note in open_source(tmp_path).notes)
