"""docs/reliability.md says what the results of the studies say."""

from studies.robustness import reliability_table


def test_the_page_is_what_the_results_say():
    page = reliability_table.PAGE.read_text()
    assert reliability_table.with_table(page) == page
    assert "NOT equal" not in page
