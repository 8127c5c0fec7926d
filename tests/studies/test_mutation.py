"""The mutation run: its modules and tests exist, its loops are plain Python, and what was not run is not judged."""

import re

import pytest

from harness import ROOT
from studies.robustness import mutation

MAKEFILE = (ROOT / "Makefile").read_text().replace("\\\n", " ")
MODULES = [m for name in ("PROVEN", "FAITHFUL") for m in re.search(rf"^{name} := (.*)$", MAKEFILE, re.M)[1].split()]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_and_its_tests_exist(module):
    assert (ROOT / f"alexnet/{module}.py").is_file()
    tests = mutation.tests_of(module)
    assert tests
    assert all((ROOT / test).is_file() for test in tests)


def test_the_run_reaches_kernels_models_augmentation_optimizer_and_recipes():
    packages = {module.partition("/")[0] for module in MODULES}
    assert packages >= {"kernels", "models", "data", "training", "recipes"}
    assert {"data/augment", "training/optim"} <= set(MODULES)


@pytest.mark.parametrize("module", mutation.LOOPS)
def test_the_loops_are_the_same_functions_without_a_decorator(module):
    text = (ROOT / f"alexnet/{module}.py").read_text()
    plain = mutation.plain_loops(text)
    assert plain.count("\ndef ") == text.count("\n@compiled(") == text.count("\ndef ")
    assert "\n@" not in plain
    compile(plain, module, "exec")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (None, "not run"), (0, "survived"), (1, "killed"), (3, "killed"), (5, "not reached"), (33, "not reached"),
        (24, "timed out"), (-24, "timed out"), (152, "timed out"), (-11, "crashed"), (-9, "crashed"), (-6, "crashed"),
    ],
)  # fmt: skip
def test_a_process_that_crashes_has_not_been_noticed_by_a_test(code, kind):
    assert mutation.kind_of(code) == kind


def test_what_was_not_run_counts_for_nothing():
    kinds = {"killed": 6, "timed out": 2, "survived": 1, "not reached": 0, "crashed": 1, "not run": 90}
    assert mutation.percent_noticed(kinds) == 80.0
    assert mutation.percent_noticed(dict.fromkeys(kinds, 0)) == 0.0


def test_results_of_other_code_are_not_gone_on_with(tmp_path, monkeypatch):
    for name in ("alexnet", "tests"):
        (tmp_path / name).mkdir()
    for name in ("pyproject.toml", "alexnet/rng.py", "tests/test_rng.py"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    monkeypatch.setattr(mutation, "COPIED", ("alexnet", "tests", "pyproject.toml"))
    folder = tmp_path / "work"
    mutation.copy_tree("rng", folder)
    (folder / "mutants").mkdir()
    mutation.copy_tree("rng", folder)
    assert (folder / "mutants").is_dir()
    (tmp_path / "tests/test_rng.py").write_text("x = 1")
    mutation.copy_tree("rng", folder)
    assert not (folder / "mutants").exists()
    assert 'only_mutate = ["alexnet/rng.py"]' in (folder / "pyproject.toml").read_text()
