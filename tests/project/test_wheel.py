"""A wheel holds the whole package, and what is installed from it works without the source."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder that a wheel, built from a copy of the tree, unpacks to."""
    folder = tmp_path_factory.mktemp("wheel")
    leave_out = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
    shutil.copytree(ROOT / "alexnet", folder / "tree" / "alexnet", ignore=leave_out)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "tree")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*build, "-w", folder, folder / "tree"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("alexnet-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_every_file_of_the_package_is_in_it(installed):
    def files(folder: Path) -> set[str]:
        every = (p for p in (folder / "alexnet").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        return {path.relative_to(folder).as_posix() for path in every if path.suffix not in (".nbi", ".nbc")}

    assert files(installed) == files(ROOT)
    assert {"alexnet/py.typed", "alexnet/explorer/static/index.html"} <= files(installed)
    assert "alexnet/explorer/runs/gallery/images/test-0000.jpegs" in files(installed)
    others = {path.name for path in installed.iterdir()} - {"alexnet"}
    assert all(name.endswith(".dist-info") for name in others), "no tests, harness or studies are installed"


def test_what_is_installed_from_it_works(installed, trained, tmp_path):
    image = next((trained / "photos").rglob("*.png"))
    code = (
        "import alexnet, sys\n"
        f"assert alexnet.__file__.startswith({str(installed)!r}), alexnet.__file__\n"
        f"model = alexnet.load({str(trained / 'run')!r}, device='cpu')\n"
        f"print(model.predict({str(image)!r})[0])\n"
        "from importlib.resources import files\n"
        "print(sorted(each.name for each in files('alexnet.explorer').joinpath('static').iterdir())[:1])\n"
    )
    # Without numba's compiler: compiling the loops of the copy would take half a minute.
    environment = os.environ | {"PYTHONPATH": str(installed), "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert image.name in done.stdout
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "alexnet = alexnet.cli.main:main" in entry.read_text()
