"""matplotlib whatever backend the environment asks for: figures here are written to files, so no backend is needed."""

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BACKEND = "MPLBACKEND"  # a notebook sets it for all processes it starts, whatever is installed there


def matplotlib() -> Any:
    """Imports matplotlib, also where MPLBACKEND names a backend that is not installed; the variable stays as it is.

    matplotlib refuses to be imported then. A backend that is known stays chosen, so that a notebook shows figures.
    """
    try:
        import matplotlib
    except (ValueError, AttributeError):  # AttributeError: somebody has tried it before
        named = os.environ.pop(BACKEND, None)
        if named is None:
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]  # half of it, which the failed import has left
        try:
            import matplotlib
        finally:
            os.environ[BACKEND] = named
    return matplotlib


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches, without a window and unknown to pyplot."""
    matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
