"""The report: its numbers against answers found another way, and the page as a browser has to take it."""

import base64
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet.errors import DataError
from alexnet.evaluation.evaluate import confused_pairs, examples_of, worst_mistakes
from alexnet.evaluation.intervals import wilson_interval
from alexnet.report.figures import curves, filter_grid
from alexnet.report.html import duration
from alexnet.report.run_report import write_report
from alexnet.report.sections import headline
from alexnet.runs.metrics import best_epoch, read_epochs


@dataclass(frozen=True)
class Answers:
    """An evaluation made by hand; its figures are worked out apart from the code under test."""

    class_names: tuple[str, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    split: str = "val"
    views: int = 1

    @property
    def count(self) -> int:
        return len(self.labels)

    @property
    def top1_error(self) -> float:
        return sum(int(p.argmax() != k) for p, k in zip(self.probabilities, self.labels, strict=True)) / self.count

    @property
    def top5_error(self) -> float:
        ranked = np.argsort(-self.probabilities, 1)[:, :5].tolist()
        return sum(k not in five for five, k in zip(ranked, self.labels.tolist(), strict=True)) / self.count

    @property
    def log_loss(self) -> float:
        return -sum(math.log(p[k]) for p, k in zip(self.probabilities, self.labels, strict=True)) / self.count

    @property
    def confusion(self) -> np.ndarray:
        matrix = np.zeros((len(self.class_names), len(self.class_names)), np.int64)
        for p, k in zip(self.probabilities, self.labels, strict=True):
            matrix[k, p.argmax()] += 1
        return matrix


def answers(confusion: list[list[int]], names: tuple[str, ...] = ()) -> Answers:
    """An evaluation that has this confusion matrix; every answer is given with 0.6."""
    classes = len(confusion)
    cells = [(t, p) for t in range(classes) for p in range(classes) for _ in range(confusion[t][p])]
    probabilities = np.full((len(cells), classes), 0.4 / max(1, classes - 1), np.float32)
    for row, (_, predicted) in enumerate(cells):
        probabilities[row, predicted] = 0.6
    labels = np.array([true for true, _ in cells], np.int64)
    return Answers(
        names or tuple(f"class-{i:04d}" for i in range(classes)),
        tuple(f"image-{i:04d}.jpg" for i in range(len(cells))),
        labels,
        probabilities,
    )


def gray_images(size: int = 80) -> Callable[[np.ndarray], np.ndarray]:
    """Images of one gray level each: the index."""
    return lambda indices: np.stack([np.full((size, size, 3), i % 256, np.uint8) for i in indices])


def epoch(number: int, **values: float) -> dict[str, Any]:
    row = {"kind": "epoch", "epoch": number, "step": 10 * number, "crop_size": 96, "lr": 0.01}
    return row | {"train_loss": 2 / number, "train_top1_error": 0.9 / number} | values


def make_run(folder: Path, rows: list[dict[str, Any]], tail: str = "", **recipe: object) -> Path:
    (folder / "recipe.json").write_text(json.dumps({"name": "hand-made", "model": {"towers": 1}} | recipe))
    (folder / "environment.json").write_text(json.dumps({"torch": "2.10.0", "command": "alexnet train 'my photos'"}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return folder


CONV1 = np.random.default_rng(0).normal(size=(8, 3, 5, 5)).astype(np.float32)
THREE = [[5, 3, 0], [1, 8, 0], [0, 4, 2]]


class Balance(HTMLParser):
    """Collects the text of the page and insists that every element is closed in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"<{tag}> has an attribute twice"
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def parse(path: Path) -> Balance:
    page = Balance()
    page.feed(path.read_text("utf-8"))
    page.close()
    assert page.open == []
    return page


def embedded(page: Balance, alt: str) -> list[np.ndarray]:
    """The images inside the page whose alternative text contains `alt`, decoded."""
    sources = [a["src"] or "" for tag, a in page.seen if tag == "img" and alt in (a["alt"] or "")]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))) for source in sources]


def test_wilson_interval_against_published_values() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81/263, 15/148, 0/20 and 1/29.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson_interval(20, 20) == pytest.approx((1 - 0.1611, 1.0), abs=5e-5)


def test_confused_pairs_are_counted_off_the_diagonal() -> None:
    assert confused_pairs(np.array(THREE), 10) == [(2, 1, 4), (0, 1, 3), (1, 0, 1)]
    assert confused_pairs(np.array(THREE), 2) == [(2, 1, 4), (0, 1, 3)]
    assert confused_pairs(np.diag([3, 4]), 10) == []


def test_worst_mistakes_are_the_most_confident_wrong_answers() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.3, 0.6, 0.1], [0.8, 0.2, 0.0], [0.8, 0.05, 0.15], [0.8, 0.2, 0.0]])
    labels = np.array([0, 0, 1, 1, 1])
    # 0 is right. 2, 3 and 4 answer with 0.8; of these 3 believes least in its class, and 2 comes before 4.
    assert worst_mistakes(labels, probabilities, 25).tolist() == [3, 2, 4, 1]
    assert worst_mistakes(labels, probabilities, 2).tolist() == [3, 2]
    assert worst_mistakes(labels[:1], probabilities[:1], 25).tolist() == []


def test_examples_of_a_pair() -> None:
    probabilities = np.array([[0.3, 0.7], [0.1, 0.9], [0.8, 0.2], [0.2, 0.8], [0.4, 0.6], [0.0, 1.0]], np.float32)
    shown = Answers(("a", "b"), tuple("012345"), np.array([0, 0, 0, 0, 0, 1]), probabilities)
    assert examples_of(shown, 0, 1).tolist() == [1, 3, 0]
    assert examples_of(shown, 1, 0).tolist() == []


def test_epochs_of_a_run_that_was_torn_and_resumed(tmp_path: Path) -> None:
    rows = [epoch(1), epoch(2, val_loss=9.0), {"kind": "step", "epoch": 7}, epoch(2, val_loss=1.0), epoch(3)]
    path = make_run(tmp_path, rows, tail='{"kind": "epoch", "epoch": 4, "tr') / "metrics.jsonl"
    epochs, unreadable = read_epochs(path)
    assert [row["epoch"] for row in epochs] == [1, 2, 3]
    assert epochs[1]["val_loss"] == 1.0  # what the resumed run says
    assert unreadable == 1
    assert read_epochs(tmp_path / "absent.jsonl") == ([], 0)
    path.write_bytes(b'{"kind": "epoch", "epoch": 1}\n{"name": "\xe5\xb8')  # torn inside a Chinese character
    assert read_epochs(path) == ([{"kind": "epoch", "epoch": 1}], 1)


def test_best_epoch() -> None:
    rows = [
        epoch(1, val_top1_error=0.3, val_loss=1.0),
        epoch(2, val_top1_error=0.2, val_loss=1.2),
        epoch(3),
        epoch(4, val_top1_error=math.nan, val_loss=0.1),
        epoch(5, val_top1_error=0.2, val_loss=1.1),
    ]
    assert best_epoch(rows) == 5
    assert best_epoch(rows[:3]) == 2
    assert best_epoch([epoch(1)]) is None


def test_the_report_says_by_which_error_the_best_epoch_is_chosen(tmp_path: Path) -> None:
    rows = [epoch(n, val_top1_error=0.1 * n, val_loss=1.0, val_balanced_error=1 - 0.1 * n) for n in (1, 2, 3)]
    source = write_report(make_run(tmp_path, rows), [answers(THREE)], gray_images(), CONV1).read_text()
    assert "Best epoch: 3, with the lowest validation error on average over the classes." in source


def path_points(svg: str, gid: str) -> tuple[int, int]:
    """Points and strokes of the line that was drawn under this id."""
    drawn = re.search(rf'<g id="{gid}">\s*<path d="([^"]*)"', svg)
    assert drawn is not None
    return len(re.findall("[ML]", drawn[1])), drawn[1].count("M")


def test_every_epoch_is_a_point_of_its_curve() -> None:
    rows = [epoch(n) | ({"val_loss": 1.5 / n, "val_top1_error": 0.5} if n % 4 == 0 else {}) for n in range(1, 201)]
    loss, error, schedule = curves(rows, best=200)
    assert path_points(loss, "train_loss") == (200, 1)
    assert path_points(loss, "val_loss") == (50, 1)  # epochs without validation are bridged
    assert path_points(error, "train_top1_error") == (200, 1)
    assert "best epoch, 200" in loss
    assert "crop size" in schedule
    rows[99]["train_loss"] = math.nan  # a value that is not finite is a gap
    assert path_points(curves(rows, None)[0], "train_loss") == (199, 2)


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_curves_of_nothing_finite(value: float) -> None:
    figures = curves([epoch(1, train_loss=value, lr=value, val_loss=value, crop_size=value)], None)
    assert all(figure.startswith("<svg") and figure.rstrip().endswith("</svg>") for figure in figures)


def decoded_grid(html: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(html.partition("base64,")[2].partition('"')[0]))))


def test_filter_grid_places_and_scales() -> None:
    filters = np.zeros((6, 1, 2, 3), np.float32)
    filters[0, 0, 0, 0], filters[5, 0, 1, 2] = -2, 2
    limits = np.tile(np.float32([-2, 2]), (6, 1))
    grid = decoded_grid(filter_grid(filters, limits, ""))
    assert grid.shape == (2, 6 * 4 - 1, 4)  # six in a row, three pixels each and one between
    assert grid[0, 0].tolist() == [0, 0, 0, 255]  # the smallest weight
    assert grid[1, 22].tolist() == [255, 255, 255, 255]  # the largest, in the last corner
    assert grid[0, 4].tolist() == [128, 128, 128, 255]
    assert not grid[:, 3::4, 3].any()  # nothing drawn between filters
    with pytest.raises(ValueError, match="4 channels"):
        filter_grid(np.zeros((2, 4, 3, 3)), limits[:2], "")


def test_page_is_whole_and_alone(tmp_path: Path) -> None:
    rows = [epoch(n, val_loss=1 / n, val_top1_error=0.4 / n, seconds=60.0 * n) for n in (1, 2, 3)]
    path = write_report(make_run(tmp_path, rows), [answers(THREE)], gray_images(), CONV1)
    assert path == tmp_path / "report.html"
    page, source = parse(path), path.read_text()
    assert re.search(r"https?:", source) is None
    for tag, attributes in page.seen:
        assert tag not in ("link", "iframe", "object", "base", "form")
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/")), (tag, attributes)
    assert "@import" not in source
    assert all("url(#" in match for match in re.findall(r"url\(.", source))
    ids = [attributes["id"] for _, attributes in page.seen if "id" in attributes]
    shared = {name for name in ids if ids.count(name) > 1}
    assert not any(re.fullmatch(r"[a-z_0-9.]*_\d+", name or "") for name in ids)
    # matplotlib names a marker or clip by what it is: where figures share a name they share the shape.
    assert all(len(set(re.findall(rf'id="{name}"[^>]*?d="([^"]*)"', source))) <= 1 for name in shared)
    assert ("html", {"lang": "en"}) in page.seen
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "environment.json",
        "metrics.jsonl",
        "recipe.json",
        "report.html",
    ]
    text = "".join(page.text)
    assert "65.2\xa0%" in text  # 15 of 23 are right
    assert "3 min 0 s" in text  # the last row counts from the start
    assert "alexnet train 'my photos'" in text


def test_data_of_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, [])
    (run / "data.json").write_text(json.dumps({"source": "my photos", "fingerprint": "f00d"}))
    text = parse(write_report(run, [answers(THREE)], gray_images(), CONV1)).text
    assert text[text.index("Data") + 1] == "my photos"  # at the head of the page
    assert text[text.index("fingerprint") + 1] == "f00d"  # and in full at its end


def test_same_run_same_bytes(tmp_path: Path) -> None:
    run = make_run(tmp_path, [epoch(n) for n in (1, 2)])
    first = write_report(run, [answers(THREE)], gray_images(), CONV1).read_bytes()
    assert write_report(run, [answers(THREE)], gray_images(), CONV1).read_bytes() == first


def test_names_are_text(tmp_path: Path) -> None:
    names = ("<b>&", "猫 '\"", "</script><script>alert(1)</script>")
    evaluation = replace(answers(THREE, names), split="<i>val", names=tuple(f'{i}" onload=x <img>' for i in range(23)))
    run = make_run(tmp_path, [epoch(1)], name="<u>👕", note={"<k>": "</td>"})
    page = parse(write_report(run, [evaluation], gray_images(), CONV1))
    assert {"i", "u", "k"}.isdisjoint(tag for tag, attributes in page.seen if not attributes)
    assert sum(tag == "b" for tag, _ in page.seen) == 2  # the two large numbers
    assert sum(tag == "script" for tag, _ in page.seen) == 1
    assert not any("onload" in attributes for _, attributes in page.seen)
    for text in ("<b>&", "猫 '\"", "<i>val", "<u>👕", "<k>", "</td>", '5" onload=x <img>'):
        assert text in page.text, text


def test_file_names_that_are_no_text(tmp_path: Path) -> None:
    evaluation = replace(answers(THREE), names=tuple(f"caf\udce9{i}.jpg" for i in range(23)))
    assert "caf\\udce9" in write_report(make_run(tmp_path, []), [evaluation], gray_images(), CONV1).read_text()


def test_images_shown_are_those_of_the_mistakes(tmp_path: Path) -> None:
    requested: list[list[int]] = []

    def images(indices: np.ndarray) -> np.ndarray:
        requested.append(indices.tolist())
        return gray_images(80)(indices)

    page = parse(write_report(make_run(tmp_path, []), [answers(THREE)], images, CONV1))
    wrong = [5, 6, 7, 8, 17, 18, 19, 20]  # by hand from THREE, its rows written one after another
    assert requested == [wrong]
    for index in range(23):
        shown = embedded(page, f"image-{index:04d}")
        assert bool(shown) == (index in wrong)
        assert all(abs(int(pixels.mean()) - index) <= 2 for pixels in shown)  # JPEG may be off by a level or two


def test_true_class_outside_the_five_is_shown_with_its_rank(tmp_path: Path) -> None:
    probabilities = np.array([[0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05]], np.float32)
    evaluation = Answers(tuple("abcdefg"), ("x.jpg",), np.array([6]), probabilities)
    page = parse(write_report(make_run(tmp_path, []), [evaluation], gray_images(), CONV1))
    bars = [
        attributes
        for tag, attributes in page.seen
        if tag == "div" and (attributes.get("class") or "").startswith("bar")
    ]
    shown = [(bar["class"], bar["style"]) for bar in bars if "interval" not in (bar["class"] or "")]
    assert [style for _, style in shown] == [f"--w:{w:.1f}%" for w in (30, 20, 15, 12, 10, 5)]
    assert [kind for kind, _ in shown][-1] == "bar true below"
    assert "7. " in "".join(page.text)


def test_towers_are_labelled(tmp_path: Path) -> None:
    conv1 = np.zeros((96, 3, 11, 11), np.float32)
    conv1[48:] = 1  # the second tower is all white on the scale of both
    run = make_run(tmp_path, [], model={"towers": 2})
    page = parse(write_report(run, [answers(THREE)], gray_images(), conv1))
    upper, lower = embedded(page, "Tower 1")[0], embedded(page, "Tower 2")[0]
    assert upper.shape == lower.shape == (3 * 12 - 1, 16 * 12 - 1, 4)
    assert upper[..., 0].max() == 0
    assert lower[..., 0][lower[..., 3] > 0].min() == 255
    assert "The 96 filters of conv1" in "".join(page.text)


def test_two_classes_of_which_one_is_ever_answered(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path, []), [answers([[4, 0], [6, 0]])], gray_images(28), CONV1[:, :1])
    text = "".join(parse(path).text)
    assert "n/a" in text  # top-5 error of two classes, precision of a class never answered
    assert "No epoch was finished" in text
    assert "image/jpeg" not in path.read_text()  # small images keep their pixels


def test_no_mistakes(tmp_path: Path) -> None:
    def images(indices: np.ndarray) -> np.ndarray:
        raise AssertionError("no image is needed")

    page = parse(write_report(make_run(tmp_path, [epoch(1)]), [answers([[3, 0], [0, 3]])], images, CONV1))
    assert "None: no wrong answer for 6 images." in page.text


def test_a_thousand_classes(tmp_path: Path) -> None:
    confusion = (3 * np.eye(1000, dtype=int) + 2 * np.roll(np.eye(1000, dtype=int), 1, 1)).tolist()
    confusion[7][9], confusion[0][0], confusion[0][1] = 5, 5, 0
    path = write_report(make_run(tmp_path, []), [answers(confusion)], gray_images(), CONV1)
    page = parse(path)
    assert path.stat().st_size < 3_000_000
    assert not any(attributes.get("class") == "heat" for _, attributes in page.seen)
    text = "|".join(page.text)
    assert "2,003 mistakes over 1,000 pairs of classes" in text
    assert "60–70\xa0%|998" in text  # 3 of 5, which as a float is just below 0.6; 7 has 3 of 10, 0 has 5 of 5
    assert "30–40\xa0%|1|" in text
    assert "90–100\xa0%|1" in text


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    rows = [epoch(1, seconds=math.nan, images_per_second=math.inf), epoch(2, train_loss=math.nan, val_loss=math.nan)]
    evaluation = answers(THREE)
    conv1 = CONV1.copy()
    conv1[0, 0, 0, 0] = math.nan
    text = "".join(parse(write_report(make_run(tmp_path, rows), [evaluation], gray_images(), conv1)).text)
    assert "1 weight not finite" in text
    assert "gap in a curve" in text
    assert "nan" not in text.lower()


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"recipe\.json is missing") as caught:
        write_report(tmp_path, [answers(THREE)], gray_images(), CONV1)
    assert "alexnet train" in caught.value.fix
    make_run(tmp_path, [])
    (tmp_path / "recipe.json").write_text("[1]")
    with pytest.raises(DataError, match="contains a list"):
        write_report(tmp_path, [answers(THREE)], gray_images(), CONV1)
    with pytest.raises(ValueError, match="at least one evaluation"):
        write_report(tmp_path, [], gray_images(), CONV1)


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, [])
    (run / "report.html").write_text("old")

    def refuse(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("alexnet.storage.files.os.replace", refuse)
    with pytest.raises(Exception, match="no space left") as caught:
        write_report(run, [answers(THREE)], gray_images(), CONV1)
    assert getattr(caught.value, "exit_code", 0) == 5
    assert (run / "report.html").read_text() == "old"
    assert not list(run.glob(".*tmp"))


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.34, "12.3 s"), (59.9, "1 min 0 s"), (3600, "1 h 0 min"), (7325, "2 h 2 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"device": "cpu", "card": None, "precision": "float32"}, "cpu"),
        ({"device": "cpu", "card": None, "precision": "bfloat16"}, "cpu, bfloat16"),
        ({"device": "mps", "card": None, "precision": "float32"}, "mps"),
        ({"device": "cuda", "card": "NVIDIA H100", "precision": "tf32"}, "cuda (NVIDIA H100), tf32"),
        ({"device": "cuda", "card": "Card <x>", "precision": "float32"}, "cuda (Card &lt;x&gt;), float32"),
        ({"device": "cuda"}, "cuda"),
        ({}, None),
    ],
)
def test_the_result_names_the_device(environment, line):
    answers = Answers(("a", "b"), ("1", "2"), np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    page = headline([answers], [], environment)
    assert re.findall(r"<dt>Device</dt><dd>(.*?)</dd>", page) == ([] if line is None else [line])
