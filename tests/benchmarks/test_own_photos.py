"""The table of own photos: figures by hand from made-up rows, and that of the README from those that were measured."""

import re

import numpy as np

from benchmarks import own_photos
from harness import ROOT


def row(who: str, seed: int, right: list[bool], minutes: float = 10, name: str = "cats", split: str = "val"):
    bits = np.array(right)
    return {
        "set": name,
        "who": who,
        "seed": seed,
        "minutes": minutes,
        "split": split,
        "images": len(right),
        "hits": int(bits.sum()),
        "right": own_photos.packed(bits),
        "processor_minutes": 0.96 * minutes + seed,
        "clock_minutes": 13.6,
    }


def test_the_bits_of_a_row_are_those_of_its_images():
    for count in (1, 7, 8, 9, 505):
        right = np.random.default_rng(count).random(count) < 0.5
        assert np.array_equal(own_photos.unpacked(row("ours", 0, right.tolist())), right)


def test_the_table_by_hand():
    rows = [
        row("ours", 0, [True] * 8 + [False] * 2),
        row("ours", 1, [True] * 6 + [False] * 4),
        row("cues", 0, [False] * 3 + [True] * 6 + [False], minutes=0),
        row("resnet18", 0, [True] * 5 + [False] * 5),
        row("ours", 0, [True] * 4, minutes=5, name="dogs", split="test"),
        row("default", 0, [True] * 3 + [False], minutes=0, name="dogs", split="test"),
        row("default", 1, [True] * 4, minutes=0, name="dogs", split="test") | {"clock_minutes": None},
    ]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in own_photos.table(rows).splitlines()]
    # 8 and 6 of 10; of the first seed three are ours only, one is the baseline's: McNemar 2 * (1 + 4) / 16.
    assert lines[2] == ["cats (10, val)", "-", "10; ours took 9.6 to 10.6", "70.0 ± 14.1 (2 seeds)",
                        "60.0 [31.3, 83.2]", "50.0 [23.7, 76.3]", "-", "3 : 1, p = 0.62"]  # fmt: skip
    assert lines[3] == [
        "dogs (4, test)",
        "87.5 ± 17.7 (2 seeds), 14 minutes",
        "5; ours took 4.8 to 4.8",
        "100.0 [51.0, 100.0]",
        "-",
        "-",
        "-",
        "-",
    ]


def test_a_page_gets_the_new_table_and_nothing_else_changes():
    page = "a\n\n| set | old |\n|---|---|\n| x | 1 |\n\nb | c\n"
    assert own_photos.with_table(page, "| set | new |\n|---|---|\n| y | 2 |") == (
        "a\n\n| set | new |\n|---|---|\n| y | 2 |\n\nb | c\n"
    )


def test_the_table_of_the_readme_is_that_of_the_rows():
    assert own_photos.table(own_photos.read_results()) in (ROOT / "README.md").read_text()


def test_the_table_of_the_chinese_readme_has_the_same_cells_in_chinese():
    english = own_photos.table(own_photos.read_results())
    chinese = own_photos.in_chinese(english)
    assert chinese in (ROOT / "README.zh-CN.md").read_text()
    assert not re.search(r"\b(seeds|minutes|took|ours|only|set|better)\b", chinese.replace("--minutes", ""))
    numbers = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?")
    assert list(map(numbers.findall, chinese.splitlines())) == list(map(numbers.findall, english.splitlines()))


def test_every_row_says_how_it_was_made():
    rows = own_photos.read_results()
    keys = [(each["set"], each["who"], each["seed"], each["minutes"]) for each in rows]
    assert len(set(keys)) == len(keys)
    for each in rows:
        assert each["command"].startswith(("python benchmarks/own_photos.py ", "alexnet train "))
        assert each["processor"]
        assert each["commit"]
        assert each["hits"] == own_photos.unpacked(each).sum()


def test_what_the_guide_says_of_the_default_follows_from_its_rows():
    rows = [row for row in own_photos.read_results() if row["who"] == "default" and row["set"] == "clothing"]
    assert [each["seed"] for each in rows] == [0, 1, 2]
    shares = [f"{100 * each['hits'] / each['images']:.1f}" for each in rows]
    mean = 100 * sum(each["hits"] for each in rows) / sum(each["images"] for each in rows)
    minutes = {round(each["clock_minutes"]) for each in rows if each["clock_minutes"]}
    told = " ".join((ROOT / "docs/own_photos.md").read_text().split())
    assert f"right on {mean:.1f} % of the 372 test images" in told
    assert f"{shares[0]}, {shares[1]} and {shares[2]} %" in told
    assert minutes == {14}
    assert "after 14 minutes on two cores of an AMD EPYC" in told
