"""The table of the speed benchmarks, from made-up results."""

import json

from benchmarks import results_table
from harness import ROOT

MACHINE = {"cpu": "Abacus 7", "threads": 2, "torch": "9.9", "commit": "abc1234"}


def cells(text: str) -> list[list[str]]:
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_every_comparison_is_a_row_that_says_whether_the_target_was_met(tmp_path):
    rows = [
        {"what": "prediction, batch 1", "against": "plain", "ratio": 1.4, "target": 1.5},
        {"what": "prediction, batch 1", "against": "onnxruntime", "ratio": 1.0, "target": 1.0},
        {"what": "help", "against": "", "seconds": 0.2, "ratio": "", "at most": 0.3},
        {"what": "cold", "against": "bare", "seconds": 3.0, "ratio": 1.5, "at most": 1.2},
        {"what": "free", "against": "ours", "ratio": 2.0, "target": None},
        {"what": "nothing measured", "against": "plain"},
    ]
    (tmp_path / "made_up.json").write_text(json.dumps({"machine": MACHINE, "rows": rows}))
    (tmp_path / "photos.json").write_text(json.dumps({"runs": [{"name": "no speeds here"}]}))
    results_table.main(tmp_path, tmp_path / "out.md")
    text = (tmp_path / "out.md").read_text()
    assert cells(text)[2:] == [
        ["prediction, batch 1", "plain", ">= 1.5x", "1.40x", "no"],
        ["prediction, batch 1", "onnxruntime", ">= 1x", "1.00x", "yes"],
        ["help", "", "<= 0.3 s", "0.20 s", "yes"],
        ["cold", "bare", "<= 1.2x", "1.50x", "no"],
        ["free", "ours", "", "2.00x", ""],
    ]
    assert "cpu Abacus 7; threads 2; torch 9.9; commit abc1234" in text
    assert "benchmarks/photos" not in text


def test_rows_of_the_other_benchmarks_are_understood():
    kernels = [{"case": "LRN (32, 96)", "pass": "forward", "plain ms": 75.0, "ours ms": 6.5, "ratio": 11.6}]
    step = [{"what": "training", "batch": 128, "variant": "plain", "ms": 9.0, "ours is faster by": 2.5}]
    text = results_table.table({"kernels": {"machine": {}, "rows": kernels}, "step": {"machine": {}, "rows": step}})
    assert cells(text)[2] == ["LRN (32, 96), forward", "plain", "", "11.60x", ""]
    assert cells(text)[5] == ["training, batch 128", "plain", "", "2.50x", ""]


def test_the_committed_table_is_that_of_the_committed_results(tmp_path):
    folder = ROOT / "benchmarks"
    results_table.main(folder / "results", tmp_path / "out.md")
    assert (folder / "RESULTS.md").read_text() == (tmp_path / "out.md").read_text()


def test_results_of_a_card_name_their_command_the_card_and_its_limits():
    machine = {**MACHINE, "card": "H100", "driver": "580.1", "limits": "copy 3 TB/s", "cuda": None}
    rows = [{"what": "train 128: ours bfloat16", "against": "plain float32", "ratio": 6.5, "target": 6.0, "batch": 128}]
    rows.append({"what": "train 128: compiled", "failed": "OutOfMemoryError"})
    text = results_table.table({"gpu_speed": {"machine": machine, "rows": rows}})
    assert "## `python -m studies.gpu speed`" in text
    assert "card H100; driver 580.1; limits copy 3 TB/s; cpu Abacus 7" in text
    assert cells(text)[2:] == [["train 128: ours bfloat16", "plain float32", ">= 6x", "6.50x", "yes"]]
