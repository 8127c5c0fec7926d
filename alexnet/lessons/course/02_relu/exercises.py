"""The exercises of lesson 2."""


# %% [slope start]
def sigmoid_slope(x):
    """The derivative of the sigmoid at x, a tensor."""
    return ...  # torch.sigmoid(x) is its value


# %% [slope check]
def check(answer):
    x = torch.tensor([-8.0, -1.5, 0.0, 0.3, 4.0], dtype=torch.float64)
    value = torch.sigmoid(x)
    got = torch.as_tensor(answer.sigmoid_slope(x), dtype=torch.float64)
    if got.shape != x.shape:
        return "shape", {"got": tuple(got.shape), "want": tuple(x.shape)}
    if torch.allclose(got, value * (1 - value), atol=1e-4):
        return None
    if torch.allclose(got, x * (1 - x), atol=1e-4):
        return "of_the_input"
    if torch.allclose(got, value * (1 + value), atol=1e-4):
        return "sign"
    if torch.allclose(got, value, atol=1e-4):
        return "value"
    return "other", {"got": got[2].item()}


# %% [slope right]
def sigmoid_slope(x):
    value = torch.sigmoid(x)
    return value * (1 - value)


at_zero = sigmoid_slope(torch.tensor(0.0)).item()
at_eight = sigmoid_slope(torch.tensor(8.0)).item()


# %% [slope nearly of_the_input]
def sigmoid_slope(x):
    return x * (1 - x)


# %% [slope nearly sign]
def sigmoid_slope(x):
    return torch.sigmoid(x) * (1 + torch.sigmoid(x))


# %% [slope wrong value]
def sigmoid_slope(x):
    return torch.sigmoid(x)


# %% [slope wrong shape]
def sigmoid_slope(x):
    return 0.25


# %% [slope wrong other]
def sigmoid_slope(x):
    return 1 - x


# %% [depth start]
layers_until_lost = ...  # a whole number


# %% [depth check]
def check(answer):
    got = answer.layers_until_lost
    want = next(n for n in range(100) if 0.25**n < 1e-3)
    if got == want:
        return None
    if isinstance(got, float) and want - 1 < got < want:
        return "whole"
    if got == want - 1:
        return "one_less"
    return "other", {"got": got}


# %% [depth right]
layers_until_lost = 1
while 0.25**layers_until_lost >= 1e-3:
    layers_until_lost += 1
left_of_it = 0.25**layers_until_lost

# %% [depth nearly whole]
layers_until_lost = 4.98

# %% [depth nearly one_less]
layers_until_lost = 4

# %% [depth wrong other]
layers_until_lost = 250

# %% [modern start: data training]
modern = alexnet.create_model("lenet", data=data)  # change its fields; alexnet recipes lenet lists them


# %% [modern check]
def check(answer):
    network = answer.modern
    if not isinstance(network, torch.nn.Module) or not hasattr(network, "layers"):
        return "no_network", {"got": type(network).__name__}
    kinds = {type(layer).__name__ for layer in network.layers}
    relu, pooling = "ReLU" in kinds and "Sigmoid" not in kinds, "MaxPool2d" in kinds and "AvgPool2d" not in kinds
    if relu and pooling:
        return None
    if relu or pooling:
        return "activation" if pooling else "pooling"
    return "unchanged"


# %% [modern right]
modern = alexnet.create_model("lenet", data=data, activation="relu", pooling="max")
old = alexnet.create_model("lenet", data=data)
modern_epochs = 1 if small else 6
train(modern, modern_epochs)
train(old, modern_epochs)
modern_error = error(modern, held_images, held_classes)
old_error = error(old, held_images, held_classes)

# %% [modern nearly activation]
modern = alexnet.create_model("lenet", data=data, pooling="max")

# %% [modern nearly pooling]
modern = alexnet.create_model("lenet", data=data, activation="relu")

# %% [modern wrong unchanged]
modern = alexnet.create_model("lenet", data=data, activation="tanh")

# %% [modern wrong no_network]
modern = "lenet"


# %% [dead start]
def dead_share(outputs):
    """The share of units that are zero for every image; outputs is (images, units), after ReLU."""
    return ...


# %% [dead check]
def check(answer):
    cases = [
        torch.tensor([[0.0, 1.0, 0.0, 2.0], [0.0, 0.0, 0.0, 1.0]]),
        torch.tensor([[0.0, 0.0, 3.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        torch.ones(2, 5),
    ]
    want = [0.5, 1 / 3, 0.0]
    got = [float(answer.dead_share(case)) for case in cases]
    if got == [float(torch.tensor(each)) for each in want] or all(map(lambda a, b: abs(a - b) < 1e-6, got, want)):
        return None
    if all(abs(each - float((case == 0).float().mean())) < 1e-6 for each, case in zip(got, cases, strict=True)):
        return "all_zeros"
    if all(abs(each - number) < 1e-6 for each, number in zip(got, [2, 1, 0], strict=True)):
        return "count"
    if all(abs(each - number) < 1e-6 for each, number in zip(got, [0.0, 1 / 3, 0.0], strict=True)):
        return "images"
    return "other", {"got": got[0]}


# %% [dead right]
def dead_share(outputs):
    return (outputs == 0).all(dim=0).float().mean().item()


# %% [dead nearly all_zeros]
def dead_share(outputs):
    return (outputs == 0).float().mean().item()


# %% [dead nearly count]
def dead_share(outputs):
    return (outputs == 0).all(dim=0).sum().item()


# %% [dead nearly images]
def dead_share(outputs):
    return (outputs == 0).all(dim=1).float().mean().item()


# %% [dead wrong other]
def dead_share(outputs):
    return 1.0
