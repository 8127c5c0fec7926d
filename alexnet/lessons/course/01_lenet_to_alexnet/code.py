"""Lesson 1: shapes, parameters, why 224 gives 55, and what "1 GB of parameters" counts."""

# %% [setup]
import time

import matplotlib.pyplot as plt
import numpy as np
import torch

import alexnet

image, kernel, stride = 224, 11, 4  # conv1 as in the paper, section 3.5
paper_side = 55  # what Figure 2 of the paper draws after conv1
card_gigabytes = 3  # of a GTX 580, the paper, section 3.2
said_gigabytes = 1  # what textbooks say the parameters take
bytes_each = 4  # of a number in float32
batch = 128  # of the paper, section 5

# %% [networks]
lenet = alexnet.summary("lenet")
large = alexnet.summary("alexnet-2012")


def learned(network):
    return [layer for layer in network.layers if layer.learned]


# %% [table]
print(f"{'':8}{labels['output']:<16}{labels['parameters']:>14}")
for counted in (lenet, large):
    for layer in learned(counted):
        shape = " x ".join(map(str, layer.shape))
        print(f"{layer.name:8}{shape:<16}{layer.parameters:>14,}")
    print()

# %% [counts]
lenet_depth, large_depth = len(learned(lenet)), len(learned(large))
ratio = large.parameters / lenet.parameters
print(f"{lenet.parameters:,}  {large.parameters:,}  {ratio:.0f}")
lenet_parameters, large_parameters = lenet.parameters, large.parameters

# %% [sides]
convolution = torch.nn.Conv2d(3, 96, kernel, stride=stride)
sides = {}
for side in range(image, image + 4):
    sides[side] = convolution(torch.zeros(1, 3, side, side)).shape[-1]
for side, output in sides.items():
    print(side, "->", output)
exact = (image - kernel) / stride + 1  # windows, were there fractions of one
bare_side = sides[image]
padded = min(side for side, output in sides.items() if output == paper_side)
missing = padded - image

# %% [windows]
figure, axes = plt.subplots(figsize=(7, 2.6))
starts = np.arange(paper_side) * stride
axes.barh(np.arange(6), [kernel] * 6, left=starts[-6:], color="tab:blue", alpha=0.7)
axes.axvspan(image, padded, color="tab:orange", alpha=0.4, label=labels["padding"])
axes.axvline(image, color="black", linewidth=1.5, label=labels["border"])
axes.set(xlabel=labels["pixel"], ylabel=labels["window"], xlim=(190, 229))
axes.set_yticks(np.arange(6), np.arange(paper_side - 5, paper_side + 1))
axes.legend(loc="upper left")
plt.show()

# %% [shares]
names = [layer.name for layer in learned(large)]
parameters = np.array([layer.parameters for layer in learned(large)])
products = np.array([layer.multiply_adds for layer in learned(large)])
convolutional = np.array([name.startswith("conv") for name in names])
conv_parameters = parameters[convolutional].sum() / parameters.sum()
conv_products = products[convolutional].sum() / products.sum()
fc6_parameters = parameters[names.index("fc6")] / parameters.sum()
total_products = products.sum()

# %% [dominate]
figure, axes = plt.subplots()
place = np.arange(len(names))
axes.bar(place - 0.2, parameters / parameters.sum(), 0.4, label=labels["parameters"])
axes.bar(place + 0.2, products / products.sum(), 0.4, label=labels["products"])
axes.set_xticks(place, names)
axes.yaxis.set_major_formatter("{x:.0%}")
axes.set_ylabel(labels["share"])
axes.legend()
plt.show()

# %% [bytes]
megabytes = large_parameters * bytes_each / 1e6
copies = {"weights": 1, "gradients": 1, "momentum": 1}
training_megabytes = megabytes * sum(copies.values())
adam_megabytes = megabytes * 4  # Adam keeps two averages for each weight, not one
activations = sum(int(np.prod(layer.shape)) for layer in large.layers)
activation_megabytes = batch * activations * bytes_each / 1e6
together = (training_megabytes + 2 * activation_megabytes) / 1e3  # with their gradients

# %% [memory]
figure, axes = plt.subplots(figsize=(7, 2.4), layout="constrained")
parts = {name: megabytes for name in copies} | {"activations": activation_megabytes}
left = 0
for name, size in parts.items():
    label = f"{labels[name]}: {size:,.0f} MB"
    axes.barh([0], [size], left=left, label=label, edgecolor="white")
    left += size
axes.axvline(said_gigabytes * 1000, color="black", linestyle="--", label=labels["said"])
axes.set_yticks([])
axes.set_xlabel("MB")
figure.legend(loc="outside upper center", ncols=3, fontsize=9)
plt.show()


# %% [bandwidth]
def fastest(layer, inputs, repeats):
    """Seconds of the fastest of some passes."""
    times = []
    with torch.inference_mode():
        for _ in range(repeats):
            start = time.perf_counter()
            layer(inputs)
            times.append(time.perf_counter() - start)
    return min(times)


width = 512 if small else 4096
dense = torch.nn.Linear(9216, width)
one = fastest(dense, torch.randn(1, 9216), 3 if small else 10)
many = fastest(dense, torch.randn(batch, 9216), 3 if small else 10) / batch
gain = one / many
print(f"{1e3 * one:.2f} ms  {1e3 * many:.2f} ms  {gain:.1f}")
one_ms, many_ms = 1e3 * one, 1e3 * many
