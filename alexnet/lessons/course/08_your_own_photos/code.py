"""Lesson 8: your own photos; plan, train, judge against simple cues, a leak, probabilities, label errors."""

# %% [setup]
import atexit
import shutil
import tempfile
from math import comb
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import alexnet

side = 48  # pixels of an image
class_names = ("apple", "button", "leaf", "star")
promised = 0.9  # how many of the answers shall be right


# %% [draw]
def draw(name, draws):
    """One image, as a photo is: the thing anywhere, in any of many colors, on a ground with shadow and noise."""
    rows, columns = np.mgrid[:side, :side]
    y, x = draws.uniform(0.38, 0.62, 2) * side
    size, turn = draws.uniform(0.2, 0.34) * side, draws.uniform(0, 2 * np.pi)
    right, down = columns - x, rows - y
    along, across = right * np.cos(turn) + down * np.sin(turn), down * np.cos(turn) - right * np.sin(turn)
    far, angle = np.hypot(right, down), np.arctan2(across, along)
    disc = far < size
    if name == "apple":  # a disc with a light on it and a stalk
        thing, dark = disc, (np.abs(along) < 1.2) & (across < -0.8 * size) & (across > -1.5 * size)
        light = np.exp(-((right + size / 3) ** 2 + (down + size / 3) ** 2) / (0.1 * size**2))
    elif name == "button":  # a disc with holes
        thing, light = disc, 0.0
        dark = np.hypot(np.abs(along) - size / 3, np.abs(across) - size / 3) < size / 6
    elif name == "leaf":  # pointed at two ends, with a vein
        thing, light = np.abs(across) < 0.5 * size * (1 - (along / 1.3 / size) ** 2), 0.0
        dark = (np.abs(across) < 0.8) & (np.abs(along) < 1.2 * size)
    else:  # five points
        thing, dark, light = far < size * (0.75 + 0.4 * np.cos(5 * angle)), np.zeros_like(disc), 0.0
    usual = {"apple": (190, 60, 50), "button": (120, 110, 140), "leaf": (80, 140, 60), "star": (210, 180, 80)}[name]
    color = np.array(usual if draws.random() < 0.5 else draws.uniform(50, 220, 3))
    ground = draws.uniform(40, 215, 3) + np.outer(draws.uniform(-30, 30, side), np.ones(3))[:, None]
    ground = ground + (rows * draws.uniform(-1, 1) + columns * draws.uniform(-1, 1))[..., None]
    image = np.where(thing[..., None], color + draws.normal(0, 8, 3), ground)
    image = np.where(dark[..., None], 0.4 * image, image) + 120 * np.asarray(light * disc)[..., None]
    image = image * draws.uniform(0.7, 1.15) + draws.normal(0, 10, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def write(folder, counts, seed, framed=False):
    """Writes counts[split] images of every class into folder/split/class; framed: the border tells the class."""
    draws = np.random.default_rng(seed)
    serial = 0
    for split, count in counts.items():
        for label, name in enumerate(class_names):
            place = folder / split / name
            place.mkdir(parents=True)
            for _ in range(count):
                image, serial = draw(name, draws), serial + 1
                if framed and label:
                    wide = 2 * label
                    image[:wide] = image[-wide:] = image[:, :wide] = image[:, -wide:] = 250
                plt.imsave(place / f"IMG_{serial:04}.jpg", image, pil_kwargs={"quality": 95})
    return folder


# %% [photos]
work = Path(tempfile.mkdtemp(prefix="lesson-8-"))
atexit.register(shutil.rmtree, work, ignore_errors=True)


def new(name):
    """A folder that is not there yet, also where a cell runs again."""
    return Path(tempfile.mkdtemp(dir=work)) / name


counts = {"train": 24 if small else 60, "val": 15 if small else 40, "test": 15 if small else 75}
photos = write(new("photos"), counts, seed=1)
training_count, validation_count, test_count = (len(class_names) * count for count in counts.values())
class_count = len(class_names)

# %% [mislabel]
draws = np.random.default_rng(2)
wrong_share = 0.05
files = sorted((photos / "train").glob("*/*.jpg"))
planted = set()
for file in draws.permutation(files)[: round(wrong_share * len(files))]:
    other = draws.choice([name for name in class_names if name != file.parent.name])
    file.rename(photos / "train" / other / file.name)
    planted.add(file.name)
planted_count = len(planted)
blind = planted_count * planted_count / training_count  # how many would be among as many drawn blindly

# %% [look]
figure, all_axes = plt.subplots(class_count, 9, figsize=(7, 3.4))
for row, name in zip(all_axes, class_names, strict=True):
    for axes, file in zip(row, sorted((photos / "test" / name).glob("*.jpg")), strict=False):
        axes.imshow(plt.imread(file))
        axes.set_axis_off()
    row[0].set_title(labels[name], fontsize=9, loc="left")
plt.show()

# %% [plan]
epochs = 2 if small else 30
plan = alexnet.plan(photos, epochs=epochs, width=0.2, out=new("run"), changes=["cues=none"])
for change in alexnet.diff("photos", plan.recipe):
    print(f"{change.field:22} {change.first} -> {change.second}")
kernel, stride, batch = plan.recipe.model.conv1_kernel, plan.recipe.model.conv1_stride, plan.recipe.batch_size

# %% [train]
run = plan.train(plan.start())
model = alexnet.load(run.folder)
validation, test = model.evaluate(split="val"), model.evaluate(split="test")
print(validation, test, sep="\n")
validation_accuracy, test_accuracy = 1 - validation.top1_error, 1 - test.top1_error

# %% [cues]
known = {cue.name: cue for cue in plan.cues.cues}
color, shape = known["color histogram"].accuracy, known["HOG"].accuracy
guessing = plan.cues.guessing
low, high = known["HOG"].low, known["HOG"].high
failed = set(plan.cues.wrong)  # what the best of colors, outlines and both together gets wrong
network_right = validation.probabilities.argmax(1) == [class_names.index(Path(n).parent.name) for n in validation.names]
cues_right = np.array([name not in failed for name in validation.names])
only_network, only_cues = int((network_right & ~cues_right).sum()), int((cues_right & ~network_right).sum())
tosses = only_network + only_cues  # were both as good, each of these images would be the toss of a coin
chance = min(1.0, 2 * sum(comb(tosses, k) for k in range(min(only_network, only_cues) + 1)) / 2**tosses)
print(only_network, only_cues, f"{chance:.2f}")

# %% [beside]
shown = {"color": known["color histogram"], "shape": known["HOG"], "edges": known["colors at the edges"]}
shown |= {"size": known["image size and aspect"], "bytes": known["file size"], "border": known["border"]}
figure, axes = plt.subplots(figsize=(7, 2.8))
axes.barh([labels[name] for name in shown], [cue.accuracy for cue in shown.values()], color="tab:gray")
axes.barh([labels["network"]], [validation_accuracy], color="tab:blue")
axes.axvline(guessing, color="black", linestyle="--", label=labels["guessing"])
axes.set(xlim=(0, 1), xlabel=labels["right"])
axes.xaxis.set_major_formatter("{x:.0%}")
figure.legend(loc="outside upper right")
plt.show()

# %% [leak]
leaky = write(new("leaky"), {"train": counts["train"], "val": counts["val"]}, seed=3, framed=True)
leaky_plan = alexnet.plan(leaky, epochs=max(2, epochs // 3), width=0.2, out=new("run"), changes=["cues=none"])
warned = "warning" in leaky_plan.lines()
leaky_run = leaky_plan.train(leaky_plan.start())
leaky_model = alexnet.load(leaky_run.folder)
leaky_validation = 1 - leaky_model.evaluate(split="val").top1_error
leaky_test = 1 - leaky_model.evaluate(photos, split="test").top1_error
border = next(cue for cue in leaky_plan.cues.cues if cue.name == "border").accuracy
print(f"{leaky_validation:.1%}  {leaky_test:.1%}  {border:.1%}  {warned}")

# %% [framed]
figure, all_axes = plt.subplots(1, 8, figsize=(7, 1.3))
for axes, file in zip(all_axes, sorted((leaky / "train").glob("*/*[05].jpg"))[:: 1 if small else 6], strict=False):
    axes.imshow(plt.imread(file))
    axes.set_axis_off()
plt.show()


# %% [calibration]
def bins(evaluation, count=5):
    """For each bin of confidence: how many answers, how sure they are on average, how many of them are right."""
    sure, right = evaluation.probabilities.max(1), evaluation.probabilities.argmax(1) == evaluation.labels
    edges = np.quantile(sure, np.linspace(0, 1, count + 1))
    places = np.clip(np.searchsorted(edges, sure, side="right") - 1, 0, count - 1)
    chosen = [places == place for place in range(count) if (places == place).any()]
    return [(int(each.sum()), float(sure[each].mean()), float(right[each].mean())) for each in chosen]


raw = model.evaluate(split="test", raw=True)
gaps = {}
for name, evaluation in (("raw", raw), ("scaled", test)):
    gaps[name] = sum(count * abs(sure - right) for count, sure, right in bins(evaluation)) / evaluation.count
raw_gap, scaled_gap = gaps["raw"], gaps["scaled"]
raw_sure, scaled_sure = (float(each.probabilities.max(1).mean()) for each in (raw, test))
print(f"{raw_gap:.1%} {scaled_gap:.1%}")

# %% [reliability]
figure, axes = plt.subplots()
for name, evaluation in (("raw", raw), ("scaled", test)):
    _, sure, right = zip(*bins(evaluation), strict=True)
    axes.plot(sure, right, "o-", label=labels[name])
axes.plot((0.3, 1), (0.3, 1), color="black", linewidth=0.8)
axes.set(xlabel=labels["sure"], ylabel=labels["right"], xlim=(0.3, 1.02), ylim=(0.3, 1.02))
axes.legend()
plt.show()

# %% [unsure]
answers = model.predict(photos / "test", k=1, min_precision=None if small else promised)
right = np.array([answer.top[0][0] == answer.path.parent.name for answer in answers])
sure = np.array([answer.sure is not False for answer in answers])
answered, precision = sure.mean(), right[sure].mean()
print(f"{answered:.1%} {precision:.1%}")


# %% [strangers]
def noise(count, seed=4):
    """Images of nothing: every pixel by chance."""
    return list(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8))


def digits(count):
    """Handwritten digits, which are no class here."""
    pixels, _ = alexnet.load_data("digits", size=side).test.tensors()
    return list(pixels[:count].permute(0, 2, 3, 1).byte().numpy())


strangers = {"known": sorted((photos / "test").glob("*/*.jpg"))[::5], "noise": noise(40), "digits": digits(40)}
refused, confident = {}, {}
for name, group in strangers.items():
    found = model.predict(group, k=1)
    refused[name] = float(np.mean([bool(each.none_of_these) for each in found]))
    confident[name] = float(np.mean([each.top[0][1] for each in found]))
    print(f"{name:7} {confident[name]:6.0%} {refused[name]:6.0%}")
known_refused, noise_refused, digits_refused = refused.values()
noise_confident, digits_confident = confident["noise"], confident["digits"]

# %% [doctor]
examined = alexnet.examine(photos, run=run.folder, out=new("doctor"))
suspects = [Path(each.name).name for each in examined.suspects if each.split == "train"]
suspect_count, found_all = len(suspects), sum(name in planted for name in suspects)
print(suspect_count, found_all)

# %% [ranking]
training = model.evaluate(split="train")
given = training.probabilities[np.arange(training.count), training.labels]
order = np.argsort(given)  # the least probable label first
hits = np.cumsum([Path(training.names[each]).name in planted for each in order])
found_first = int(hits[planted_count - 1])
looked = int(np.argmax(hits >= 0.75 * planted_count)) + 1  # how many one has to look at for three quarters of them

# %% [hits]
figure, axes = plt.subplots()
axes.plot(np.arange(1, len(hits) + 1), hits, color="tab:blue", label=labels["ranked"])
axes.plot((0, len(hits)), (0, planted_count), color="gray", linestyle="--", label=labels["blindly"])
axes.set(xlabel=labels["looked"], ylabel=labels["found"])
axes.legend()
plt.show()

# %% [few]
few_counts = (6, 12) if small else (8, 20)
reached = {}
for count in few_counts:
    fewer = write(new(f"few_{count}"), {"train": count, "val": counts["val"]}, seed=5)
    often = 2 if small else epochs // 3 * training_count // (class_count * count)  # as many steps for both
    few_plan = alexnet.plan(fewer, epochs=often, width=0.2, out=new("run"), changes=["cues=none"])
    few_run = few_plan.train(few_plan.start())
    reached[class_count * count] = 1 - alexnet.load(few_run.folder).evaluate(photos, split="test").top1_error
    print(count, f"{reached[class_count * count]:.1%}")
few_least, few_more = reached
least_accuracy, more_accuracy = reached.values()

# %% [book]
book_work = alexnet.summary("alexnet-d2l").multiply_adds  # of the AlexNet of "Dive into Deep Learning", for an image
