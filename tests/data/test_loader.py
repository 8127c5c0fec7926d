"""The views of a batch straight from the shards: those that `augment` makes of whole images, bit for bit."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from alexnet.data import loader
from alexnet.data.augment import ColorStatistics, training_views
from alexnet.data.crops import as_batch
from alexnet.data.dataset import open_prepared
from alexnet.data.device_images import fill
from alexnet.data.loader import read_views
from alexnet.data.parts import part_of
from alexnet.data.prepare import prepare
from alexnet.data.samples import Samples, Source
from alexnet.errors import DataError
from alexnet.recipes.config import AugmentConfig

SIZE, COUNT = 17, 23
STDEVS = np.array([19.72, 37.09, 121.78])
VECTORS = np.array([[0.418, -0.713, -0.564], [-0.817, -0.024, -0.576], [0.397, 0.701, -0.592]])
PIXELS = np.random.default_rng(3).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
NAMES = {"seed": 4, "epoch": 2, "samples": np.array([7, 22, 0, 7, 13, 5, 19, 6, 1])}
CONFIGS = {
    "2012": AugmentConfig(),
    "chunks": AugmentConfig(chunk=4),
    "no-mirror": AugmentConfig(flip=False),
    "no-shrink": AugmentConfig(color_shrink=False, color_noise=0.3),
    "eigenvalue": AugmentConfig(color_scale="eigenvalue", color_noise=1.0),
    "bytes": AugmentConfig(color_noise=0.0),
    "centre": AugmentConfig(view="center"),
    "centre-bytes": AugmentConfig(view="center", color_noise_until=2),
    "jitter": AugmentConfig(jitter=0.3),
    "zoom": AugmentConfig(view="zoom"),
}
needs_numba = pytest.mark.skipif(loader.compiled() is None, reason="numba is not installed")


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def split(request, tmp_path_factory):
    """Shards of five images, so that every batch meets several."""
    out = tmp_path_factory.mktemp(request.param) / "out"
    samples = Samples(tuple(f"{i}" for i in range(COUNT)), np.arange(COUNT) % 2, arrays=PIXELS)
    source = Source("noise", ("a", "b"), {"train": samples})
    prepare(source, out, size=SIZE, encoding=request.param, shard_images=5)
    return open_prepared(out).splits["train"]


def colors(size: int, kind: str) -> ColorStatistics:
    generator = torch.Generator().manual_seed(0)
    side = size if kind == "mean-image" else 1
    return ColorStatistics(255 * torch.rand(3, side, side, generator=generator), STDEVS, VECTORS)


@pytest.mark.parametrize("kind", ["mean-image", "mean-pixel"])
@pytest.mark.parametrize("size", [1, 9, 17])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_views_are_those_of_whole_images_to_the_last_bit(split, config, size, kind):
    expected = training_views(as_batch(split.read(NAMES["samples"])), size, config, colors(size, kind), **NAMES)
    seen = read_views(split, size, config, colors(size, kind), **NAMES)
    assert (seen.shape, seen.dtype) == (expected.shape, expected.dtype)
    assert torch.equal(seen, expected)


@needs_numba
@pytest.mark.parametrize("name", ["2012", "no-shrink", "bytes", "centre"])
def test_without_numba_the_views_are_the_same(split, name, monkeypatch):
    seen = read_views(split, 9, CONFIGS[name], colors(9, "mean-image"), **NAMES)
    monkeypatch.setattr(loader, "compiled", lambda: None)
    assert torch.equal(read_views(split, 9, CONFIGS[name], colors(9, "mean-image"), **NAMES), seen)


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_the_mean_can_be_left_out(split, config, numba, monkeypatch):
    if not numba:
        monkeypatch.setattr(loader, "compiled", lambda: None)
    about = colors(9, "mean-image")
    whole = read_views(split, 9, config, about, **NAMES).double()
    seen = read_views(split, 9, config, about, **NAMES, subtract_mean=True)
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen.double(), whole - about.mean.double(), rtol=0, atol=1e-4)


def test_a_batch_of_arithmetic_by_hand(split):
    # One channel at a time in float64, from the formulas of the paper and of 2012 alone.
    config, about = dataclasses.replace(CONFIGS["2012"], view="center", flip=False), colors(SIZE, "mean-image")
    pictures = split.read(NAMES["samples"]).astype(np.float64)
    from alexnet import rng

    z = rng.normal(4, 2, NAMES["samples"], rng.COLOR, count=3)
    seen = read_views(split, SIZE, config, about, **NAMES).numpy()
    for n in range(len(pictures)):
        for c in range(3):
            noise = 0.1 * sum(VECTORS[c, k] * STDEVS[k] * z[n, k] for k in range(3))
            m = about.mean[c].numpy().astype(np.float64)
            np.testing.assert_allclose(seen[n, c], m + (pictures[n, ..., c] - m + noise) / 1.1, atol=1e-3)


def test_views_lie_in_memory_as_the_network_wants_them_and_belong_to_their_batch_alone(split):
    for name in ("2012", "bytes"):
        about = colors(9, "mean-image")
        first = read_views(split, 9, CONFIGS[name], about, **NAMES)
        before = first.clone()
        second = read_views(split, 9, CONFIGS[name], about, **NAMES | {"epoch": 3})
        assert first.is_contiguous(memory_format=torch.channels_last) or loader.compiled() is None
        assert torch.equal(first, before)
        assert first.data_ptr() != second.data_ptr()


def test_images_that_are_not_there_are_refused(split):
    for wrong in (-1, COUNT):
        with pytest.raises(IndexError, match=f"0..{COUNT - 1}"):
            read_views(split, 9, CONFIGS["2012"], colors(9, "mean-pixel"), **NAMES | {"samples": np.array([0, wrong])})


@pytest.mark.parametrize("way", ["numba", "PyTorch", "read", "a part", "for a device"])
@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_a_flipped_bit_is_found_by_whatever_reads_it_first_and_nothing_else_is(tmp_path, monkeypatch, way, encoding):
    """Each has a folder of its own, because a shard is compared once; the last image of the second shard is damaged."""
    samples = Samples(tuple(f"{i}" for i in range(COUNT)), np.arange(COUNT) % 2, arrays=PIXELS)
    prepare(
        Source("noise", ("a", "b"), {"train": samples}), tmp_path / "out", encoding=encoding, size=SIZE, shard_images=5
    )
    split = open_prepared(tmp_path / "out").splits["train"]
    damaged = split.shards[1].path
    content = bytearray(damaged.read_bytes())
    content[-3] ^= 4
    damaged.write_bytes(content)
    if way == "PyTorch":
        monkeypatch.setattr(loader, "compiled", lambda: None)

    def read(numbers: list[int]) -> object:
        rows = np.array(numbers)
        if way == "read":
            return split.read(rows)
        if way == "a part":
            return part_of(split, rows, "some").read(np.arange(len(rows)))
        if way == "for a device":
            with ThreadPoolExecutor(2) as pool:
                return fill(split, rows, np.empty((len(rows), SIZE, SIZE, 3), np.uint8), pool)
        return read_views(split, 9, CONFIGS["2012"], colors(9, "mean-pixel"), **NAMES | {"samples": rows})

    read([0, 4, 10, 22])
    for _ in range(2):
        with pytest.raises(DataError, match=r"E333 .*train-0001\S+ is damaged: its sha256"):
            read([3, 5])
    read([0, 4, 10, 22])
