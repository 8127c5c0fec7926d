"""Reads the tables of docs/claims.md, for the tests that compute them again."""

from harness import ROOT

PAGE = (ROOT / "docs/claims.md").read_text(encoding="utf-8")


def lines_of(page: str, columns: int) -> list[list[str]]:
    """The cells of the tables of so many columns."""
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [row for row in rows if len(row) == columns and set(row[0]) != {"-"}]


def by_arm(page: str, columns: int = 7, named: int = 1) -> dict[str, list[str]]:
    """Arm -> its line of the leading table, or of another that names it in another column."""
    return {line[named].split(" (")[-1].strip(")"): line for line in lines_of(page, columns)}
