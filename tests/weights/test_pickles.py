"""Pickles: weights come back, programs do not run; the reader's child ends within its limits."""

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet.errors import UntrustedFileError
from alexnet.weights import pickles
from alexnet.weights.pickle_opcodes import Refused
from alexnet.weights.pickles import load_tensors, read_object_array, read_pickle

WEIGHTS = OrderedDict(
    [("z.weight", torch.randn(4, 3, 5, 5)), ("z.bias", torch.randn(4)), ("a.weight", torch.randn(2, 16))]
)


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def save_npy(path: Path, content, protocol: int = 4) -> Path:
    """An object array as numpy.save writes it, with a pickle of any protocol."""
    array = np.empty((), object)
    array[()] = content
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(array, file, protocol=protocol)
    return path


# --- PyTorch -------------------------------------------------------------------------------------------------------


def test_a_state_dict_comes_back_through_the_child_in_its_order(tmp_path):
    torch.save(WEIGHTS, tmp_path / "weights.pt")
    found = read_pickle(tmp_path / "weights.pt")
    assert list(found) == list(WEIGHTS)
    for name, tensor in WEIGHTS.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("keys", [(), ("state_dict",), ("model",), ("net",), ("model", "state_dict")], ids=str)
def test_the_weights_are_found_in_what_training_scripts_save(tmp_path, keys, legacy):
    content = {f"module.{name}": tensor.half() for name, tensor in WEIGHTS.items()}
    for key in keys:
        content = {"epoch": 3, "best": torch.tensor(0.5), "optimizer": {"state": {}}, key: content}
    torch.save(content, tmp_path / "x", _use_new_zipfile_serialization=not legacy)
    found = load_tensors(tmp_path / "x")
    assert list(found) == list(WEIGHTS)
    assert torch.equal(found["z.bias"], WEIGHTS["z.bias"].half())


def test_floats_of_any_size_become_float32_and_views_become_whole(tmp_path):
    base = torch.arange(12.0, dtype=torch.float64).view(3, 4)
    torch.save(
        {"a.weight": base.t(), "b.weight": base[1:], "c.weight": base.bfloat16(), "n": torch.tensor(5)}, tmp_path / "x"
    )
    found = read_pickle(tmp_path / "x")
    np.testing.assert_array_equal(found["a.weight"], base.t().numpy().astype(np.float32))
    np.testing.assert_array_equal(found["b.weight"], base[1:].numpy())
    assert {name: str(a.dtype) for name, a in found.items()} == {
        "a.weight": "float32",
        "b.weight": "float32",
        "c.weight": "float32",
        "n": "int64",
    }


def test_a_whole_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(Refused, match=r"asks for torch\.nn\S+Linear"):
        load_tensors(tmp_path / "model.pt")


def programs(marker: Path) -> dict[str, Call]:
    """Calls that leave a folder `marker` behind."""
    source = f"__import__('os').mkdir({str(marker)!r})"
    return {
        "os.system": Call(os.system, f"mkdir '{marker}'"),
        "os.mkdir": Call(os.mkdir, str(marker)),
        "subprocess.call": Call(subprocess.call, ["mkdir", str(marker)]),
        "eval": Call(eval, source),
        "exec": Call(exec, source),
        "pathlib": Call(Path.mkdir, marker),
    }


@pytest.mark.parametrize("program", programs(Path()))
def test_no_program_of_a_pickle_runs(tmp_path, program):
    marker, control = tmp_path / "it ran", tmp_path / "it can run"
    pickle.loads(pickle.dumps(programs(control)[program]))
    assert control.exists()  # so that the absence of the other shows something
    payload = {"a.weight": programs(marker)[program]}
    torch.save(payload, tmp_path / "x.pt")
    torch.save(payload, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(payload, protocol=2))
    (tmp_path / "text.pkl").write_bytes(pickle.dumps(payload, protocol=0))
    for name in ("x.pt", "old.pt", "plain.pkl", "text.pkl"):
        with pytest.raises(Refused):
            load_tensors(tmp_path / name)
    for protocol in (2, 3, 4, 5):
        with pytest.raises(Refused, match="which is not an array"):
            read_object_array(save_npy(tmp_path / "x.npy", payload, protocol))
    assert not marker.exists()


@pytest.mark.parametrize("name", ["x.pt", "x.npy"])
def test_the_child_refuses_programs_and_says_which(tmp_path, name):
    payload = {"a": Call(os.system, f"touch '{tmp_path}/ran'")}
    if name == "x.pt":
        torch.save(payload, tmp_path / name)
    else:
        save_npy(tmp_path / name, payload)
    with pytest.raises(
        UntrustedFileError, match=r"not opened: it asks for posix\.system, (?s:.*)save\(model\.state_dict"
    ):
        read_pickle(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_python_files_beside_the_weights_are_not_imported(tmp_path, monkeypatch):
    for module in ("alexnet", "torch", "numpy", "safetensors", "json"):
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    save_npy(tmp_path / "x.npy", {"conv1": [np.ones((2, 2), np.float32)]})
    monkeypatch.chdir(tmp_path)
    assert list(read_pickle(Path("x.npy"))) == ["conv1.weight"]
    assert not (tmp_path / "ran").exists()


def test_a_tensor_that_repeats_one_number_without_end_is_refused(tmp_path):
    torch.save({"a.weight": torch.zeros(1).expand(1 << 20, 1 << 20)}, tmp_path / "x")
    with pytest.raises(Refused, match="more numbers than the file has bytes"):
        load_tensors(tmp_path / "x")


def test_a_decompression_bomb_is_refused(tmp_path):
    torch.save(WEIGHTS, tmp_path / "whole")
    with zipfile.ZipFile(tmp_path / "whole") as old, zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member) if "data/" not in member else bytes(50_000_000))
    with pytest.raises(Refused, match="decompression bomb"):
        load_tensors(tmp_path / "x")


def test_lists_in_lists_cost_nothing_and_give_nothing(tmp_path):
    laughs = [0]
    for _ in range(200):
        laughs = [laughs] * 10
    torch.save({"state_dict": laughs, "a.weight": torch.ones(2)}, tmp_path / "x")
    assert list(load_tensors(tmp_path / "x")) == ["a.weight"]
    assert read_object_array(save_npy(tmp_path / "x.npy", {"laughs": laughs})) == {}
    torch.save(laughs, tmp_path / "y")
    with pytest.raises(Refused, match="holds a list"):
        load_tensors(tmp_path / "y")


def test_a_dictionary_inside_itself_ends(tmp_path):
    inside: dict[str, object] = {}
    inside["model"] = inside
    torch.save(inside, tmp_path / "x")
    assert load_tensors(tmp_path / "x") == {}


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_files_are_refused(tmp_path, legacy):
    torch.save(WEIGHTS, tmp_path / "x", _use_new_zipfile_serialization=not legacy)
    whole = (tmp_path / "x").read_bytes()
    for length in (0, 1, 30, len(whole) // 2, len(whole) - 3):
        (tmp_path / "y").write_bytes(whole[:length])
        with pytest.raises((Refused, zipfile.BadZipFile)):
            load_tensors(tmp_path / "y")


# --- limits of the child -------------------------------------------------------------------------------------------

HUGE = """
import sys, time
from alexnet.weights import pickles
pickles.SPARE, pickles.CPU_SECONDS = 1 << 26, 1
pickles._limit(1000)
kind = sys.argv[1]
try:
    if kind == "memory":
        bytearray(1 << 29)
    elif kind == "disk":
        open(sys.argv[2], "wb").write(bytes(2 << 20))
    elif kind == "time":
        while True:
            pass
except (MemoryError, OSError) as error:
    sys.exit(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of this kind are Linux's")
@pytest.mark.parametrize(("kind", "told"), [("memory", b"MemoryError"), ("disk", b"OSError"), ("time", b"")])
def test_the_child_is_held_to_its_limits(tmp_path, kind, told):
    root = Path(pickles.__file__).parents[2]
    child = subprocess.run(
        [sys.executable, "-c", HUGE, kind, str(tmp_path / "out")],
        cwd=root,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert child.returncode
    assert told in child.stderr


def test_a_child_that_takes_too_long_crashes_or_talks_is_told_in_plain_words(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"")
    monkeypatch.setattr(pickles, "SECONDS", 0.01)
    with pytest.raises(UntrustedFileError, match=r"more than 0\.01 seconds"):
        read_pickle(tmp_path / "x")

    def ended(code, said):
        return lambda *_, **__: subprocess.CompletedProcess([], code, said, b"")

    monkeypatch.setattr(subprocess, "run", ended(-9, b""))
    with pytest.raises(UntrustedFileError, match="ended with code -9"):
        read_pickle(tmp_path / "x")
    monkeypatch.setattr(subprocess, "run", ended(pickles.REFUSED, b"it asks for \x1b[2Jevil" + b"x" * 10_000))
    with pytest.raises(UntrustedFileError) as refused:
        read_pickle(tmp_path / "x")
    assert "\x1b" not in refused.value.what
    assert len(refused.value.what) < 1000
    monkeypatch.setattr(subprocess, "run", ended(0, b""))
    with pytest.raises(UntrustedFileError, match="nothing usable"):
        read_pickle(tmp_path / "x")


# --- NumPy ---------------------------------------------------------------------------------------------------------

LAYERS = {
    "conv1": [np.arange(1200, dtype=np.float32).reshape(5, 5, 3, 16), np.ones(16)],
    "fc6": {"weights": np.eye(3, dtype=">f4"), "biases": np.zeros(3, np.float16)},
    "fc7": {"weights": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3))},
}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_dictionary_of_arrays_comes_back_under_every_protocol(tmp_path, protocol):
    found = read_object_array(save_npy(tmp_path / "x.npy", LAYERS, protocol))
    assert list(found) == ["conv1.weight", "conv1.bias", "fc6.weight", "fc6.bias", "fc7.weight"]
    np.testing.assert_array_equal(found["conv1.weight"], LAYERS["conv1"][0])
    np.testing.assert_array_equal(found["conv1.bias"], LAYERS["conv1"][1])
    np.testing.assert_array_equal(found["fc6.weight"], np.eye(3))
    np.testing.assert_array_equal(found["fc7.weight"], LAYERS["fc7"]["weights"])


def test_what_numpy_saves_itself_comes_back_through_the_child(tmp_path):
    np.save(tmp_path / "x.npy", np.array(LAYERS, dtype=object), allow_pickle=True)
    found = read_pickle(tmp_path / "x.npy")
    np.testing.assert_array_equal(found["conv1.weight"], LAYERS["conv1"][0])
    assert found["conv1.bias"].dtype == found["fc6.weight"].dtype == np.float32
    np.testing.assert_array_equal(found["fc6.weight"], np.eye(3))


def python2_text(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


def python2_array(shape: bytes, dtype: bytes, state: bytes) -> bytes:
    """ndarray.__reduce__ as cPickle of Python 2 writes it, protocol 2."""
    start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape
    kind = b"cnumpy\ndtype\n" + python2_text(dtype) + b"K\x00K\x01\x87R(K\x03"
    if dtype == b"O8":
        kind += b"U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
    else:
        kind += b"U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return start + kind + b"\x89" + state + b"tb"


def test_the_file_of_python_2_comes_back(tmp_path):
    weight, bias = np.random.default_rng(0).normal(size=(11, 11, 3, 4)).astype("<f4"), np.arange(4, dtype="<f4")
    arrays = [
        python2_array(b"(K\x0bK\x0bK\x03K\x04t", b"f4", python2_text(weight.tobytes())),
        python2_array(b"K\x04\x85", b"f4", python2_text(bias.tobytes())),
    ]
    layers = b"}(" + python2_text(b"conv1") + b"](" + b"".join(arrays) + b"eu"
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
    path = tmp_path / "bvlc_alexnet.npy"
    path.write_bytes(buffer.getvalue() + b"\x80\x02" + python2_array(b")", b"O8", b"]" + layers + b"a") + b".")
    # NumPy itself agrees that this is such a file.
    (theirs,) = [np.load(path, allow_pickle=True, encoding="latin1").item()]
    np.testing.assert_array_equal(theirs["conv1"][0], weight)
    found = read_pickle(path)
    np.testing.assert_array_equal(found["conv1.weight"], weight)
    np.testing.assert_array_equal(found["conv1.bias"], bias)


@pytest.mark.parametrize(
    "stream",
    [b"", b".", b"\x80\x02", b"}", b"R.", b"b.", b"e.", b"(u.", b"(}K\x01u.", b"h\x05.", b"\x85.", b"}K\x01K\x02s"],
)
def test_streams_that_no_pickler_writes_are_refused(tmp_path, stream):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
    (tmp_path / "x.npy").write_bytes(buffer.getvalue() + stream)
    assert pickles.main([str(tmp_path / "x.npy"), str(tmp_path / "out")]) == pickles.REFUSED
    assert not (tmp_path / "out").exists()


@pytest.fixture(autouse=True)
def _without_limits(monkeypatch):
    """The limits are for the child; here `main` may run in the process of the tests."""
    monkeypatch.setattr(pickles, "_limit", lambda size: None)
