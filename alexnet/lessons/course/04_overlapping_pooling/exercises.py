"""The exercises of lesson 4."""


# %% [side start]
def pooled_side(side, kernel, stride):
    """Pixels a side after pooling, counted up as in 2012: a window that reaches over the border counts, too."""
    return ...


# %% [side check]
def check(answer):
    cases = [(55, 3, 2), (55, 2, 2), (27, 3, 2), (32, 3, 2), (28, 2, 2), (16, 3, 2)]
    got = [answer.pooled_side(*case) for case in cases]
    want = [max_pool2d(torch.zeros(1, 1, s, s), k, t, ceil_mode=True).shape[-1] for s, k, t in cases]
    if got == want:
        return None
    if got == [max_pool2d(torch.zeros(1, 1, s, s), k, t).shape[-1] for s, k, t in cases]:
        return "down"
    if got == [each - 1 for each in want]:
        return "plus_one"
    if got == [(s - k) / t + 1 for s, k, t in cases]:
        return "fraction"
    (s, k, t), first, right = next(each for each in zip(cases, got, want, strict=True) if each[1] != each[2])
    return "other", {"s": s, "k": k, "t": t, "got": first, "want": right}


# %% [side right]
def pooled_side(side, kernel, stride):
    return 1 + -(-(side - kernel) // stride)  # minus twice, so that // rounds up


of_cifar = [32]
for _ in range(3):  # three layers of pooling in the networks for CIFAR-10 of the same source
    of_cifar.append(pooled_side(of_cifar[-1], 3, 2))
_, first_side, second_side, third_side = of_cifar


# %% [side nearly down]
def pooled_side(side, kernel, stride):
    return (side - kernel) // stride + 1


# %% [side nearly plus_one]
def pooled_side(side, kernel, stride):
    return -(-(side - kernel) // stride)


# %% [side nearly fraction]
def pooled_side(side, kernel, stride):
    return (side - kernel) / stride + 1


# %% [side wrong other]
def pooled_side(side, kernel, stride):
    return side // stride


# %% [larger start]
def larger(a, b, relu):
    """The larger of two numbers, computed with the function `relu`, plus and minus."""
    return ...


# %% [larger check]
def check(answer):
    cases = [(3.0, 1.0), (1.0, 3.0), (-2.0, 5.0), (-1.0, -4.0), (2.0, 2.0), (0.0, -3.0), (-6.0, -2.0)]
    asked = []

    def relu(value):
        asked.append(value)
        return max(value, 0.0)

    got = [float(answer.larger(a, b, relu)) for a, b in cases]
    if got == [max(case) for case in cases]:
        return None if asked else "without_relu"
    if got == [min(case) for case in cases]:
        return "smaller"
    if got == [max(max(case), 0.0) for case in cases]:
        return "positive"
    if got == [abs(a - b) for a, b in cases]:
        return "distance"
    (a, b), first = next(each for each in zip(cases, got, strict=True) if each[1] != max(each[0]))
    return "other", {"a": a, "b": b, "got": first}


# %% [larger right]
def larger(a, b, relu):
    return a + relu(b - a)


of_window = 4
needed_relus = of_window - 1  # one for each number after the first


# %% [larger nearly without_relu]
def larger(a, b, relu):
    return max(a, b)


# %% [larger nearly smaller]
def larger(a, b, relu):
    return a - relu(a - b)


# %% [larger nearly positive]
def larger(a, b, relu):
    return relu(a) + relu(relu(b) - relu(a))


# %% [larger wrong distance]
def larger(a, b, relu):
    return relu(a - b) + relu(b - a)


# %% [larger wrong other]
def larger(a, b, relu):
    return relu(a + b)


# %% [average start]
kernel = ...  # a tensor for conv2d(image, kernel, stride=2)


# %% [average check]
def check(answer):
    got = answer.kernel
    if not isinstance(got, torch.Tensor):
        return "no_tensor", {"got": type(got).__name__}
    if got.squeeze().shape == (3, 3):
        return "window"
    if got.numel() != 4:
        return "shape", {"got": tuple(got.shape)}
    if got.shape != (1, 1, 2, 2):
        return "dimensions", {"got": tuple(got.shape)}
    image = torch.arange(48.0).view(1, 1, 6, 8).square()
    mean = image.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    pooled = conv2d(image, got.float(), stride=2)
    if torch.allclose(pooled, mean, rtol=1e-4):
        return None
    return "sum" if torch.allclose(pooled, 4 * mean, rtol=1e-4) else "other"


# %% [average right]
kernel = torch.full((1, 1, 2, 2), 1 / 4)
picture = torch.tensor([[0.0, 0.0, 8.0, 8.0], [0.0, 4.0, 8.0, 8.0]]).view(1, 1, 2, 4)
first_mean, second_mean = conv2d(picture, kernel, stride=2).flatten().tolist()

# %% [average nearly sum]
kernel = torch.ones(1, 1, 2, 2)

# %% [average nearly dimensions]
kernel = torch.full((2, 2), 1 / 4)

# %% [average nearly window]
kernel = torch.full((1, 1, 3, 3), 1 / 9)

# %% [average wrong other]
kernel = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).view(1, 1, 2, 2)

# %% [average wrong shape]
kernel = torch.tensor([1 / 4])

# %% [average wrong no_tensor]
kernel = 0.25


# %% [cost start]
def comparisons(channels, side, kernel, stride):
    """How many comparisons of two numbers max pooling makes on maps of `side` pixels; only whole windows count."""
    return ...


# %% [cost check]
def check(answer):
    cases = [(96, 55, 3, 2), (1, 8, 2, 2), (16, 27, 3, 2), (3, 10, 5, 1)]
    got = [answer.comparisons(*case) for case in cases]
    windows = [len(torch.zeros(side).unfold(0, kernel, stride)) for _, side, kernel, stride in cases]
    if got == [c * n * n * (k * k - 1) for n, (c, _, k, _) in zip(windows, cases, strict=True)]:
        return None
    if got == [c * n * n * k * k for n, (c, _, k, _) in zip(windows, cases, strict=True)]:
        return "one_less"
    if got == [n * n * (k * k - 1) for n, (_, _, k, _) in zip(windows, cases, strict=True)]:
        return "channels"
    if got == [c * n * (k * k - 1) for n, (c, _, k, _) in zip(windows, cases, strict=True)]:
        return "one_row"
    return "other", {"got": got[1]}


# %% [cost right]
def comparisons(channels, side, kernel, stride):
    windows = (side - kernel) // stride + 1
    return channels * windows**2 * (kernel**2 - 1)


pool1_overlapping = comparisons(96, 55, 3, 2)
pool1_plain = comparisons(96, 55, 2, 2)
conv1_products = 96 * 55**2 * 3 * 11**2
cheaper = conv1_products / pool1_overlapping


# %% [cost nearly one_less]
def comparisons(channels, side, kernel, stride):
    return channels * ((side - kernel) // stride + 1) ** 2 * kernel**2


# %% [cost nearly channels]
def comparisons(channels, side, kernel, stride):
    return ((side - kernel) // stride + 1) ** 2 * (kernel**2 - 1)


# %% [cost nearly one_row]
def comparisons(channels, side, kernel, stride):
    return channels * ((side - kernel) // stride + 1) * (kernel**2 - 1)


# %% [cost wrong other]
def comparisons(channels, side, kernel, stride):
    return channels * side**2


# %% [gradient start]
def times_winner(values):
    """How many windows of 3, two apart, each number of a row wins; values: (N,), no two alike."""
    return ...


# %% [gradient check]
def check(answer):
    cases = [
        [1, 2, 9, 4, 3],
        [9, 1, 2, 3, 8, 4, 5],
        [1, 2, 3, 4, 5, 6, 7, 8, 9],
        [5, 4, 8, 3, 2, 1, 7],
    ]
    fits = {"", "every_window", "plain", "once"}
    for case in cases:
        values = torch.tensor(case).float()
        got = torch.as_tensor(answer.times_winner(values.clone())).long()
        if got.shape != values.shape:
            return "shape", {"got": tuple(got.shape), "want": len(case)}
        starts = {
            "": range(0, len(case) - 2, 2),
            "every_window": range(len(case) - 2),
            "plain": range(0, len(case) - 1, 2),
        }
        sizes = {"": 3, "every_window": 3, "plain": 2}
        forms = {
            kind: [sum(max(case[s : s + sizes[kind]]) == each for s in starts[kind]) for each in case]
            for kind in starts
        }
        forms["once"] = [min(each, 1) for each in forms[""]]
        fits -= {kind for kind in fits if got.tolist() != forms[kind]}
    if "" in fits:
        return None
    return fits.pop() if fits else "other"


# %% [gradient right]
def times_winner(values):
    row = values.clone().requires_grad_()
    row.unfold(0, 3, 2).max(1).values.sum().backward()
    return row.grad


of_row = times_winner(torch.tensor([1.0, 2.0, 9.0, 4.0, 3.0])).max().item()


# %% [gradient nearly every_window]
def times_winner(values):
    row = values.clone().requires_grad_()
    row.unfold(0, 3, 1).max(1).values.sum().backward()
    return row.grad


# %% [gradient nearly plain]
def times_winner(values):
    row = values.clone().requires_grad_()
    row.unfold(0, 2, 2).max(1).values.sum().backward()
    return row.grad


# %% [gradient nearly once]
def times_winner(values):
    row = values.clone().requires_grad_()
    row.unfold(0, 3, 2).max(1).values.sum().backward()
    return row.grad.clamp(max=1)


# %% [gradient wrong shape]
def times_winner(values):
    return values.unfold(0, 3, 2).argmax(1)


# %% [gradient wrong other]
def times_winner(values):
    return values
