"""Batches made on the device, against those of the CPU's loop bit by bit; here the device is the CPU."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from alexnet.data.augment import ColorStatistics
from alexnet.data.dataset import Split, open_prepared
from alexnet.data.device_images import Arrival, InMemory, Ring, described, fill, pixel_bytes, placement_for, side_stream
from alexnet.data.device_loader import DeviceLoader, cut, loader_for
from alexnet.data.loader import Loader
from alexnet.data.prepare import prepare
from alexnet.data.samples import Samples, Source
from alexnet.recipes.recipe import override
from alexnet.training.trainer import Trainer
from harness.small_runs import CLASSES, SIZE, colored

CPU = torch.device("cpu")
SIDE = 20

# Every choice that augmentation has, alone and together.
CHANGES = {
    "the recipe of 2012": (),
    "centers": ("augment.view=center",),
    "no flips": ("augment.flip=false",),
    "no color noise": ("augment.color_noise=0",),
    "nothing at random": ("augment.view=center", "augment.flip=false", "augment.color_noise=0"),
    "noise without shrinking": ("augment.color_shrink=false",),
    "noise of eigenvalues": ("augment.color_scale=eigenvalue",),
    "noise of ImageNet": ("augment.color_scale=lighting", "augment.color_shrink=false"),
    "noise until epoch 2": ("augment.color_noise_until=2",),
    "much noise": ("augment.color_noise=0.7",),
    "one mean for all pixels": ("model.input_norm=mean-pixel",),
    "divided by 255": ("model.input_norm=unit",),
    "standardised": ("model.input_norm=standardise",),
    "chunks of 4": ("augment.chunk=4",),
    "zoom": ("augment.view=zoom",),
    "zoom with rotation, in chunks": ("augment.view=zoom", "augment.rotation=20", "augment.chunk=2"),
    "jitter": ("augment.jitter=0.4",),
    "zoom, jitter and no noise": ("augment.view=zoom", "augment.jitter=0.2", "augment.color_noise=0"),
    "fade": ("augment.fade=0.9", "augment.chunk=2"),
    "mixup": ("augment.mixup=1.0",),
    "cutmix": ("augment.cutmix=1.0",),
    "mixup or cutmix": ("augment.mixup=0.4", "augment.cutmix=0.4", "augment.color_noise=0"),
}


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def split(request, tmp_path_factory) -> Split:
    """Images of two shards: the second has those of another seed."""
    labels = np.arange(26, dtype=np.int64) % len(CLASSES)
    names = tuple(f"train/{i}" for i in range(len(labels)))
    source = Source("colors", CLASSES, {"train": Samples(names, labels, arrays=colored(labels, 0))})
    out = tmp_path_factory.mktemp(request.param) / "out"
    prepare(source, out, size=SIZE, encoding=request.param)
    one = open_prepared(out).splits["train"]
    shards = tuple(dataclasses.replace(one.shards[0], path=one.shards[0].path) for _ in range(2))
    return Split("train", SIZE, np.concatenate([labels, labels[::-1]]), 2 * names, shards)


@pytest.fixture(scope="module")
def colors() -> ColorStatistics:
    random = np.random.default_rng(3)
    vectors, _ = np.linalg.qr(random.normal(size=(3, 3)))
    mean = torch.from_numpy(random.uniform(90, 150, (3, SIDE, SIDE)).astype(np.float32))
    return ColorStatistics(mean.permute(1, 2, 0).contiguous().permute(2, 0, 1), np.array([3.0, 9.0, 40.0]), vectors)


def loaders(split: Split, colors: ColorStatistics, recipe) -> list[Loader]:
    if recipe.model.input_norm != "mean-image":
        colors = dataclasses.replace(colors, mean=colors.mean.mean((1, 2), keepdim=True))
    host = Loader(split, recipe, colors)
    return [loader_for(host, CPU, where) for where in ("host", "memory", "ring")]


def same(found: Tensor, expected: Tensor) -> bool:
    return found.dtype == expected.dtype and torch.equal(found, expected)


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_batches_of_the_device_have_the_bits_of_those_of_the_host(split, colors, tiny, changes):
    host, *others = loaders(split, colors, override(tiny, changes))
    for epoch, position in ((1, 0), (1, 3), (2, 0), (3, 1)):
        at = {"epoch": epoch, "step": 7 * epoch + position, "size": SIDE}
        samples = host.samples(epoch, position)
        images, targets = host.batch(samples, **at)
        for loader in others:
            assert np.array_equal(loader.samples(epoch, position), samples)
            found, aims = loader.batch(samples, **at)
            assert same(found, images)
            assert same(aims, targets)
            part, whole = loader.batch(samples, **at, rows=slice(2, 5), all_targets=True)
            assert same(part, images[2:5])
            assert same(whole, targets)


@pytest.mark.parametrize("size", [1, 7, 19, 20, 23, 24])
def test_windows_of_every_size_are_those_of_the_host(split, colors, tiny, size):
    recipe = override(tiny, ["model.input_norm=mean-pixel"])
    host, *others = loaders(split, colors, recipe)
    samples = np.array([0, 51, 25, 26, 3, 3])
    expected = host.batch(samples, epoch=4, step=0, size=size)[0]
    for loader in others:
        assert same(loader.batch(samples, epoch=4, step=0, size=size)[0], expected)


def test_a_window_is_what_indexing_gives():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 9, 9, 3), np.uint8)
    rows, offsets = np.array([2, 0, 3]), np.array([[1, 2], [3, 0], [4, 4]])
    flipped = np.array([False, True, True])
    found = cut(torch.from_numpy(pixels), rows, offsets, flipped, 5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for each, row, (top, left), turned in zip(found, rows, offsets, flipped, strict=True):
        window = pixels[row, top : top + 5, left : left + 5]
        assert np.array_equal(each.permute(1, 2, 0).numpy(), window[:, ::-1] if turned else window)


@pytest.mark.parametrize("kind", [InMemory, Ring])
def test_images_arrive_in_the_order_that_is_asked_for_again_and_again(split, kind):
    images, random = kind(split, CPU), np.random.default_rng(1)
    for count in (5, 1, 9, 52, 3, 9, 9, 0):
        samples = random.integers(0, len(split), count)
        pixels, rows = images.batch(samples)
        assert np.array_equal(pixels[torch.from_numpy(rows)].numpy(), split.read(samples))


def test_an_image_in_the_memory_of_the_device_crosses_once(split, monkeypatch):
    images, read = InMemory(split, CPU), []
    crossing = images._ring.batch
    monkeypatch.setattr(images._ring, "batch", lambda samples: (read.extend(samples.tolist()), crossing(samples))[1])
    for samples in ([3, 1, 3], [1, 2], [0, 3], list(range(52)), [7, 7]):
        images.batch(np.array(samples))
    assert sorted(read) == list(range(52))


def test_what_crosses_is_not_changed_by_the_batches_after_it(split):
    ring = Ring(split, CPU)
    arrived = [ring.batch(np.arange(n, n + 4))[0] for n in range(8)]
    for n, pixels in enumerate(arrived):
        assert np.array_equal(pixels.numpy(), split.read(np.arange(n, n + 4)))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 17])
def test_threads_fill_every_row(split, count):
    samples = np.random.default_rng(count).integers(0, len(split), count)
    out = np.full((count, SIZE, SIZE, 3), 7, np.uint8)
    with ThreadPoolExecutor(4) as pool:
        fill(split, samples, out, pool)
    assert np.array_equal(out, split.read(samples))


def test_only_a_cuda_card_gets_batches_of_its_own(split, colors, tiny, monkeypatch):
    host = Loader(split, tiny, colors)
    for device in (CPU, torch.device("mps"), torch.device("meta")):
        assert loader_for(host, device) is host
        assert described(split, 8, device) is None
    card, size = torch.device("cuda"), pixel_bytes(split)
    for free, placement in ((10 * size, "memory"), (2 * size, "ring"), (size / 0.4 - 1, "ring"), (0, "ring")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 2 * free))
        assert placement_for(split, card) == placement
        loader = loader_for(host, card)
        assert isinstance(loader, DeviceLoader)
        assert loader.placement == placement
    assert "pinned memory on their way to cuda" in str(described(split, 8, card))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100 * size, 100 * size))
    assert "MB of pixels in the memory of cuda" in str(described(split, 8, card))


def test_a_batch_on_its_way_is_made_at_once_and_waited_for_later():
    made = []
    arrival = Arrival(lambda: (made.append(1), torch.ones(2), torch.zeros(2))[1:], side_stream(CPU))
    assert made == [1]
    images, targets = arrival.wait()
    assert images.tolist() == [1.0, 1.0]
    assert targets.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("where", ["memory", "ring"])
def test_a_run_over_images_of_the_device_ends_with_the_same_weights(start, prepared, where):
    ends = []
    for images in ("host", where):
        trainer = Trainer(start(images), prepared, CPU, images=images)
        for step, (pixels, targets) in enumerate(trainer.batches(0, 6)):
            at = trainer.clock.at(step)
            trainer.advance(trainer.take_step(pixels, targets, at), 0.0)
        ends.append(trainer.tensors())
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())
