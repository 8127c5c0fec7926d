"""The exercises of lesson 8."""

# %% [people start]
# Several photos of each person. A split is a list with True for each photo of the validation split.


def split(people, share):
    """people: for each photo the name of the person on it; share: of the photos that shall be validation, roughly."""
    return ...


# %% [people check]
def check(answer):
    draws = np.random.default_rng(0)
    for names, share in ((list("abcdefghijklmnopqrst"), 0.2), (list("abcdefgh"), 0.5)):
        people = [str(name) for name in draws.permutation(names * 10)]
        got = [bool(each) for each in answer.split(list(people), share)]
        if len(got) != len(people):
            return "length", {"got": len(got), "want": len(people)}
        both = {name for name, chosen in zip(people, got, strict=True) if chosen}
        both &= {name for name, chosen in zip(people, got, strict=True) if not chosen}
        if both:
            return ("images", {"got": len(both), "all": len(names)}) if 0 < sum(got) < len(got) else "all"
        if sum(got) in (0, len(got)):
            return "all"
        if abs(sum(got) / len(got) - share) > 0.15:
            return "share", {"got": sum(got) / len(got), "want": share}
    return None


# %% [people right]
def split(people, share):
    names = sorted(set(people))
    chosen = set(names[: round(share * len(names))])
    return [name in chosen for name in people]


# %% [people nearly images]
def split(people, share):
    return list(np.random.default_rng(0).random(len(people)) < share)


# %% [people nearly share]
def split(people, share):
    return [name == sorted(people)[0] for name in people]


# %% [people wrong all]
def split(people, share):
    return [False for _ in people]


# %% [people wrong length]
def split(people, share):
    return [True] * round(share * len(people))


# %% [calibrated start]
def calibration_error(sure, right, edges):
    """The expected calibration error.

    sure: the probability of each answer; right: whether it is right; edges: a bin is edges[i] <= sure < edges[i + 1].
    Of each bin: how far its mean of sure is from its share of right answers, weighted by how many answers it has.
    """
    return ...


# %% [calibrated check]
from itertools import pairwise


def check(answer):
    draws = np.random.default_rng(0)
    edges = [0.0, 0.3, 0.6, 0.9, 1.01]
    for count in (400, 50):
        sure = draws.uniform(0.3, 1.0, count) ** 0.7
        right = draws.random(count) < np.where(sure < 0.7, sure + 0.2, sure - 0.2)
        got = float(answer.calibration_error(sure.copy(), right.copy(), list(edges)))
        parts = [(sure >= low) & (sure < high) for low, high in pairwise(edges)]
        gaps = [(part.sum(), sure[part].mean() - right[part].mean()) for part in parts if part.any()]
        known = {
            None: sum(size * abs(gap) for size, gap in gaps) / count,
            "unweighted": np.mean([abs(gap) for _, gap in gaps]),
            "whole": abs(sure.mean() - right.mean()),
            "squares": sum(size * gap**2 for size, gap in gaps) / count,
            "sum": sum(size * abs(gap) for size, gap in gaps),
            "errors": 1 - right.mean(),
        }
        if abs(got - known[None]) < 1e-9:
            continue
        reason = next((reason for reason, each in known.items() if reason and abs(got - each) < 1e-9), "other")
        return reason if reason != "other" else ("other", {"got": got, "want": float(known[None])})
    return None


# %% [calibrated right]
from itertools import pairwise


def calibration_error(sure, right, edges):
    total = 0.0
    for low, high in pairwise(edges):
        part = (sure >= low) & (sure < high)
        if part.any():
            total += part.sum() * abs(sure[part].mean() - right[part].mean())
    return total / len(sure)


boasting = calibration_error(np.full(10, 0.95), np.arange(10) < 7, [0.0, 0.5, 1.01])


# %% [calibrated nearly unweighted]
from itertools import pairwise


def calibration_error(sure, right, edges):
    parts = [(sure >= low) & (sure < high) for low, high in pairwise(edges)]
    return np.mean([abs(sure[part].mean() - right[part].mean()) for part in parts if part.any()])


# %% [calibrated nearly whole]
def calibration_error(sure, right, edges):
    return abs(sure.mean() - right.mean())


# %% [calibrated nearly squares]
from itertools import pairwise


def calibration_error(sure, right, edges):
    parts = [(sure >= low) & (sure < high) for low, high in pairwise(edges)]
    return sum(part.sum() * (sure[part].mean() - right[part].mean()) ** 2 for part in parts if part.any()) / len(sure)


# %% [calibrated nearly sum]
from itertools import pairwise


def calibration_error(sure, right, edges):
    parts = [(sure >= low) & (sure < high) for low, high in pairwise(edges)]
    return sum(part.sum() * abs(sure[part].mean() - right[part].mean()) for part in parts if part.any())


# %% [calibrated wrong errors]
def calibration_error(sure, right, edges):
    return 1 - right.mean()


# %% [calibrated wrong other]
def calibration_error(sure, right, edges):
    return 7.0


# %% [wrong_labels start]
def suspicious(probabilities, labels):
    """The numbers of the images, the most suspicious label first.

    probabilities: (images, classes), what a network says; labels: the class that each image has been given.
    """
    return ...


# %% [wrong_labels check]
def check(answer):
    draws = np.random.default_rng(0)
    for count in (200, 60):
        truth = draws.integers(0, 4, count)
        logits = draws.normal(0, 1, (count, 4))
        logits[np.arange(count), truth] += 4
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        changed = draws.choice(count, count // 10, replace=False)
        given = truth.copy()
        given[changed] = (given[changed] + 1) % 4
        order = [int(each) for each in answer.suspicious(probabilities.copy(), given.copy())]
        if sorted(order) != list(range(count)):
            return "numbers", {"want": count}
        found = len(set(order[: len(changed)]) & set(changed.tolist()))
        last = len(set(order[-len(changed) :]) & set(changed.tolist()))
        if last >= 0.7 * len(changed):
            return "reversed"
        unsure = np.argsort(probabilities.max(1)).tolist()
        if order == unsure:
            return "unsure", {"got": found, "all": len(changed)}
        if found < 0.7 * len(changed):
            return "blind", {"got": found, "all": len(changed)}
    return None


# %% [wrong_labels right]
def suspicious(probabilities, labels):
    return np.argsort(probabilities[np.arange(len(labels)), labels])


# %% [wrong_labels nearly unsure]
def suspicious(probabilities, labels):
    return np.argsort(probabilities.max(1))


# %% [wrong_labels nearly reversed]
def suspicious(probabilities, labels):
    return np.argsort(-probabilities[np.arange(len(labels)), labels])


# %% [wrong_labels nearly numbers]
def suspicious(probabilities, labels):
    return np.flatnonzero(probabilities.argmax(1) != labels)


# %% [wrong_labels wrong blind]
def suspicious(probabilities, labels):
    return np.arange(len(labels))


# %% [threshold start]
def threshold(sure, right, wanted):
    """The lowest probability from which on at least the share wanted of the answers is right.

    sure: the probability of each answer on validation images; right: whether it was right. Answers with a probability
    of at least the threshold are given, the others are "not sure".
    """
    return ...


# %% [threshold check]
def check(answer):
    draws = np.random.default_rng(1)
    for wanted in (0.9, 0.8):
        sure = np.round(draws.uniform(0.3, 1.0, 300), 4)
        right = draws.random(300) < sure
        shares = {float(each): float(right[sure >= each].mean()) for each in sure}
        lowest = min(each for each, share in shares.items() if share >= wanted)
        got = float(answer.threshold(sure.copy(), right.copy(), wanted))
        given = sure >= got
        if not given.any():
            return "silent"
        if got == wanted:
            return "same"
        if right[given].mean() < wanted:
            return "fewer", {"got": float(right[given].mean()), "want": wanted}
        if given.sum() < (sure >= lowest).sum():
            return "higher", {"got": int(given.sum()), "want": int((sure >= lowest).sum())}
    return None


# %% [threshold right]
def threshold(sure, right, wanted):
    return min(each for each in sure if right[sure >= each].mean() >= wanted)


some_sure = np.array([0.95, 0.9, 0.8, 0.7, 0.6])
some_right = np.array([True, True, True, False, True])
some_threshold = threshold(some_sure, some_right, promised)


# %% [threshold nearly higher]
def threshold(sure, right, wanted):
    return sure[~right].max() + 0.0001 if sure[~right].max() < sure.max() else sure.max()


# %% [threshold nearly same]
def threshold(sure, right, wanted):
    return wanted


# %% [threshold wrong fewer]
def threshold(sure, right, wanted):
    return 0.0


# %% [threshold wrong silent]
def threshold(sure, right, wanted):
    return 1.1


# %% [activity start]
# alexnet.load_data("digits", size=28).test.tensors() gives digits and their classes, to try it on.
def activity(network, images):
    """The mean of the outputs of act1 and of act2 of a network for a batch of images, as two numbers."""
    return ..., ...


# %% [activity check]
def check(answer):
    import torch

    network = alexnet.create_model("lenet", activation="relu", pooling="max", seed=3).eval()
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (8, 3, 28, 28), generator=generator).float() * (0.5 + 0.5 * seed)
        with torch.inference_mode():
            all_outputs = network.activations(images)
        got = answer.activity(network, images)
        if not isinstance(got, tuple) or len(got) != 2 or any(each is ... for each in got):
            return "two"
        got = np.array([float(each) for each in got])

        def means(*names, all_outputs=all_outputs):
            return np.array([all_outputs[name].mean().item() for name in names])

        if np.allclose(got, means("act1", "act2"), rtol=1e-3):
            continue
        known = {"before": means("conv1", "conv2"), "swapped": means("act2", "act1"), "pooled": means("pool1", "pool2")}
        reason = next((reason for reason, each in known.items() if np.allclose(got, each, rtol=1e-3)), "other")
        return reason if reason != "other" else ("other", {"got": got[0], "want": means("act1")[0]})
    return None


# %% [activity right]
import torch

data = alexnet.load_data("digits", size=28)
known = data.test.tensors()[0][:100]


def activity(network, images):
    with torch.inference_mode():
        outputs = network.activations(images)
    return outputs["act1"].mean().item(), outputs["act2"].mean().item()


lenet = alexnet.create_model("lenet", data=data, activation="relu", pooling="max")
images, classes = (each[: 64 if small else 400] for each in data.train.tensors())
optimizer = torch.optim.AdamW(lenet.parameters(), lr=0.003)
for _ in range(1 if small else 10):
    for part in torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).split(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(lenet(images[part]), classes[part]).backward()
        optimizer.step()
chance = torch.randint(0, 256, known.shape, generator=torch.Generator().manual_seed(0)).float()
known_first, known_second = activity(lenet, known)
chance_first, chance_second = activity(lenet, chance)
with torch.inference_mode():
    chance_sure = lenet(chance).softmax(1).max(1).values.mean().item()


# %% [activity nearly before]
def activity(network, images):
    outputs = network.activations(images)
    return outputs["conv1"].mean().item(), outputs["conv2"].mean().item()


# %% [activity nearly pooled]
def activity(network, images):
    outputs = network.activations(images)
    return outputs["pool1"].mean().item(), outputs["pool2"].mean().item()


# %% [activity nearly swapped]
def activity(network, images):
    outputs = network.activations(images)
    return outputs["act2"].mean().item(), outputs["act1"].mean().item()


# %% [activity wrong two]
def activity(network, images):
    return network.activations(images)["act1"].mean().item()


# %% [activity wrong other]
def activity(network, images):
    return float(len(images)), 0.0


# %% [direct start: book]
# The AlexNet of "Dive into Deep Learning" looks at digits that were enlarged to 224 pixels. Make a network that takes
# 28 pixels as they are; alexnet recipes demo lists the fields.
better = ...


# %% [direct check]
def check(answer):
    network = answer.better
    if not hasattr(network, "layers") or not hasattr(network, "config"):
        return "no_network", {"got": type(network).__name__}
    counted = alexnet.summary(network)
    if counted.input_shape[1] != 28:
        return "side", {"got": counted.input_shape[1]}
    if counted.layers[-1].activations != 10:
        return "classes", {"got": counted.layers[-1].activations}
    if counted.multiply_adds > book_work / 20:
        return "work", {"got": counted.multiply_adds / book_work}
    depth = sum(layer.learned for layer in counted.layers)
    return ("shallow", {"got": depth}) if depth < 6 else None


# %% [direct right]
better = alexnet.create_model("demo", num_classes=10, norm="none")
better_work = alexnet.summary(better).multiply_adds
times_less = book_work / better_work

# %% [direct nearly side]
better = alexnet.create_model("alexnet-d2l", num_classes=10)

# %% [direct nearly classes]
better = alexnet.create_model("demo")

# %% [direct nearly work]
better = alexnet.create_model("demo", num_classes=10, width=0.5)

# %% [direct wrong shallow]
better = alexnet.create_model("lenet", num_classes=10)

# %% [direct wrong no_network]
better = "demo"

# %% [larger start]
larger = alexnet.create_model("lenet", num_classes=10)  # change its fields: channels, fc_features, activation, pooling


# %% [larger check]
def check(answer):
    network = answer.larger
    if not hasattr(network, "layers") or not hasattr(network, "config"):
        return "no_network", {"got": type(network).__name__}
    config = network.config
    if config.architecture != "lenet" or config.num_classes != 10:
        return "other"
    old = alexnet.summary("lenet").parameters
    wider = alexnet.summary(network).parameters
    modern = config.activation == "relu" and config.pooling == "max"
    if wider <= old:
        return "unchanged" if not modern else "same"
    return None if modern else "old"


# %% [larger right]
import torch

data = alexnet.load_data("digits", size=28)
images, classes = (each[: 64 if small else 256] for each in data.train.tensors())
held_images, held_classes = data.val.tensors()


def lenet_error(epochs=12, rate=0.003, **fields):
    torch.manual_seed(0)
    chosen = {"activation": "relu", "pooling": "max", "num_classes": 10} | fields
    network = alexnet.create_model("lenet", data=data, **chosen)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    for _ in range(1 if small else epochs):
        for part in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images[part]), classes[part]).backward()
            optimizer.step()
    with torch.inference_mode():
        return (network(held_images).argmax(1) != held_classes).float().mean().item()


larger = alexnet.create_model("lenet", num_classes=10, channels=(12, 32), activation="relu", pooling="max")
plain_error = lenet_error()
wide_error = lenet_error(channels=(12, 32))
deep_error = lenet_error(fc_features=(120, 84, 84))
shallow_error = lenet_error(fc_features=(84,))
fast_error = lenet_error(rate=0.01)

# %% [larger nearly old]
larger = alexnet.create_model("lenet", num_classes=10, channels=(12, 32))

# %% [larger nearly same]
larger = alexnet.create_model("lenet", num_classes=10, activation="relu", pooling="max")

# %% [larger wrong unchanged]
larger = alexnet.create_model("lenet", num_classes=10, pooling="max")

# %% [larger wrong other]
larger = alexnet.create_model("demo", num_classes=10)

# %% [larger wrong no_network]
larger = (12, 32)

# %% [longer start]
# Train LeNet and AlexNet for 2, then 6, then 18 epochs, each anew, and note the share of wrong answers on images that
# they have not seen. The worked solution trains on 256 digits of alexnet.load_data("digits", size=28).
lenet_errors = ...  # three numbers
alexnet_errors = ...  # three numbers


# %% [longer check]
def check(answer):
    both = [list(answer.lenet_errors), list(answer.alexnet_errors)]
    if [len(each) for each in both] != [3, 3]:
        return "three", {"got": f"{len(both[0])}, {len(both[1])}"}
    if not all(0 <= share <= 1 for each in both for share in each):
        return "shares"
    if any(each[2] > each[0] + 0.1 for each in both):
        return "rising"
    return None


# %% [longer right]
import torch

data = alexnet.load_data("digits", size=28)
images, classes = (each[: 64 if small else 256] for each in data.train.tensors())
held_images, held_classes = data.val.tensors()


def error_after(name, rate, epochs, **fields):
    torch.manual_seed(0)
    network = alexnet.create_model(name, data=data, num_classes=10, **fields)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    for _ in range(epochs):
        network.train()
        for part in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images[part]), classes[part]).backward()
            optimizer.step()
    network.eval()
    with torch.inference_mode():
        return (network(held_images).argmax(1) != held_classes).float().mean().item()


tried = (1, 2, 3) if small else (2, 6, 18)
lenet_errors = [error_after("lenet", 0.003, epochs, activation="relu", pooling="max") for epochs in tried]
alexnet_errors = [error_after("demo", 0.001, epochs, norm="none") for epochs in tried]
lenet_few, lenet_some, lenet_many = lenet_errors
alexnet_few, alexnet_some, alexnet_many = alexnet_errors
few_epochs, some_epochs, many_epochs = tried

# %% [longer nearly rising]
lenet_errors = [0.5, 0.8, 0.95]  # accuracies
alexnet_errors = [0.3, 0.9, 0.97]

# %% [longer nearly shares]
lenet_errors = [50, 20, 5]
alexnet_errors = [70, 10, 3]

# %% [longer wrong three]
lenet_errors = [0.5]
alexnet_errors = [0.5]
