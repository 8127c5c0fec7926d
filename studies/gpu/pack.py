"""`pack`: writes into .gpu/ what must be carried to a machine without a network, and unpacks data there.

    .gpu/commit, .gpu/files    the commit, and the hash of every file that git has in it
    .gpu/wheels/*.whl          what a stock image with PyTorch lacks, for Python 3.12 on Linux
    .gpu/NAME-0-of-2.zip, ...  images, in parts that can be carried one after the other

Parts are zip files without compression, since images are compressed. Clothing is resized to 64 pixels without loss.
"""

import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from alexnet.data.images import prepare_image
from alexnet.runs.environment import commit, installed
from alexnet.storage.files import cache_folder
from studies.gpu.place import CARRIED, COMMIT, FILES
from studies.gpu.session import Refused, table

# Beside these a stock image has torch, torchvision, numpy, pillow, safetensors, filelock, rich, matplotlib, numba,
# pytest and hypothesis; `env` says what is missing there.
LACKING = (
    *("pydantic", "pydantic_core", "annotated_types", "typing-inspection", "typing_extensions"),
    *("cyclopts", "docstring_parser", "rich-rst"),
)
PYTHON, PLATFORMS = "3.12", ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
MIB = 2**20
PART, MOST = 55 * MIB, 60 * MIB  # with the tree and the wheels a part must stay under 64 MiB
HEADERS = 30 + 46  # bytes of a file in a zip, beside its content and twice its name
CLOTHING_SIZE = 64
PICTURES = (".webp", ".png", ".jpg", ".jpeg")

Files = Iterable[tuple[str, bytes]]  # names and contents


def pack(root: Path, folders: dict[str, Path | None], most: int = MOST, wheels: bool = True) -> list[str]:
    """Writes everything; returns what could not be had, and the sizes as the lines of a table.

    Args:
        folders: cifar10 and clothing -> the folder of images with train/ and test/; None leaves it out.
        most: bytes that a file may have.

    Raises:
        Refused: files differ from the commit, a folder is none, or a file became too large; then .gpu/ is empty.
    """
    status = _git(root, "status", "--porcelain")
    if status.strip():
        raise Refused(f"files differ from the commit, or are not in it; commit them first:\n{status.rstrip()}")
    for name, folder in folders.items():
        if folder is not None and not folder.is_dir():
            raise Refused(f"{name}: {folder} is no folder.")
    out = root / CARRIED
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    (out / COMMIT).write_text(_commit(root) + "\n")
    (out / FILES).write_text(listed_files(root))
    missing = download(out / "wheels") if wheels else ["wheels: left out"]
    readers = {"cifar10": as_they_are, "clothing": resized}
    for name, folder in folders.items():
        if folder is None:
            missing.append(f"{name}: left out, its folder was not named")
        else:
            write_parts(out, name, readers[name](folder))
    files = sorted(path for path in out.rglob("*") if path.is_file())
    if large := [path for path in files if path.stat().st_size > most]:
        names = ", ".join(f"{path.name} ({path.stat().st_size / MIB:.1f} MiB)" for path in large)
        shutil.rmtree(out)
        raise Refused(f"over {most / MIB:.0f} MiB, so that it cannot be carried: {names}.")
    rows = [{"file": path.relative_to(root).as_posix(), "MiB": f"{path.stat().st_size / MIB:.2f}"} for path in files]
    rows.append({"file": "all", "MiB": f"{sum(path.stat().st_size for path in files) / MIB:.2f}"})
    return [*missing, table(("file", "MiB"), rows)]


def _commit(root: Path) -> str:
    return _git(root, "describe", "--always", "--exclude", "*").strip() or commit() or ""


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Refused(f"git {arguments[0]} failed in {root}: {done.stderr.strip()}")
    return done.stdout


def listed_files(root: Path) -> str:
    """A line for each regular file of the commit, but for results: its hash and its name.

    Results that are merged between two calls do not make the code another one.
    """
    lines = []
    others = (".", ":!results", ":!benchmarks/results", ":!benchmarks/*.md")
    for entry in _git(root, "ls-files", "-s", "-z", "--", *others).split("\0"):
        facts, _, name = entry.partition("\t")
        if facts.startswith("100"):
            lines.append(f"{facts.split()[1]} {name}\n")
    return "".join(lines)


def download(out: Path) -> list[str]:
    """Downloads the wheels in the versions that are installed here; returns what could not be had."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--timeout=15"]
    command += ["--retries=1", f"--python-version={PYTHON}", "--implementation=cp", f"--dest={out}"]
    command += [f"--platform={name}" for name in PLATFORMS]
    wanted = [f"{name}=={installed(name)}" if installed(name) else name for name in LACKING]
    if subprocess.run([*command, *wanted], capture_output=True).returncode == 0:
        return []
    missing = []
    for name in wanted:  # one at a time, to say which
        done = subprocess.run([*command, name], capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
            missing.append(f"{name}: could not be had: {lines[-1].removeprefix('ERROR: ')}")
    return missing


def as_they_are(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The image files of a folder, by name."""
    for path in pictures(folder):
        yield path.relative_to(folder).as_posix(), path.read_bytes()


def resized(folder: Path, size: int = CLOTHING_SIZE) -> Iterator[tuple[str, bytes]]:
    """The images of a folder as training would see them at this size, as WebP without loss."""

    def one(path: Path) -> tuple[str, bytes]:
        buffer = io.BytesIO()
        Image.fromarray(prepare_image(path, size)).save(buffer, "WEBP", lossless=True, quality=80, method=4)
        return path.relative_to(folder).with_suffix(".webp").as_posix(), buffer.getvalue()

    with ThreadPoolExecutor() as pool:
        yield from pool.map(one, pictures(folder))


def pictures(folder: Path) -> list[Path]:
    """The image files below a folder, in the order of their names."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not found:
        raise Refused(f"{folder} holds no images ({', '.join(PICTURES)}).")
    return found


def write_parts(out: Path, name: str, files: Files, part: int = PART) -> list[Path]:
    """Writes files into as few zip files as it takes, all about as large, at most as a part; returns their paths."""
    entries = [(inner, content, len(content) + 2 * len(inner) + HEADERS) for inner, content in files]
    count = -(-sum(size for *_, size in entries) // part)
    share = sum(size for *_, size in entries) / count
    paths = [out / f"{name}-{number}-of-{count}.zip" for number in range(count)]
    done, archives = 0, [zipfile.ZipFile(path, "w") for path in paths]
    for inner, content, size in entries:
        archive = archives[min(int(done / share), count - 1)]
        archive.writestr(zipfile.ZipInfo(inner), content)  # without a date: the same images, the same bytes
        done += size
    for archive in archives:
        archive.close()
    return paths


def unpack(root: Path, tell: Callable[[str], None]) -> None:
    """Unpacks the parts that are in .gpu/ now into the cache; those of earlier calls stay there."""
    for path in sorted((root / CARRIED).glob("*-of-*.zip")):
        name = path.stem.rsplit("-", 3)[0]
        marks = _unpacked(name)
        if not (marks / path.name).exists():
            marks.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(path) as archive:
                archive.extractall(marks.with_name(name))
            (marks / path.name).touch()
            tell(f"unpacked {path.name}")


def images(data: str) -> str:
    """The folder of images that a name or path means.

    Raises:
        Refused: it is neither a folder nor completely unpacked.
    """
    if Path(data).is_dir():
        return str(Path(data).resolve())
    marks = _unpacked(data)
    found = sorted(path.name for path in marks.glob("*.zip"))
    if not found:
        raise Refused(f"--data {data}: no such folder, and no part of it in {CARRIED}/; `make gpu-pack` writes them.")
    count = int(found[0].removesuffix(".zip").rpartition("-")[2])
    missing = _missing(data, count, found)
    if missing:
        raise Refused(f"--data {data}: carry {', '.join(missing)}, too; a command that finds them unpacks them.")
    return str(marks.with_name(data))


def _missing(name: str, count: int, found: Sequence[str]) -> list[str]:
    return [part for number in range(count) if (part := f"{name}-{number}-of-{count}.zip") not in found]


def _unpacked(name: str) -> Path:
    return cache_folder() / "gpu" / f"{name}.parts"
