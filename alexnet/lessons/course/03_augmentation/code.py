"""Lesson 3: crops and mirrors, what 2,048 counts, PCA color augmentation, ten crops."""

# %% [setup]
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import cbook
from torch.nn.functional import cross_entropy, interpolate

import alexnet

side, crop = 256, 224  # pixels of an image and of a window, the paper, section 4.1
paper_views = 2048  # what the paper counts, section 4.1
paper_one, paper_ten = 0.390, 0.375  # top-1 error of one view and of ten, the paper, section 4.1 and Table 1
digit = 28  # pixels of a window of our digits, which have 32 a side
# Colors of ImageNet: standard deviation (gray levels) along each principal axis, and the axes in columns (red, green,
# blue); the data file of cuda-convnet2, which the same author released.
stdevs = np.array([121.78, 37.09, 19.72])
vectors = np.array([[-0.564, -0.713, 0.418], [-0.576, -0.024, -0.817], [-0.592, 0.701, 0.397]])
source = alexnet.recipe("alexnet-2012").augment  # as in the program of 2012
strength, chunk, noise_ends = source.color_noise, source.chunk, source.color_noise_until

# %% [photo]
with cbook.get_sample_data("grace_hopper.jpg") as file:  # a photo that matplotlib brings along
    photo = torch.from_numpy(plt.imread(file).copy()).permute(2, 0, 1).float()
height, width = photo.shape[1:]
top = (height - width) // 2
photo = interpolate(photo[None, :, top : top + width], size=side, mode="bilinear", antialias=True)[0]
photo = photo.round().clamp(0, 255).to(torch.uint8)
print(photo.shape, photo.dtype)

# %% [count]
windows = photo[0].unfold(0, crop, 1).unfold(1, crop, 1)  # every window of the red channel, nothing copied
positions = len(windows)
distinct = set()
for window in windows.flatten(0, 1):
    distinct |= {hash(window.numpy().tobytes()), hash(window.flip(-1).numpy().tobytes())}
views = len(distinct)
print(tuple(windows.shape), views)

# %% [share]
margin = side - crop
shared = ((crop - margin) / crop) ** 2
print(f"{shared:.3f}")

# %% [views]
figure, axes = plt.subplots(1, 4, figsize=(7, 2.1))
axes[0].imshow(photo.permute(1, 2, 0).numpy())
for (x, y), color in zip([(0, 0), (margin, margin)], ["tab:orange", "tab:blue"], strict=True):
    axes[0].add_patch(plt.Rectangle((x, y), crop - 1, crop - 1, fill=False, edgecolor=color, linewidth=2))
axes[1].imshow(photo[:, :crop, :crop].permute(1, 2, 0).numpy())
axes[2].imshow(photo[:, margin:, margin:].permute(1, 2, 0).numpy())
axes[3].imshow(photo[:, margin:, margin:].flip(-1).permute(1, 2, 0).numpy())
for axis, name in zip(axes, ["whole", "first", "last", "mirror"], strict=True):
    axis.set_title(labels[name], fontsize=9)
    axis.set_axis_off()
plt.show()

# %% [data]
data = alexnet.load_data("digits", size=32)
images, classes = data.train.tensors()
images, classes = images[::5], classes[::5]  # few, so that there is something to overfit
held_images, held_classes = data.val.tensors()
count, held_count = len(images), len(held_images)
print(count, held_count)

# %% [seen]
seen, _ = data.training_views(2 * chunk, recipe=alexnet.recipe("alexnet-2012", crop_size=digit), epoch=3)
figure, axes = plt.subplots(2, 8, figsize=(7, 1.9))
for axis, pixels in zip(axes.flat, [*seen[:8], *seen[chunk : chunk + 8]], strict=True):
    axis.imshow(pixels.permute(1, 2, 0).numpy())
    axis.set_axis_off()
plt.show()


# %% [augment]
def view_of(pixels, shift, mirror, random):
    """A window of an image: a random one or the center, and a mirror every other time."""
    last = pixels.shape[-1] - digit
    top, left = torch.randint(last + 1, (2,), generator=random).tolist() if shift else (last // 2, last // 2)
    view = pixels[..., top : top + digit, left : left + digit]
    return view.flip(-1) if mirror and torch.rand((), generator=random) < 0.5 else view


def train(network, shift, mirror, epochs):
    """Trains on the few digits, each seen through a fresh window every time."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    random = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=random).split(32):
            batch = torch.stack([view_of(images[i], shift, mirror, random) for i in chosen])
            optimizer.zero_grad()
            cross_entropy(network(batch), classes[chosen]).backward()
            optimizer.step()


def five_windows(pixels, size):
    """The corners and the center, as a list: (..., size, size) each."""
    last = pixels.shape[-1] - size
    corners = [(0, 0), (0, last), (last // 2, last // 2), (last, 0), (last, last)]
    return [pixels[..., top : top + size, left : left + size] for top, left in corners]


def answers(network, views):
    """Probabilities, averaged over the views: (images, classes)."""
    network.eval()
    with torch.inference_mode():
        return torch.stack([network(view).softmax(1) for view in views]).mean(0)


def error(network, views, classes):
    return (answers(network, views).argmax(1) != classes).float().mean().item()


# %% [arms]
epochs = 2 if small else 15
trained, measured = {}, {}
for name, (shift, mirror) in {"none": (False, False), "crops": (True, False), "mirrors": (True, True)}.items():
    trained[name] = alexnet.create_model("lenet", data=data, activation="relu", pooling="max")
    train(trained[name], shift, mirror, epochs)
    held_windows = five_windows(held_images, digit)
    corners = [error(trained[name], [held_windows[i]], held_classes) for i in (0, 1, 3, 4)]
    measured[name] = {
        "training": error(trained[name], five_windows(images, digit)[2:3], classes),
        "center": error(trained[name], held_windows[2:3], held_classes),
        "corner": sum(corners) / len(corners),
    }
    print(f"{name:8}", *(f"{each:6.1%}" for each in measured[name].values()))
none_training, none_center, none_corner = measured["none"].values()
_, crops_center, crops_corner = measured["crops"].values()
_, mirrors_center, _ = measured["mirrors"].values()
one_image = 1 / held_count

# %% [bars]
figure, axes = plt.subplots()
for place, kind in enumerate(["training", "center", "corner"]):
    heights = [each[kind] for each in measured.values()]
    axes.bar(np.arange(3) + 0.27 * (place - 1), heights, 0.25, label=labels[kind])
axes.set_xticks(np.arange(3), [labels[name] for name in measured])
axes.yaxis.set_major_formatter("{x:.0%}")
axes.set(ylabel=labels["error"])
axes.legend()
plt.show()

# %% [axes]
values, own = np.linalg.eigh(np.cov(photo.flatten(1).double().numpy()))
own_stdevs, own_vectors = np.sqrt(values[::-1]), own[:, ::-1]  # eigh gives the smallest first
first_share = stdevs[0] ** 2 / (stdevs**2).sum()
own_share = own_stdevs[0] ** 2 / (own_stdevs**2).sum()
print(stdevs, own_stdevs.round(2))
print(np.hstack([vectors, own_vectors.round(3)]))

# %% [colors]
more = 5  # times as strong as in 2012, so that one sees it


def shifted(pixels, shift):
    """The image with a color added to every pixel."""
    return (pixels + torch.tensor(shift).view(3, 1, 1)).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


steps = [-2, -1, 0, 1, 2]  # standard deviations
along = [[shifted(photo, more * strength * z * stdevs[i] * vectors[:, i]) for z in steps] for i in range(3)]

# %% [along]
figure, axes = plt.subplots(3, 5, figsize=(7, 4.4))
for row, pictures in zip(axes, along, strict=True):
    for axis, z, pixels in zip(row, steps, pictures, strict=True):
        axis.imshow(pixels)
        axis.set_title(f"{z:+d} \u03c3", fontsize=8)
        axis.set_axis_off()
plt.show()

# %% [formula]
per_channel = strength * np.sqrt(((vectors * stdevs) ** 2).sum(1)).mean()
eigenvalue = stdevs[0] ** 2
literal = strength * eigenvalue
print(f"{per_channel:.1f}  {literal:.0f}")

# %% [draws]
figure, axes = plt.subplots(1, 5, figsize=(7, 1.6))
random_draws = np.random.default_rng(0).normal(size=(4, 3))
for axis, drawn in zip(axes, [np.zeros(3), *random_draws], strict=True):
    axis.imshow(shifted(photo, strength * vectors @ (stdevs * drawn)))
    axis.set_axis_off()
plt.show()

# %% [ten]
ten = five_windows(photo, crop)
ten += [view.flip(-1) for view in ten]
figure, axes = plt.subplots(2, 5, figsize=(7, 3))
for axis, view in zip(axes.flat, ten, strict=True):
    axis.imshow(view.permute(1, 2, 0).numpy())
    axis.set_axis_off()
plt.show()

# %% [ten_views]
by_views = {}
for name, network in trained.items():
    five = five_windows(held_images, digit)
    kinds = {"one": five[2:3], "five": five, "ten": five + [view.flip(-1) for view in five]}
    by_views[name] = {kind: error(network, chosen, held_classes) for kind, chosen in kinds.items()}
    print(f"{name:8}", *(f"{each:6.1%}" for each in by_views[name].values()))
crops_one, crops_five, crops_ten = by_views["crops"].values()
mirrors_one, _, mirrors_ten = by_views["mirrors"].values()
