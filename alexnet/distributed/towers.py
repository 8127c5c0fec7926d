"""Model parallelism of 2012: one tower of the network in each process.

A process has half of the feature maps and units of every layer: the rows of each weight, bias and buffer that belong to
its tower; for a grouped convolution, those of its group. Before a layer that sees both towers (after pool2, pool5, fc6
and fc7), the forward pass gathers the activations, and the backward pass sends their gradients back and adds them.
After fc8 the logits are gathered. Nothing else is exchanged and every process has the whole batch, so the steps are
those of one process up to the order of sums.

Source: [code] layers-145.cfg, where each layer names its GPU; section 3.2 of the paper.
"""

from collections import OrderedDict

from torch import nn

from alexnet.distributed.collectives import ProcessGroup
from alexnet.distributed.tensor_parallel import GatherUnits, keep_own_rows, set_mask_columns
from alexnet.errors import UsageError
from alexnet.models.layers import LocalResponseNorm, TowerLinear
from alexnet.models.network import Network
from alexnet.recipes.config import AlexNetConfig, ModelConfig


def check_towers(config: ModelConfig, size: int) -> None:
    """Refuses a network that does not have one tower for each process.

    Raises:
        UsageError: the number of towers is not the number of processes, or LRN sums over both towers.
    """
    towers = config.towers if isinstance(config, AlexNetConfig) else 1
    if size != towers or size < 2:
        raise UsageError(
            f"{size} processes for a network of {towers} tower{'s' * (towers > 1)}",
            fix="Use one process per tower: --nproc 2 with model.towers=2. With one tower, use --parallel data.",
            code="E275",
        )
    assert isinstance(config, AlexNetConfig)
    if config.norm == "lrn" and not config.lrn_per_tower and {config.norm1, config.norm2} != {"none"}:
        raise UsageError(
            "local response normalization over both towers needs both towers in one process",
            fix="Use model.lrn_per_tower=true, or --parallel data.",
            code="E275",
        )


def layers_seeing_all_towers(model: Network) -> dict[str, int]:
    """The layers that see all towers while the layers before see one: name to number of input channels or features."""
    inputs: dict[str, int] = {}
    for name, layer in model.layers.named_children():
        if isinstance(layer, nn.Linear) and not isinstance(layer, TowerLinear):
            inputs[name] = layer.in_features
        elif isinstance(layer, nn.Conv2d) and layer.groups == 1 and name != "conv1":
            inputs[name] = layer.in_channels
    return inputs


def divide_towers(model: Network, group: ProcessGroup) -> frozenset[str]:
    """Keeps only the tower of this process in a network; changes it in place.

    Returns:
        The names of the divided layers: all of them.

    Raises:
        UsageError: see `check_towers`.
    """
    check_towers(model.config, group.size)
    set_mask_columns(model.layers, group)
    seeing_all = layers_seeing_all_towers(model)
    layers: list[tuple[str, nn.Module]] = []
    for name, layer in model.layers.named_children():
        if name in seeing_all:
            layers.append((f"gather_{name}", GatherUnits(group, seeing_all[name])))
        if isinstance(layer, nn.Conv2d):
            layer.groups = 1
        if isinstance(layer, TowerLinear | LocalResponseNorm):
            layer.towers = 1
        keep_own_rows(layer, group)
        layers.append((name, layer))
    layers.append(("gather_logits", GatherUnits(group, model.config.num_classes, last=True)))
    model.layers = nn.Sequential(OrderedDict(layers))
    return frozenset(name for name, _ in layers)
