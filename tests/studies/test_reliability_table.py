"""docs/reliability.md says what the results of the studies say."""

import json

import pytest

from studies.robustness import recording, reliability, reliability_table


def test_the_page_is_what_the_results_say():
    page = reliability_table.PAGE.read_text()
    assert reliability_table.with_table(page) == page
    assert "NOT equal" not in page


@pytest.mark.parametrize("part", ["kills", "bits", "disk", "memory"])
def test_no_figure_is_older_than_the_modules_that_it_measures(part):
    figures = json.loads(reliability.RESULTS.read_text())[part]
    now = recording.fingerprint(reliability.MEASURED)
    assert figures.get("modules") == now, f"{figures['command']} measures it anew"


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
