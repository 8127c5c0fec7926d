"""The limits that docs/serve.md names, in both languages, are those of the code."""

import re

import pytest

from alexnet.data import guarded_decoding, image_room
from alexnet.serving import app, json_body, server, tarball
from alexnet.serving.settings import SENT_PIXELS, Settings
from harness import ROOT

S = Settings()
AVIF = guarded_decoding.OF_VIDEO
LIMITS = (
    *(f"{S.body_bytes // 10**6} MB", f"{S.all_bodies_bytes // 10**6} MB", f"{S.connections:,}"),
    *(f"{S.queue}", f"{S.header_seconds:g} s", f"{S.body_seconds:g} s", f"{S.idle_seconds} s", f"{S.stop_seconds} s"),
    *(f"{server.CHUNK_LINES // 2}", f"{server.BYTES_PER_LINE * 2}", f"{server.SLOWEST_BYTES_PER_SECOND // 1000} kB/s"),
    *(f"{guarded_decoding.SECONDS:g} s", f"{guarded_decoding.SPARE_BYTES // 10**6} MB", f"{image_room.ROOM >> 30} GB"),
    *(f"{app.MOST_QUERY:,}", f"{json_body.MOST_VALUES:,}", f"{tarball.MAX_NAME:,}"),
)
MEGAPIXELS = (SENT_PIXELS // 10**6, 4 * SENT_PIXELS // 10**6, round(1e-6 / guarded_decoding.SECONDS_PER_PIXEL))


def table_of(page: str) -> str:
    text = (ROOT / "docs" / page).read_text()
    return next(part for part in re.split(r"^## ", text, flags=re.M) if "`ulimit -n`" in part)


@pytest.mark.parametrize("limit", LIMITS)
def test_both_pages_say_each_limit(limit):
    number, _, unit = limit.partition(" ")
    assert re.search(rf"(?<![\d,.]){re.escape(limit)}(?![\d,]*\d)", table_of("serve.md"))
    there = {"s": "秒", "": ""}.get(unit, unit)
    assert re.search(rf"(?<![\d,.]){re.escape(number)} ?{there}", table_of("serve.zh-CN.md"))


def test_both_pages_say_how_many_pixels():
    for pixels in MEGAPIXELS:
        assert re.search(rf"\b{pixels}\b", table_of("serve.md"))
        assert f"{100 * pixels:,} 万" in table_of("serve.zh-CN.md")
    assert round(1e-6 / AVIF) == 7
    assert "of AVIF and HEIC for 7;" in table_of("serve.md")
