"""The layers of 2012 that PyTorch does not have, or has in another form.

All operate on (N, C, H, W). Sources: [paper] Krizhevsky, Sutskever, Hinton, NIPS 2012; [code] the released source of
the same year, `computerhistory/AlexNet-Source-Code`.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.kernels.device import memory_format
from alexnet.kernels.masks import mask
from alexnet.kernels.operators import Chain, run_chain


class LocalResponseNorm(nn.Module):
    """Local response normalization (LRN): over adjacent channels of one tower, never across the border of two towers.

    b_f = a_f / (k + alpha / size * sum of a_j^2 over the `size` channels around f) ^ beta ([code] layer.py:1179-1186)

    The code divides alpha by `size`; the formula in section 3.3 of the paper does not. For the formula of the
    paper, pass `alpha * size`. The C / towers channels of each tower are normalized separately, because in 2012 each
    tower was on its own GPU.
    """

    def __init__(self, size: int, alpha: float, beta: float, k: float, towers: int = 1):
        super().__init__()
        self.size, self.alpha, self.beta, self.k, self.towers = size, alpha, beta, k, towers

    def forward(self, x: Tensor) -> Tensor:
        return run_chain(x, self.stage())

    def stage(self) -> Chain:
        """Returns this normalization as a stage of a chain."""
        scale = self.alpha / self.size
        return Chain(lrn_size=self.size, lrn_scale=scale, lrn_k=self.k, towers=self.towers, beta=self.beta)

    def extra_repr(self) -> str:
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, towers={self.towers}"


class WithinMapNorm(nn.Module):
    """Normalization over `size` x `size` pixels of the same channel; in the released source only, not in the paper.

    b = a / (1 + alpha / size^2 * sum of a^2 over the window, clipped at the border) ^ beta

    Source: [code] layers-145.cfg:107-117.
    """

    def __init__(self, size: int, alpha: float, beta: float):
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        return run_chain(x, self.stage())

    def stage(self) -> Chain:
        """Returns this normalization as a stage of a chain."""
        return Chain(map_size=self.size, map_scale=self.alpha / self.size**2, beta=self.beta)

    def extra_repr(self) -> str:
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}"


class Dropout(nn.Module):
    """Dropout whose mask is a function of (seed, step, layer, row, unit), the same on every device.

    Without a key, outside of a run, it comes from PyTorch's random numbers.

    With `scale_at_test` training only sets values to zero and testing multiplies by the kept share, as in 2012 ([code]
    src/layer.cu:1126-1135). Otherwise training divides by the kept share ("inverted dropout", common today). With the
    same weights the two differ by that factor at test time, so this choice is part of the network's definition.
    """

    def __init__(self, p: float, scale_at_test: bool):
        super().__init__()
        self.p, self.scale_at_test = p, scale_at_test
        self.key: int | Tensor | None = None  # of seed, step and layer; see `alexnet.kernels.masks.mask`
        # Where a process has only a part of the batch (rows) or of the units (columns), which of them; None: all.
        self.rows: slice | Tensor | None = None
        self.columns: slice | None = None

    def forward(self, x: Tensor) -> Tensor:
        keep = 1.0 - self.p
        if not self.training:
            return x * keep if self.scale_at_test else x
        drawn = torch.empty_like(x).bernoulli_(keep) if self.key is None else self._mask(self.key, keep, x)
        return x * drawn if self.scale_at_test else x * drawn.div_(keep)

    def _mask(self, key: int | Tensor, keep: float, x: Tensor) -> Tensor:
        rows = slice(0, len(x)) if self.rows is None else self.rows
        if isinstance(rows, slice):
            rows = torch.arange(rows.start, rows.stop, device=x.device)
        columns = slice(0, x.shape[1]) if self.columns is None else self.columns
        pixels = math.prod(x.shape[2:])  # of a map: 1 after the convolutional layers
        units = range(columns.start * pixels, columns.stop * pixels)
        return mask(key, rows, units, keep, x).view(x.shape)

    def extra_repr(self) -> str:
        return f"p={self.p}, scale_at_test={self.scale_at_test}"


class TowerLinear(nn.Linear):
    """A fully connected layer in which each tower receives only its own features: one block of weights per tower.

    (N, in_features) to (N, out_features), the features of the first tower before those of the second. The weight is
    (out_features, in_features / towers), like that of a grouped convolution.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, towers: int):
        super().__init__(in_features // towers, out_features, bias)
        self.towers = towers

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x.unsqueeze(2), self.weight.unsqueeze(2), self.bias, groups=self.towers).squeeze(2)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, towers={self.towers}"


class FirstConv(nn.Conv2d):
    """The convolution on the image, with the bias added in a separate operation.

    For channels_last tensors with 3 input channels oneDNN computes the gradient of the bias in a loop that takes as
    long as the gradient of all weights; PyTorch's own sum is much faster. Measured: docs/log.md ("Speed").
    """

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(x, self.weight, None)
        return y if self.bias is None else y.add_(self.bias.view(-1, 1, 1))


class LocalConv(nn.Module):
    """A convolution with different weights and biases at every position: the "local" layers of cuda-convnet.

    (N, in_channels, side, side) to (N, out_channels, side, side), odd kernel, stride 1, zero padding. The weight is
    (side, side, kernel * kernel * in_channels, out_channels); the inputs of a position are in the order row, column,
    channel. So each position is one matrix product, and in channels_last layout a window is copied in runs of kernel *
    in_channels values. The bias is (out_channels, side, side). Source: [code] layers-cifar, type=local.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, side: int):
        super().__init__()
        self.in_channels, self.out_channels, self.kernel, self.side = in_channels, out_channels, kernel, side
        self.weight = nn.Parameter(torch.zeros(side, side, kernel * kernel * in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels, side, side))

    def forward(self, x: Tensor) -> Tensor:
        margin = self.kernel // 2
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, margin, margin, margin, margin))
        windows = padded.unfold(1, self.kernel, 1).unfold(2, self.kernel, 1)  # (N, side, side, C, kernel, kernel)
        inputs = windows.permute(1, 2, 0, 4, 5, 3).reshape(self.side**2, len(x), self.weight.shape[2])
        y = torch.bmm(inputs, self.weight.flatten(0, 1))  # (side * side, N, out_channels)
        out: Tensor = y.view(self.side, self.side, len(x), self.out_channels).permute(2, 3, 0, 1) + self.bias
        return out.contiguous(memory_format=memory_format(x.device))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Keeps the memory layout whatever `.to(memory_format=...)` asks for.

        The weight has four dimensions, but they are no feature maps: in another order every forward pass would copy it.
        """
        return super()._apply(lambda tensor: fn(tensor).contiguous(), recurse)  # type: ignore[no-untyped-call,no-any-return]

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel={self.kernel}, side={self.side}"


def max_pool(size: int, ceil: bool, ties: Literal["first", "all"]) -> nn.MaxPool2d:
    """Returns max pooling with stride 2; `ties` says which of several equal maxima receive the gradient."""
    return (nn.MaxPool2d if ties == "first" else AllTiesMaxPool)(size, stride=2, ceil_mode=ceil)


class AllTiesMaxPool(nn.MaxPool2d):
    """Max pooling whose gradient goes to every maximum of a window, where several are equal, each with the full value.

    That is how cuda-convnet computes it (src/conv_util.cu, kLocalMaxUndo: `prod += maxGrad * (img == maxAct)`); PyTorch
    gives it to the first one. The values are the same. It runs in PyTorch, never in the compiled loop.
    """

    def forward(self, x: Tensor) -> Tensor:
        traced = torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        y: Tensor
        if traced or not (x.requires_grad and torch.is_grad_enabled()):
            y = super().forward(x)
        else:
            y = _AllTies.apply(x, self.kernel_size, self.stride, self.ceil_mode)
        return y


class _AllTies(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, stride: int, ceil: bool) -> Tensor:
        y = F.max_pool2d(x, size, stride, ceil_mode=ceil)
        ctx.save_for_backward(x, y)
        ctx.numbers = size, stride
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (x, y), (size, stride) = ctx.saved_tensors, ctx.numbers
        rows, columns = y.shape[-2:]
        down, right = (
            max(0, (n - 1) * stride + size - side) for n, side in zip(y.shape[-2:], x.shape[-2:], strict=True)
        )
        values = F.pad(x, (0, right, 0, down), value=-torch.inf)
        sums = torch.zeros_like(values)
        for i in range(size):
            for j in range(size):
                place = (
                    ...,
                    slice(i, i + (rows - 1) * stride + 1, stride),
                    slice(j, j + (columns - 1) * stride + 1, stride),
                )
                sums[place] += grad * (values[place] == y)
        return sums[..., : x.shape[-2], : x.shape[-1]], None, None, None


class GridPool(nn.AdaptiveAvgPool2d):
    """Means over a grid of cells of nearly equal size, which overlap by a pixel where the sides do not divide.

    Off the CPU it is two small matrix products with zeros and ones, divided by the pixels of a cell: a Mac's GPU has no
    such pooling for sides that do not divide, and the gradient of CUDA's adds in another order each time.
    """

    output_size: int

    def forward(self, input: Tensor) -> Tensor:
        plain = input.device.type in ("cpu", "meta")
        return super().forward(input) if plain else grid_means(input, self.output_size)


def grid_means(x: Tensor, cells: int) -> Tensor:
    """Returns the means of (N, C, H, W) over a grid (N, C, cells, cells), in float32 or better."""
    rows, columns = (cells_of(side, cells, x.device) for side in x.shape[-2:])
    values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    with torch.autocast(x.device.type, enabled=False):
        sums = rows.T.to(values.dtype) @ (values @ columns.to(values.dtype))
    return (sums / (rows.sum(0)[:, None] * columns.sum(0))).to(x.dtype)


def cells_of(side: int, cells: int, device: torch.device) -> Tensor:
    """Which pixels of a side belong to which cell: (side, cells) bool. Cell i is floor(i side / cells) to ceil(...)."""
    pixel = torch.arange(side, device=device)[:, None] * cells
    start = torch.arange(cells, device=device) * side
    return (start < pixel + cells) & (pixel < start + side)


def activation_layer(name: Literal["relu", "tanh", "sigmoid"]) -> nn.Module:
    """Returns the activation function of this name."""
    layers: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    return layers[name]()


class PadRightBottom(nn.Module):
    """Zero padding on the right and at the bottom only, so that a convolution without padding reaches the last pixel.

    The code of 2012 computes 1 + ceil((size - kernel) / stride) windows ([code] layer.py:1004) and reads zeros, which
    are the mean pixel, outside the image. For 224 pixels, an 11x11 kernel and stride 4 these are 55 windows and 3
    pixels of padding.
    """

    def __init__(self, kernel: int, stride: int):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        down, right = (-(size - self.kernel) % self.stride for size in x.shape[-2:])
        return F.pad(x, (0, right, 0, down))

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}"
