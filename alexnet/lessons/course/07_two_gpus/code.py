"""Lesson 7: two GPUs; which layers talk, what crosses, silent towers, half a net, model against data parallelism."""

# %% [setup]
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn.functional import cross_entropy

import alexnet

batch = 128  # images in a step, the paper, section 5
bytes_each = 4  # of a number in float32
card_gigabytes = 3  # of a GTX 580, the paper, section 3.2
said_gigabytes = 1  # what textbooks say the parameters take
half_net_points = 1.7  # top-1 error that two GPUs gain over half the kernels on one, the paper, section 3.2
arithmetic, memory = 8e12, 1e12  # multiply-adds and bytes a second of an invented chip, if all of it does only that

# %% [network]
network = alexnet.create_model("alexnet-2012")
counts = alexnet.summary(network)
learned = [layer.name for layer in counts.layers if layer.learned]
joint, entering = [], {}  # the layers that see both towers; how many values enter each layer for one image
before = int(np.prod(counts.input_shape))
for layer in counts.layers:
    if layer.learned:
        entering[layer.name] = before
        groups = getattr(network.layers.get_submodule(layer.name), "groups", 1)
        if groups == 1 and layer.name != "conv1":  # conv1 sees the image, which both towers have
            joint.append(layer.name)
    before = layer.activations
joint_names = ", ".join(joint)
talking, layer_count = len(joint), len(learned)
conv2_maps, conv2_seen = network.layers.conv2.in_channels, network.layers.conv2.weight.shape[1]

# %% [table]
print(f"{'':8}{labels['entering']:<26}{labels['sees_both']}")
for name in learned:
    print(f"{name:8}{entering[name]:<26,}{'x' if name in joint else ''}")

# %% [bytes]
crossing = {name: entering[name] // 2 * batch * bytes_each for name in joint}  # one tower sends its half
forward_megabytes = sum(crossing.values()) / 1e6
for name, size in crossing.items():
    print(f"{name:6} {size / 1e6:6.2f} MB")
largest = max(crossing, key=crossing.get)
largest_share = crossing[largest] / sum(crossing.values())
unsent_megabytes = entering["conv2"] // 2 * batch * bytes_each / 1e6  # if conv2 talked as well

# %% [map]
figure, axes = plt.subplots(figsize=(7, 3.2))
for place, name in enumerate(learned):
    for tower, color in ((1, "tab:blue"), (0, "tab:orange")):
        axes.text(place, tower, name, ha="center", va="center", fontsize=9, bbox={"boxstyle": "round", "fc": "white"})
        if place:
            axes.plot((place - 1, place), (tower, tower), color=color, zorder=0)
            if name in joint:
                width = 1 + 3 * crossing[name] / max(crossing.values())
                axes.plot((place - 1, place), (tower, 1 - tower), color=color, linewidth=width, zorder=0)
    if name in joint:
        axes.text(place - 0.5, -0.5, f"{crossing[name] / 1e6:.1f}\nMB", ha="center", va="center", fontsize=8)
axes.set(ylim=(-0.8, 1.4), xlim=(-0.6, len(learned) - 0.4))
axes.set_yticks([1, 0], [labels["first"], labels["second"]])
axes.set_xticks([])
for side in ("left", "bottom"):
    axes.spines[side].set_visible(False)
plt.show()


# %% [cut]
def heard(**fields):
    """For each layer and tower, the share of its outputs that change when conv1 of the first tower is switched off."""
    whole = alexnet.create_model("alexnet-2012", width=0.25, num_classes=10, **fields).eval()
    torch.manual_seed(0)
    image = torch.randint(0, 256, (1, 3, 224, 224)).float()
    with torch.inference_mode():
        first = whole.activations(image)
        maps = whole.layers.conv1.out_channels // 2
        whole.layers.conv1.weight[:maps] = 0
        whole.layers.conv1.bias[:maps] = 1
        second = whole.activations(image)
    changed = {}
    for name in learned[:-1]:  # fc8 has classes, not towers
        halves = zip(first[name][0].chunk(2), second[name][0].chunk(2), strict=True)
        changed[name] = [(one != two).float().mean().item() for one, two in halves]
    return changed


talk, silent = heard(), heard(towers_talk=False)
first_heard = next(name for name, (_, other) in talk.items() if other > 0)
silent_most = max(other for _, other in silent.values())

# %% [who]
figure, all_axes = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True)
for axes, changed, title in zip(all_axes, (talk, silent), (labels["talk"], labels["silent"]), strict=True):
    axes.imshow(np.array(list(changed.values())).T, cmap="Oranges", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(changed)), list(changed), rotation=60)
    axes.set_yticks([0, 1], [labels["first"], labels["second"]])
    axes.set_title(title, fontsize=10)
plt.show()

# %% [halves]
with torch.device("meta"):  # shapes alone: no memory, no arithmetic
    nets = {
        "towers": counts,
        "one": alexnet.summary("alexnet-2012", towers=1),
        "paper_half": alexnet.summary("net-145-half"),
        "tower": alexnet.summary("alexnet-2012", towers=1, width=0.5),
    }
parameters = {name: net.parameters for name, net in nets.items()}
products = {name: net.multiply_adds for name, net in nets.items()}
half_parameters = parameters["paper_half"] / parameters["towers"]
half_products = products["paper_half"] / products["towers"]
tower_parameters = parameters["tower"] / parameters["towers"]
one_products = products["one"] / products["towers"] - 1

# %% [sizes]
for name in nets:
    print(f"{parameters[name] / 1e6:6.1f} M  {products[name] / 1e6:7,.0f} M  {labels[name]}")


# %% [draw]
data = alexnet.load_data("digits", size=28)
tints = np.array([[255, 110, 110], [110, 235, 110], [130, 150, 255]])  # of the ink: red, green, blue


def tinted(split, count, seed):
    """Digits from 0 to 3 in three colors: twelve classes, of which neither the form nor the color tells all."""
    gray, digits = split.tensors()
    gray, digits = gray[digits < 4].float()[:count], digits[digits < 4][:count]
    colors = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, len(digits)))
    ink = torch.from_numpy(tints)[colors].float().view(-1, 3, 1, 1) / 255
    return gray * ink, 3 * digits + colors


images, classes = tinted(data.train, 200 if small else 450, 1)
held_images, held_classes = tinted(data.val, 150, 2)
held = len(held_images)


# %% [training]
def small_net(seed=0, **fields):
    """Everything of 2012 an eighth as wide, for twelve classes."""
    made = alexnet.create_model("demo", num_classes=12, seed=seed, **fields)
    mean = images.mean((0, 2, 3)).expand(28, 28, 3).numpy()
    return made.set_input_statistics(mean, images.std((0, 2, 3)).numpy())


def train(made, epochs, seed=0, size=32):
    """Trains on the tinted digits; returns the seconds."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.001)
    made.train()
    start = time.perf_counter()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(size):
            optimizer.zero_grad()
            cross_entropy(made(images[chosen]), classes[chosen]).backward()
            optimizer.step()
    return time.perf_counter() - start


def accuracy(made):
    """The share of right answers on images that it has not seen."""
    made.eval()
    with torch.inference_mode():
        return (made(held_images).argmax(1) == held_classes).float().mean().item()


# %% [compare]
epochs, seeds = (1, 1) if small else (4, 3)
kinds = {"towers": {}, "silenced": {"towers_talk": False}, "tower": {"towers": 1, "width": 0.0625}}
reached, trained = {}, {}
for kind, fields in kinds.items():
    trained[kind] = [small_net(seed, **fields) for seed in range(seeds)]
    for seed, made in enumerate(trained[kind]):
        train(made, epochs, seed)
    reached[kind] = [accuracy(made) for made in trained[kind]]
    print(f"{kind:9}", *(f"{share:.1%}" for share in reached[kind]))
means = {kind: sum(each) / seeds for kind, each in reached.items()}
towers_mean, silenced_mean, tower_mean = means["towers"], means["silenced"], means["tower"]
spread = max(max(each) - min(each) for each in reached.values())


# %% [selectivity]
def color_share(kernels):
    """For each kernel, the share of its energy that is color: what is left without the mean of its three channels."""
    rest = kernels - kernels.mean(1, keepdim=True)
    return ((rest**2).sum((1, 2, 3)) / (kernels**2).sum((1, 2, 3))).tolist()


by_tower = []  # for each network the kernels of its two towers
for made in trained["towers"]:
    halves = made.layers.conv1.weight.detach().chunk(2)
    by_tower.append([color_share(half) for half in halves])
tower_shares = [[sum(half) / len(half) for half in halves] for halves in by_tower]
for shares in tower_shares:
    print(*(f"{share:.0%}" for share in shares))
apart = max(abs(one - two) for one, two in tower_shares)
random_share = np.mean(color_share(torch.randn(1000, 3, 5, 5, generator=torch.Generator().manual_seed(0))))

# %% [filters]
figure, all_axes = plt.subplots(2, 1, figsize=(7, 2.6))
for tower, axes in enumerate(all_axes):
    kernels = trained["towers"][0].layers.conv1.weight.detach().chunk(2)[tower]
    tiles = [(kernel / kernel.abs().max() / 2 + 0.5).permute(1, 2, 0) for kernel in kernels]
    border = torch.ones(5, 1, 3)
    axes.imshow(torch.cat([part for tile in tiles for part in (tile, border)], 1).numpy())
    axes.set_title(f"{labels[('first', 'second')[tower]]}: {tower_shares[0][tower]:.0%}", fontsize=10)
    axes.axis("off")
plt.show()

# %% [weigh]
gradient_bytes = {layer.name: layer.parameters * bytes_each for layer in counts.layers if layer.learned}
input_bytes = {name: entering[name] * batch * bytes_each for name in learned}
by_images = [name for name in learned if gradient_bytes[name] < input_bytes[name]]
by_units = [name for name in learned if name not in by_images]
by_images_names, by_units_names = ", ".join(by_images), ", ".join(by_units)

# %% [exchange]
figure, axes = plt.subplots()
place = np.arange(len(learned))
axes.bar(place - 0.2, [gradient_bytes[name] / 1e6 for name in learned], 0.4, label=labels["gradients"])
axes.bar(place + 0.2, [input_bytes[name] / 1e6 for name in learned], 0.4, label=labels["activations"])
axes.set_xticks(place, learned)
axes.set(yscale="log", ylabel="MB", ylim=(0.1, 1500))
axes.legend()
plt.show()


# %% [schemes]
def sent_data(batch):
    """Bytes that each of two processes sends in a step: half of the gradients to be added, half of the sums."""
    return counts.parameters * bytes_each


def sent_towers(batch):
    """Forward its half of what crosses and of the logits; backward the gradients of what crosses."""
    values = 2 * sum(entering[name] // 2 for name in joint) + counts.layers[-1].activations // 2
    return values * batch * bytes_each


def sent_hybrid(batch):
    """The scheme of 2014: convolutional layers divided by images, fully connected ones by units."""
    of_conv = sum(layer.parameters for layer in counts.layers if layer.name.startswith("conv"))
    hidden = (entering["fc7"] + entering["fc8"]) // 2
    values = 2 * entering["fc6"] // 2 + 2 * hidden + counts.layers[-1].activations // 2
    return (of_conv + values * batch) * bytes_each


ways = {"data": sent_data, "crossed": sent_towers, "hybrid": sent_hybrid}
sent = {name: way(batch) / 1e6 for name, way in ways.items()}
data_megabytes, towers_megabytes, hybrid_megabytes = sent["data"], sent["crossed"], sent["hybrid"]
even = next(size for size in range(1, 10000) if sent_towers(size + 1) > sent_data(size + 1))
print({name: round(size, 1) for name, size in sent.items()}, even)

# %% [step]
figure, axes = plt.subplots()
sizes = 2 ** np.arange(4, 13)
for name, way in ways.items():
    axes.loglog(sizes, [way(int(size)) / 1e6 for size in sizes], base=2, label=labels[name])
axes.axvline(batch, color="gray", linewidth=0.8)
axes.set(xlabel=labels["batch"], ylabel="MB")
axes.legend()
plt.show()

# %% [memory]
kept = counts.training_bytes(batch)  # weights, gradients, momentum, and the outputs of all layers
alone = (sum(kept.values()) + kept["activations"]) / 1e9  # with the gradients of the outputs
of_weights = (kept["weights"] + kept["gradients"] + kept["momentum"]) / 1e9
halved = alone / 2 + sum(crossing.values()) * 2 / 1e9  # what arrives from the other tower, and its gradients
shared = of_weights + 2 * kept["activations"] / 2 / 1e9  # data parallelism: all weights, half of the images

# %% [card]
figure, axes = plt.subplots(figsize=(7, 2.2))
axes.barh([labels["alone"], labels["shared"], labels["halved"]], [alone, shared, halved], color="tab:blue")
axes.axvline(card_gigabytes, color="black", linestyle="--", label=labels["card"])
axes.set_xlabel("GB")
figure.legend(loc="outside upper right")
plt.show()
