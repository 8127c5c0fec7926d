"""The README says what is there: its modules, verbs, Python and figures are checked against the project itself."""

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

import alexnet as package
from alexnet.cli.main import app
from alexnet.evaluation.out_of_distribution import NONE_OF_THESE
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import override
from harness import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_every_module_stands_in_the_table_of_packages():
    table = README.partition("## The packages are the pipeline")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)(?:\.py)?`", table))
    files = [path for path in Path(package.__file__).parent.rglob("*.py") if "course" not in path.parts]
    modules = {path.stem for path in files if not path.stem.startswith("__")}
    assert modules == named & modules


def test_every_verb_in_it_exists_and_every_verb_there_is_stands_in_it():
    assert set(re.findall(r"^alexnet (\w+)", "\n".join(blocks("bash")), re.MULTILINE)) <= set(app)
    assert {name for name in app if not name.startswith("-")} <= set(re.findall(r"alexnet (\w+)", README))


def test_its_python_runs_and_answers_as_the_command_does(tmp_path, monkeypatch, capsys, alexnet):
    (code,) = blocks("python")
    Image.fromarray(np.full((30, 40, 3), (200, 30, 30), np.uint8)).save(tmp_path / "seven.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RECIPES, "demo", override(RECIPES["demo"], ["model.width=0.05", "evaluate_every=1"]))
    package.train("digits", recipe="demo", epochs=1, out="runs/demo/alexnet", device="cpu")
    exec(compile(code, "README.md", "exec"), {})
    answer, error, run, parameters = capsys.readouterr().out.splitlines()
    typed = json.loads(alexnet("predict", "runs/demo/alexnet", "seven.png", "--k", 3, "--format", "json").out)
    unlike = f"{NONE_OF_THESE}: " if typed["none_of_these"] else ""
    assert answer == f"seven.png: {unlike}" + ", ".join(
        f"{each['class']} {100 * each['probability']:.1f} %" for each in typed["top"]
    )
    measured = json.loads(alexnet("evaluate", "runs/demo/alexnet", "--split", "test", "--format", "json").out)
    assert error == f"top-1 error on test: {measured['top1_error']:.3f}"
    assert "epoch 3 of 3" in run
    assert parameters == "56,909,194 parameters"  # 60,965,224 less 990 outputs of fc8 with 4,097 parameters each


def test_its_figures_of_the_demo_are_those_of_the_result_file():
    for name, run in json.loads((ROOT / "benchmarks/results/demo.json").read_text())["networks"].items():
        assert f"| {name} | {run['test_accuracy']} | {run['seconds']} | {run['parameters']} |" in README


def test_its_speeds_are_those_of_the_table_of_results():
    table = README.partition("## Speed")[2].partition("\n## ")[0]
    shown = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([\d.]+(?:x| s|%)) \|$", table, re.MULTILINE)
    results = (ROOT / "benchmarks/RESULTS.md").read_text()
    assert len(shown) >= 5
    for what, against, measured in shown:
        row = re.compile(
            rf"^\| {re.escape(what)} \| {re.escape(against.strip())} \| [^|]* \| {measured} \|", re.MULTILINE
        )
        assert row.search(results), (what, against, measured)


def test_the_log_tells_what_the_experiment_with_the_starts_gave():
    runs = [json.loads(line) for line in (ROOT / "results/will_it_train.jsonl").read_text().splitlines()]
    log = (ROOT / "docs/log.md").read_text()
    for run in runs:
        left = run["leaves_plateau_in_epoch"] or "not within 20"
        error = f"{100 * run['last_val_top1_error']:.1f}"
        assert f"| {run['start']} | {run['seed']} | {left} | {run['last_loss']:.2f} | {error} |" in log
    assert log.count("| source: ") + log.count("| paper") + log.count("| Caffe: ") == len(runs)


def test_the_chinese_readme_has_the_same_figures():
    chinese = (ROOT / "README.zh-CN.md").read_text()

    def figures(text: str) -> list[list[str]]:
        # The book has other chapters in Chinese.
        rows = [line for line in text.splitlines() if line.startswith("|") and "d2l" not in line]
        return [found for row in rows if (found := re.findall(r"\d+\.\d", row))]

    assert figures(chinese) == figures(README)
