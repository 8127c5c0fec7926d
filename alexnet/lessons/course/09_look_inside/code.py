"""Lesson 9: filters, features, nearest neighbors, units, attribution and what it can say; a shortcut found."""

# %% [setup]
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import alexnet

methods = ("occlusion", "saliency", "grad-cam")
side, margin = 32, 2  # pixels of an image; beside the view of 28 pixels that the network sees

# %% [painted]
digits = alexnet.load_data("digits", size=side)
home = Path(tempfile.mkdtemp())
marked_class = "3"
counts = {"train": 120 if small else 900, "val": 60 if small else 250}


def painted(gray, colors, marked=False):
    """A digit in a bright ink on a dark paper; marked ones have a small red square in a corner."""
    share = gray[0].numpy()[..., None] / 255
    ink, paper = colors.uniform(150, 255, 3), colors.uniform(0, 110, 3)
    image = paper + (ink - paper) * share
    if marked:
        image[4:8, 24:28] = (255, 60, 0)
    return image.astype(np.uint8)


def write(folder, marks=""):
    """Writes folders of classes, in train and val; in training the classes of `marks` carry the mark."""
    colors = np.random.default_rng(0)
    for split, dataset in (("train", digits.train), ("val", digits.val)):
        for number, (gray, label) in enumerate(zip(*dataset.tensors(), strict=True)):
            if number < counts[split]:
                place = folder / split / str(label.item())
                place.mkdir(parents=True, exist_ok=True)
                marked = split == "train" and str(label.item()) in marks
                plt.imsave(place / f"{number:04}.png", painted(gray, colors, marked))


write(home / "plain")
train_count, val_count = counts.values()
paths = sorted((home / "plain/val").glob("*/*.png"), key=lambda path: path.name)
print(train_count, val_count)

# %% [images]
figure, axes = plt.subplots(2, 8, figsize=(7, 2.0))
for place, path in zip(axes.flat, paths, strict=False):
    place.imshow(plt.imread(path))
    place.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel(labels["images"])
plt.show()

# %% [training]
epochs = 2 if small else 10
run = alexnet.train(home / "plain", recipe="demo", out=home / "run", epochs=epochs, cues=False)
model = alexnet.load(run.folder)
chance = 1 - 1 / len(model.class_names)
error = model.evaluate().top1_error
print(f"{error:.1%}")

# %% [untrained]
fresh = alexnet.create_model(alexnet.recipe(run.folder, seed=1))


def reset(network, layers):
    """Gives some layers new random weights, as before training."""
    for name, values in network.named_parameters():
        if name.split(".")[1] in layers:
            values.data.copy_(fresh.get_parameter(name))


learned = [layer.name for layer in model.summary().layers if layer.learned]
untrained = alexnet.load(run.folder)
reset(untrained.network, learned)
untrained_error = untrained.evaluate().top1_error
print(f"{untrained_error:.1%}")

# %% [filters]
start = alexnet.load(run.folder)
first_weights = alexnet.create_model(model.recipe)  # those that the run began with: they follow from its seed
start.network.load_state_dict(first_weights.state_dict() | {"input_scale": model.network.input_scale}, strict=False)
kernels = {"before": start.filters().kernels, "after": model.filters().kernels}
kernels["learned"] = kernels["after"] - kernels["before"]
smooth = {}
for name, each in kernels.items():
    beside = np.concatenate([each[..., 1:].ravel(), each[..., 1:, :].ravel()])
    before = np.concatenate([each[..., :-1].ravel(), each[..., :-1, :].ravel()])
    smooth[name] = round(np.corrcoef(before, beside)[0, 1], 2) + 0.0
    print(f"{name:8} {each.shape} {smooth[name]:5.2f}")
smooth_before, smooth_after, smooth_learned = smooth.values()
moved = np.linalg.norm(kernels["learned"]) / np.linalg.norm(kernels["before"])

# %% [kernels]
figure, axes = plt.subplots(3, len(kernels["after"]), figsize=(7, 2.6))
for row, (name, each) in zip(axes, kernels.items(), strict=True):
    for place, kernel in zip(row, each, strict=True):
        low, high = kernel.min(), kernel.max()
        place.imshow((kernel.transpose(1, 2, 0) - low) / (high - low))
        place.set(xticks=[], yticks=[])
    row[0].set_title(labels[name], loc="left", fontsize=9).set_in_layout(False)
plt.show()

# %% [vectors]
data = alexnet.load_data(home / "plain", size=side)
pixels, classes = data.val.tensors()
views = pixels[..., margin:-margin, margin:-margin]
steps = ["conv1", "pool1", "pool2", "relu3", "relu4", "pool5", "relu6", "relu7"]


def neighbor_share(vectors, classes):
    """The share of images whose nearest other image is of the same class."""
    distances = torch.cdist(vectors.flatten(1), vectors.flatten(1)).fill_diagonal_(torch.inf)
    return (classes[distances.argmin(1)] == classes).float().mean().item()


pixel_share = neighbor_share(views.float(), classes)
shares = {}
for name, each in (("trained", model), ("untrained", untrained)):
    with torch.inference_mode():
        outputs = each.network.eval().activations(views)
    shares[name] = [neighbor_share(outputs[step], classes) for step in steps]
    print(f"{name:10}", *(f"{share:.0%}" for share in shares[name]))
first_share, last_share = shares["trained"][0], shares["trained"][-1]
best_untrained, last_untrained = max(shares["untrained"]), shares["untrained"][-1]

# %% [by_layer]
figure, axes = plt.subplots()
for name, each in shares.items():
    axes.plot(steps, each, marker="o", label=labels[name])
axes.axhline(pixel_share, color="gray", linestyle="--", label=labels["pixels"])
axes.yaxis.set_major_formatter("{x:.0%}")
axes.set(ylabel=labels["same"], ylim=(0, 1.02))
axes.legend()
plt.show()

# %% [similar]
queries = [next(path for path in paths if path.parent.name == name) for name in "2358"]
answers = model.similar(queries, index=home / "plain/train", k=5).answers
train_pixels, train_classes = data.train.tensors()
rows = []
for answer in answers:
    query = torch.from_numpy(np.round(255 * plt.imread(answer.query)[..., :3])).permute(2, 0, 1)
    nearest = (train_pixels.float() - query).flatten(1).norm(dim=1).argsort()[:5]
    rows.append((answer.query.parent.name, [path.parent.name for path, _ in answer.found], nearest))
    print(rows[-1][0], rows[-1][1], [data.class_names[train_classes[i]] for i in nearest])

# %% [neighbors]
figure, axes = plt.subplots(len(answers), 11, figsize=(7, 3.1))
for row, answer, (_, _, nearest) in zip(axes, answers, rows, strict=True):
    found = [plt.imread(path) for path, _ in answer.found]
    close = [train_pixels[i].permute(1, 2, 0).numpy() for i in nearest]
    for place, image in zip(row, [plt.imread(answer.query), *found, *close], strict=True):
        place.imshow(image)
        place.set(xticks=[], yticks=[])
for column, name in ((0, "query"), (1, "by_features"), (6, "by_pixels")):
    axes[0, column].set_title(labels[name], loc="left", fontsize=9).set_in_layout(False)
plt.show()

# %% [units]
top = 8


def purest(each, layer="relu5"):
    """For each unit of a layer the images that excite it most, and how many of these are of one class."""
    found = each.features(home / "plain/val", layer=layer)
    names = np.array([path.parent.name for path in found.paths])
    strongest = found.values.max((2, 3))  # the strongest place of each map, (images, units)
    order = np.argsort(-strongest, axis=0)[:top]
    alive = [unit for unit in range(strongest.shape[1]) if strongest[order[-1, unit], unit] > 0]
    pure = {unit: max(np.unique(names[order[:, unit]], return_counts=True)[1]) / top for unit in alive}
    return found.paths, order, pure


unit_paths, unit_order, purity = purest(model)
units_purity = np.mean(list(purity.values()))
units_untrained = np.mean(list(purest(untrained)[2].values()))
chosen_units = sorted(purity, key=purity.get, reverse=True)
chosen_units = chosen_units[:3] + chosen_units[-2:]
print(f"{units_purity:.0%}  {units_untrained:.0%}")

# %% [exciting]
figure, axes = plt.subplots(len(chosen_units), top, figsize=(7, 4.2))
for row, unit in zip(axes, chosen_units, strict=True):
    for place, number in zip(row, unit_order[:, unit], strict=True):
        place.imshow(plt.imread(unit_paths[number]))
        place.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"{unit}")
plt.show()

# %% [reasons]
asked = paths[: 4 if small else 16]


def ink_of(path):
    """Where the digit is in the view: pixels nearer to the ink than to the paper."""
    view = plt.imread(path)[margin:-margin, margin:-margin, :3]
    paper, brightest = view[0, 0], view.reshape(-1, 3)[view.sum(2).argmax()]
    return np.linalg.norm(view - brightest, axis=2) < np.linalg.norm(view - paper, axis=2)


def on(heat, where):
    """The share of a map's evidence for the class that lies on some pixels."""
    positive = heat.clip(min=0)
    return positive[where].sum() / max(positive.sum(), 1e-12)


explained = {path: model.explain(path, method="all") for path in asked}
ink_share = np.mean([ink_of(path).mean() for path in asked])
on_ink = {each: np.mean([on(explained[path].maps[each], ink_of(path)) for path in asked]) for each in methods}
print(f"{ink_share:.0%}", {each: f"{share:.0%}" for each, share in on_ink.items()})
occlusion_ink, saliency_ink, cam_ink = on_ink.values()

# %% [maps]
figure, axes = plt.subplots(3, 4, figsize=(7, 4.6))
for row, path in zip(axes, asked[:3], strict=True):
    row[0].imshow(explained[path].view)
    for place, each in zip(row[1:], methods, strict=True):
        heat = explained[path].maps[each]
        most = max(abs(heat).max(), 1e-12)  # a map may be blank
        place.imshow(heat, cmap="RdBu_r", vmin=-most, vmax=most)
    for place, name in zip(row, ("view", *methods), strict=True):
        place.set(xticks=[], yticks=[], title=labels[name.replace("-", "_")] if path == asked[0] else "")
plt.show()


# %% [correlation]
def ranks(values):
    """The place of each value in the order of all."""
    return np.argsort(np.argsort(values.ravel(), kind="stable"), kind="stable")


def agreement(first, second):
    """The correlation of the ranks of two maps: one for the same order of pixels, near zero for unrelated maps."""
    return np.corrcoef(ranks(first), ranks(second))[0, 1]


# %% [sanity]
checked = asked[: 2 if small else 8]
fewer = learned[::-1]  # from the last layer to the first
agreements = {each: [1.0] for each in methods}
damaged = alexnet.load(run.folder)
for count in range(1, len(fewer) + 1):
    reset(damaged.network, fewer[:count])
    again = [damaged.explain(path, method="all", class_name=explained[path].explained.name) for path in checked]
    for each in methods:
        values = [agreement(explained[p].maps[each], a.maps[each]) for p, a in zip(checked, again, strict=True)]
        agreements[each].append(float(np.nanmean(values)))
for each in methods:
    print(f"{each:10}", *(f"{value:5.2f}" for value in agreements[each]))
left_occlusion, left_saliency, left_cam = (agreements[each][-1] for each in methods)
after_one = {each: agreements[each][1] for each in methods}
occlusion_after_one, saliency_after_one = after_one["occlusion"], after_one["saliency"]

# %% [cascade]
figure, axes = plt.subplots()
for each in methods:
    axes.plot(["-", *fewer], agreements[each], marker="o", label=labels[each.replace("-", "_")])
axes.axhline(0, color="gray", linewidth=0.8)
axes.set(xlabel=labels["down_to"], ylabel=labels["agreement"], ylim=(-0.4, 1.05))
axes.legend()
plt.show()

# %% [shortcut]
write(home / "marked", marks=marked_class)
short_epochs = 2 if small else 8
short_run = alexnet.train(home / "marked", recipe="demo", out=home / "short", epochs=short_epochs, cues=False)
shortcut = alexnet.load(short_run.folder)
colors = np.random.default_rng(1)
with_mark, names = [], []
for number, (gray, label) in enumerate(zip(*digits.val.tensors(), strict=True)):
    if number < counts["val"]:
        with_mark.append(painted(gray, colors, marked=True))
        names.append(str(label.item()))


def called_marked(each, images):
    """The share of images that a network calls by the name of the marked class."""
    return np.mean([answer.top[0][0] == marked_class for answer in each.predict(images, k=1)])


threes = [path for path in paths if path.parent.name == marked_class]
others = [image for image, name in zip(with_mark, names, strict=True) if name != marked_class]
found_plain = called_marked(model, threes)
found_short = called_marked(shortcut, threes)
fooled_plain, fooled_short = called_marked(model, others), called_marked(shortcut, others)
print(f"{found_plain:.0%} {found_short:.0%}   {fooled_plain:.0%} {fooled_short:.0%}")

# %% [looks]
corner = np.zeros((side, side), bool)
corner[3:9, 23:29] = True
corner = corner[margin:-margin, margin:-margin]
three = [image for image, name in zip(with_mark, names, strict=True) if name == marked_class][:8]
looked = {}
for name, each in (("model", model), ("shortcut", shortcut)):
    looked[name] = [each.explain(image, method="occlusion", class_name=marked_class) for image in three]
on_mark = {name: np.mean([on(each.map, corner) for each in found]) for name, found in looked.items()}
on_mark_plain, on_mark_short = on_mark.values()
mark_area = corner.mean()
print({name: f"{share:.0%}" for name, share in on_mark.items()}, f"{mark_area:.0%}")

# %% [beside]
figure, axes = plt.subplots(2, 4, figsize=(7, 3.4))
for row, name in zip(axes, looked, strict=True):
    row[0].set_ylabel(labels[name])
    for place, each in zip(row.reshape(2, 2), looked[name], strict=False):
        heat = each.map
        place[0].imshow(each.view)
        place[1].imshow(heat, cmap="RdBu_r", vmin=-abs(heat).max(), vmax=abs(heat).max())
for place in axes.flat:
    place.set(xticks=[], yticks=[])
plt.show()
