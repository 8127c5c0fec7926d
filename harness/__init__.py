"""Helpers for both tests and studies: small runs, services, interrupted jobs, failing servers, a reference network.

The folder can be imported from the root of the repository (`pytest`, `python -m studies...`); it is not part of the
package.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared/data"  # real images, if they are available
