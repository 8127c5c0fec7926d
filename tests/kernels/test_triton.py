"""The Triton kernels in Triton's interpreter, against PyTorch in float64; see `harness.interpreted`."""

import importlib.util
import json
import subprocess
import sys

import pytest
import torch

from alexnet.kernels import card_chain, momentum, operators, triton_choice
from alexnet.kernels.operators import Chain, run_chain
from alexnet.kernels.ways import chains
from harness import ROOT

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
NAMES = (
    *("layer 1 of net 145", "layer 2 of net 145", "LRN", "ReLU, LRN of one tower", "ReLU, LRN, map norm", "map norm"),
    *("ReLU, map norm, pooling of 2", "pooling, ReLU", "ReLU, pooling beyond the border"),
    *("windows that overlap by two", "windows with gaps", "ReLU", "ties and NaN", "updates"),
    *("layer 1 of net 145, bfloat16", "ReLU, map norm, pooling of 2, bfloat16"),
)
CARD = torch.device("cuda")


@pytest.fixture(scope="module")
def distances() -> dict[str, list[float]]:
    """Of every case, in a process of its own: interpreting thousands of operations takes a quarter of a minute."""
    command = [sys.executable, "-W", "ignore", "-m", "harness.interpreted"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return dict(json.loads(line) for line in ended.stdout.splitlines())


@needs_triton
@pytest.mark.parametrize("name", NAMES)
def test_kernels_compute_what_their_twins_compute(distances, name):
    assert max(distances[name]) < (1e-2 if "bfloat16" in name else 3e-7)
    assert distances.keys() == set(NAMES)


KERNELS = (
    *("layer 1, float32, forward_kernel", "layer 1, float32, lrn_backward_kernel", "layer 2, bfloat16, forward_kernel"),
    *("layer 2, bfloat16, map_terms_kernel", "layer 2, bfloat16, map_backward_kernel"),
    *("layer 2, bfloat16, lrn_backward_kernel", "update, float32, momentum_kernel"),
)


@needs_triton
def test_kernels_compile_for_a_card_that_is_not_there():
    command = [sys.executable, "-m", "harness.compiled_kernels", "layer 1, float32", "layer 2, bfloat16", "update"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr[-3000:]
    sizes = dict(json.loads(line) for line in ended.stdout.splitlines())
    assert sizes.keys() == set(KERNELS)
    assert min(sizes.values()) > 0


# --- which of them is used -------------------------------------------------------------------------------------------


@pytest.fixture
def untried(monkeypatch):
    """No kernel was tried, and there is a card to name."""
    monkeypatch.setattr(triton_choice, "_found", {})
    monkeypatch.setattr(torch.cuda, "device", lambda _: torch.no_grad())


def good(_):
    return 1e-7


def bad(_):
    return 1e-3


def nan(_):
    return float("nan")


def fails(_):
    raise SystemError("a compiler of kernels failed")


@pytest.mark.parametrize(("trial", "used"), [(good, True), (bad, False), (nan, False), (fails, False)])
def test_a_kernel_is_used_where_its_trial_agrees(untried, trial, used):
    assert triton_choice.trusted(CARD, trial) is used
    assert triton_choice.described(CARD, trial).startswith("Triton" if used else "PyTorch")


def test_a_trial_is_made_once_a_device(untried):
    calls = []

    def counted(device):
        calls.append(str(device))
        return 0.0

    for device in ("cuda:0", "cuda:0", "cuda:1", "cpu", "mps"):
        assert triton_choice.trusted(torch.device(device), counted) == device.startswith("cuda")
    assert calls == ["cuda:0", "cuda:1"]


def test_both_kinds_must_agree_to_be_named(untried):
    assert triton_choice.described(CARD, good, bad) == "PyTorch"


def test_nothing_is_tried_on_a_cpu(monkeypatch):
    monkeypatch.setattr(operators, "chain_trial", fails)
    monkeypatch.setattr(momentum, "update_trial", fails)
    assert run_chain(torch.ones(1, 5, 2, 2, dtype=torch.float64), Chain(lrn_size=5)).shape == (1, 5, 2, 2)


FITTING = {
    "layer 1": (Chain(lrn_size=5, towers=2, pool=3, stride=2), torch.float32, True),
    "bfloat16": (Chain(lrn_size=5, pool=3, stride=2), torch.bfloat16, True),
    "map norm": (Chain(map_size=5), torch.float32, True),
    "float64": (Chain(lrn_size=5), torch.float64, False),
    "float16": (Chain(lrn_size=5), torch.float16, False),
    "another window": (Chain(lrn_size=9), torch.float32, False),
    "another window within maps": (Chain(map_size=3), torch.float32, False),
    "another power": (Chain(lrn_size=5, beta=0.5), torch.float32, False),
    "too large a window": (Chain(pool=16, stride=2), torch.float32, False),
    "no window at all": (Chain(pool=9, stride=2), torch.float32, False),
    "towers of unequal size": (Chain(lrn_size=5, towers=5), torch.float32, False),
}


@pytest.mark.parametrize(("chain", "dtype", "fits"), FITTING.values(), ids=FITTING)
def test_only_chains_that_the_kernels_know_are_given_to_them(chain, dtype, fits):
    assert card_chain.fits(torch.ones(2, 6, 7, 8, dtype=dtype), chain) is fits
    assert not card_chain.fits(torch.ones(0, 6, 7, 8, dtype=dtype), chain)


def test_an_update_is_fused_where_the_three_are_flat_arrays():
    w, v = torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)
    w.grad = torch.zeros(2, 3, 4, 5)
    assert momentum.is_dense((w, v, 0.9, 0.1, 0.0))
    assert not momentum.is_dense((w, v.contiguous(memory_format=torch.channels_last), 0.9, 0.1, 0.0))
    assert not momentum.is_dense((w, v.double(), 0.9, 0.1, 0.0))
    part = torch.zeros(2, 6)[:, ::2]
    part.grad = torch.zeros(2, 6)[:, ::2]
    assert not momentum.is_dense((part, torch.zeros(2, 6)[:, ::2], 0.9, 0.1, 0.0))


# --- the chain as one compiled region --------------------------------------------------------------------------------


def test_a_chain_as_one_region_of_torch_compile_computes_the_same():
    chain = Chain(lrn_size=5, lrn_scale=0.02, lrn_k=2.0, towers=2, relu_first=True, pool=3, stride=2)
    x = torch.randn(2, 12, 9, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    answers = []
    for way in ("plain", "compiled", "kernels"):
        with chains(way, "aot_eager"):
            out = run_chain(x, chain)
        answers.append((out, torch.autograd.grad(out.square().sum(), x)[0]))
    for out, slope in answers[1:]:
        torch.testing.assert_close(out, answers[0][0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(slope, answers[0][1], rtol=1e-5, atol=1e-5)
