"""The compiled loops against their formulas as slow loops in float64, number by number.

The maps are small enough for the loops as plain Python as well (NUMBA_DISABLE_JIT=1), which is how mutation testing
changes them; and so lively that every sum moves its denominator by several times k. `tests/models/test_layers.py` has
the same formulas for PyTorch's part, which runs in float64.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from alexnet.kernels import operators
from alexnet.kernels.operators import Chain, is_compiled, momentum_step, run_chain

pytestmark = pytest.mark.skipif(operators.compiled() is None, reason="numba is not installed")

TOWERS, SHARE = 2, 4  # maps: two towers of four, so that every window meets the border
LRN = Chain(lrn_size=5, lrn_scale=0.05, lrn_k=2.0, towers=TOWERS)
MAP = Chain(map_size=5, map_scale=0.02)
POOL = {"pool": 3, "stride": 2, "ceil": True}
CHAINS = {
    "lrn": LRN,
    "relu-lrn": replace(LRN, relu_first=True),
    "lrn-pool-relu": replace(LRN, **POOL, relu_last=True),
    "map": MAP,
    "map-pool": replace(MAP, **POOL),
    "relu-lrn-map": replace(LRN, relu_first=True, map_size=5, map_scale=0.02),
    "relu-lrn-map-pool": replace(LRN, relu_first=True, map_size=5, map_scale=0.02, **POOL),
    "relu-pool": Chain(relu_first=True, **POOL),
    "plain-pool": Chain(pool=2, stride=2, relu_last=True),
}


def maps(height: int = 6, width: int = 5, count: int = 2, seed: int = 0) -> torch.Tensor:
    """Signed float32 maps of which no two values are equal, so that every maximum is one place."""
    values = np.random.default_rng(seed).normal(0, 8, (count, TOWERS * SHARE, height, width)).astype(np.float32)
    assert len(np.unique(np.abs(values))) == values.size
    return torch.from_numpy(values).contiguous(memory_format=torch.channels_last)


def slowly(x: np.ndarray, chain: Chain) -> np.ndarray:
    """A chain on (N, C, H, W) float64, one number after the other: [code] layer.py:1179-1186, conv_util.cuh."""
    count, channels, height, width = x.shape
    share = channels // chain.towers
    if chain.relu_first:
        x = np.maximum(x, 0)
    if chain.lrn_size:
        out = np.empty_like(x)
        for f in range(channels):
            tower = f // share
            around = range(max(tower * share, f - 2), min((tower + 1) * share, f + 3))
            out[:, f] = x[:, f] * (chain.lrn_k + chain.lrn_scale * sum(x[:, j] ** 2 for j in around)) ** -0.75
        x = out
    if chain.map_size:
        out = np.empty_like(x)
        for i, j in itertools.product(range(height), range(width)):
            window = x[:, :, max(0, i - 2) : i + 3, max(0, j - 2) : j + 3]
            out[:, :, i, j] = x[:, :, i, j] * (1 + chain.map_scale * (window**2).sum((2, 3))) ** -0.75
        x = out
    if chain.pool:
        rows, columns = (1 + -(-(side - chain.pool) // chain.stride) for side in (height, width))
        if not chain.ceil:
            rows, columns = (1 + (side - chain.pool) // chain.stride for side in (height, width))
        out = np.empty((count, channels, rows, columns))
        for i, j in itertools.product(range(rows), range(columns)):
            top, left = i * chain.stride, j * chain.stride
            out[:, :, i, j] = x[:, :, top : top + chain.pool, left : left + chain.pool].max((2, 3))
        x = out
    return np.maximum(x, 0) if chain.relu_last else x


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_the_compiled_chain_is_its_formula_with_clipped_windows_and_one_tower_at_a_time(chain):
    x = maps()
    assert is_compiled(x, chain)
    expected = slowly(x.double().numpy(), chain)
    seen = run_chain(x, chain).double().numpy()
    assert seen.shape == expected.shape
    np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_the_gradient_of_the_compiled_chain_is_the_central_difference_of_its_formula(chain):
    x = maps(count=1).requires_grad_()
    exact = x.detach().double().numpy()
    weights = np.random.default_rng(1).normal(size=slowly(exact, chain).shape)
    grad = torch.from_numpy(weights.astype(np.float32))
    (seen,) = torch.autograd.grad(run_chain(x, chain), x, grad)
    step = 1e-6
    expected = np.empty_like(exact)
    for at in np.ndindex(exact.shape):
        sides = []
        for sign in (1, -1):
            moved = exact.copy()
            moved[at] += sign * step
            sides.append((slowly(moved, chain) * weights).sum())
        expected[at] = (sides[0] - sides[1]) / (2 * step)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(seen.double().numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "chain", [c for c in CHAINS.values() if c.lrn_size], ids=[n for n, c in CHAINS.items() if c.lrn_size]
)
def test_the_compiled_lrn_never_looks_into_the_other_tower_forward_or_backward(chain):
    """What one tower computes stays the same to the last bit, whatever the other one holds."""
    results = []
    for factor in (1.0, 100.0):
        x = maps()
        x[:, SHARE:] *= factor
        x.requires_grad_()
        out = run_chain(x, chain)
        grad = torch.ones_like(out)
        grad[:, SHARE:] *= factor
        (gradient,) = torch.autograd.grad(out, x, grad)
        results.append((out.detach(), gradient))
    for first, second in zip(*results, strict=True):
        assert torch.equal(first[:, :SHARE], second[:, :SHARE])
        assert not torch.equal(first[:, SHARE:], second[:, SHARE:])


def test_the_chains_reach_every_neighbour_within_the_tower():
    """Otherwise the test before would hold of a window of one map, too."""
    x, norm = maps(), run_chain(maps(), LRN)
    for changed in range(TOWERS * SHARE):
        y = x.clone()
        y[:, changed] += 50.0
        moved = (run_chain(y, LRN) != norm).flatten(2).any(-1).any(0).nonzero().flatten().tolist()
        assert moved == [f for f in range(8) if f // SHARE == changed // SHARE and abs(f - changed) <= 2]


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_compiled_update_is_that_of_2012_across_changes_of_the_rate(decay):
    rng = np.random.default_rng(0)
    weight, buffer = torch.from_numpy(rng.normal(size=37).astype(np.float32)), torch.zeros(37)
    weight.requires_grad_()
    w, v = weight.detach().double().numpy().copy(), np.zeros(37)
    for rate in (0.1, 0.1, 0.01, 0.2):
        g = rng.normal(size=37).astype(np.float32)
        weight.grad = torch.from_numpy(g)
        assert momentum_step(weight, buffer, 0.9, rate, decay)
        for i in range(37):
            v[i] = 0.9 * v[i] - rate * (g[i] + decay * w[i])
            w[i] = w[i] + v[i]
        np.testing.assert_allclose(weight.detach().numpy(), w, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(buffer.numpy(), v, rtol=1e-5, atol=1e-6)
