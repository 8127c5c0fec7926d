"""The fast path of a CUDA card against its plain twins; one card suffices. `pytest -m gpu tests/gpu`.

Batches made on the card, Triton kernels, updates that a flag stops, losses read late, and CUDA graphs.
"""

import math

import numpy as np
import pytest
import torch

from alexnet.data.augment import ColorStatistics
from alexnet.data.device_loader import DeviceLoader, loader_for
from alexnet.data.loader import Loader, prefetch
from alexnet.errors import DivergedError
from alexnet.kernels.momentum import momentum_steps, plain_momentum_step, update_trial
from alexnet.kernels.operators import Chain, chain_trial, run_chain
from alexnet.kernels.precision import reproducible
from alexnet.kernels.triton_choice import described, trusted
from alexnet.kernels.ways import chains
from alexnet.models.build import build_model
from alexnet.recipes.recipe import override
from alexnet.runs.checkpoint import load_checkpoint
from alexnet.runs.metrics import read_metrics
from alexnet.training import trainer
from alexnet.training.loop import train
from alexnet.training.trainer import Trainer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")]
CARD, CPU = torch.device("cuda"), torch.device("cpu")
NORM = {"lrn_size": 5, "lrn_scale": 2e-5, "lrn_k": 2.0, "towers": 2}
CHAINS = {
    "layer 1 of net 145": (Chain(**NORM, pool=3, stride=2, ceil=True, relu_last=True), (4, 96, 55, 55)),
    "layer 2 of net 145": (
        Chain(**NORM, relu_first=True, map_size=5, map_scale=4e-5, pool=3, stride=2, ceil=True),
        (4, 256, 27, 27),
    ),
    "LRN": (Chain(**NORM), (3, 96, 13, 14)),
    "map norm": (Chain(map_size=5, map_scale=4e-5), (3, 200, 9, 8)),
    "pooling": (Chain(relu_first=True, pool=3, stride=2), (3, 256, 13, 13)),
    "narrow": (Chain(**NORM, pool=2, stride=2), (5, 6, 8, 8)),
}


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The norm of the difference over the norm of what is expected."""
    difference = found.detach().cpu().double() - expected.detach().cpu().double()
    return float(difference.norm() / expected.detach().cpu().double().norm().clamp(min=1e-12))


# --- kernels ---------------------------------------------------------------------------------------------------------


def test_triton_is_what_computes():
    assert trusted(CARD, chain_trial), "the kernels of the chain failed their trial: python -m pytest this file -x"
    assert trusted(CARD, update_trial)
    assert described(CARD, chain_trial, update_trial).startswith("Triton")


def test_the_trials_themselves():
    """What `trusted` hides: the exception of a kernel that cannot be compiled, and how far off it is."""
    assert chain_trial(CARD) < 1e-6
    assert update_trial(CARD) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("chain", "shape"), CHAINS.values(), ids=CHAINS)
def test_kernels_of_the_chain_against_the_cpu_and_themselves(chain, shape, dtype):
    x = 20 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    x = x.to(dtype)
    exact = x.double().requires_grad_()
    with chains("plain"):
        expected = run_chain(exact, chain)
    gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    (slope,) = torch.autograd.grad(expected, exact, gradient.double())
    there = x.to(CARD).contiguous(memory_format=torch.channels_last).requires_grad_()
    answers = []
    for _ in range(2):
        out = run_chain(there, chain)
        answers.append((out, torch.autograd.grad(out, there, gradient.to(CARD))[0]))
    limit = 1e-6 if dtype == torch.float32 else 1e-2
    assert far(answers[0][0], expected) < limit
    assert far(answers[0][1], slope) < limit
    assert all(torch.equal(one, other) for one, other in zip(*answers, strict=True))


@pytest.mark.parametrize("name", ["layer 1 of net 145", "layer 2 of net 145"])
def test_the_chain_as_one_compiled_region(name):
    chain, shape = CHAINS[name]
    x = torch.randn(shape, device=CARD).contiguous(memory_format=torch.channels_last).requires_grad_()
    answers = []
    for way in ("plain", "compiled", "kernels"):
        with chains(way):
            out = run_chain(x, chain)
        answers.append((out, torch.autograd.grad(out.sum(), x)[0]))
    for out, slope in answers[1:]:
        assert far(out, answers[0][0]) < 1e-5
        assert far(slope, answers[0][1]) < 1e-5


@pytest.mark.parametrize("stopped", [0.0, 1.0])
def test_one_kernel_updates_all_weights_or_none(stopped):
    flag, random = torch.tensor(stopped, device=CARD), torch.Generator().manual_seed(0)
    steps = {True: [], False: []}
    for shape in ((96, 3, 11, 11), (4096, 9216), (4096,), (1,), (256, 48, 5, 5)):
        values = torch.randn(3, *shape, generator=random)
        for kind in steps:
            w, g, v = (t.to(CARD).clone() for t in values)
            w.grad = g if not stopped else torch.full_like(g, math.nan)
            steps[kind].append((w, v, 0.9, 0.01, 0.0005))
    momentum_steps(steps[True], flag)
    for step in steps[False]:
        plain_momentum_step(step, flag)
    for one, other in zip(steps[True], steps[False], strict=True):
        assert far(one[0], other[0]) < 1e-6
        assert far(one[1], other[1]) < 1e-6
        assert not stopped or torch.equal(one[0], other[0])


# --- batches ---------------------------------------------------------------------------------------------------------

EXACT = {
    "the recipe of 2012": (),
    "without shrinking": ("augment.color_shrink=false",),
    "one mean for all pixels": ("model.input_norm=mean-pixel",),
    "bytes only": ("augment.color_noise=0",),
    "much noise": ("augment.color_noise=0.7",),
    "chunks": ("augment.chunk=4",),
}


def both(prepared, recipe) -> list[Loader]:
    model = build_model(recipe.model, seed=0)
    model.set_input_statistics(prepared.mean_image, prepared.channel_std)
    colors = ColorStatistics(model.input_mean.clone(), prepared.color_stdevs, prepared.color_vectors)
    host = Loader(prepared.splits["train"], recipe, colors)
    return [host, loader_for(host, CARD, "memory"), loader_for(host, CARD, "ring")]


@pytest.mark.parametrize("changes", EXACT.values(), ids=EXACT)
def test_crops_flips_and_color_noise_have_the_bits_of_the_cpu(prepared, tiny, changes):
    host, *others = both(prepared, override(tiny, changes))
    for epoch in range(1, 40):
        samples = np.arange(26)
        images, targets = host.batch(samples, epoch=epoch, step=epoch, size=20)
        for loader in others:
            found, aims = loader.batch(samples, epoch=epoch, step=epoch, size=20)
            assert found.device.type == "cuda"
            assert torch.equal(found.cpu(), images)
            assert torch.equal(aims.cpu(), targets)


@pytest.mark.parametrize("changes", [("augment.view=zoom", "augment.rotation=20"), ("augment.mixup=1.0",)])
def test_other_augmentations_are_those_of_the_cpu_up_to_rounding(prepared, tiny, changes):
    host, *others = both(prepared, override(tiny, changes))
    images, _ = host.batch(np.arange(8), epoch=1, step=3, size=20)
    for loader in others:
        assert far(loader.batch(np.arange(8), epoch=1, step=3, size=20)[0], images) < 1e-4


@pytest.mark.parametrize("placement", ["memory", "ring"])
def test_batches_that_a_thread_makes_ahead_are_those_made_one_by_one(start, prepared, placement):
    owner = Trainer(start("run"), prepared, CARD, images=placement)
    assert isinstance(owner.loader, DeviceLoader)
    expected = [images.cpu() for images, _ in owner.batches(0, 12)]
    busy = torch.randn(2048, 2048, device=CARD)
    with prefetch(owner.arrivals(0, 12), 3) as arrivals:
        for each in expected:
            for _ in range(5):
                busy = torch.tanh(busy @ busy)
            images, _ = next(arrivals).wait()
            assert torch.equal(images.cpu(), each)


# --- steps -----------------------------------------------------------------------------------------------------------

RUNS = {
    "sgd-2012": ("drop_epochs=[2]",),
    "sgd": ("algorithm=sgd",),
    "adamw, average, batch norm": ("algorithm=adamw", "lr=0.002", "average_decay=0.9", "norm=batch"),
    "growing crops, bfloat16": (
        *("pool5_grid=1", "input_norm=standardise", "growing_crops=[[0, 16], [0.4, 20]]"),
        "precision=bfloat16",
    ),
    "mixing": ("mixup=0.5", "cutmix=0.4", "view=zoom"),
}


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_graphs_and_late_losses_change_no_byte(start, prepared, monkeypatch, changes):
    ends, notes = [], []
    for name in ("fast", "without graphs", "at once"):
        if name != "fast":
            monkeypatch.setattr(trainer, "recorder_for", lambda device: None)
        if name == "at once":
            monkeypatch.setattr(Trainer, "may_wait", lambda self, begun: False)
        run = start(name, *changes)
        train(run, prepared, device=CARD)
        ends.append(load_checkpoint(run).tensors)
        notes.append([row["text"] for row in read_metrics(run) if row["kind"] == "note"])
    assert not [note for note in notes[0] if note.startswith("graph: ")]
    for name in ("without graphs", "at once"):
        other = ends[1 if name == "without graphs" else 2]
        assert [n for n, tensor in ends[0].items() if not torch.equal(tensor, other[n])] == [], name


def test_steps_are_repetitions_of_a_graph(start, prepared):
    owner = Trainer(start("run"), prepared, CARD)
    with reproducible(CARD):
        for step, (images, targets) in enumerate(owner.batches(0, 3)):
            owner.take_step(images, targets, owner.clock.at(step))
    graphs = owner.late._graphs
    assert graphs.failure is None
    assert len(graphs._recordings) == 1


def test_a_run_that_diverges_says_at_which_step(start, prepared):
    run = start("run", "lr=1e6")
    with pytest.raises(DivergedError, match=r"E40\d .* at step [23] |E40\d .* after step"):
        train(run, prepared, device=CARD)
