"""docs/reliability.md says what the results of the studies say."""

import json
import shutil

import pytest

from studies.robustness import recording, reliability, reliability_table


def test_the_page_is_what_the_results_say():
    page = reliability_table.PAGE.read_text()
    assert reliability_table.with_table(page) == page
    assert "NOT equal" not in page


@pytest.mark.parametrize("part", ["kills", "bits", "disk", "memory"])
@pytest.mark.parametrize("current", [True, False])
def test_figures_that_are_older_than_the_modules_that_they_measure_are_called_so(tmp_path, monkeypatch, part, current):
    """The page is compared with this table, so it cannot show an old figure as one of today."""
    results = tmp_path / "results"
    shutil.copytree(recording.ROOT / "results", results, ignore=shutil.ignore_patterns("*.svg", "*.jsonl"))
    figures = json.loads((results / "reliability.json").read_text())
    for name, each in figures.items():
        now = recording.fingerprint(reliability.MEASURED)
        each["modules"] = now if current or name != part else now[::-1]
    (results / "reliability.json").write_text(json.dumps(figures))
    monkeypatch.setattr(reliability_table, "ROOT", tmp_path)
    old = [line for line in reliability_table.table().splitlines() if reliability_table.OLDER in line]
    assert len(old) == (not current)
    assert all(f"`{figures[part]['command'].split()[-1]}" in line or part in line for line in old)


def test_another_byte_in_a_module_makes_the_figures_old(tmp_path, monkeypatch):
    before = recording.fingerprint(reliability.MEASURED)
    for name in reliability.MEASURED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((recording.ROOT / name).read_bytes())
    monkeypatch.setattr(recording, "ROOT", tmp_path)
    assert recording.fingerprint(reliability.MEASURED) == before
    for name in reliability.MEASURED:
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole + b"\n")
        assert recording.fingerprint(reliability.MEASURED) != before
        (tmp_path / name).write_bytes(whole)
