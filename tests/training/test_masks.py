"""Which dropout masks a run really uses: another one for every image, every layer and every step, half of it kept."""

import itertools
import math

import torch

from alexnet.models.layers import Dropout
from alexnet.training.trainer import Trainer

STEPS = 5


def masks_of(run, prepared, steps: int = STEPS) -> list[list[torch.Tensor]]:
    """For every step the masks of the dropout layers: their inputs are ones, so what comes out is the mask."""
    trainer = Trainer(run, prepared, torch.device("cpu"))
    seen: list[list[torch.Tensor]] = []
    for layer in (m for m in trainer.model.modules() if isinstance(m, Dropout)):
        layer.register_forward_pre_hook(lambda _layer, inputs: (inputs[0] * 0 + 1,))
        layer.register_forward_hook(lambda _layer, _inputs, out: seen[-1].append(out.detach().clone()))
    for step, (images, targets) in enumerate(trainer.batches(0, steps)):
        seen.append([])
        trainer.take_step(images, targets, trainer.clock.at(step))
    return seen


def share_of_agreement(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one == other).double().mean().item()


def close_to_half(share: float, count: int) -> bool:
    return abs(share - 0.5) < 4.5 * 0.5 / math.sqrt(count)


def test_every_image_and_every_unit_has_a_mask_of_its_own(start, prepared):
    for step in masks_of(start("run", "model.fc_features=[2048, 2048]"), prepared):
        assert len(step) == 2
        for mask in step:
            images, units = mask.shape
            assert mask.unique().tolist() == [0.0, 1.0]
            assert close_to_half(mask.mean().item(), mask.numel())
            for a, b in itertools.combinations(range(images), 2):
                assert close_to_half(share_of_agreement(mask[a], mask[b]), units)
            assert mask.mean(0).std() > 0  # not the same images for every unit


def test_every_step_and_every_layer_draws_anew_and_a_repeated_run_draws_the_same(start, prepared):
    steps = masks_of(start("run", "model.fc_features=[2048, 2048]"), prepared)
    again = masks_of(start("again", "model.fc_features=[2048, 2048]"), prepared)
    drawn = [mask for step in steps for mask in step if len(mask) == len(steps[0][0])]
    assert len(drawn) >= 2 * (STEPS - 1)
    for one, other in itertools.combinations(drawn, 2):
        assert close_to_half(share_of_agreement(one, other), one.numel())
    for one, other in zip(itertools.chain(*steps), itertools.chain(*again), strict=True):
        assert torch.equal(one, other)


def test_another_seed_has_other_masks(start, prepared):
    one, other = (masks_of(start(f"run{seed}", f"seed={seed}"), prepared, 1)[0][0] for seed in (1, 2))
    assert close_to_half(share_of_agreement(one, other), one.numel())
