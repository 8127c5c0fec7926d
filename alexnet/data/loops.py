"""The compiled loops of preparing: loaded where they save more time than that takes, and nowhere else.

They give the bits of what Pillow and NumPy do in their place: no result depends on whether they are there.
"""

import sys
from types import ModuleType

NAME = "alexnet.kernels.prepare_loops"
LAST = "add_pixels"  # what stands at its end
MANY = 300  # images, from which on they pay


def load_loops(images: int) -> None:
    """Loads them for this process, if it has so many images to prepare and numba is installed."""
    if images < MANY:
        return
    try:
        import alexnet.kernels.prepare_loops  # noqa: F401
    except ImportError:
        return


def loaded() -> ModuleType | None:
    """The module with the loops, if this process has loaded it; not while another thread is doing so."""
    module = sys.modules.get(NAME)
    return module if hasattr(module, LAST) else None
