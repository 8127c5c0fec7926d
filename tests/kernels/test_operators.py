"""The chain of normalizations and pooling, and the update of 2012, as compiled loops and in PyTorch.

Expected values come from PyTorch's own layers and their automatic gradients in float64.
"""

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from alexnet.kernels import device, operators
from alexnet.kernels.operators import Chain, is_compiled, run_chain
from alexnet.models.build import build_model
from alexnet.models.fusion import chain_from, run_layers
from alexnet.models.layers import LocalResponseNorm, WithinMapNorm
from alexnet.recipes.config import AlexNetConfig
from harness.small_runs import call

LRN = Chain(lrn_size=5, lrn_scale=2e-5, lrn_k=2.0, towers=2)
FIRST = replace(LRN, pool=3, stride=2, ceil=True, relu_last=True)  # layer 1 of net 145
SECOND = replace(LRN, relu_first=True, map_size=5, map_scale=4e-5, pool=3, stride=2, ceil=True)  # layer 2
CHAINS = {
    "lrn": LRN,
    "relu-lrn": replace(LRN, relu_first=True),
    "map": Chain(map_size=5, map_scale=4e-5),
    "relu-lrn-map": replace(SECOND, pool=0),
    "first": FIRST,
    "second": SECOND,
    "map-pool": Chain(map_size=5, map_scale=4e-5, pool=2, stride=2),
    "pool-relu": Chain(pool=3, stride=2, relu_last=True),
    "relu-pool": Chain(relu_first=True, pool=3, stride=2),
}
needs_numba = pytest.mark.skipif(operators.compiled() is None, reason="numba is not installed")


def plainly(x: torch.Tensor, chain: Chain) -> torch.Tensor:
    """The chain with the stages of PyTorch."""
    if chain.relu_first:
        x = F.relu(x)
    if chain.lrn_size:
        n, c, h, w = x.shape
        halves = x.reshape(n * chain.towers, c // chain.towers, h, w)
        alpha = chain.lrn_scale * chain.lrn_size
        x = F.local_response_norm(halves, chain.lrn_size, alpha, chain.beta, chain.lrn_k).reshape(n, c, h, w)
    if chain.map_size:
        mean = F.avg_pool2d(x * x, chain.map_size, 1, chain.map_size // 2, count_include_pad=True)
        x = x / (1 + chain.map_scale * chain.map_size**2 * mean) ** chain.beta
    if chain.pool:
        x = F.max_pool2d(x, chain.pool, chain.stride, ceil_mode=chain.ceil)
    return F.relu(x) if chain.relu_last else x


def maps(*shape: int, scale: float = 20.0, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).normal(0.0, scale, shape).astype(np.float32)
    return torch.from_numpy(values).contiguous(memory_format=torch.channels_last)


def assert_equal_to_plain(x: torch.Tensor, chain: Chain) -> None:
    """Values and gradients to 1e-5 of the largest."""
    x = x.detach().requires_grad_()
    exact = x.detach().double().requires_grad_()
    expected = plainly(exact, chain)
    grad = maps(*expected.shape, scale=1.0, seed=1)
    seen = run_chain(x, chain)
    for ours, theirs in (
        (seen, expected),
        (torch.autograd.grad(seen, x, grad)[0], torch.autograd.grad(expected, exact, grad.double())[0]),
    ):
        assert ours.dtype == x.dtype
        assert ours.shape == theirs.shape
        assert (ours.double() - theirs).abs().max() <= 1e-5 * max(theirs.abs().max().item(), 1e-30)


@pytest.fixture(params=["compiled", "pytorch"])
def way(request, monkeypatch):
    """Both implementations."""
    if request.param == "pytorch":
        monkeypatch.setattr(operators, "compiled", lambda: None)
    elif operators.compiled() is None:
        pytest.skip("numba is not installed")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("shape", [(2, 96, 11, 11), (3, 10, 7, 8), (1, 4, 3, 3)])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_values_and_gradients_are_those_of_the_plain_layers(chain, shape, memory_format):
    assert_equal_to_plain(maps(*shape).contiguous(memory_format=memory_format), chain)


@needs_numba
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 20), st.integers(1, 12), st.integers(1, 12),
    st.booleans(), st.booleans(), st.booleans(), st.sampled_from([0, 1, 2, 3, 4]), st.integers(1, 3), st.booleans(),
    st.booleans(), st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_shape_and_any_stages(n, towers, c, h, w, relu, lrn, within, pool, stride, ceil, last, seed):
    pool = pool if pool <= min(h, w) else 0
    chain = Chain(relu, 5 * lrn, 0.01, 1.5, towers, 5 * within, 0.02, 0.75, pool, min(stride, pool or 1), ceil, last)
    chain = chain if pool else replace(chain, relu_last=False)
    x = maps(n, towers * c, h, w, scale=3.0, seed=seed)
    assert is_compiled(x, chain)
    assert_equal_to_plain(x, chain)


@pytest.mark.parametrize("chain", [replace(LRN, lrn_size=9), replace(LRN, lrn_size=4), replace(LRN, beta=0.5)])
def test_other_windows_and_powers_run_in_pytorch(chain):
    x = maps(2, 20, 5, 5)
    assert not is_compiled(x, chain)
    assert_equal_to_plain(x, chain)


@pytest.mark.parametrize("chain", [FIRST, SECOND])
def test_bfloat16_is_normed_in_float32(chain):
    x = maps(2, 96, 11, 11).bfloat16()
    assert run_chain(x, chain).dtype == torch.bfloat16
    torch.testing.assert_close(run_chain(x, chain).float(), plainly(x.float(), chain), rtol=0.02, atol=0.02)


@needs_numba
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_channels_last_stays_and_the_same_bytes_come_from_any_number_of_threads(chain):
    x, before, seen = maps(5, 96, 15, 15).requires_grad_(), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 1, 2):
            torch.set_num_threads(threads)
            out = run_chain(x, chain)
            (gradient,) = torch.autograd.grad(out, x, torch.ones_like(out))
            assert out.is_contiguous(memory_format=torch.channels_last)
            assert gradient.is_contiguous(memory_format=torch.channels_last)
            seen.append((out.detach(), gradient))
    finally:
        torch.set_num_threads(before)
    for out, gradient in seen[1:]:
        assert torch.equal(out, seen[0][0])
        assert torch.equal(gradient, seen[0][1])


@needs_numba
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_one_image_comes_out_as_in_a_batch(chain):
    x = maps(4, 96, 15, 15)
    assert torch.equal(run_chain(x, chain)[2:3], run_chain(x[2:3], chain))


@needs_numba
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_backward_keeps_the_input_and_a_byte_for_each_pooled_value(chain):
    kept = []
    x = maps(2, 96, 15, 15).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        out = run_chain(x, chain)
    assert sum(t.nbytes for t in kept) <= x.nbytes + (out.numel() if chain.pool else 0)
    assert any(t.data_ptr() == x.data_ptr() for t in kept)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_gets_through(chain, value):
    x = maps(1, 8, 7, 7)
    x[0, 3, 3, 3] = value
    expected, seen = plainly(x, chain), run_chain(x, chain)
    assert not seen[~expected.isfinite()].isfinite().any()
    if math.isnan(value):
        assert torch.equal(seen.isnan(), expected.isnan())


@pytest.mark.usefixtures("way")
def test_of_equal_maxima_the_first_gets_the_gradient():
    x = torch.ones(1, 2, 3, 3, requires_grad=True)
    run_chain(x, Chain(pool=3, stride=2, relu_last=True)).sum().backward()
    assert x.grad.tolist() == [[[[1, 0, 0], [0, 0, 0], [0, 0, 0]]] * 2]


@needs_numba
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck itself
def test_pytorch_knows_the_operator():
    x = maps(2, 8, 7, 7).requires_grad_()
    stages = [getattr(SECOND, name) for name in operators.NAMES]
    torch.library.opcheck(operators.norm_chain, (x, *stages))


def test_a_traced_network_holds_no_operator_of_ours():
    program = torch.export.export(nn.Sequential(LocalResponseNorm(5, 1e-4, 0.75, 2.0, 2)), (maps(1, 8, 5, 5),))
    assert "alexnet" not in str(program.graph)
    torch.testing.assert_close(program.module()(maps(1, 8, 5, 5)), run_chain(maps(1, 8, 5, 5), LRN))


# Groups --------------------------------------------------------------------------------------------------------------


def groups(layers) -> list[int]:
    counts = []
    while sum(counts) < len(layers):
        counts.append(chain_from(layers[sum(counts) :])[1])
    return counts


def test_neighbours_run_as_one_only_in_the_order_of_the_chain():
    relu, pool, lrn, norm = nn.ReLU(), nn.MaxPool2d(3, 2), LocalResponseNorm(5, 1e-4, 0.75, 2.0), WithinMapNorm(5, 1, 1)
    assert groups([lrn, pool, relu]) == [3]
    assert groups([relu, lrn, pool]) == [3]
    assert groups([relu, pool, lrn]) == [2, 1]
    assert groups([relu, relu]) == [1, 1]
    assert groups([lrn, norm]) == [1, 1]  # another exponent
    assert groups([norm, lrn]) == [1, 1]
    assert groups([pool, relu, relu, pool]) == [2, 2]
    assert groups([nn.MaxPool2d(3, 2, padding=1), relu]) == [1, 1]
    assert groups([nn.Flatten(), nn.Linear(3, 3), relu]) == [1, 1, 1]


def test_a_layer_with_a_hook_runs_by_itself():
    layers, seen = [LocalResponseNorm(5, 1e-4, 0.75, 2.0), nn.MaxPool2d(3, 2), nn.ReLU()], []
    handle = layers[1].register_forward_hook(lambda layer, inputs, output: seen.append(output))
    run_layers(layers, maps(1, 8, 7, 7))
    assert len(seen) == 1
    handle.remove()
    run_layers(layers, maps(1, 8, 7, 7))
    assert len(seen) == 1


@pytest.mark.parametrize(
    "config",
    [
        AlexNetConfig(width=0.125, fc_features=(64, 64), num_classes=5),
        AlexNetConfig(width=0.125, fc_features=(64, 64), num_classes=5, norm1="after-pool", norm2="after-pool"),
        AlexNetConfig(width=0.125, fc_features=(64, 64), num_classes=5, norm="none", pooling="plain"),
    ],
)
def test_a_network_gives_the_same_with_its_layers_one_by_one(config):
    model = build_model(config).eval().to(memory_format=torch.channels_last)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 224, 224), np.uint8))
    with torch.no_grad():
        torch.testing.assert_close(model(images), model.activations(images)["fc8"], rtol=1e-5, atol=1e-6)


def fresh(code: str, **environment: str) -> str:
    """What a program prints; a copy of a process would have numba loaded already."""
    given = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=given).stdout


@needs_numba
def test_the_first_kernel_leaves_the_number_of_threads_of_pytorch_alone():
    code = """
import torch
torch.set_num_threads(1)
from alexnet.kernels.operators import Chain, run_chain
run_chain(torch.ones(2, 16, 9, 9).to(memory_format=torch.channels_last), Chain(lrn_size=5, lrn_scale=0.1))
print(torch.get_num_threads())
"""
    assert fresh(code) == "1\n"


@needs_numba
def test_loops_that_were_just_compiled_and_loops_from_the_disk_give_the_same_bytes(tmp_path):
    code = """
import hashlib, torch
from alexnet.kernels.operators import Chain, momentum_step, run_chain
torch.set_num_threads(1)
x = torch.randn(4, 32, 20, 20, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
x.requires_grad_()
chain = Chain(True, 5, 0.2, 2.0, 2, map_size=5, map_scale=0.01, pool=3, stride=2, ceil=True)
y = run_chain(x, chain)
y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(1)))
w, v = torch.ones(70000).requires_grad_(), torch.linspace(-1, 1, 70000)
w.grad = torch.linspace(1, 3, 70000)
momentum_step(w, v, 0.9, 0.01, 0.0005)
for t in (y, x.grad, w, v):
    print(hashlib.sha256(t.detach().contiguous().numpy().tobytes()).hexdigest())
"""
    outputs = [fresh(code, NUMBA_CACHE_DIR=str(tmp_path / "cache")) for _ in range(2)]
    assert any((tmp_path / "cache").rglob("*.nbc"))
    assert outputs[0].count("\n") == 4
    assert outputs[0] == outputs[1]


# The update of 2012 --------------------------------------------------------------------------------------------------


@needs_numba
@pytest.mark.parametrize("shape", [(3,), (70_000,), (8, 4, 5, 5)])
def test_one_pass_is_the_update_of_2012_for_any_number_of_threads(shape):
    rng, before, seen = np.random.default_rng(0), torch.get_num_threads(), []
    w, g, v = (torch.from_numpy(rng.normal(size=shape).astype(np.float32)) for _ in range(3))
    expected = 0.9 * v.double() - 0.01 * (g.double() + 0.0005 * w.double())
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            weight, buffer = w.clone().requires_grad_(), v.clone()
            weight.grad = g.clone()
            assert operators.momentum_step(weight, buffer, 0.9, 0.01, 0.0005)
            seen.append((weight.detach(), buffer))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])
    torch.testing.assert_close(seen[0][1].double(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(seen[0][0].double(), w.double() + expected, rtol=0, atol=1e-6)


def test_what_lies_otherwise_in_memory_is_left_to_pytorch():
    weight = torch.ones(4, 3, 2, 2, requires_grad=True)
    weight.grad = torch.ones(4, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    assert not operators.momentum_step(weight, torch.zeros(4, 3, 2, 2), 0.9, 0.01, 0.0)
    double = torch.ones(4, dtype=torch.float64, requires_grad=True)
    double.grad = torch.ones_like(double)
    assert not operators.momentum_step(double, torch.zeros_like(double), 0.9, 0.01, 0.0)
    assert torch.equal(weight.detach(), torch.ones(4, 3, 2, 2))


# Start ---------------------------------------------------------------------------------------------------------------


def test_numba_is_imported_when_the_first_batch_arrives():
    code = "import sys, alexnet.models.network, alexnet.training.optim; print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_where_nothing_can_be_written_the_loops_are_compiled_anew():
    code = (
        "import numba, torch, alexnet.kernels.operators as k\n"
        "class No:\n"
        "    @classmethod\n"
        "    def from_function(cls, *args): return None\n"
        "import numba.core.caching as c\n"
        "c.CacheImpl._locator_classes = [No]\n"
        "print(k.compiled().power(torch.tensor(16.0).numpy()[()])[1])\n"
    )
    assert float(fresh(code)) == pytest.approx(0.25, rel=1e-5)


def test_the_allocator_takes_its_settings_on_glibc_and_does_nothing_elsewhere(monkeypatch):
    imports = "import platform; from alexnet.kernels.device import keep_memory, stay_small"
    code = f"{imports}; print(keep_memory(), stay_small(), platform.libc_ver()[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert done[:2] == 2 * [str("glibc" in done)]
    monkeypatch.setattr(device.platform, "libc_ver", lambda: ("", ""))
    assert not device.keep_memory()
    assert not device.stay_small()


@pytest.mark.parametrize(
    ("variables", "told"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "30000000000")],
)
def test_threads_that_wait_leave_the_processor_soon(variables, told):
    """OpenMP itself says what it has read, when it is loaded."""
    (library, *_) = [*Path(torch.__file__).parent.glob("lib/libgomp*"), None]
    if library is None:
        pytest.skip("this PyTorch does not compute with GNU's OpenMP")
    code = (
        "import ctypes, sys; from alexnet.kernels.device import wait_politely\n"
        f"wait_politely(); assert 'torch' not in sys.modules; ctypes.CDLL({str(library)!r})"
    )
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment = {**clean, **variables, "OMP_DISPLAY_ENV": "VERBOSE"}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert f"GOMP_SPINCOUNT = '{told}'" in said.stderr


def test_the_command_line_waits_politely(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "20")
    assert call("recipes").code == 0
    assert (os.environ["GOMP_SPINCOUNT"], os.environ["OPENBLAS_THREAD_TIMEOUT"]) == ("1000", "20")
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT")
    assert call("recipes").code == 0
    assert os.environ["OPENBLAS_THREAD_TIMEOUT"] == "12"
