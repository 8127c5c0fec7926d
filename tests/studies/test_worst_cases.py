"""What docs/reliability.md says of the worst files was measured on the modules as they are, within the limits."""

import pytest

pytest.importorskip("schemathesis", reason="it makes some of the requests, and comes with the tools of the tests")
from studies.robustness import recording, worst_cases


def test_no_row_is_older_than_the_modules_that_it_measures():
    stale = [
        row["name"] for row in worst_cases.rows() if row["modules"] != worst_cases.fingerprint(worst_cases.kind_of(row))
    ]
    assert stale == [], "python -m studies.robustness.worst_cases measures them anew"


def test_the_page_is_what_the_rows_say():
    page = worst_cases.PAGE.read_text()
    assert worst_cases.with_table(page) == page


@pytest.mark.parametrize("row", worst_cases.rows(), ids=lambda row: row["name"])
def test_every_file_is_within_the_limits(row):
    if not row["innocent"]:
        assert row["cpu"] <= worst_cases.MOST_SECONDS
        assert row["mb"] <= worst_cases.allowed(row)
    else:
        assert worst_cases.was_read(row["outcome"])


def test_every_row_is_of_something_that_can_be_made_again():
    known = {
        (kind, name, bool(innocent))
        for kind, groups in worst_cases.GROUPS.items()
        for innocent, group in enumerate(groups)
        for name in group
    }
    measured = [(worst_cases.kind_of(row), row["name"], row["innocent"]) for row in worst_cases.rows()]
    assert set(measured) <= known
    assert len(set(measured)) == len(measured)
    assert {name for kind, name, _ in known if kind == "request"} <= {name for _, name, _ in measured}


@pytest.mark.parametrize("kind", worst_cases.MEASURED)
def test_another_byte_in_a_module_is_noticed(tmp_path, monkeypatch, kind):
    modules = worst_cases.MEASURED[kind]
    before = worst_cases.fingerprint(kind)
    for name in modules:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((worst_cases.ROOT / name).read_bytes())
    monkeypatch.setattr(recording, "ROOT", tmp_path)
    assert worst_cases.fingerprint(kind) == before
    for name in modules:
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole + b"\n")
        assert worst_cases.fingerprint(kind) != before
        (tmp_path / name).write_bytes(whole)
