"""Files that look like what is refused and are fine: each heuristic refusal has an innocent twin that is read."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet.errors import UntrustedFileError
from alexnet.weights.pickles import load_tensors
from alexnet.weights.read import read_stored

STATE = {"a.weight": torch.ones(4, 3, 5, 5), "a.bias": torch.ones(4)}


def packed(path: Path, state: dict[str, torch.Tensor]) -> None:
    """What torch.save writes, compressed by a zip program."""
    torch.save(state, path.with_suffix(".plain"))
    with (
        zipfile.ZipFile(path.with_suffix(".plain")) as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for member in old.namelist():
            new.writestr(member, old.read(member))


TENSORS = {
    "compressed zeros, a thousandth of their size": lambda p: packed(p, {"a.weight": torch.zeros(4, 3, 400, 400)}),
    "one number for a whole mask": lambda p: torch.save({"a.weight": torch.ones(1).expand(64, 64)}, p),
    "two names for one tensor": lambda p: torch.save({"a.weight": STATE["a.weight"], "b.weight": STATE["a.weight"]}, p),
    "an average beside the weights": lambda p: torch.save({"state_dict": STATE, "ema": {"a.weight": torch.ones(2)}}, p),
    "nested three deep": lambda p: torch.save({"model": {"net": {"state_dict": STATE}}}, p),
    "a thousand tensors": lambda p: torch.save({f"x{i}.weight": torch.ones(1, 1) for i in range(1000)}, p),
    "a folder called code": lambda p: torch.save({"code/a.weight": torch.ones(2, 2)}, p),
}


@pytest.mark.parametrize("name", TENSORS)
def test_state_dicts_that_only_look_hostile_are_read(tmp_path, name):
    TENSORS[name](tmp_path / "x")
    tensors = load_tensors(tmp_path / "x")
    assert tensors
    assert all(tensor.numel() for tensor in tensors.values())


@pytest.mark.parametrize(("share", "is_read"), [(1.0, True), (1.2, False)])
def test_a_numpy_archive_of_zeros_is_read_up_to_the_limit(tmp_path, share, is_read):
    np.savez_compressed(tmp_path / "x.npz", **{"a.weight": np.zeros((int(share * (1 << 24)) // 8 - 64, 8), np.float32)})
    if is_read:
        assert len(read_stored(tmp_path / "x.npz").layers) == 1
    else:
        with pytest.raises(UntrustedFileError, match="would unpack from"):
            read_stored(tmp_path / "x.npz")
