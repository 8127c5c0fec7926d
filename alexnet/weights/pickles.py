"""Reads weights in pickle files in a separate process; this module is the only one that opens such files.

A pickle is a program. Files of PyTorch are read by `torch.load(weights_only=True)`. NumPy files that hold a dictionary,
such as bvlc_alexnet.npy, use opcodes that this reader does not support (the byte strings of Python 2, the newest
protocols), so `pickle_opcodes` reads them; it looks up and calls nothing that they name. Both happen in a child process
with limits of time, memory and disk, which returns a safetensors file.
"""

import json
import math
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


SECONDS = 120  # time limit of the child on the clock, with the start of PyTorch
CPU_SECONDS, BYTES_PER_CPU_SECOND = 4, 30_000_000  # limit of processor time, and how much more a large file gets
SPARE = 1 << 28  # bytes of memory that the child may use in addition to four times the size of the file
TIME_IS_SPENT = 24  # SIGXCPU, with which the system ends a process over its limit of processor time
REFUSED = 3  # exit code of a child that prints the reason

# Where training scripts put the weights; without one of these names they are in the only dictionary of tensors.
NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
WRAPPED = ("module.", "_orig_mod.")  # in front of every name: by DataParallel, by torch.compile
EXPANSION = 20, 1 << 26  # a zip file may unpack to this many times its size, or to this many bytes
REPEATED = 1 << 18  # numbers that tensors may repeat, as masks and shared weights do
WEIGHT, BIAS = ("weights", "weight", "W", "kernel"), ("biases", "bias", "b")
MOST_ARRAYS = 10_000


def read_pickle(path: Path) -> dict[str, NDArray[Any]]:
    """Reads the tensors of a file of `torch.save`, or of a NumPy file that holds a dictionary.

    Returns:
        Arrays by name in the order of the file; floats as float32. For a NumPy dictionary {"conv1": [W, b]} or
        {"conv1": {"weights": W, "biases": b}} the names are conv1.weight and conv1.bias; the layout is the file's.

    Raises:
        UntrustedFileError: the file asks for more than tensors, is damaged, or needs too much time or memory.
    """
    import safetensors
    import safetensors.numpy

    with tempfile.TemporaryDirectory(prefix="alexnet-") as folder:
        out = Path(folder) / "tensors.safetensors"
        command = [sys.executable, "-m", "alexnet.weights.pickles", str(path.absolute()), str(out)]
        try:
            # `-m` imports from the current folder first, so this must not be the folder of the downloaded file.
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
            message = child.stdout.decode(errors="replace")
            if child.returncode == -TIME_IS_SPENT:
                raise _refusal(path, "reading it takes far more time than weights of its size")
            crash = f"reading it in a separate process ended with code {child.returncode}"
            raise _refusal(path, message if child.returncode == REFUSED else crash)
        try:
            with safetensors.safe_open(out, framework="np") as file:
                names = json.loads(file.metadata()["names"])
                return {name: file.get_tensor(str(i)) for i, name in enumerate(names)}
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise _refusal(path, f"reading it gave nothing usable ({error})") from None


def _refusal(path: Path, why: str) -> UntrustedFileError:
    return UntrustedFileError(
        f"{path} was not opened: {printable(why.strip())}",
        fix="Save only the weights, which are safe to open: torch.save(model.state_dict(), FILE), "
        "numpy.savez(FILE, **arrays), or safetensors.",
        code="E601",
    )


def zip_members(path: Path) -> "list[zipfile.ZipInfo]":
    """Lists the members of a zip file; none if it is another kind of file, or a damaged one."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        pass  # PyTorch's reader says how it is damaged
    return []


def program_in(members: "list[zipfile.ZipInfo]") -> str:
    """Says by which part of PyTorch a zip file was written as a program; "" if it only holds objects."""
    inside = {part for member in members for part in (member.filename, member.filename.partition("/")[2])}
    if "constants.pkl" in inside or any(name.startswith("code/") and name.endswith(".py") for name in inside):
        return "TorchScript"
    if inside & {"models/model.json", "serialized_exported_program.json"}:  # the latter until PyTorch 2.8
        return "torch.export"
    return "torch.package" if ".data/extern_modules" in inside else ""


def main(arguments: list[str]) -> int:
    """Runs in the child: reads the first file and writes its tensors to the second, or prints why it does not."""
    path, out = map(Path, arguments)
    try:
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                _limit(path.stat().st_size)
                _save_arrays(read_object_array(path), out)
            else:
                import torch  # before the limits, which are only for the file

                torch.set_num_threads(1)
                _limit(max(path.stat().st_size, _unpacked(path)))
                _save_tensors(load_tensors(path), out)
    except Refused as error:
        print(error)
        return REFUSED
    except MemoryError:
        print("it needs more memory than four times its size and 256 MiB more")
        return REFUSED
    except Exception as error:  # any other error comes from a damaged or hostile file
        print(f"it is damaged: {type(error).__name__}: {error}")
        return REFUSED
    return 0


def _limit(size: int) -> None:
    """Limits memory, processor time, file size and core dumps of this process, if the system supports it."""
    try:
        import resource
    except ImportError:
        return
    limits = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, _cpu_limit(size)),
        (resource.RLIMIT_FSIZE, 4 * size + (1 << 20)),
    ]
    if os.path.exists("/proc/self/statm"):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limits.append((resource.RLIMIT_AS, used + SPARE + 4 * size))
    for which, most in limits:
        _, hard = resource.getrlimit(which)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        if which == resource.RLIMIT_CPU:
            hard = most + 5 if hard == resource.RLIM_INFINITY else hard  # at the hard limit the signal is another
            resource.setrlimit(which, (most, max(most, hard)))
            continue
        resource.setrlimit(which, (most, most))


def _cpu_limit(size: int) -> int:
    """The processor time that this process may have used when it ends: what it has used, and what the file needs."""
    times = os.times()
    return math.ceil(times.user + times.system) + CPU_SECONDS + size // BYTES_PER_CPU_SECOND


def load_tensors(path: Path) -> "dict[str, Tensor]":
    """Reads the tensors of a file of `torch.save` with PyTorch's weights-only reader; only for the child process."""
    import warnings

    import torch

    size = max(path.stat().st_size, _unpacked(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, weights_only=True, map_location="cpu")
    except MemoryError:
        raise
    except Exception as error:
        requested = re.search(r"GLOBAL (\S+)", str(error))
        # The first line of PyTorch's message advises to open the file without protection; the reason is below it.
        reason = re.search(r"Unpickl\w+ error:\s*([^\n]+)", str(error))
        short = (
            reason[1] if reason else "it is damaged" if "weights_only" in str(error) else str(error).partition("\n")[0]
        )
        raise Refused(
            f"it asks for {requested[1]}, which is not a tensor"
            if requested
            else f"PyTorch's weights-only reader refuses: {short}"
        ) from None
    for _ in range(4):
        inner = _inner(content)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        raise Refused(f"it holds a {type(content).__name__} where a dictionary of tensors is expected")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if len(tensors) > MOST_ARRAYS:
        raise Refused(f"it holds more than {MOST_ARRAYS} tensors")
    while tensors and (prefix := next((p for p in WRAPPED if all(name.startswith(p) for name in tensors)), "")):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    # A tensor may repeat one stored number any number of times; written out, it would fill memory and disk.
    if sum(tensor.numel() for tensor in tensors.values()) > size + REPEATED:
        raise Refused("its tensors have more numbers than the file has bytes")
    return tensors


def _unpacked(path: Path) -> int:
    """Counts the bytes in a zip file; refuses one that unpacks to far more than its size."""
    size, unpacked = path.stat().st_size, sum(member.file_size for member in zip_members(path))
    if unpacked > max(EXPANSION[0] * size, EXPANSION[1]):
        raise Refused(f"it would unpack from {size:,} to {unpacked:,} bytes: a decompression bomb")
    return unpacked


def _inner(content: Any) -> Any:
    """Finds the dictionary with the weights inside what a training script saved; None if `content` is it."""
    if not isinstance(content, Mapping):
        return None
    for key in NESTED:
        if isinstance(content.get(key), Mapping):
            return content[key]
    if any(_is_tensor(value) for name, value in content.items() if str(name).rpartition(".")[1]):
        return None
    inner = {str(k): v for k, v in content.items() if isinstance(v, Mapping) and any(map(_is_tensor, v.values()))}
    if len(inner) > 1:
        raise Refused(f"it holds several networks ({', '.join(sorted(inner)[:5])}): save the one that is meant alone")
    return next(iter(inner.values()), None)


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.ndim > 0


def _save_tensors(tensors: "dict[str, Tensor]", out: Path) -> None:
    import safetensors.torch

    contiguous = {
        str(i): (tensor.detach().float() if tensor.is_floating_point() else tensor.detach()).clone().contiguous()
        for i, tensor in enumerate(tensors.values())
    }
    safetensors.torch.save_file(contiguous, out, {"names": json.dumps(list(tensors))})


def read_object_array(path: Path) -> dict[str, NDArray[Any]]:
    """Reads the arrays of a NumPy file that holds a dictionary, without executing it; only for the child process."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        header(file)
        content = Machine().run(file)
    content = content.value if isinstance(content, SymbolicArray) else content
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if not isinstance(content, dict):
        raise Refused(f"it holds a {type(content).__name__} where a dictionary of layers is expected")
    arrays: dict[str, NDArray[Any]] = {}
    for name, entry in content.items():
        if isinstance(entry, list | tuple):
            entry = dict(zip(("weight", "bias"), entry, strict=False))
        for key, value in entry.items() if isinstance(entry, dict) else [("", entry)]:
            if isinstance(value, SymbolicArray) and isinstance(value.value, np.ndarray) and len(arrays) < MOST_ARRAYS:
                ending = "weight" if key in WEIGHT else "bias" if key in BIAS else str(key)
                arrays[f"{text(name)}.{ending}".rstrip(".")] = value.value
    return arrays


def _save_arrays(arrays: dict[str, NDArray[Any]], out: Path) -> None:
    import safetensors.numpy

    contiguous = {
        str(i): np.ascontiguousarray(a, np.float32 if a.dtype.kind == "f" else None)
        for i, a in enumerate(arrays.values())
    }
    safetensors.numpy.save_file(contiguous, out, {"names": json.dumps(list(arrays))})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
