"""LeNet-5: two convolutional layers and a few fully connected layers, built from a configuration."""

import torch
from torch import nn

from alexnet.models.layers import activation_layer
from alexnet.models.network import Named, Network
from alexnet.models.shapes import grid_sizes, scaled
from alexnet.recipes.config import LeNetConfig


class LeNet(Network):
    """Two convolutional layers and a few fully connected layers, on one gray channel or on three of color."""

    def __init__(self, config: LeNetConfig, *, generator: torch.Generator | None = None):
        super().__init__(config, lenet_layers(config), in_channels=config.in_channels)
        for module in self.layers.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and not module.weight.is_meta:
                nn.init.xavier_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def lenet_layers(config: LeNetConfig) -> list[Named]:
    """Lists the layers of LeNet-5 ("Dive into Deep Learning", 7.6). Shapes in comments: 28 x 28 input, without N."""
    c1, c2 = (scaled(c, config.width, 1) for c in config.channels)
    grid = grid_sizes(config)["pool2"]
    layers: list[Named] = []
    for number, inputs, outputs, padding in ((1, config.in_channels, c1, config.conv1_padding), (2, c1, c2, 0)):
        layers += [(f"conv{number}", nn.Conv2d(inputs, outputs, 5, padding=padding))]
        if config.conv_activation:
            layers += [(f"act{number}", activation_layer(config.activation))]
        layers += [(f"pool{number}", nn.AvgPool2d(2) if config.pooling == "average" else nn.MaxPool2d(2))]
    # (6, 14, 14) after pool1, (16, 5, 5) after pool2
    layers += [("flatten", nn.Flatten())]  # (400,)
    features = c2 * grid * grid
    for number, outputs in enumerate((scaled(f, config.width, 1) for f in config.fc_features), 3):
        layers += [(f"fc{number}", nn.Linear(features, outputs)), (f"act{number}", activation_layer(config.activation))]
        features = outputs  # (120,), (84,)
    layers += [(f"fc{3 + len(config.fc_features)}", nn.Linear(features, config.num_classes))]
    return layers
