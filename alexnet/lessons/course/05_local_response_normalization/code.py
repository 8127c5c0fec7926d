"""Lesson 5: local response normalization; its two formulas, strong responses, neighbors, within a map, its cost."""

# %% [setup]
import time

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import cross_entropy

import alexnet

n, alpha, beta, k = 5, 1e-4, 0.75, 2.0  # the paper, section 3.3
paper_top1, paper_top5 = 1.4, 1.2  # points of error that it saves, the paper, section 3.3
removed = 3  # layers that the net of this comparison lacks: layers-148.cfg of the program beside layers-145.cfg
top1_145, top1_167 = 40.66, 40.49  # % of error, layer-params-145.cfg:182 and layer-params-167.cfg of the program


def layer(name, **fields):
    """A layer of AlexNet for digits, whose normalization is that of 2012, with fields of its recipe changed."""
    return getattr(alexnet.create_model("demo", **fields).layers, name)


# %% [formula]
def across(maps, per_square):
    """Every map by the squares of its neighbors; maps is (maps, height, width)."""
    normalized = torch.empty_like(maps)
    for f in range(len(maps)):
        neighbors = maps[max(0, f - n // 2) : f + n // 2 + 1]
        normalized[f] = maps[f] / (k + per_square * (neighbors**2).sum(0)) ** beta
    return normalized


# %% [compared]
maps = 200 * torch.randn(12, 8, 8, generator=torch.Generator().manual_seed(0))
formulas = {"alpha": across(maps, alpha), "alpha / n": across(maps, alpha / n)}
layers = {
    "torch": torch.nn.LocalResponseNorm(n, alpha=alpha, beta=beta, k=k),
    "torch, alpha * n": torch.nn.LocalResponseNorm(n, alpha=alpha * n, beta=beta, k=k),
    "2012": layer("norm1", lrn_per_tower=False),
}
gaps = {}
print(f"{'':18}", *(f"{formula:>10}" for formula in formulas))
for name, normalization in layers.items():
    output = normalization(maps[None])[0]
    gaps[name] = [((output - each).abs().mean() / each.abs().mean()).item() for each in formulas.values()]
    print(f"{name:18}", *(f"{gap:10.1e}" for gap in gaps[name]))
paper_gap, program_gap = gaps["torch"]
repaired_gap = gaps["torch, alpha * n"][0]

# %% [strong]
alone = torch.tensor([10.0, 100.0, 1000.0, 10000.0])
outputs = across(alone.view(1, 4, 1), alpha / n).flatten()
for response, output in zip(alone, outputs, strict=True):
    print(f"{response:8,.0f} -> {output:6.1f}")
middle, middle_output = alone[1].item(), outputs[1].item()
strong, strong_output = alone[2].item(), outputs[2].item()
strongest, strongest_output = alone[3].item(), outputs[3].item()
x = torch.arange(0, 1501.0)
curves = {
    "alpha / n": across(x.view(1, -1, 1), alpha / n).flatten(),
    "alpha": across(x.view(1, -1, 1), alpha).flatten(),
}
peak, paper_peak = (x[curve.argmax()].item() for curve in curves.values())
constant = k**-beta

# %% [curves]
figure, axes = plt.subplots()
for name, curve in curves.items():
    axes.plot(x, curve, label=name)
axes.plot(x[:250], x[:250] * constant, color="gray", linestyle="--", label=labels["constant"])
axes.set(xlabel=labels["response"], ylabel=labels["normalized"])
axes.legend()
plt.show()

# %% [neighbors]
quiet = torch.full((1, 12, 1, 1), 100.0)
louder = quiet.repeat(12, 1, 1, 1)
for map_ in range(12):
    louder[map_, map_] *= 10
kept = {}
for name, each in {"towers": layer("norm1"), "all": layer("norm1", lrn_per_tower=False)}.items():
    kept[name] = (each(louder) / each(quiet)).flatten(1).T  # row: the map that is changed; column: the one that is loud
    kept[name].fill_diagonal_(torch.nan)
least = kept["towers"].nan_to_num(1).min().item()
reach = int((kept["towers"] < 0.99).sum(0).max())
beyond = int((kept["towers"][6:, :6] < 0.99).sum())
beyond_all = int((kept["all"][6:, :6] < 0.99).sum())
print(f"{least:.2f}  {reach}  {beyond}  {beyond_all}")

# %% [who]
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.6))
for axes, name in ((left, "towers"), (right, "all")):
    shown = axes.imshow(kept[name].numpy(), vmin=0, vmax=1)
    axes.set(title=labels[name], xlabel=labels["loud"], ylabel=labels["other"])
    axes.set(xticks=range(0, 12, 2), yticks=range(0, 12, 2))
for line in (left.axhline, left.axvline):
    line(5.5, color="red")
figure.colorbar(shown, ax=(left, right), label=labels["kept"])
plt.show()

# %% [data]
data = alexnet.load_data("digits", size=28)
images, classes = data.train.tensors()
held_images, held_classes = data.val.tensors()
images, classes = (images[:256], classes[:256]) if small else (images, classes)


# %% [training]
def digits_model(**fields):
    """AlexNet for digits, which takes pixels less their mean as in 2012, without dropout."""
    chosen = {"num_classes": 10, "input_norm": "mean-image", "dropout": 0.0} | fields
    return alexnet.create_model("demo", data=data, **chosen)


def train(network, epochs):
    """Trains on the digits; returns the share of validation images whose class it misses."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.001)
    order = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=order).split(64):
            optimizer.zero_grad()
            cross_entropy(network(images[chosen]), classes[chosen]).backward()
            optimizer.step()
    network.eval()
    with torch.inference_mode():
        return (network(held_images).argmax(1) != held_classes).float().mean().item()


# %% [pixels]
passed = {}
for name in ("standardise", "mean-image"):
    with torch.inference_mode():
        layer_outputs = digits_model(input_norm=name).activations(held_images[:100])
    before, after = layer_outputs["conv1"], layer_outputs["norm1"]
    strong_ones = before.abs() > before.abs().flatten().kthvalue(int(0.99 * before.numel())).values
    passed[name] = (after[strong_ones] / before[strong_ones]).mean().item()
    print(f"{name:12} {before.std():8.2f} {passed[name]:8.3f}")
standardized_passed, pixels_passed = passed["standardise"], passed["mean-image"]

# %% [pair]
epochs = 1 if small else 4
with_norm, without_norm = digits_model(), digits_model(norm="none")
with_error, without_error = train(with_norm, epochs), train(without_norm, epochs)
count = len(held_images)
apart = round(abs(with_error - without_error) * count)
print(f"{with_error:.1%}  {without_error:.1%}  {apart}")

# %% [maps]
with torch.inference_mode():
    layer_outputs = with_norm.activations(held_images[:1])
rows = {"before": layer_outputs["conv1"][0, :6], "after": layer_outputs["norm1"][0, :6]}
rows["kept"] = torch.where(rows["before"].abs() > 1e-3, rows["after"] / rows["before"], torch.nan)
weakest, mildest = (rows["kept"].nan_to_num(v).aminmax()[i].item() for i, v in enumerate((constant, 0.0)))

# %% [drawn]
figure, axes = plt.subplots(3, 6, figsize=(7, 3.9))
for row, (name, each) in zip(axes, rows.items(), strict=True):
    low, high = (0, constant) if name == "kept" else (-each.abs().max(), each.abs().max())
    for place, one in zip(row, each, strict=True):
        shown = place.imshow(one.numpy(), vmin=low, vmax=high, cmap="viridis" if name == "kept" else "RdBu_r")
        place.set(xticks=[], yticks=[])
    row[0].set_ylabel(labels[name])
    figure.colorbar(shown, ax=row, fraction=0.03)
plt.show()

# %% [within]
patch = torch.zeros(15, 15)
patch[4:11, 2:9] = 100
patch[7, 12] = 100
map_norm = layer("map_norm2")
print(map_norm)
within = map_norm(patch[None, None])[0, 0]
per_square = map_norm.alpha / map_norm.size**2
squares = torch.nn.functional.avg_pool2d(patch[None, None] ** 2, 5, stride=1, padding=2)[0, 0] * map_norm.size**2
within_gap = (within - patch / (1 + per_square * squares) ** map_norm.beta).abs().max().item()
lone, inside, corner = (within[place].item() / 100 for place in ((7, 12), (7, 5), (4, 2)))
print(f"{lone:.2f}  {inside:.2f}  {corner:.2f}  {within_gap:.0e}")

# %% [patch]
figure, axes = plt.subplots(1, 2, figsize=(7, 3.2))
for place, name, each in zip(axes, ("before", "after"), (patch, within), strict=True):
    figure.colorbar(place.imshow(each.numpy(), vmin=0), ax=place)
    place.set(title=labels[name], xticks=[], yticks=[])
plt.show()


# %% [cost]
def milliseconds(layer, inputs, repeats):
    """The fastest of some passes."""
    times = []
    with torch.inference_mode():
        for _ in range(repeats):
            start = time.perf_counter()
            layer(inputs)
            times.append(1e3 * (time.perf_counter() - start))
    return min(times)


full = alexnet.create_model("alexnet-2012", fc_features=(16, 16))  # what follows the convolutions is not needed here
counted = {each.name: each for each in alexnet.summary(full).layers}
conv1_products = counted["conv1"].multiply_adds
side = counted["conv1"].shape[-1]
values = counted["conv1"].shape[0] * side**2
norm1_products = values * n  # one for each square in the sum
photo = full.layers.pad1(full.prepare_input(torch.full((1, 3, 224, 224), 128.0)))
repeats = 2 if small else 10
conv1_ms = milliseconds(full.layers.conv1, photo, repeats)
norm1_ms = milliseconds(full.layers.norm1, full.layers.conv1(photo).detach(), repeats)
products_share, time_share = norm1_products / conv1_products, norm1_ms / conv1_ms
print(f"{conv1_ms:.2f} ms  {norm1_ms:.2f} ms")
