"""Lesson 2: ReLU; saturation, gradients by layer, Figure 1 in small."""

# %% [setup]
import matplotlib.pyplot as plt
import torch
from torch.nn.functional import cross_entropy

import alexnet

paper_ratio = 6  # Figure 1 of the paper: how many times as fast ReLU was as tanh
functions = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}

# %% [slopes]
x = torch.linspace(-6, 6, 241, requires_grad=True)
slopes = {}
for name, function in functions.items():
    (slopes[name],) = torch.autograd.grad(function(x).sum(), x)
steepest = slopes["sigmoid"].max().item()
far_tanh = slopes["tanh"][-1].item()
far_relu = slopes["relu"][-1].item()
edge = x[-1].item()

# %% [curves]
figure, (left, right) = plt.subplots(1, 2)
for name, function in functions.items():
    left.plot(x.detach(), function(x).detach(), label=name)
    right.plot(x.detach(), slopes[name], label=name)
left.set(title=labels["function"], ylim=(-1.2, 2.5))
right.set(title=labels["derivative"], ylim=(-0.05, 1.1))
right.legend()
plt.show()

# %% [chain]
depth = len([layer for layer in alexnet.summary("demo").layers if layer.learned])
passed = steepest ** (depth - 1)
print(f"{depth}  {passed:.2g}")

# %% [data]
data = alexnet.load_data("digits", size=28)
images, classes = data.train.tensors()
held_images, held_classes = data.val.tensors()
print(images.shape, held_images.shape)

# %% [gradients]
sizes = {}
for name in functions:
    network = alexnet.create_model("demo", data=data, num_classes=10, activation=name, norm="none", dropout=0.0)
    cross_entropy(network(images[:128]), classes[:128]).backward()
    sizes[name] = {
        parameter.split(".")[1]: (values.grad.norm() / values.norm()).item()
        for parameter, values in network.named_parameters()
        if parameter.endswith("weight")
    }
for name, by_layer in sizes.items():
    print(f"{name:8}", *(f"{size:8.0e}" for size in by_layer.values()))
sigmoid_conv1 = sizes["sigmoid"]["conv1"]
relu_conv1 = sizes["relu"]["conv1"]
weaker = relu_conv1 / sigmoid_conv1

# %% [by_layer]
figure, axes = plt.subplots()
for name, by_layer in sizes.items():
    axes.semilogy(list(by_layer), list(by_layer.values()), marker="o", label=name)
axes.set(ylabel=labels["gradient"])
axes.legend()
plt.show()


# %% [training]
def train(network, epochs, learning_rate=0.05):
    """Trains on the digits; returns the training error after every epoch."""
    optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate, momentum=0.9)
    order = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(epochs):
        network.train()
        for chosen in torch.randperm(len(images), generator=order).split(64):
            optimizer.zero_grad()
            cross_entropy(network(images[chosen]), classes[chosen]).backward()
            optimizer.step()
        errors.append(error(network, images, classes))
    return errors


def error(network, images, classes):
    """The share of images whose class is not the network's first choice."""
    network.eval()
    with torch.inference_mode():
        return (network(images).argmax(1) != classes).float().mean().item()


# %% [figure_1]
epochs = 2 if small else 10
target = 0.05
trained, errors, reached = {}, {}, {}
for name in functions:
    trained[name] = alexnet.create_model("lenet", data=data, activation=name)
    errors[name] = train(trained[name], epochs)
    below = [epoch for epoch, each in enumerate(errors[name], 1) if each < target]
    reached[name] = str(below[0]) if below else f">{epochs}"
    print(f"{name:8}", *(f"{each:6.3f}" for each in errors[name]))
relu_epochs, tanh_epochs = reached["relu"], reached["tanh"]
sigmoid_last = errors["sigmoid"][-1]
chance = 1 - 1 / len(data.class_names)

# %% [errors]
figure, axes = plt.subplots()
for name, each in errors.items():
    axes.plot(range(1, epochs + 1), each, marker="o", label=name)
axes.axhline(target, color="black", linestyle="--", linewidth=1)
axes.yaxis.set_major_formatter("{x:.0%}")
axes.set(xlabel=labels["epoch"], ylabel=labels["error"], ylim=(0, 1))
axes.legend()
plt.show()

# %% [silent]
with torch.inference_mode():
    maps = trained["relu"].activations(images)
relu_outputs = {name: maps[name] for name in maps if name.startswith("act")}
zeros = {name: (each == 0).float().mean().item() for name, each in relu_outputs.items()}
for name, share in zeros.items():
    print(f"{name:6} {share:.0%}")
least, most = min(zeros.values()), max(zeros.values())
