"""What a CUDA card computes, against the CPU; one card suffices. `pytest -m gpu tests/gpu`, skipped without one.

The answer is the same program on the CPU in float32 or float64, whose own answers the other tests have.
"""

import copy
import json

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from alexnet import rng
from alexnet.distributed.launch import joined_process_group
from alexnet.errors import UsageError
from alexnet.kernels import masks
from alexnet.kernels.device import choose_device, failure_of
from alexnet.kernels.operators import Chain, run_chain
from alexnet.models.build import build_model
from alexnet.models.layers import grid_means
from alexnet.recipes.named import RECIPES
from alexnet.runs.checkpoint import load_checkpoint, load_model
from alexnet.training.loop import train
from alexnet.training.monitor import Interrupted
from alexnet.training.optim import build_optimizer
from alexnet.training.replay import replay
from alexnet.training.step import train_step
from harness.elsewhere import small

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")]
CARD, CPU = torch.device("cuda"), torch.device("cpu")
NEAR = {"float32": 1e-5, "tf32": 1e-3, "bfloat16": 2e-2}
OPTIMIZERS = {
    "sgd-2012": (),
    "sgd": ("optim.algorithm=sgd",),
    "nesterov": ("optim.algorithm=nesterov",),
    "adamw": ("optim.algorithm=adamw", "optim.lr=0.001"),
    "average": ("average_decay=0.9",),
    "batch norm": ("model.norm=batch",),
    "growing crops": ("growing_crops=[[0,16],[0.5,20]]", "model.pool5_grid=2"),
    "mixup": ("augment.mixup=0.5",),
}


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The norm of the difference over the norm of what is expected."""
    difference = found.detach().cpu().double() - expected.detach().cpu().double()
    return float(difference.norm() / expected.detach().cpu().double().norm().clamp(min=1e-12))


# --- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "chain",
    [
        Chain(relu_first=True, lrn_size=5, lrn_scale=2e-5, lrn_k=2.0, towers=2, pool=3, stride=2),
        Chain(lrn_size=5, lrn_scale=2e-5, lrn_k=2.0, pool=3, stride=2, ceil=True, relu_last=True),
        Chain(relu_first=True, map_size=5, map_scale=4e-5, pool=3, stride=2, ceil=True),
        Chain(lrn_size=5, lrn_scale=2e-5, lrn_k=1.0, towers=2, map_size=5, map_scale=4e-5, pool=3, stride=2),
        Chain(relu_first=True, pool=2, stride=2),
    ],
)
@pytest.mark.parametrize("side", [13, 27, 28])
def test_the_chain_of_norm_and_pooling(chain, side, dtype):
    x = torch.randn(3, 32, side, side, generator=torch.Generator().manual_seed(side)).to(dtype)
    expected = x.double().requires_grad_()
    found = x.to(CARD).contiguous(memory_format=torch.channels_last).requires_grad_()
    answer, output = run_chain(expected, chain), run_chain(found, chain)
    gradient = torch.randn_like(answer)
    answer.backward(gradient)
    output.backward(gradient.to(CARD, dtype))
    limit = 1e-6 if dtype == torch.float32 else 1e-2
    assert far(output, answer) < limit
    assert far(found.grad, expected.grad) < limit


@pytest.mark.parametrize(("side", "grid"), [(2, 3), (3, 3), (4, 3), (6, 6), (13, 6), (5, 7)])
def test_grid_pooling_forward_and_backward(side, grid):
    x = torch.randn(2, 8, side, side, dtype=torch.float64, requires_grad=True)
    y = x.detach().float().to(CARD).requires_grad_()
    answer, output = F.adaptive_avg_pool2d(x, grid), grid_means(y, grid)
    gradient = torch.randn_like(answer)
    answer.backward(gradient)
    output.backward(gradient.float().to(CARD))
    assert far(output, answer) < 1e-6
    assert far(y.grad, x.grad) < 1e-6


@pytest.mark.parametrize("key", [0, 1, 2**53 + 1, 2**63 - 1])
@pytest.mark.parametrize("keep", [0.5, 0.3])
def test_dropout_masks_have_the_bits_of_the_cpu(key, keep):
    rows, units = torch.arange(128), range(3, 4099)
    found = masks.mask(key, rows.to(CARD), units, keep, torch.empty(0, device=CARD))
    assert torch.equal(found.cpu(), masks.mask(key, rows, units, keep, torch.empty(0)))
    drawn = rng.uniform(key, 0, rows.numpy(), rng.DROPOUT, 4099)[:, 3:] < keep
    assert np.array_equal(found.cpu().numpy() > 0, drawn)


@pytest.mark.parametrize("precision", NEAR)
@pytest.mark.parametrize("name", RECIPES)
def test_one_step_of_a_recipe(name, precision):
    recipe = small(name, f"precision={precision}")
    size, count = recipe.model.crop_size, 4
    images = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0)).byte()
    targets = F.one_hot(torch.arange(count) % 3, 3).float()
    model = build_model(recipe.model, seed=0).train()
    losses, gradients = [], []
    for device in (CPU, CARD):
        network = copy.deepcopy(model).place(device)
        network.seed_dropout(0, 0)
        plain = small(name) if device is CPU else recipe
        optimizer = build_optimizer(network, recipe.optim)
        losses.append(train_step(network, optimizer, images.to(device), targets.to(device), plain)[0])
        gradients.append({n: p.grad for n, p in network.named_parameters()})
    assert far(losses[1], losses[0]) < NEAR[precision]
    wrong = {n: d for n, g in gradients[0].items() if (d := far(gradients[1][n], g)) > NEAR[precision]}
    assert not wrong


# --- exactness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_resumed_run_ends_with_the_same_bytes(start, prepared, changes):
    whole, parts = start("whole", *changes), start("parts", *changes)
    train(whole, prepared, device=CARD)
    for steps in (1, 4, 3):
        with pytest.raises(Interrupted):
            train(parts, prepared, device=CARD, max_steps=steps)
    train(parts, prepared, device=CARD)
    one, other = load_checkpoint(whole), load_checkpoint(parts)
    assert one is not None
    assert other is not None
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    assert one.conditions["algorithms"] == "deterministic"


def test_a_replay_ends_with_the_same_bytes(start, prepared):
    assert replay(start("run", *OPTIMIZERS["adamw"]), prepared, CARD).different == ()


def test_rolling_back_goes_on(start, prepared, monkeypatch):
    from alexnet.training import trainer

    highest, broken = trainer.runs_away, []

    def fails_once(loss, classes):
        if not broken:
            broken.append(1)
            return True
        return highest(loss, classes)

    monkeypatch.setattr(trainer, "runs_away", fails_once)
    run = start("run", "on_nan=rollback", *OPTIMIZERS["adamw"])
    train(run, prepared, device=CARD)
    stored = load_checkpoint(run)
    assert stored is not None
    assert stored.state.rollbacks == 1


def test_a_run_of_the_card_is_not_resumed_on_the_cpu(start, prepared):
    run = start("run")
    with pytest.raises(Interrupted):
        train(run, prepared, device=CARD, max_steps=2)
    with pytest.raises(UsageError, match=r"E255 .*device .* -> cpu"):
        train(run, prepared, device=CPU)


def test_fast_says_so_when_it_resumes(start, prepared):
    run = start("run")
    with pytest.raises(Interrupted):
        train(run, prepared, device=CARD, max_steps=2, fast=True)
    train(run, prepared, device=CARD)
    assert "trained with --fast" in (run.folder / "metrics.jsonl").read_text()


# --- the command line ------------------------------------------------------------------------------------------------

VERBS = {
    "evaluate": ("evaluate", "RUN", "--split", "val", "--format", "json"),
    "predict": ("predict", "RUN", "PHOTOS", "--format", "json"),
    "why": ("why", "RUN", "IMAGE", "--out", "OUT.png"),
    "features": ("features", "RUN", "PHOTOS", "--out", "OUT.safetensors"),
    "similar": ("similar", "RUN", "IMAGE", "--index", "PHOTOS", "--out", "OUT.png"),
    "report": ("report", "RUN"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_on_the_card_says_what_it_says_on_the_cpu(trained, alexnet, tmp_path, verb):
    image = next((trained / "photos").rglob("*.png"))
    said = {}
    for device in ("cpu", "cuda"):
        names = {"RUN": trained / "run", "PHOTOS": trained / "photos", "IMAGE": image}
        words = [str(names.get(word, word)).replace("OUT", str(tmp_path / device)) for word in VERBS[verb]]
        outcome = alexnet(*words, "--device", device)
        assert outcome.code == 0, outcome.err
        said[device] = outcome.out
    if verb == "evaluate":
        cpu, card = (json.loads(said[device]) for device in ("cpu", "cuda"))
        assert card["log_loss"] == pytest.approx(cpu["log_loss"], abs=1e-4)
        assert card["top1_error"] == cpu["top1_error"]


def test_training_exporting_and_the_report_on_the_card(trained, alexnet, tmp_path):
    from harness.small_runs import TINY

    outcome = alexnet("train", trained / "photos", *TINY, "--out", tmp_path / "run", "--device", "cuda")
    assert outcome.code == 0, outcome.err
    written = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert (written["device"], written["card"]) == ("cuda", torch.cuda.get_device_name())
    assert torch.cuda.get_device_name() in (tmp_path / "run" / "report.html").read_text()
    for words in (("export", tmp_path / "run", "--out", tmp_path / "net.onnx"), ("bench", "--recipe", "demo")):
        outcome = alexnet(*words)
        assert outcome.code == 0, outcome.err


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_too_large_a_batch_is_too_little_memory():
    with pytest.raises(RuntimeError) as told:
        torch.empty(2**44, device=CARD)
    failure = failure_of(told.value)
    assert failure is not None
    assert failure.code == "E542"


def test_a_card_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="E250 device 'cuda:77' is not available"):
        choose_device("cuda:77")


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="there are several")
def test_two_processes_on_one_card_are_refused(trained, alexnet, tmp_path):
    words = ("--device", "cuda", "--parallel", "data", "--nproc", "2", "--out", tmp_path / "run")
    outcome = alexnet("train", trained / "photos", "epochs=1", *words)
    assert outcome.code == 2
    assert "E250 2 processes need a card each" in outcome.err


def test_a_process_group_of_one_on_nccl(monkeypatch):
    store = dist.HashStore()
    with joined_process_group(CARD, 60.0, store=store, rank=0, size=1):
        x = torch.arange(4.0, device=CARD)
        dist.all_reduce(x)
        parts = [torch.empty_like(x)]
        dist.all_gather(parts, x)
        out = torch.empty_like(x)
        dist.all_to_all_single(out, x)
        settings = torch.ones(2)
        dist.all_reduce(settings)
    assert x.tolist() == parts[0].tolist() == out.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert settings.tolist() == [1.0, 1.0]


def test_a_network_of_the_card_is_loaded_and_used_on_the_cpu(start, prepared):
    run = start("run")
    train(run, prepared, device=CARD)
    assert load_model(run, "last").input_mean.device == CPU
