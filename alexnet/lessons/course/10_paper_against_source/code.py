"""Lesson 10: the paper and its copies against the program of 2012; each difference computed."""

# %% [setup]
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import cbook
from torch.nn.functional import conv2d, interpolate, pad

import alexnet

programs = {  # the program that was released with the network, the text taken literally, and three copies
    "2012": "alexnet-2012",
    "paper": "alexnet-paper",
    "Caffe": "caffe",
    "torchvision": "alexnet-owt",
    "d2l": "alexnet-d2l",
}
diary = alexnet.recipe("alexnet-2012").optim  # the learning rates of net 145, layer-params-145.cfg:165-182
crop = alexnet.recipe("alexnet-2012").model.crop_size


def network_of(program, **fields):
    """The network of a program for color images, with short fully connected layers: those are not looked at."""
    network = alexnet.create_model(programs[program], in_channels=3, fc_features=(16, 16), **fields)
    return network.set_input_statistics(np.full((256, 256, 3), 120.0), np.full(3, 60.0)).eval()


# %% [networks]
networks = {name: network_of(name) for name in programs}
released = networks["2012"]

# %% [differences]
different = {name: alexnet.diff("alexnet-2012", recipe) for name, recipe in programs.items() if name != "2012"}
fields = list(dict.fromkeys(each.field for found in different.values() for each in found))
counts = {name: len(found) for name, found in different.items()}
print(counts)
paper_count, caffe_count = counts["paper"], counts["Caffe"]
torchvision_count, d2l_count = counts["torchvision"], counts["d2l"]
in_all = [name for name in fields if all(name in [each.field for each in found] for found in different.values())]
shared_count = len(in_all)
print(*in_all, sep="\n")

# %% [matrix]
shown = np.array([[field in [each.field for each in found] for found in different.values()] for field in fields])
figure, axes = plt.subplots(figsize=(7, 6.6))
axes.imshow(shown, cmap="Blues", vmax=1.6, aspect="auto")
axes.set_xticks(range(len(different)), list(different))
axes.set_yticks(range(len(fields)), fields, fontsize=7)
axes.set(xticks=range(len(different)))
axes.xaxis.tick_top()
plt.show()


# %% [windows]
def rows_seen(network, place):
    """The first and the last row of the image that a row of conv1 units sees, by its gradient."""
    names = [name for name, _ in network.layers.named_children()]
    image = torch.ones(1, 3, network.config.crop_size, network.config.crop_size, requires_grad=True)
    maps = network.layers[: names.index("conv1") + 1](image)
    (gradient,) = torch.autograd.grad(maps[0, :, place].sum(), image)
    rows = gradient[0].abs().sum((0, 2)).nonzero().flatten()
    return maps.shape[-1], rows.min().item(), rows.max().item()


kernel, stride = 11, 4
seen = {}
for name in programs:
    network = networks[name]
    units, first, end_of_first = rows_seen(network, 0)
    _, start_of_last, last = rows_seen(network, units - 1)
    above = kernel - (end_of_first - first + 1)  # rows of the first window that lie outside the image
    below = kernel - (last - start_of_last + 1)
    seen[name] = network.config.crop_size, units, above, below, start_of_last, network.layers.fc6.in_features
    print(f"{name:12}", *(f"{each:6}" for each in seen[name]))
_, side, _, hangs, *_, flat = seen["2012"]
caffe_crop, shifted, d2l_side, d2l_flat = seen["Caffe"][0], seen["torchvision"][2], seen["d2l"][1], seen["d2l"][-1]

# %% [drawn]
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8), sharey=True)
for row, (size, units, above, *_) in enumerate(seen.values()):
    for axes in (left, right):
        axes.barh(row, size, left=0, height=0.86, color="lightgray")
        for unit in (*range(4), *range(units - 4, units)):
            begin = stride * unit - above
            axes.plot([begin, begin + kernel], [row + 0.3 - 0.2 * (unit % 4)] * 2, "tab:blue")
left.set(xlim=(-4, 26), xlabel=labels["pixel"], yticks=range(len(seen)), yticklabels=list(seen))
right.set(xlim=(200, 232), xlabel=labels["pixel"])
left.invert_yaxis()
plt.show()

# %% [same]
with cbook.get_sample_data("grace_hopper.jpg") as file:  # a photo that matplotlib brings along
    photo = torch.from_numpy(plt.imread(file).copy()).permute(2, 0, 1).float()
top = (photo.shape[1] - photo.shape[2]) // 2
square = photo[None, :, top : top + photo.shape[2]]
photo = interpolate(square, size=crop, mode="bilinear", antialias=True).round().clamp(0, 255)
with torch.inference_mode():
    centered = released.prepare_input(photo)
    conv1 = released.layers.conv1
    ours = conv1(released.layers.pad1(centered))
    larger = conv2d(pad(centered, (0, 3, 0, 3)), conv1.weight, conv1.bias, stride=stride)
    around = conv2d(pad(centered, (2, 2, 2, 2)), conv1.weight, conv1.bias, stride=stride)
gap_larger = (larger - ours).abs().max().item()
gap_around = ((around - ours).norm() / ours.norm()).item()
print(f"{gap_larger}  {gap_around:.0%}")

# %% [order]
layers = released.layers
relu = torch.relu
order_gaps = []
with torch.inference_mode():
    for times in (1, 10):  # the kernels as they start, and ten times as large, as learning may make them
        of_2012 = relu(layers.pool1(layers.norm1(times * ours)))
        of_paper = layers.pool1(layers.norm1(relu(times * ours)))
        order_gaps.append(((of_2012 - of_paper).norm() / of_paper.norm()).item())
    pool_gap = (layers.pool1(relu(ours)) - relu(layers.pool1(ours))).abs().max().item()
new_order_gap, order_gap = order_gaps
smaller = (of_2012.norm() / of_paper.norm()).item()
print(f"{new_order_gap:.1%}  {order_gap:.1%}  {smaller:.2f}  {pool_gap}")

# %% [constants]
maps = 300 * torch.randn(1, 96, 4, 4, generator=torch.Generator().manual_seed(0))
kept = {}
for name in ("2012", "paper", "Caffe"):
    norm1 = networks[name].layers.norm1
    with torch.inference_mode():
        kept[name] = [(norm1(each).norm() / each.norm()).item() for each in (maps / 1000, maps)]
    print(f"{name:8}", *(f"{share:.3f}" for share in kept[name]))
(weak_2012, strong_2012), (weak_paper, strong_paper), (weak_caffe, strong_caffe) = kept.values()

# %% [starts]
four = torch.cat([photo, photo.flip(-1), photo.flip(-2), photo.flip(-1, -2)])
signal, spreads = {}, {}
for name in programs:
    network = networks[name]
    size = network.config.crop_size
    with torch.inference_mode():
        outputs = network.activations(interpolate(four, size=size))
    convolutions = [f"conv{number}" for number in range(1, 6)]
    signal[name] = [(outputs[each].std(0).mean() / outputs[each].abs().mean()).item() for each in convolutions]
    spreads[name] = [getattr(network.layers, each).weight.std().item() for each in convolutions]
    print(f"{name:12}", *(f"{each:6.3f}" for each in spreads[name]), "|", *(f"{each:8.1e}" for each in signal[name]))
start_2012, start_paper = signal["2012"][-1], signal["paper"][-1]
fainter = start_2012 / start_paper
spread_conv1, spread_conv3 = spreads["2012"][0], spreads["2012"][2]

# %% [fading]
figure, axes = plt.subplots()
for name, each in signal.items():
    axes.semilogy(convolutions, each, marker="o", label=name)
axes.set(ylabel=labels["signal"])
axes.legend()
plt.show()


# %% [rates]
def rate_at(epoch, layer="conv2", kind="weight"):
    """The learning rate of net 145 in an epoch, counted from one."""
    if layer == "conv1" and epoch >= diary.conv1_freeze_epoch:
        return 0.0
    if kind == "bias":
        return diary.lr * diary.bias_lr_factor
    drops = diary.conv1_drop_epochs if layer == "conv1" else diary.drop_epochs
    return diary.lr * 0.1 ** sum(epoch >= drop for drop in drops)


epochs = alexnet.recipe("alexnet-2012").epochs
text_drops = len(diary.drop_epochs)
first_drop, second_drop, third_drop = diary.drop_epochs
conv1_drop, frozen = diary.conv1_drop_epochs[-1], diary.conv1_freeze_epoch
noise_ends = alexnet.recipe("alexnet-2012").augment.color_noise_until
bias_ratio = rate_at(epochs, kind="bias") / rate_at(epochs)
print(f"{bias_ratio:,.0f}")

# %% [diary]
figure, axes = plt.subplots()
when = range(1, epochs + 1)
lines = {"weights": ("conv2", "weight"), "conv1_weights": ("conv1", "weight"), "biases": ("conv2", "bias")}
for name, (layer, kind) in lines.items():
    values = [rate_at(epoch, layer, kind) or None for epoch in when]
    axes.step(when, values, where="post", label=labels[name], linestyle="--" if layer == "conv1" else "-")
axes.axvline(noise_ends, color="gray", linewidth=0.8)
axes.text(noise_ends - 1, 3e-3, labels["noise"], ha="right", fontsize=8)
axes.set(yscale="log", xlabel=labels["epoch"], ylabel=labels["rate"])
axes.legend()
plt.show()

# %% [momentum]
momentum, steps, drop_at = diary.momentum, 90, 45
weight = torch.nn.Parameter(torch.zeros(1))
optimizer = torch.optim.SGD([weight], lr=1.0, momentum=momentum)
velocity, taken = 0.0, {"2012": [], "PyTorch": []}
for step in range(steps):
    rate = 1.0 if step < drop_at else 0.1
    velocity = momentum * velocity + rate * 1.0  # of a gradient that is always one
    taken["2012"].append(velocity)
    before = weight.item()
    optimizer.param_groups[0]["lr"] = rate
    weight.grad = torch.ones(1)
    optimizer.step()
    taken["PyTorch"].append(before - weight.item())
rule_gap = max(abs(a - b) for a, b in zip(*(each[:drop_at] for each in taken.values()), strict=True))
next_2012, next_torch = (each[drop_at] / each[drop_at - 1] for each in taken.values())
farther = sum(taken["2012"][drop_at:]) - sum(taken["PyTorch"][drop_at:])
in_old_steps = farther / taken["2012"][drop_at - 1]
print(f"{rule_gap:.0e}  {next_2012:.2f}  {next_torch:.2f}  {in_old_steps:.1f}")

# %% [gliding]
figure, axes = plt.subplots()
for name, each in taken.items():
    axes.plot(range(1, steps + 1), each, label=name)
axes.set(xlabel=labels["step"], ylabel=labels["size"])
axes.legend()
plt.show()

# %% [decay]
batches, decay = 1_200_000 // 128, diary.weight_decay  # images of ILSVRC-2012 and of a batch, the paper, section 5
idle, velocity, half_after = 1.0, 0.0, None
for batch in range((3 if small else epochs) * batches):
    velocity = momentum * velocity - rate_at(1 + batch // batches) * decay * idle
    idle += velocity
    if half_after is None and idle < 0.5:
        half_after = batch
half_epochs = half_after / batches
print(f"{half_epochs:.1f}  {idle:.0e}")

# %% [batch]
ruler = np.stack(np.broadcast_arrays(np.arange(32)[:, None], np.arange(32), 16)[:3], -1).astype(np.uint8) * 8
folder = Path(tempfile.mkdtemp())
for number in range(160):  # one image, again and again, whose pixels say where they are
    place = folder / "ab"[number % 2]
    place.mkdir(exist_ok=True)
    plt.imsave(place / f"{number}.png", ruler)
rulers = alexnet.load_data(folder, size=32)
corners = {}
chunk = alexnet.recipe("alexnet-2012").augment.chunk
for name, together in (("2012", chunk), ("paper", 1)):
    one_batch = alexnet.recipe("demo", chunk=together, batch_size=128, flip=True, color_noise=0.0)
    views, _ = rulers.training_views(128, recipe=one_batch)
    mirrored = views[:, 1, 0, 0] > views[:, 1, 0, -1]
    leftmost = torch.minimum(views[:, 1, 0, 0], views[:, 1, 0, -1])
    corners[name] = torch.stack([views[:, 0, 0, 0] // 8, leftmost // 8, mirrored]).T.tolist()
    print(name, len({tuple(each) for each in corners[name]}))
chunks_2012, chunks_paper = (len({tuple(each) for each in found}) for found in corners.values())

# %% [corners]
figure, axes = plt.subplots(2, 1, figsize=(7, 3.4), sharex=True)
for axis, (name, found) in zip(axes, corners.items(), strict=True):
    for mirrored, color in ((0, "tab:blue"), (1, "tab:orange")):
        points = [(place, each[0] * 5 + each[1]) for place, each in enumerate(found) if each[2] == mirrored]
        axis.plot(*zip(*points, strict=True), ".", color=color, label=labels["mirrored" if mirrored else "straight"])
    axis.set(title=name, ylabel=labels["window"], yticks=[])
axes[1].set(xlabel=labels["image"])
figure.legend(*axes[1].get_legend_handles_labels(), loc="outside upper right", fontsize=8, ncols=2)
plt.show()

# %% [colors]
# Of ImageNet: standard deviation (gray levels) along each principal axis; the data file of cuda-convnet2.
stdevs = np.array([121.78, 37.09, 19.72])
strength = alexnet.recipe("alexnet-2012").augment.color_noise
of_program = strength * stdevs  # in gray levels
of_text = strength * stdevs**2  # eigenvalues, of pixels 0..255
of_copies = strength * (stdevs / 255) ** 2 * 255  # eigenvalues, of pixels 0..1
for each in (of_program, of_text, of_copies):
    print(*(f"{value:8.2f}" for value in each))
shrink = 1 + strength  # what the program divides by, convdata_jpeg.py:179
brightness, literal, copied = (each[0] for each in (of_program, of_text, of_copies))
weaker_first, weaker_last = of_program[0] / of_copies[0], of_program[2] / of_copies[2]

# %% [dropped]
for name in ("2012", "torchvision"):
    names = [each for each, _ in networks[name].layers.named_children()]
    print(f"{name:12}", *names[names.index("flatten") :])

# %% [sizes]
sizes = {name: alexnet.summary(recipe) for name, recipe in programs.items()}
for name, each in sizes.items():
    kernels = [layer.shape[0] for layer in each.layers if layer.name.startswith("conv")]
    print(f"{name:12} {each.parameters:>12,}", *(f"{count:4}" for count in kernels))
parameters, torchvision_parameters = sizes["2012"].parameters, sizes["torchvision"].parameters
more = torchvision_parameters - parameters
