"""Faults planted in copies of good images, of every kind that `alexnet doctor` looks for.

Every fault gets a good image of its own, so that no finding can be owed to another fault. `plant` returns what it
has planted: kind -> a list of what must be found, names as in `Samples.names`.
"""

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

Picture = Image.Image


def scene(rng: np.random.Generator, size: tuple[int, int] = (180, 150)) -> Picture:
    """A made-up image that no two seeds share: soft colors, hard shapes, grain."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((3, 60.0), (8, 40.0)):
        coarse = rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
        layers = [Image.fromarray(coarse[..., c]).resize(size, Image.Resampling.BICUBIC) for c in range(3)]
        pixels += weight * np.stack([np.asarray(layer) for layer in layers], -1)
    y, x = np.mgrid[:height, :width]
    for _ in range(12):
        cy, cx, ry, rx = rng.uniform(0, 1, 4) * (height, width, height / 4, width / 4)
        inside = ((y - cy) / (ry + 5)) ** 2 + ((x - cx) / (rx + 5)) ** 2 < 1
        pixels[inside] += rng.uniform(-70, 70, 3)
    pixels += rng.normal(0, 6, pixels.shape)
    return Image.fromarray(np.clip(pixels + 128, 0, 255).astype(np.uint8))


def jpeg(picture: Picture, quality: int = 90, **options: object) -> bytes:
    """The bytes of a JPEG."""
    buffer = io.BytesIO()
    picture.convert("RGB" if picture.mode != "CMYK" else "CMYK").save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def encoded(picture: Picture, kind: str, **options: object) -> bytes:
    """The bytes of a file of another format."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def scaled(picture: Picture, factor: float) -> Picture:
    """The image at another size."""
    return picture.resize([max(1, round(side * factor)) for side in picture.size], Image.Resampling.LANCZOS)


def brightness(picture: Picture, scale: float, shift: float = 0.0) -> Picture:
    """Gray levels times `scale` plus `shift`."""
    return picture.point([min(255, max(0, round(scale * v + shift))) for v in range(256)] * 3)


def strip(picture: Picture, aspect: int = 6) -> Picture:
    """The image side by side with itself, at least `aspect` times as wide as high."""
    width, height = picture.size
    times = -(-aspect * height // width)
    out = Image.new("RGB", (times * width, height))
    for n in range(times):
        out.paste(picture, (n * width, 0))
    return out


def blurred(picture: Picture, rng: np.random.Generator) -> Picture:
    """Out of focus by 2 to 4 % of the shorter side."""
    return picture.filter(ImageFilter.GaussianBlur(min(picture.size) * rng.uniform(0.02, 0.04)))


def cut(picture: Picture, share: float) -> Picture:
    """Without `share` of the sides on each edge."""
    width, height = picture.size
    dx, dy = round(width * share), round(height * share)
    return picture.crop((dx, dy, width - dx, height - dy))


def stamped(picture: Picture) -> Picture:
    """With a white bar over the lower tenth, as a caption covers it."""
    out = picture.copy()
    out.paste((255, 255, 255), (0, round(0.9 * picture.height), picture.width, picture.height))
    return out


Change = Callable[[Picture, np.random.Generator], bytes]

# What a copy may have gone through and must still be known.
COPIES: dict[str, Change] = {
    "recompressed": lambda p, rng: jpeg(p, int(rng.integers(30, 80))),
    "resized": lambda p, rng: jpeg(scaled(p, rng.uniform(0.4, 0.9)), 85),
    "mirrored": lambda p, rng: jpeg(ImageOps.mirror(p), 85),
}
# Beyond what is promised: reported by the study, not required.
HARD_COPIES: dict[str, Change] = {
    "cut by 2 % a side": lambda p, rng: jpeg(cut(p, 0.02)),
    "cut by 5 % a side": lambda p, rng: jpeg(cut(p, 0.05)),
    "20 levels brighter": lambda p, rng: jpeg(brightness(p, 1.0, 20.0)),
    "turned by 2 degrees": lambda p, rng: jpeg(p.rotate(2, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255))),
    "caption over a tenth": lambda p, rng: jpeg(stamped(p)),
    "grey": lambda p, rng: jpeg(p.convert("L")),
}
POOR: dict[str, Change] = {
    "very small": lambda p, rng: encoded(scaled(p, rng.uniform(16, 40) / max(p.size)), "PNG"),
    "dark": lambda p, rng: jpeg(brightness(p, rng.uniform(0.04, 0.12))),
    "bright": lambda p, rng: jpeg(brightness(p, 0.06, 238.0)),
    "blank": lambda p, rng: jpeg(Image.new("RGB", p.size, tuple(rng.integers(70, 200, 3).tolist()))),
    "blurred": lambda p, rng: jpeg(blurred(p, rng)),
    "extreme aspect": lambda p, rng: jpeg(strip(p)),
}
UNREADABLE: tuple[Change, ...] = (
    lambda p, rng: b"",
    lambda p, rng: jpeg(p)[: int(rng.integers(200, 2000))],
    lambda p, rng: b"<!doctype html><title>404 Not Found</title>",
    lambda p, rng: rng.bytes(5000),
    lambda p, rng: jpeg(p)[2:],
)


def exif_rotated(picture: Picture) -> bytes:
    """Lying on its side, with the tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(picture.transpose(Image.Transpose.ROTATE_90), exif=exif)


def transparent(picture: Picture) -> bytes:
    """A PNG whose corner cannot be seen."""
    out = picture.convert("RGBA")
    out.paste((0, 0, 0, 0), (0, 0, picture.width // 4, picture.height // 4))
    return encoded(out, "PNG")


def sixteen_bits(picture: Picture) -> bytes:
    """A gray PNG of 16 bits."""
    return encoded(Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257), "PNG")


# kind -> ending of the file, what makes its bytes
ODD: dict[str, tuple[str, Callable[[Picture], bytes]]] = {
    "wrong ending": (".jpg", lambda p: encoded(p, "PNG")),
    "CMYK": (".jpg", lambda p: jpeg(p.convert("CMYK"))),
    "transparent": (".png", transparent),
    "more than 8 bits": (".png", sixteen_bits),
    "rotated by EXIF": (".jpg", exif_rotated),
    "animated": (".gif", lambda p: encoded(p, "GIF", save_all=True, append_images=[ImageOps.mirror(p)])),
}


class Pool:
    """Good images of the planted set, each given away once.

    Args:
        root: the set, with train/CLASS and val/CLASS.
        rng: chooses.
    """

    def __init__(self, root: Path, rng: np.random.Generator):
        self.root = root
        files = sorted(path for path in (root / "train").rglob("*") if path.is_file())
        self.waiting: Iterator[Path] = iter([files[i] for i in rng.permutation(len(files)).tolist()])

    def next(self) -> tuple[Path, Picture]:
        """A file of train and its image."""
        path = next(self.waiting)
        return path, Image.open(path).convert("RGB")

    def name(self, path: Path) -> str:
        """As in `Samples.names`."""
        return path.relative_to(self.root).as_posix()


def other_class(path: Path, rng: np.random.Generator) -> Path:
    """The folder of another class in the same split."""
    others = sorted(each for each in path.parent.parent.iterdir() if each.is_dir() and each != path.parent)
    others = [each for each in others if not each.name.startswith((".", "few", "unseen", "empty"))]
    return others[int(rng.integers(len(others)))]


def plant(root: Path, count: int, seed: int) -> dict[str, list[tuple[str, ...]]]:
    """Plants `count` faults of each kind in the good set `root`, which has train/CLASS/* and val/CLASS/*.

    Returns:
        kind -> one tuple a fault: the names of the original and of its copy, of the image, or what the remark says.
    """
    rng = np.random.default_rng(seed)
    pool = Pool(root, rng)
    planted: dict[str, list[tuple[str, ...]]] = {}

    def put(kind: str, path: Path, content: bytes, *others: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        planted.setdefault(kind, []).append(tuple(pool.name(each) for each in (*others, path)))

    for n in range(count):
        for kind, change in COPIES.items():
            path, picture = pool.next()
            put(f"leak, {kind}", root / "val" / path.parent.name / f"leak-{kind}-{n}.jpg", change(picture, rng), path)
            path, picture = pool.next()
            put(f"conflict, {kind}", other_class(path, rng) / f"conflict-{kind}-{n}.jpg", change(picture, rng), path)
            path, picture = pool.next()
            put(f"copy, {kind}", path.with_name(f"copy-{kind}-{n}.jpg"), change(picture, rng), path)
        for kind, change in HARD_COPIES.items():
            path, picture = pool.next()
            put(f"hard copy, {kind}", path.with_name(f"hard-{kind.split()[0]}-{n}.jpg"), change(picture, rng), path)
        path, _ = pool.next()
        put("leak, same file", root / "val" / path.parent.name / f"leak-same-{n}{path.suffix}", path.read_bytes(), path)
        path, picture = pool.next()
        put("leak, same pixels", root / "val" / path.parent.name / f"leak-{n}.png", encoded(picture, "PNG"), path)
        path, _ = pool.next()
        put("conflict, same file", other_class(path, rng) / f"conflict-{n}{path.suffix}", path.read_bytes(), path)
        path, picture = pool.next()
        put("copy, same pixels", path.with_name(f"copy-pixels-{n}.png"), encoded(picture, "PNG"), path)
        path, _ = pool.next()
        put("copy, same file", path.with_name(f"copy-same-{n}{path.suffix}"), path.read_bytes(), path)
        path, picture = pool.next()
        put("unreadable", path.with_name(f"broken-{n}.jpg"), UNREADABLE[n % len(UNREADABLE)](picture, rng))
        for kind, change in POOR.items():
            path, picture = pool.next()
            path.unlink()  # the fault takes the place of its image: a copy of it would be a finding of its own
            put(kind, path.with_suffix(".png" if kind == "very small" else ".jpg"), change(picture, rng))
        for kind, (suffix, change_format) in ODD.items():
            path, picture = pool.next()
            path.unlink()
            put(kind, path.with_suffix(suffix), change_format(picture))
        _plant_places(root, n, pool, planted)
    return planted


def _plant_places(root: Path, n: int, pool: Pool, planted: dict[str, list[tuple[str, ...]]]) -> None:
    """Hidden and empty places, and classes that are empty, small, or absent from val."""
    kinds = (".ipynb_checkpoints", "__MACOSX", ".DS_Store", "Thumbs.db")
    name = kinds[n % len(kinds)]
    path, _ = pool.next()
    place = path.parent
    deep = place / f"part-{n}"
    deep.mkdir()
    shutil.move(path, deep / path.name)  # a folder in a class is not empty, and its images count
    if name in kinds[:2]:
        (deep / name).mkdir()
        (deep / name / "hidden.jpg").write_bytes(b"not looked at")
    else:
        (deep / name).write_bytes(b"\0")
    suffix = "/" if name in kinds[:2] else ""
    planted.setdefault("hidden", []).append((f"{pool.name(deep)}/{name}{suffix} is hidden: not used",))
    (place / f"nothing-{n}").mkdir()
    planted.setdefault("empty folder", []).append((f"{pool.name(place)}/nothing-{n}/ is empty",))
    (root / "train" / f"empty-{n}").mkdir()
    planted.setdefault("empty class", []).append((f"empty-{n} has no image in train",))
    for kind, train, val in (("few", 1, 1), ("unseen", 2, 0)):
        for split, many in (("train", train), ("val", val)):
            for _ in range(many):
                path, _ = pool.next()
                folder = root / split / f"{kind}-{n}"
                folder.mkdir(exist_ok=True)
                shutil.move(path, folder / path.name)
    planted.setdefault("few pictures", []).append((f"few-{n} has only 1 image in train",))
    planted["empty folder"].append((f"train/empty-{n}/ is empty",))
    planted.setdefault("missing in val", []).append((f"unseen-{n} has only 2 images in train, and none in val",))


def missed(planted: dict[str, list[tuple[str, ...]]], record: dict) -> dict[str, list[tuple[str, ...]]]:
    """Kind -> the planted faults that a record of the doctor (doctor.json) does not have."""
    groups = [({each["name"] for each in group["images"]}, group) for group in record["copies"]]
    flat = {(each["kind"], each["name"]) for part in ("unreadable", "poor", "formats") for each in record[part]}
    said = {*record["hidden_or_empty"], *record["class_remarks"]}

    def found(kind: str, fault: tuple[str, ...]) -> bool:
        if len(fault) == 2:
            flag = {"leak": "leak", "conflict": "conflict"}.get(kind.partition(",")[0])
            return any(set(fault) <= names and (flag is None or group[flag]) for names, group in groups)
        return (kind, fault[0]) in flat or fault[0] in said

    return {kind: [fault for fault in faults if not found(kind, fault)] for kind, faults in planted.items()}


def surplus(planted: dict[str, list[tuple[str, ...]]], record: dict) -> dict[str, list[str]]:
    """Kind -> what a record has that nobody planted, as names or sentences."""
    pairs = [set(fault) for faults in planted.values() for fault in faults if len(fault) == 2]
    single = {(kind, fault[0]) for kind, faults in planted.items() for fault in faults if len(fault) == 1}
    texts = {text for _, text in single}
    out: dict[str, list[str]] = {}
    for group in record["copies"]:
        names = {each["name"] for each in group["images"]}
        rest = [pair for pair in pairs if pair <= names]
        if names != set().union(*rest):
            out.setdefault("copies", []).append(" = ".join(sorted(names)))
    for part in ("unreadable", "poor", "formats"):
        for each in record[part]:
            if (each["kind"], each["name"]) not in single:
                out.setdefault(each["kind"], []).append(f"{each['name']}: {each['detail']}")
    for part in ("hidden_or_empty", "class_remarks"):
        extra = [text for text in record[part] if text not in texts]
        if extra:
            out[part] = extra
    return out
