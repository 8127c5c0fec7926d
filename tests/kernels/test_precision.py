"""How exactly a device computes: what is set for a card, what is put back, and that nothing else is touched.

There is no card here, so the settings themselves are read: PyTorch has them on every machine.
"""

import dataclasses
import os

import pytest
import torch

from alexnet.errors import UsageError
from alexnet.kernels import precision
from alexnet.kernels.device import check_processes, choose_device, failure_of, memory_format
from alexnet.training.plan import Plan

CUDA, OTHERS = torch.device("cuda"), [torch.device(name) for name in ("cpu", "mps", "meta")]
MATMUL, CONV = torch.backends.cuda.matmul, torch.backends.cudnn.conv


def settings() -> dict[str, object]:
    return {
        "matmul": MATMUL.fp32_precision,
        "conv": CONV.fp32_precision,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "only warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": torch.backends.cudnn.deterministic,
        "benchmark": torch.backends.cudnn.benchmark,
        "fills": torch.utils.deterministic.fill_uninitialized_memory,
    }


@pytest.fixture(autouse=True)
def cublas(monkeypatch):
    monkeypatch.delenv(precision.CUBLAS, raising=False)


@pytest.mark.parametrize(("recipe", "set_to"), [("float32", "ieee"), ("bfloat16", "ieee"), ("tf32", "tf32")])
@pytest.mark.parametrize("device", [CUDA, torch.device("cuda:1")])
def test_the_precision_of_a_card_is_that_of_the_recipe_within_the_block(recipe, set_to, device):
    before = settings()
    with precision.rounding(device, recipe):
        assert (MATMUL.fp32_precision, CONV.fp32_precision) == (set_to, set_to)
    assert settings() == before
    with pytest.raises(ZeroDivisionError), precision.rounding(device, recipe):
        1 / 0  # noqa: B018
    assert settings() == before


@pytest.mark.parametrize("was", ["tf32", "ieee"])
def test_what_a_program_had_set_is_put_back(was):
    old = MATMUL.fp32_precision, CONV.fp32_precision
    try:
        MATMUL.fp32_precision = CONV.fp32_precision = was
        before = settings()
        for wanted in ("float32", "tf32"):
            with precision.rounding(CUDA, wanted), precision.reproducible(CUDA):
                pass
            assert settings() == before
    finally:
        MATMUL.fp32_precision, CONV.fp32_precision = old


def test_reproducible_sets_all_that_it_takes_and_puts_it_back():
    before = settings()
    with precision.reproducible(CUDA):
        inside = settings()
        assert os.environ[precision.CUBLAS] == ":4096:8"
    expected = {"deterministic": True, "only warns": False, "cudnn": True, "benchmark": False, "fills": False}
    assert inside == {**before, **expected}
    assert settings() == before
    with precision.reproducible(CUDA, fast=True):
        inside = settings()
    assert inside == {**before, "deterministic": False, "cudnn": False, "benchmark": True, "fills": False}
    assert settings() == before


@pytest.mark.parametrize("fast", [False, True])
def test_a_program_that_wants_only_warnings_gets_them_back(fast):
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        before = settings()
        with precision.reproducible(CUDA, fast=fast):
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert settings() == before
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("device", OTHERS)
def test_other_devices_are_left_alone(device):
    before = settings()
    for wanted in ("float32", "tf32", "bfloat16"):
        with precision.rounding(device, wanted), precision.reproducible(device):
            assert settings() == before
    assert precision.CUBLAS not in os.environ
    assert precision.algorithms(device, True) == "deterministic"


def test_only_a_card_can_be_fast():
    assert [precision.algorithms(CUDA, fast) for fast in (True, False)] == ["fast", "deterministic"]


@pytest.mark.parametrize(
    ("was", "becomes"),
    [(None, ":4096:8"), (":16:8", ":16:8"), (":4096:8", ":4096:8"), (":4096:2", ":4096:8"), ("", ":4096:8")],
)
def test_the_workspace_of_cublas_is_set_as_soon_as_a_card_is_chosen(was, becomes, monkeypatch):
    if was is not None:
        monkeypatch.setenv(precision.CUBLAS, was)
    monkeypatch.setattr(torch, "empty", lambda *size, device: None)
    assert choose_device("cuda:0").type == "cuda"
    assert os.environ[precision.CUBLAS] == becomes


def test_a_mac_has_the_plain_memory_layout():
    layouts = {name: memory_format(torch.device(name)) for name in ("cpu", "cuda", "cuda:3", "mps", "mps:0", "meta")}
    assert {name for name, layout in layouts.items() if layout is torch.contiguous_format} == {"mps", "mps:0"}


MEMORY = [
    MemoryError(),
    MemoryError("Unable to allocate 3.00 TiB for an array with shape (9,) and data type float64"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.19 GiB"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 MiB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.7 GB, other allocations: 0 bytes, max allowed: 9.07 GB)"),
    RuntimeError("Invalid buffer size: 24.00 GB"),
    RuntimeError("HIP out of memory. Tried to allocate 1 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:129] data. DefaultCPUAllocator: not enough memory: you tried"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("unable to mmap 4096 bytes from file </x>: Cannot allocate memory (12)"),
]
FAULT = [
    RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously"),
    RuntimeError("CUDA error: misaligned address"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA error: no kernel image is available for execution on the device"),
    RuntimeError("CUDA driver error: invalid argument"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("HIP error: an illegal memory access was encountered"),
    RuntimeError("MPS: command buffer exited with error status. Internal error"),
]
DEFECT = [
    RuntimeError("unsupported memory format option Preserve"),
    RuntimeError("unsupported operation: some elements of the input tensor refer to a single memory location"),
    RuntimeError("Unable to open shared memory object </torch_1> in read-write mode"),
    RuntimeError("The memory layout of the tensor is not what was expected"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x9 and 8x2)"),
    RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
    ValueError("out of memory"),
    KeyError("cuda error"),
]


@pytest.mark.parametrize(
    ("error", "code"),
    [*((e, "E542") for e in MEMORY), *((e, "E543") for e in FAULT), *((e, None) for e in DEFECT)],
    ids=lambda value: str(value)[:50],
)
def test_what_pytorch_says_is_too_little_memory_a_fault_of_the_card_or_a_defect(error, code):
    failure = failure_of(error)
    assert (failure and failure.code) == code


@pytest.mark.parametrize(
    ("device", "cards", "count", "refused"),
    [
        ("cuda", 1, 2, True), ("cuda", 2, 2, False), ("cuda", 2, 3, True), ("cuda", 8, 8, False), ("cuda", 1, 1, False),
        ("cuda:0", 4, 2, True), ("cuda:1", 4, 1, False), ("mps", 0, 2, True), ("mps", 0, 1, False),
        ("cpu", 0, 8, False), ("cpu", 1, 64, False), ("cuda", 4, 0, False),
    ],
)  # fmt: skip
def test_no_more_processes_than_cards(device, cards, count, refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    if refused:
        with pytest.raises(UsageError, match=f"E250 {count} processes need a card each") as told:
            check_processes(torch.device(device), count)
        assert "--device cpu" in told.value.fix
    else:
        check_processes(torch.device(device), count)


@pytest.mark.parametrize(
    ("amx", "avx", "named"),
    [(True, True, "AMX"), (True, False, "AMX"), (False, True, "AVX512-BF16"), (False, False, "")],
)
def test_a_plan_offers_bfloat16_where_the_processor_has_units_for_it_and_nowhere_else(
    prepared, tiny, monkeypatch, amx, avx, named
):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    line = Plan(tiny, tiny, prepared, torch.device("cpu")).lines().get("precision", "")
    assert (named in line) if named else not line
    assert ("precision=bfloat16" in line) == bool(named)
    for chosen, place in (("bfloat16", "cpu"), ("float32", "meta")):
        recipe = dataclasses.replace(tiny, precision=chosen)
        assert "precision" not in Plan(recipe, tiny, prepared, torch.device(place)).lines()
