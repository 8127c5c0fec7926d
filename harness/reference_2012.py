"""A second implementation of net 145 of 2012: NumPy in float64, forward and backward by hand, as two towers.

It is written from the formulas of the released source, for the tests only: it is slow and uses neither PyTorch nor the
package. A layer is a function of its input that returns the output and a backward function. The backward function takes
the gradient of the output; it returns the gradient of the input and those of the parameters of the layer, by name.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray
Back = Callable[[Array], tuple[Array, dict[str, Array]]]
Layer = Callable[[Array], tuple[Array, Back]]


def convolution(name: str, weight: Array, bias: Array, stride: int = 1, padding: int = 0) -> Layer:
    """y[n, o, i, j] = b[o] + sum over c, u, v of w[o, c, u, v] x[n, c, stride i + u, stride j + v]."""

    def forward(x: Array) -> tuple[Array, Back]:
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        kernel = weight.shape[2]
        patches = sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
        y = np.tensordot(patches, weight, ([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2) + bias[:, None, None]

        def back(d: Array) -> tuple[Array, dict[str, Array]]:
            of_x = np.zeros_like(x)
            rows, columns = (stride * side for side in d.shape[2:])
            for u in range(kernel):
                for v in range(kernel):
                    part = np.tensordot(d, weight[:, :, u, v], (1, 0)).transpose(0, 3, 1, 2)
                    of_x[:, :, u : u + rows : stride, v : v + columns : stride] += part
            of_weight = np.tensordot(d, patches, ([0, 2, 3], [0, 2, 3]))
            inner = slice(padding, -padding or None)
            return of_x[:, :, inner, inner], {f"{name}.weight": of_weight, f"{name}.bias": d.sum((0, 2, 3))}

        return y, back

    return forward


def linear(name: str, weight: Array, bias: Array) -> Layer:
    """y = x w^T + b."""

    def forward(x: Array) -> tuple[Array, Back]:
        def back(d: Array) -> tuple[Array, dict[str, Array]]:
            return d @ weight, {f"{name}.weight": d.T @ x, f"{name}.bias": d.sum(0)}

        return x @ weight.T + bias, back

    return forward


def relu(x: Array) -> tuple[Array, Back]:
    """max(x, 0)."""
    return np.maximum(x, 0.0), lambda d: (d * (x > 0), {})


def flatten(x: Array) -> tuple[Array, Back]:
    """All values of an image in one row: channel by channel, row by row."""
    return x.reshape(len(x), -1), lambda d: (d.reshape(x.shape), {})


def max_pool(x: Array) -> tuple[Array, Back]:
    """Max pooling, 3 x 3 with stride 2: 1 + ceil((side - 3) / 2) windows a side, the last one clipped at the border."""
    rows, columns = (1 + -(-(side - 3) // 2) for side in x.shape[2:])
    winners = {}  # row and column of the maximum of each window
    y = np.empty((*x.shape[:2], rows, columns))
    for i in range(rows):
        for j in range(columns):
            window = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            flat = window.reshape(*x.shape[:2], -1)
            y[:, :, i, j] = flat.max(2)
            largest = flat.argmax(2)
            winners[i, j] = (2 * i + largest // window.shape[3], 2 * j + largest % window.shape[3])

    def back(d: Array) -> tuple[Array, dict[str, Array]]:
        of_x = np.zeros_like(x)
        images, channels = np.indices(x.shape[:2])
        for (i, j), (row, column) in winners.items():
            of_x[images, channels, row, column] += d[:, :, i, j]
        return of_x, {}

    return y, back


def across_maps(values: Array) -> Array:
    """The sum over the channels f - 2 .. f + 2, as far as this tower has them."""
    return np.stack([values[:, max(0, f - 2) : f + 3].sum(1) for f in range(values.shape[1])], axis=1)


def within_map(values: Array) -> Array:
    """The sum over the 5 x 5 neighbors, as far as they lie inside the feature map."""
    padded = np.pad(values, ((0, 0), (0, 0), (2, 2), (2, 2)))
    return sliding_window_view(padded, (5, 5), axis=(2, 3)).sum((4, 5))


def normalization(total: Callable[[Array], Array], k: float, alpha: float, beta: float = 0.75) -> Layer:
    """b_f = a_f D_f^-beta with D = k + alpha * total(a^2), where `total` sums over neighbors.

    alpha multiplies each square. Being neighbors is mutual: a_g stands in D_f exactly where a_f stands in D_g. So the
    gradient of a_g is d_g D_g^-beta - 2 alpha beta a_g * total(d a D^(-beta - 1))_g.
    """

    def forward(a: Array) -> tuple[Array, Back]:
        denominator = k + alpha * total(a * a)

        def back(d: Array) -> tuple[Array, dict[str, Array]]:
            crossed = total(d * a * denominator ** (-beta - 1.0))
            return d * denominator**-beta - 2.0 * alpha * beta * a * crossed, {}

        return a * denominator**-beta, back

    return forward


LRN = normalization(across_maps, k=2.0, alpha=1e-4 / 5)
WITHIN_MAP_NORM = normalization(within_map, k=1.0, alpha=1e-3 / 25)


def dropout(mask: Array | None) -> Layer:
    """Training multiplies by a mask of zeros and ones, without rescaling; testing (no mask) multiplies by one half."""
    factor = 0.5 if mask is None else mask
    return lambda x: (x * factor, lambda d: (d * factor, {}))


def chain(x: Array, layers: Sequence[Layer]) -> tuple[Array, Back]:
    """Several layers, one after another."""
    backs = []
    for layer in layers:
        x, back = layer(x)
        backs.append(back)

    def all_back(d: Array) -> tuple[Array, dict[str, Array]]:
        gradients: dict[str, Array] = {}
        for back in reversed(backs):
            d, more = back(d)
            gradients |= more
        return d, gradients

    return x, all_back


def towers(inputs: Sequence[Array], layers: Callable[[int], Sequence[Layer]]) -> tuple[Array, Back]:
    """The two towers in parallel, each on its own input; the outputs are concatenated along the channels.

    The backward function returns the gradients of both inputs, (2, ...), and the gradients of the parameters, with both
    towers concatenated.
    """
    (first, back_first), (second, back_second) = (chain(inputs[t], layers(t)) for t in (0, 1))

    def back(d: Array) -> tuple[Array, dict[str, Array]]:
        one, other = np.split(d, 2, axis=1)
        (of_first, gradients), (of_second, more) = back_first(one), back_second(other)
        return np.stack([of_first, of_second]), {n: np.concatenate([gradients[n], more[n]]) for n in gradients}

    return np.concatenate([first, second], axis=1), back


def log_loss(logits: Array, labels: Array) -> tuple[float, Array]:
    """The mean of -log of the probability of the correct class, and its gradient."""
    shifted = logits - logits.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    rows = np.arange(len(labels))
    gradient = np.exp(logs)
    gradient[rows, labels] -= 1.0
    return float(-logs[rows, labels].mean()), gradient / len(labels)


def net_145(
    parameters: Mapping[str, Array],
    pixels: Array,
    mean: Array,
    labels: Array,
    masks: tuple[Array, Array] | None = None,
) -> tuple[Array, float, Callable[[], dict[str, Array]]]:
    """Logits, loss, and the backward function that returns the gradient of every parameter.

    Args:
        parameters: `conv1.weight`, `conv1.bias`, .. `fc8.bias`; the first half of each but fc8 is the first tower.
        pixels: (N, 3, size, size), 0..255.
        mean: (3, size, size), 0..255.
        masks: the dropout masks of fc6 and fc7, zeros and ones (N, units); None: testing.
    """

    def half(name: str, tower: int) -> tuple[str, Array, Array]:
        weight, bias = (np.split(parameters[f"{name}.{kind}"], 2)[tower] for kind in ("weight", "bias"))
        return name, weight, bias

    def front(t: int) -> list[Layer]:
        first = [convolution(*half("conv1", t), stride=4), LRN, max_pool, relu]
        return [*first, convolution(*half("conv2", t), padding=2), relu, LRN, WITHIN_MAP_NORM, max_pool]

    def middle(t: int) -> list[Layer]:
        third, fourth, fifth = (convolution(*half(f"conv{number}", t), padding=1) for number in (3, 4, 5))
        return [third, relu, fourth, relu, fifth, max_pool, relu, flatten]

    def hidden(number: int) -> Callable[[int], list[Layer]]:
        mask = None if masks is None else masks[number - 6]
        return lambda t: [
            linear(*half(f"fc{number}", t)), relu, dropout(None if mask is None else np.split(mask, 2, axis=1)[t])
        ]  # fmt: skip

    padding = -(pixels.shape[-1] - 11) % 4
    data = np.pad(pixels - mean, ((0, 0), (0, 0), (0, padding), (0, padding)))
    pool2, back_front = towers((data, data), front)
    pool5, back_middle = towers((pool2, pool2), middle)
    fc6, back_6 = towers((pool5, pool5), hidden(6))
    fc7, back_7 = towers((fc6, fc6), hidden(7))
    logits, back_8 = chain(fc7, [linear("fc8", parameters["fc8.weight"], parameters["fc8.bias"])])
    loss, d = log_loss(logits, labels)

    def back() -> dict[str, Array]:
        of_input, gradients = back_8(d)
        for one_back in (back_7, back_6, back_middle):
            of_both, more = one_back(of_input)
            of_input = of_both.sum(0)  # both towers have the same input here, so their gradients add up
            gradients |= more
        return gradients | back_front(of_input)[1]

    return logits, loss, back
