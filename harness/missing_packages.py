"""Packages that tests pretend are not installed: ALEXNET_TESTS_WITHOUT=numba pytest.

Who imports this module does without them from there on: `conftest.py`, and the server of copies in `forking.py`.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

VARIABLE = "ALEXNET_TESTS_WITHOUT"  # names, separated by commas; read by tests only


class _Missing(MetaPathFinder):
    """Finds nothing of these packages, and says so as Python does for one that is not installed."""

    def __init__(self, names: Sequence[str]):
        self.names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def hide(names: Sequence[str]) -> None:
    """From here on these packages cannot be imported in this process."""
    imported = sorted(name for name in sys.modules if name.partition(".")[0] in names)
    if imported:
        raise RuntimeError(f"imported already: {', '.join(imported)[:200]}")
    if names:
        sys.meta_path.insert(0, _Missing(names))


hide([name for name in os.environ.get(VARIABLE, "").split(",") if name])
