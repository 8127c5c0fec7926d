"""Builds the network that a configuration describes."""

from functools import lru_cache

import torch

from alexnet.errors import ResourceError
from alexnet.models.alexnet import AlexNet
from alexnet.models.cifar import CifarNet
from alexnet.models.lenet import LeNet
from alexnet.models.memory import check_parameters
from alexnet.models.network import Network
from alexnet.recipes.config import CifarNetConfig, LeNetConfig, ModelConfig


def build_model(config: ModelConfig, *, seed: int = 0) -> Network:
    """Builds the network that a configuration describes, with the initial weights of `seed`.

    Raises:
        UsageError: the crop is too small.
        ResourceError: its weights do not fit into the memory of this machine.
    """
    check_parameters(sum(parameter.numel() for parameter in outline(config).parameters()))
    return _built(config, torch.Generator().manual_seed(seed))


@lru_cache(maxsize=16)  # starting a run or reading its weights asks for the same one several times
def outline(config: ModelConfig) -> Network:
    """The same network on the meta device: shapes without values, which take no memory. Nobody may change it.

    Raises:
        ResourceError: its weights are more than numbers can count.
    """
    try:
        with torch.device("meta"):
            return _built(config, None)
    except (RuntimeError, OverflowError, TypeError) as error:  # sizes beyond 64 bits
        raise ResourceError(
            f"the network is too large for any memory: {str(error).splitlines()[0]}",
            fix="Use a smaller batch_size, model.width or crop_size.",
            code="E542",
        ) from error


def _built(config: ModelConfig, generator: torch.Generator | None) -> Network:
    if isinstance(config, LeNetConfig):
        return LeNet(config, generator=generator)
    if isinstance(config, CifarNetConfig):
        return CifarNet(config, generator=generator)
    return AlexNet(config, generator=generator)
