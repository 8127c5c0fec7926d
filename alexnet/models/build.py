"""Builds the network that a configuration describes."""

import torch

from alexnet.models.alexnet import AlexNet
from alexnet.models.cifar import CifarNet
from alexnet.models.lenet import LeNet
from alexnet.models.network import Network
from alexnet.recipes.config import CifarNetConfig, LeNetConfig, ModelConfig


def build_model(config: ModelConfig, *, seed: int = 0) -> Network:
    """Builds the network that a configuration describes, with the initial weights of `seed`."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(config, LeNetConfig):
        return LeNet(config, generator=generator)
    if isinstance(config, CifarNetConfig):
        return CifarNet(config, generator=generator)
    return AlexNet(config, generator=generator)
