"""The mutants of `make pinned`: they fit the code of today, and their tests are those that docs/fidelity.md names."""

import pytest

from harness import ROOT
from studies.robustness.mutants import MUTANTS

pytest.importorskip("numba")  # whose cache `make pinned` moves away
from studies.robustness.pinned import broken

FIDELITY = (ROOT / "docs/fidelity.md").read_text()


def test_no_name_is_given_twice():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) > 30


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_a_mutant_changes_one_place_and_is_still_python(mutant):
    whole = (ROOT / mutant.file).read_text()
    changed = broken(mutant, whole)
    assert changed != whole
    compile(changed, mutant.file, "exec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_the_tests_of_a_mutant_stand_in_the_table(mutant):
    for test in mutant.tests:
        assert f"`{test}`" in FIDELITY


def test_a_mutant_that_no_longer_fits_is_named():
    with pytest.raises(ValueError, match="stands 0 times"):
        broken(MUTANTS[0], "")
