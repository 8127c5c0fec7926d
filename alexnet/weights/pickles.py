"""Weights in pickle files, read in a process of their own; the only place that opens such files.

A pickle is a program. PyTorch's files go through the reader of `torch.load(weights_only=True)`. NumPy files that hold
a dictionary, such as bvlc_alexnet.npy, use opcodes which that reader lacks (the byte strings of Python 2, the protocols
of today), so `pickle_opcodes` reads them without looking up or calling anything that they name. Both happen in a child
process with limits of time, memory and disk, which hands back a safetensors file.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import UntrustedFileError
from alexnet.weights.pickle_opcodes import Machine, Refused, SymbolicArray, text
from alexnet.weights.protobuf import printable

if TYPE_CHECKING:
    from torch import Tensor


SECONDS = 120  # for the child, PyTorch's start included
SPARE = 4 << 30  # bytes of memory that the child may take besides four times the file's size
REFUSED = 3  # exit code of a child that says why

NESTED = ("state_dict", "model_state_dict", "model", "net")  # where training scripts put the weights
WEIGHT, BIAS = ("weights", "weight", "W", "kernel"), ("biases", "bias", "b")
MOST_ARRAYS = 10_000


def read_pickle(path: Path) -> dict[str, NDArray[Any]]:
    """Reads the tensors of a file of `torch.save`, or of a NumPy file that holds a dictionary.

    Returns:
        Arrays in the order of the file, by name; floats as float32. Of a NumPy dictionary {"conv1": [W, b]} or
        {"conv1": {"weights": W, "biases": b}} the names are conv1.weight and conv1.bias, the layout is the file's.

    Raises:
        UntrustedFileError: the file asks for more than tensors, is damaged, or takes too much time or memory.
    """
    import safetensors
    import safetensors.numpy

    with tempfile.TemporaryDirectory(prefix="alexnet-") as folder:
        out = Path(folder) / "tensors.safetensors"
        command = [sys.executable, "-m", "alexnet.weights.pickles", str(path.absolute()), str(out)]
        try:
            # `-m` puts the current folder before the standard library: not the one the file was downloaded to.
            child = subprocess.run(
                command,
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _refusal(path, f"reading it took more than {SECONDS} seconds") from None
        if child.returncode:
            said = child.stdout.decode(errors="replace")
            crashed = f"reading it in a process of its own ended with code {child.returncode}"
            raise _refusal(path, said if child.returncode == REFUSED else crashed)
        try:
            with safetensors.safe_open(out, framework="np") as file:
                names = json.loads(file.metadata()["names"])
                return {name: file.get_tensor(str(i)) for i, name in enumerate(names)}
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise _refusal(path, f"nothing usable came out of it ({error})") from None


def _refusal(path: Path, why: str) -> UntrustedFileError:
    return UntrustedFileError(
        f"{path} was not opened: {printable(why.strip())}",
        fix="Weights alone are safe to open: torch.save(model.state_dict(), FILE), numpy.savez(FILE, **arrays), "
        "or safetensors.",
        code="E601",
    )


def main(arguments: list[str]) -> int:
    """The child: reads the file of the first argument, writes its tensors to that of the second, or says why not."""
    path, out = map(Path, arguments)
    try:
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                _limit(path.stat().st_size)
                _save_arrays(read_object_array(path), out)
            else:
                import torch  # before the limits, which are for what the file takes

                torch.set_num_threads(1)
                _limit(path.stat().st_size)
                _save_tensors(load_tensors(path), out)
    except Refused as error:
        print(error)
        return REFUSED
    except MemoryError:
        print("it takes more memory than four times its size and 4 GiB")
        return REFUSED
    except Exception as error:  # whatever a hostile file brings forth is the file's fault
        print(f"it is damaged: {type(error).__name__}: {error}")
        return REFUSED
    return 0


def _limit(size: int) -> None:
    """Limits memory, processor time, length of files and core dumps of this process, where the system can."""
    try:
        import resource
    except ImportError:
        return
    limits = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_FSIZE, 4 * size + (1 << 20))]
    if os.path.exists("/proc/self/statm"):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limits.append((resource.RLIMIT_AS, used + SPARE + 4 * size))
    for which, most in limits:
        _, hard = resource.getrlimit(which)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))


def load_tensors(path: Path) -> "dict[str, Tensor]":
    """The tensors of a file of `torch.save`, opened by PyTorch's weights-only reader; for the child only."""
    import warnings

    import torch

    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            # PyTorch compresses nothing, so members that are larger than the file only fill the memory.
            if sum(member.file_size for member in archive.infolist()) > size:
                raise Refused("its members are larger than the whole file: a decompression bomb")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(path, weights_only=True, map_location="cpu")
    except MemoryError:
        raise
    except Exception as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        # PyTorch's own first line advises to open the file without protection; the reason stands further down.
        reason = re.search(r"Unpickl\w+ error:\s*([^\n]+)", str(error))
        short = (
            reason[1] if reason else "it is damaged" if "weights_only" in str(error) else str(error).partition("\n")[0]
        )
        raise Refused(
            f"it asks for {wanted[1]}, which is no tensor"
            if wanted
            else f"PyTorch's weights-only reader refuses: {short}"
        ) from None
    for _ in range(4):
        inner = [found[key] for key in NESTED if isinstance(found, Mapping) and isinstance(found.get(key), Mapping)]
        found = inner[0] if inner else found
    if not isinstance(found, Mapping):
        raise Refused(f"it holds a {type(found).__name__} where a dictionary of tensors is expected")
    tensors = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    if len(tensors) > MOST_ARRAYS:
        raise Refused(f"it holds more than {MOST_ARRAYS} tensors")
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    # A tensor may repeat one stored number without end; written out, it would fill memory and disk.
    if sum(tensor.numel() for tensor in tensors.values()) > size:
        raise Refused("its tensors tell of more numbers than the file has bytes")
    return tensors


def _save_tensors(tensors: "dict[str, Tensor]", out: Path) -> None:
    import safetensors.torch

    plain = {
        str(i): (tensor.detach().float() if tensor.is_floating_point() else tensor.detach()).clone().contiguous()
        for i, tensor in enumerate(tensors.values())
    }
    safetensors.torch.save_file(plain, out, {"names": json.dumps(list(tensors))})


def read_object_array(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a NumPy file that holds a dictionary, without running what it says; for the child."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        header(file)
        found = Machine().run(file)
    found = found.value if isinstance(found, SymbolicArray) else found
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        raise Refused(f"it holds a {type(found).__name__} where a dictionary of layers is expected")
    out: dict[str, NDArray[Any]] = {}
    for name, entry in found.items():
        if isinstance(entry, list | tuple):
            entry = dict(zip(("weight", "bias"), entry, strict=False))
        for key, value in entry.items() if isinstance(entry, dict) else [("", entry)]:
            if isinstance(value, SymbolicArray) and isinstance(value.value, np.ndarray) and len(out) < MOST_ARRAYS:
                ending = "weight" if key in WEIGHT else "bias" if key in BIAS else str(key)
                out[f"{text(name)}.{ending}".rstrip(".")] = value.value
    return out


def _save_arrays(arrays: dict[str, NDArray[Any]], out: Path) -> None:
    import safetensors.numpy

    plain = {
        str(i): np.ascontiguousarray(a, np.float32 if a.dtype.kind == "f" else None)
        for i, a in enumerate(arrays.values())
    }
    safetensors.numpy.save_file(plain, out, {"names": json.dumps(list(arrays))})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
