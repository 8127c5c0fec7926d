"""Runs adjacent layers as one operator where possible: the chains of `alexnet.kernels.operators`.

A normalization alone reads and writes feature maps that do not fit into the cache, and so do the ReLU and the pooling
next to it. As one operator they read the feature maps once and write a quarter of them.
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from alexnet.kernels.operators import Chain, run_chain
from alexnet.models.layers import LocalResponseNorm, WithinMapNorm


def run_layers(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Runs the layers in order, each chain as one operator; the same values as `nn.Sequential`."""
    position = 0
    while position < len(layers):
        chain, count = chain_from(layers[position:])
        x = run_chain(x, chain) if count > 1 else layers[position](x)
        position += count
    return x


def chain_from(layers: Sequence[nn.Module]) -> tuple[Chain, int]:
    """Returns the longest chain from the first layer on and its number of layers; 1 if the first is in no chain."""
    chain, count = Chain(), 0
    for layer in layers:
        longer = extended(chain, layer)
        if longer is None:
            break
        chain, count = longer, count + 1
    return chain, max(count, 1)


def extended(chain: Chain, layer: nn.Module) -> Chain | None:
    """Returns the chain with one more layer; None if the order of the stages or a hook on the layer forbids it."""
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
        return None  # a hook must see this layer run alone
    is_empty, has_norm, has_pool = chain == Chain(), chain.lrn_size or chain.map_size, chain.pool > 0
    if chain.relu_last:
        return None
    if isinstance(layer, nn.ReLU):
        if is_empty:
            return replace(chain, relu_first=True)
        return replace(chain, relu_last=True) if has_pool else None
    if isinstance(layer, LocalResponseNorm) and not has_norm and not has_pool:
        return replace(layer.stage(), relu_first=chain.relu_first)
    if isinstance(layer, WithinMapNorm) and not chain.map_size and not has_pool:
        stage = layer.stage()
        if chain.lrn_size and stage.beta != chain.beta:
            return None
        return replace(chain, map_size=stage.map_size, map_scale=stage.map_scale, beta=stage.beta)
    if type(layer) is nn.MaxPool2d and not has_pool:  # not those with a gradient of their own
        plain = layer.padding == 0 and layer.dilation == 1 and not layer.return_indices
        if plain and isinstance(layer.kernel_size, int) and isinstance(layer.stride, int):
            return replace(chain, pool=layer.kernel_size, stride=layer.stride, ceil=bool(layer.ceil_mode))
    return None
