"""The state that training needs to resume, as named tensors, and the checkpoint that all processes resume from."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from alexnet.distributed.collectives import ProcessGroup
from alexnet.models.network import Network
from alexnet.runs.checkpoint import Checkpoint, load_checkpoint
from alexnet.runs.run import RunFolder


def state_tensors(model: Network, optimizer: torch.optim.Optimizer, average: AveragedModel | None) -> dict[str, Tensor]:
    """All tensors of the state by name: `model/NAME`, `optimizer/KEY/NAME`, `average/NAME`, `averaged`."""
    out = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            out[f"optimizer/{key}/{name}"] = value
    if average is not None:
        out |= {f"average/{name}": tensor for name, tensor in average.module.state_dict().items()}
        out["averaged"] = average.n_averaged
    return out


def unmade_bytes(model: Network, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> int:
    """Bytes of what the optimizer makes in its first step, in copies of the parameters; 0 if it has taken one.

    Args:
        tensors: the complete state by name, as `state_tensors` names it.
    """
    if optimizer.state:
        return 0
    if isinstance(optimizer, torch.optim.SGD):
        copies = 1 if optimizer.defaults["momentum"] else 0
    else:
        copies = 2 if isinstance(optimizer, torch.optim.AdamW) else 1
    return copies * sum(tensors[f"model/{name}"].nbytes for name, _ in model.named_parameters())


def load_state(
    model: Network,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
    tensors: Mapping[str, Tensor],
) -> None:
    """Loads tensors that `state_tensors` returned; changes model, optimizer and average in place."""
    model.load_state_dict({n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")})
    _load_optimizer(model, optimizer, tensors)
    if average is not None:
        averages = {n.removeprefix("average/"): t for n, t in tensors.items() if n.startswith("average/")}
        average.module.load_state_dict(averages)
        average.n_averaged.copy_(tensors["averaged"])


def _load_optimizer(model: Network, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Loads the tensors of an optimizer through its own `load_state_dict`.

    Only PyTorch knows where a step counter must lie: on the CPU, or beside its weight where the update is fused.
    """
    groups = optimizer.state_dict()["param_groups"]
    numbers = {
        id(parameter): number
        for group, stored in zip(optimizer.param_groups, groups, strict=True)
        for parameter, number in zip(group["params"], stored["params"], strict=True)
    }
    parameters, state = dict(model.named_parameters()), dict[int, dict[str, Tensor]]()
    for full_name, tensor in tensors.items():
        if full_name.startswith("optimizer/"):
            _, key, name = full_name.split("/", 2)
            parameter = parameters[name].detach()
            # A momentum buffer needs the memory format of its weight, which PyTorch does not give it.
            value = torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor.clone()
            state.setdefault(numbers[id(parameters[name])], {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def shared_checkpoint(run: RunFolder, group: ProcessGroup) -> Checkpoint | None:
    """The newest undamaged checkpoint, read by the main process and broadcast to the others; None if there is none."""
    stored = load_checkpoint(run) if group.is_main else None
    if group.size == 1:
        return stored
    without_tensors = group.broadcast(None if stored is None else stored._replace(tensors={}))
    tensors = group.broadcast_tensors({} if stored is None else stored.tensors)
    return None if without_tensors is None else without_tensors._replace(tensors=tensors)
