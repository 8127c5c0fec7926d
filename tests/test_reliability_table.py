"""docs/reliability.md says what the results of the studies say."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_page_is_what_the_results_say(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    import reliability_table

    page = reliability_table.PAGE.read_text()
    assert reliability_table.with_table(page) == page
    assert "NOT equal" not in page
    sys.modules.pop("reliability_table")
