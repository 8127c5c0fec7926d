"""Dropout masks: the numbers of `alexnet.rng` in every way to compute them, for any part of a batch and of a layer.

The answer is SplitMix64 with Python's unbounded integers, as in tests/test_rng.py.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet import rng
from alexnet.kernels import masks
from alexnet.models.layers import Dropout

GOLDEN = 0x9E3779B97F4A7C15
KEYS = (0, 1, 5, 2**31, 2**53 + 1, 2**62 + 12345, 2**63 - 1)
WAYS = [pytest.param(True, id="compiled"), pytest.param(False, id="PyTorch")]


def finalised(z: int) -> int:
    z %= 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def by_hand(key: int, row: int, unit: int, keep: float) -> float:
    state = 0
    for part in (key, 0, rng.DROPOUT, row):
        state = finalised(state + GOLDEN + part)
    return float((finalised(state + GOLDEN * (unit + 1)) >> 11) / 2**53 < keep)


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(masks, "compiled", lambda: None)
    elif masks.compiled() is None:
        pytest.skip("numba is not installed")
    return request.param


def drawn(key, rows, units, keep, dtype=torch.float32):
    return masks.mask(key, torch.as_tensor(rows), units, keep, torch.empty(0, dtype=dtype))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("keep", [0.5, 0.1, 0.9, 1 / 3])
def test_masks_are_those_by_hand(way, key, keep):
    rows, units = [0, 3, 1, 127, 10**6], range(5, 40)
    found = drawn(key, rows, units, keep)
    assert found.tolist() == [[by_hand(key, row, unit, keep) for unit in units] for row in rows]


@pytest.mark.parametrize(("keep", "value"), [(1.0, 1.0), (0.0, 0.0)])
def test_all_or_nothing_is_kept_at_the_ends(way, keep, value):
    assert drawn(7, range(9), range(33), keep).unique().tolist() == [value]


@given(st.integers(0, 2**63 - 1), st.integers(0, 50), st.integers(0, 70), st.integers(0, 90), st.floats(0, 1))
def test_both_ways_draw_the_same(key, first, begin, count, keep):
    if masks.compiled() is None:
        pytest.skip("numba is not installed")
    rows, units = np.arange(first, first + 6), range(begin, begin + count)
    with pytest.MonkeyPatch.context() as patch:
        fast = drawn(key, rows, units, keep)
        patch.setattr(masks, "compiled", lambda: None)
        assert torch.equal(drawn(key, rows, units, keep), fast)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_mask_has_the_type_of_what_it_multiplies(way, dtype):
    found = drawn(3, range(4), range(50), 0.5, dtype)
    assert found.dtype == dtype
    assert torch.equal(found.float(), drawn(3, range(4), range(50), 0.5))


@pytest.mark.parametrize("processes", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("p", [0.5, 0.2])
def test_processes_that_share_the_batch_and_the_units_have_parts_of_one_mask(way, processes, p):
    x, layer = torch.ones(16, 60), Dropout(p, scale_at_test=True)
    layer.key = 99
    whole = layer(x)
    ends = [60 * n // processes for n in range(processes + 1)]
    for first, last in itertools.pairwise(ends):
        layer.columns = slice(first, last)
        assert torch.equal(layer(x[:, first:last]), whole[:, first:last])
    ends, layer.columns = [16 * n // processes for n in range(processes + 1)], None
    for first, last in itertools.pairwise(ends):
        layer.rows = slice(first, last)
        assert torch.equal(layer(x[first:last]), whole[first:last])
    layer.rows = positions = torch.tensor([3, 1, 15, 0])
    assert torch.equal(layer(x[positions]), whole[positions])


def test_maps_are_masked_unit_by_unit(way):
    x, layer = torch.ones(3, 4, 5, 6), Dropout(0.5, scale_at_test=True)
    layer.key = 1
    whole = layer(x)
    assert torch.equal(whole.flatten(1), layer(x.flatten(1)))
    layer.columns = slice(1, 3)
    assert torch.equal(layer(x[:, 1:3]), whole[:, 1:3])
    assert layer(x[:0, 1:3]).shape == (0, 2, 5, 6)


def test_neighbors_of_a_mask_are_independent():
    found = drawn(12345, range(2000), range(500), 0.5)
    for one, other in (
        (found[1:], found[:-1]),
        (found[:, 1:], found[:, :-1]),
        (found, drawn(12346, range(2000), range(500), 0.5)),
    ):
        agreeing = (one == other).double().mean().item()
        assert abs(agreeing - 0.5) < 5 * 0.5 / math.sqrt(one.numel())
