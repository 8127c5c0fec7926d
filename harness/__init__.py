"""What tests and studies both start: small runs, services, jobs that are disturbed, servers that fail, references.

It is importable from the root of the repository (`pytest`, `python -m studies...`) and not part of the package.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared/data"  # real images, where they are given
