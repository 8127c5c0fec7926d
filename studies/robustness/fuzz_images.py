"""Broken images by the thousand: the reader must give pixels or a DataError, and nothing else.

    python -m studies.robustness.fuzz_images [--formats PNG ...] [--mutations 2000] [--truncations 200] [--seed 0]

Every format starts from a handful of sound images of its kinds (progressive, interlaced, animated, 16 bits ...). Each
case is one of them cut off or changed in up to eight places, given to `read_image` and to `prepare_image`. A process of
its own reads them, so that a crash or a hang is one more result: it says what it is about to read before it does. A
case is a function of (seed, format, number); `case` makes it again.
"""

import argparse
import io
import random
import resource
import select
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from alexnet.data.images import prepare_image, read_image
from alexnet.errors import DataError
from harness.processor_time import family_seconds
from studies.robustness.recording import ROOT, record

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF")
SLOW_MS = 2000  # of processor time, which a busy machine does not make longer; more is a hang
GIVE_UP_SECONDS = 300  # on the clock, for a process that does nothing any more; then it is ended
INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@cache
def sound(kind: str) -> tuple[bytes, ...]:
    """Small images of one format that can all be read, of as many kinds as Pillow writes."""
    chooser = np.random.default_rng(0)
    smooth = Image.fromarray(chooser.integers(0, 256, (6, 8, 3), np.uint8)).resize((64, 48), Image.Resampling.BICUBIC)
    noise = Image.fromarray(chooser.integers(0, 256, (24, 40, 3), np.uint8))
    alpha = smooth.convert("RGBA")
    alpha.putalpha(smooth.convert("L"))
    deep = Image.fromarray(chooser.integers(0, 65536, (24, 40), np.uint16))
    number = Image.fromarray(chooser.normal(size=(24, 40)).astype(np.float32))
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a picture " * 20, zip=True)
    text.add_itxt("Title", "图 " * 20, zip=True)
    several = {"save_all": True, "append_images": [smooth.rotate(90), smooth.rotate(180)]}
    kinds: dict[str, list[tuple[Image.Image, dict[str, Any]]]] = {
        "JPEG": [
            (smooth, {}),
            (smooth, {"progressive": True, "exif": exif}),
            (noise, {"subsampling": 0, "quality": 95, "restart_marker_blocks": 2}),
            (smooth.convert("L"), {"icc_profile": b"profile" * 20}),
            (smooth.convert("CMYK"), {}),
        ],
        "PNG": [
            (smooth, {"pnginfo": text, "exif": exif}),
            (noise, {"icc_profile": b"profile" * 20}),
            (alpha, {}),
            (smooth.quantize(16), {"transparency": 3}),
            (deep, {}),
            (smooth.convert("1"), {}),
            (smooth, several),
        ],
        "GIF": [(smooth, {}), (noise, {"interlace": 0}), (smooth, several), (alpha, {"comment": "a picture"})],
        "WEBP": [
            (smooth, {"exif": exif}),
            (noise, {"lossless": True}),
            (alpha, {}),
            (alpha, {"lossless": True}),
            (smooth, several),
        ],
        "TIFF": [
            (smooth, {}),
            *((smooth, {"compression": each}) for each in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
            (smooth.convert("1"), {"compression": "group4"}),
            (smooth.convert("CMYK"), {"compression": "tiff_lzw"}),
            (alpha, {}),
            (deep, {}),
            (number, {}),
            (number, {"compression": "tiff_adobe_deflate"}),
            (smooth, several | {"exif": exif}),
        ],
        "BMP": [(smooth, {}), (smooth.quantize(16), {}), (smooth.convert("1"), {}), (alpha, {})],
        "PPM": [(smooth, {}), (smooth.convert("L"), {}), (deep, {}), (smooth.convert("1"), {}), (number, {})],
        "AVIF": [(smooth, {}), (alpha, {}), (smooth, several)],
    }
    contents = []
    for image, options in kinds[kind]:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        contents.append(buffer.getvalue())
    return tuple(contents)


def case(kind: str, number: int, truncations: int, seed: int) -> bytes:
    """The broken image of this number: the first `truncations` are cut off, the others are changed."""
    chooser = random.Random(f"{seed} {kind} {number}")
    content = chooser.choice(sound(kind))
    if number < truncations:
        return content[: chooser.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(chooser.choice((1, 1, 1, 2, 3, 5, 8))):
        _change(changed, kind, chooser)
    if kind == "PNG" and chooser.random() < 0.8:
        _repair_png(changed)
    return bytes(changed)


def _change(content: bytearray, kind: str, chooser: random.Random) -> None:
    """One change in place: of bits, bytes, numbers or pieces, half of them in the header."""
    place = chooser.randrange(max(1, min(len(content), 80) if chooser.random() < 0.5 else len(content)))
    length = chooser.choice((1, 2, 4, 16, 64))
    match chooser.randrange(7):
        case 0:
            content[place : place + 1] = bytes([chooser.randrange(256)])
        case 1:
            content[place : place + 1] = bytes([(content[place] if content else 0) ^ 1 << chooser.randrange(8)])
        case 2 | 3:
            code = chooser.choice(("<H", ">H", "<I", ">I"))
            value = chooser.choice((*INTERESTING, chooser.randrange(1 << 16), chooser.randrange(1 << 32)))
            size = struct.calcsize(code)
            content[place : place + size] = struct.pack(code, value % (1 << 8 * size))
        case 4:
            del content[place : place + length]
        case 5:
            content[place:place] = content[place : place + length] * chooser.choice((1, 3))
        case 6:
            other = chooser.choice(sound(kind))
            start = chooser.randrange(len(other))
            content[place : place + length] = other[start : start + length]


def _repair_png(content: bytearray) -> None:
    """Makes the checksums of the chunks right, without which hardly any change would get past them."""
    place = 8
    while place + 12 <= len(content):
        stop = place + 8 + int.from_bytes(content[place : place + 4])
        if stop + 4 > len(content):
            break
        content[stop : stop + 4] = struct.pack(">I", zlib.crc32(content[place + 4 : stop]))
        place = stop + 4


def read_them(kind: str, first: int, last: int, truncations: int, seed: int) -> None:
    """What the reading process does: for every case its number, then milliseconds, megabytes and outcome, on stdout.

    The milliseconds are of the processor, of this process and those that decode for it.
    """
    warnings.simplefilter("ignore")
    for content in sound(kind):
        read_image(content)
        prepare_image(content)
    start = _peak_mb()
    for number in range(first, last):
        print(number, end=" ", flush=True)
        content = case(kind, number, truncations, seed)
        outcomes, milliseconds = [], 0.0
        for read in (read_image, prepare_image):
            begin = family_seconds()
            try:
                read(content)
            except DataError:
                outcomes.append("DataError")
            except BaseException as error:
                outcomes.append(f"{type(error).__name__}: {error}".replace("\n", " "))
            else:
                outcomes.append("pixels")
            milliseconds = max(milliseconds, 1000 * (family_seconds() - begin))
        # The reduced decoding of a JPEG may step over what the full one trips over.
        worst = max(outcomes, key=lambda each: each not in ("pixels", "DataError"))
        print(f"{milliseconds:.3f} {_peak_mb() - start:.3f} {worst}", flush=True)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def outcomes(kind: str, mutations: int, truncations: int, seed: int) -> Iterator[tuple[int, float, float, str]]:
    """Of every case its number, milliseconds of processor time, peak memory growth in MB so far, and outcome."""
    number, total = 0, truncations + mutations
    while number < total:
        arguments = (kind, number, total, truncations, seed)
        command = [sys.executable, "-m", "studies.robustness.fuzz_images", "--read", *map(str, arguments)]
        # To a file: libtiff complains on stderr, and a pipe that nobody empties would stop the process.
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, bufsize=0) as process,
        ):
            assert process.stdout is not None
            text, hung = b"", False
            while True:
                if not select.select([process.stdout], [], [], GIVE_UP_SECONDS)[0]:
                    process.kill()
                    hung = True
                    break
                piece = process.stdout.read(1 << 16)
                if not piece:
                    break
                *lines, text = (text + piece).split(b"\n")
                for line in lines:
                    index, milliseconds, growth, outcome = line.decode().split(" ", 3)
                    slow = float(milliseconds) > SLOW_MS
                    yield int(index), float(milliseconds), float(growth), "hang" if slow else outcome
                    number = int(index) + 1
            code = process.wait()
            if number < total:
                if not text:
                    errors.seek(0)
                    raise RuntimeError(errors.read().decode())
                yield number, 0.0, 0.0, "hang" if hung else f"crash, exit code {code}"
                number += 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--truncations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "results/fuzz_images.json")
    parser.add_argument("--read", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read:
        read_them(asked.read[0], *map(int, asked.read[1:]))
        return
    Image.init()
    rows, wrong = [], []
    for kind in asked.formats:
        if kind not in Image.SAVE:
            print(f"{kind}: this Pillow does not write it")
            continue
        seen = list(outcomes(kind, asked.mutations, asked.truncations, asked.seed))
        counts = Counter(outcome for *_, outcome in seen)
        bad = [(number, outcome) for number, _, _, outcome in seen if outcome not in ("pixels", "DataError")]
        wrong += [{"format": kind, "number": number, "outcome": outcome} for number, outcome in bad]
        rows.append(
            {
                "format": kind,
                "cases": len(seen),
                "pixels": counts["pixels"],
                "DataError": counts["DataError"],
                "anything else": len(bad),
                "slowest ms": round(max(each[1] for each in seen), 1),
                "peak growth MB": round(max(each[2] for each in seen), 1),
            }
        )
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    settings = {name: getattr(asked, name) for name in ("mutations", "truncations", "seed")}
    record(asked.out, ("pillow", "numpy"), **settings, rows=rows, wrong=wrong)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
