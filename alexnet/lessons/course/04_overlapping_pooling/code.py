"""Lesson 4: windows of 3 x 3 every 2 pixels against 2 x 2 every 2: sizes, winners, shifts, overfitting."""

# %% [setup]
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import cbook
from torch.nn.functional import conv2d, cross_entropy, interpolate, max_pool2d

import alexnet

paper_side = 55  # pixels of a map of conv1, Figure 2 of the paper
paper_top1, paper_top5 = 0.004, 0.003  # by how much overlap lowers the errors, the paper, section 3.4
top_one, top_five = 1, 5  # classes that may be named in these errors
other_net = 147  # the network without overlap, layers-147.cfg beside that of the paper, layers-145.cfg
poolings = {"overlapping": (3, 2), "plain": (2, 2)}  # a window's side and the step to the next one, in pixels


# %% [readers]
def readers(side, kernel, stride):
    """How many windows read each pixel of a map."""
    count = torch.zeros(side, side, dtype=torch.int64)
    starts = range(0, side - kernel + 1, stride)
    for top in starts:
        for left in starts:
            count[top : top + kernel, left : left + kernel] += 1
    return count


read = {"overlapping": readers(9, 3, 2), "plain": readers(8, 2, 2)}
most, least = read["overlapping"].max().item(), read["overlapping"].min().item()
plain_most, plain_least = read["plain"].max().item(), read["plain"].min().item()

# %% [windows]
figure, axes = plt.subplots(1, 2, figsize=(7, 3.3))
for axis, (name, count) in zip(axes, read.items(), strict=True):
    axis.imshow(count.numpy(), cmap="Blues", vmin=0, vmax=8)
    for (row, column), number in np.ndenumerate(count.numpy()):
        axis.text(column, row, number, ha="center", va="center", fontsize=8)
    size, step = poolings[name]
    for corner, color in zip((0, step), ("tab:orange", "tab:red"), strict=True):
        axis.add_patch(
            plt.Rectangle((corner - 0.45, -0.45), size - 0.1, size - 0.1, fill=False, edgecolor=color, linewidth=2)
        )
    axis.set_title(labels[name])
    axis.set_axis_off()
plt.show()

# %% [sizes]
networks = {name: alexnet.summary("alexnet-2012", pooling=name) for name in poolings}
sides = {}
for name, network in networks.items():
    counted = [layer for layer in network.layers if layer.name.startswith(("conv", "pool"))]
    sides[name] = {layer.name: layer.shape[-1] for layer in counted}
    print(f"{name:12}", *(f"{layer}:{side}" for layer, side in sides[name].items()))
conv1_side = sides["plain"]["conv1"]
overlapping_side, plain_side = (sides[name]["pool1"] for name in poolings)
last_side, plain_last = (sides[name]["pool5"] for name in poolings)
parameters, plain_parameters = (networks[name].parameters for name in poolings)
work = {name: sum(layer.multiply_adds for layer in network.layers) for name, network in networks.items()}
saved = 1 - work["plain"] / work["overlapping"]

# %% [map]
with cbook.get_sample_data("grace_hopper.jpg") as file:  # a photo that matplotlib brings along
    photo = torch.from_numpy(plt.imread(file).copy()).float().mean(2)
photo = interpolate(photo[None, None, 44:556], size=240, mode="bilinear", antialias=True)
distance = torch.arange(-5, 6).float()
bell = torch.exp(-(distance**2) / 8)
kernel = (bell[:, None] * (distance * bell)).view(1, 1, 11, 11)  # dark to light, as conv1 learns some (Figure 3)
kernel /= kernel.abs().sum()


def feature_map(pixels):
    """Convolution and ReLU, as in layer 1: a kernel of 11 x 11 pixels, every 4."""
    return conv2d(pixels, kernel, stride=4).relu()


whole = feature_map(photo[..., :224, :224])
part = whole[..., 12:25, 20:33]  # 13 pixels a side: 6 windows of either kind

# %% [winners]
wins = {}
for name, (size, step) in poolings.items():
    _, index = max_pool2d(part, size, step, return_indices=True)
    wins[name] = torch.bincount(index.flatten(), minlength=part.numel()).view(part.shape[-2:])
windows = int(wins["plain"].sum())
winners, plain_winners = (int((wins[name] > 0).sum()) for name in poolings)
most_wins = int(wins["overlapping"].max())
print(windows, winners, plain_winners, most_wins)

# %% [drawn]
figure, axes = plt.subplots(1, 3, figsize=(7, 2.6))
axes[0].imshow(whole[0, 0].numpy(), cmap="gray")
axes[0].add_patch(plt.Rectangle((19.5, 11.5), 13, 13, fill=False, edgecolor="tab:orange", linewidth=1.5))
axes[0].set_title(labels["map"], fontsize=9)
for axis, (name, won) in zip(axes[1:], wins.items(), strict=True):
    axis.imshow(part[0, 0].numpy(), cmap="gray")
    rows, columns = won.numpy().nonzero()
    axis.scatter(columns, rows, s=14 * won.numpy()[rows, columns], color="tab:orange")
    axis.set_title(labels[name], fontsize=9)
for axis in axes:
    axis.set_axis_off()
plt.show()

# %% [shift]
kinds = {"none": (1, 1), "plain": (2, 2), "apart": (3, 3), "overlapping": (3, 2)}
moved = range(9)
changed = {name: [] for name in kinds}
for name, (size, step) in kinds.items():
    still = max_pool2d(whole, size, step)
    for pixels in moved:
        shifted = max_pool2d(feature_map(photo[..., :224, pixels : pixels + 224]), size, step)
        changed[name].append(((shifted - still).norm() / still.norm()).item())
    print(f"{name:12}", *(f"{each:5.2f}" for each in changed[name]))
by_one = {name: values[4] for name, values in changed.items()}  # four pixels of the photo are one of the map
none_by_one, plain_by_one, apart_by_one, overlapping_by_one = by_one.values()

# %% [curves]
figure, axes = plt.subplots()
for name, values in changed.items():
    axes.plot(moved, values, marker="o", label=labels[name])
axes.yaxis.set_major_formatter("{x:.0%}")
axes.set(xlabel=labels["pixels"], ylabel=labels["change"])
axes.legend()
plt.show()

# %% [data]
data = alexnet.load_data("digits", size=31)
images, classes = data.train.tensors()
images, classes = images[::5], classes[::5]  # few, so that there is something to overfit
held_images, held_classes = data.val.tensors()
count, held_count = len(images), len(held_images)
print(count, held_count)


# %% [training]
def losses(pooling, seed, epochs):
    """Trains AlexNet for digits; returns the mean loss on what it learned from, and on validation images."""
    network = alexnet.create_model(
        "demo", data=data, num_classes=10, crop_size=31, pooling=pooling, seed=seed, dropout=0.0, norm="none"
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    order = torch.Generator().manual_seed(seed)
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=order).split(32):
            optimizer.zero_grad()
            cross_entropy(network(images[chosen]), classes[chosen]).backward()
            optimizer.step()
    network.eval()
    with torch.inference_mode():
        return [
            cross_entropy(network(pixels), labeled).item()
            for pixels, labeled in ((images, classes), (held_images, held_classes))
        ]


# %% [overfit]
seeds = 1 if small else 3
epochs = 1 if small else 12
measured = {name: torch.tensor([losses(name, seed, epochs) for seed in range(seeds)]) for name in poolings}
gaps = {name: each[:, 1] - each[:, 0] for name, each in measured.items()}
for name, each in gaps.items():
    print(f"{name:12}", *(f"{gap:6.3f}" for gap in each.tolist()))
overlapping_gap, plain_gap = (gaps[name].mean().item() for name in poolings)
spread = max((each.max() - each.min()).item() for each in gaps.values())
difference = abs(overlapping_gap - plain_gap)

# %% [gap]
figure, axes = plt.subplots(figsize=(7, 2.6))
for place, name in enumerate(poolings):
    axes.scatter(measured[name][:, 0].tolist(), [place + 0.08] * seeds, marker="o", color="tab:blue")
    axes.scatter(measured[name][:, 1].tolist(), [place - 0.08] * seeds, marker="D", color="tab:orange")
axes.scatter([], [], marker="o", color="tab:blue", label=labels["training"])
axes.scatter([], [], marker="D", color="tab:orange", label=labels["validation"])
axes.set_yticks(range(2), [labels[name] for name in poolings])
axes.set(xlabel=labels["loss"], ylim=(-0.6, 1.6))
axes.set_xlim(left=0)
axes.legend(loc="center right")
plt.show()
