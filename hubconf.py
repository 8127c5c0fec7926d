"""Networks for `torch.hub`: `torch.hub.load("OWNER/alexnet", "alexnet_2012", num_classes=10)`.

Every entry is `alexnet.create_model` for one recipe; `load` opens trained weights. PyTorch reads `dependencies` and
says which package is missing.
"""

from typing import Any

import alexnet
from alexnet import load

dependencies = ["torch", "numpy", "PIL", "safetensors", "pydantic"]


def alexnet_2012(**fields: Any) -> Any:
    """The network of the 2012 source, net 145; fields of the recipe by keyword: `num_classes=10`."""
    return alexnet.create_model("alexnet-2012", **fields)


def alexnet_paper(**fields: Any) -> Any:
    """The network as the paper describes it."""
    return alexnet.create_model("alexnet-paper", **fields)


def lenet(**fields: Any) -> Any:
    """LeNet-5, for comparison."""
    return alexnet.create_model("lenet", **fields)


__all__ = ["alexnet_2012", "alexnet_paper", "lenet", "load"]
