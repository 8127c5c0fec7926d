"""The exercises of lesson 7."""


# %% [cross start: network]
def crossing_bytes(layers, joint, batch):
    """Bytes that one of two towers sends to the other in a forward pass.

    layers: those of a summary, in order, each with name and activations.
    joint: names of the layers that see both towers.
    """
    return ...


# %% [cross check]
from itertools import pairwise


def check(answer):
    class Layer:
        def __init__(self, name, activations):
            self.name, self.activations = name, activations

    def sent(layers, joint, batch):
        pairs = pairwise(layers)
        return sum(before.activations // 2 for before, layer in pairs if layer.name in joint) * batch * bytes_each

    def own(layers, joint, batch):
        return sum(layer.activations // 2 for layer in layers if layer.name in joint) * batch * bytes_each

    few = tuple(Layer(name, size) for name, size in (("a", 10), ("b", 24), ("c", 8), ("d", 6)))
    cases = [(counts.layers, joint, 128), (counts.layers, ["fc7"], 3), (few, ["c", "d"], 2), (few, [], 5)]
    want = [sent(*case) for case in cases]
    got = [answer.crossing_bytes(*case) for case in cases]
    batches = [size for _, _, size in cases]
    if got == want:
        return None
    known = {
        "both": [2 * each for each in want],
        "numbers": [each / bytes_each for each in want],
        "batch": [each / size for each, size in zip(want, batches, strict=True)],
        "output": [own(*case) for case in cases],
    }
    reason = next((reason for reason, each in known.items() if got == each), "other")
    return reason if reason != "other" else ("other", {"got": got[2], "want": want[2]})


# %% [cross right]
def crossing_bytes(layers, joint, batch):
    values, before = 0, 0
    for layer in layers:
        values += before // 2 if layer.name in joint else 0
        before = layer.activations
    return values * batch * bytes_each


sent_megabytes = crossing_bytes(counts.layers, joint, batch) / 1e6
all_layers = [layer.name for layer in counts.layers if layer.learned][1:]
all_megabytes = crossing_bytes(counts.layers, all_layers, batch) / 1e6


# %% [cross nearly both]
from itertools import pairwise


def crossing_bytes(layers, joint, batch):
    pairs = pairwise(layers)
    return sum(before.activations for before, layer in pairs if layer.name in joint) * batch * bytes_each


# %% [cross nearly numbers]
from itertools import pairwise


def crossing_bytes(layers, joint, batch):
    pairs = pairwise(layers)
    return sum(before.activations // 2 for before, layer in pairs if layer.name in joint) * batch


# %% [cross nearly batch]
from itertools import pairwise


def crossing_bytes(layers, joint, batch):
    pairs = pairwise(layers)
    return sum(before.activations // 2 for before, layer in pairs if layer.name in joint) * bytes_each


# %% [cross nearly output]
def crossing_bytes(layers, joint, batch):
    return sum(layer.activations // 2 for layer in layers if layer.name in joint) * batch * bytes_each


# %% [cross wrong other]
def crossing_bytes(layers, joint, batch):
    return len(joint) * batch * bytes_each


# %% [join start]
def joined(weight):
    """The weight of one ordinary convolution that does what a convolution with groups=2 does.

    weight: (kernels, channels // 2, height, width), the first half of the kernels belongs to the first tower.
    """
    return ...  # (kernels, channels, height, width)


# %% [join check]
def check(answer):
    torch.manual_seed(0)
    for kernels, channels in ((6, 8), (4, 2)):
        weight, x = torch.randn(kernels, channels // 2, 3, 3), torch.randn(2, channels, 5, 5)
        got = answer.joined(weight.clone())
        if not isinstance(got, torch.Tensor) or got.shape != (kernels, channels, 3, 3):
            shape = tuple(got.shape) if isinstance(got, torch.Tensor) else type(got).__name__
            return "shape", {"got": str(shape), "want": str((kernels, channels, 3, 3))}
        want = torch.nn.functional.conv2d(x, weight, groups=2)
        if torch.allclose(torch.nn.functional.conv2d(x, got), want, atol=1e-4):
            continue
        first, second = weight.chunk(2)
        zero = torch.zeros_like(first)
        crossed = torch.cat([torch.cat([zero, first], 1), torch.cat([second, zero], 1)])
        known = {"crossed": crossed, "both": torch.cat([weight, weight], 1)}
        return next((reason for reason, each in known.items() if torch.equal(got, each)), "other")
    return None


# %% [join right]
def joined(weight):
    first, second = weight.chunk(2)
    zero = torch.zeros_like(first)
    return torch.cat([torch.cat([first, zero], 1), torch.cat([zero, second], 1)])


zeros_share = (joined(torch.ones(256, 48, 5, 5)) == 0).float().mean().item()


# %% [join nearly crossed]
def joined(weight):
    first, second = weight.chunk(2)
    zero = torch.zeros_like(first)
    return torch.cat([torch.cat([zero, first], 1), torch.cat([second, zero], 1)])


# %% [join nearly both]
def joined(weight):
    return torch.cat([weight, weight], 1)


# %% [join wrong shape]
def joined(weight):
    return torch.cat([weight, torch.zeros_like(weight)])


# %% [join wrong other]
def joined(weight):
    return torch.zeros_like(torch.cat([weight, weight], 1))


# %% [even start: network]
def even_batch(parameters, values):
    """The batch for which two processes that divide a layer send the same in both ways, as a number.

    parameters: of the layer. By images, each process sends all of its gradients once.
    values: that enter the layer for one image. By towers, each process sends half of them forward, and backward the
    gradients of the other half.
    """
    return ...


# %% [even check]
def check(answer):
    cases = [(37_752_832, 9216), (885_120, 43_264), (1000, 10), (307_456, 69_984)]
    want = np.array([parameters / values for parameters, values in cases])
    got = np.array([answer.even_batch(*case) for case in cases], dtype=float)
    if np.allclose(got, want, rtol=0.01) or np.array_equal(got, np.ceil(want)):
        return None
    known = {"forward": 2 * want, "halves": want / 2, "bytes": want * bytes_each, "upside_down": 1 / want}
    reason = next((reason for reason, each in known.items() if np.allclose(got, each, rtol=0.01)), "other")
    return reason if reason != "other" else ("other", {"got": float(got[2]), "want": float(want[2])})


# %% [even right]
def even_batch(parameters, values):
    return parameters / values


of_layer = {layer.name: layer.parameters for layer in counts.layers}
fc6_even = even_batch(of_layer["fc6"], entering["fc6"])
conv3_even = even_batch(of_layer["conv3"], entering["conv3"])


# %% [even nearly forward]
def even_batch(parameters, values):
    return parameters / (values / 2)


# %% [even nearly halves]
def even_batch(parameters, values):
    return parameters / (2 * values)


# %% [even nearly bytes]
def even_batch(parameters, values):
    return parameters * bytes_each / values


# %% [even nearly upside_down]
def even_batch(parameters, values):
    return values / parameters


# %% [even wrong other]
def even_batch(parameters, values):
    return parameters - values


# %% [batch start: network]
# counts.training_bytes(batch): the bytes of weights, gradients, momentum, and activations, the outputs of all layers.
def training_gigabytes(batch):
    """What a step needs, in gigabytes of a thousand million bytes, with the gradients of the outputs too."""
    return ...


largest_batch = ...  # the largest batch for which this is no more than card_gigabytes


# %% [batch check]
def check(answer):
    def right(size):
        parts = counts.training_bytes(size)
        return (sum(parts.values()) + parts["activations"]) / 1e9

    sizes = [1, 64, 128, 500]
    want = np.array([right(size) for size in sizes])
    got = np.array([answer.training_gigabytes(size) for size in sizes], dtype=float)
    if np.allclose(got, want):
        most = next(size for size in range(1, 2000) if right(size + 1) > card_gigabytes)
        return None if answer.largest_batch == most else ("largest", {"got": answer.largest_batch})
    activations = np.array([counts.training_bytes(size)["activations"] for size in sizes]) / 1e9
    known = {"gradients": want - activations, "outputs": 2 * activations, "gibibytes": want * 1e9 / 2**30}
    reason = next((reason for reason, each in known.items() if np.allclose(got, each)), "other")
    return reason if reason != "other" else ("other", {"got": float(got[2]), "want": float(want[2])})


# %% [batch right]
def training_gigabytes(batch):
    parts = counts.training_bytes(batch)
    return (sum(parts.values()) + parts["activations"]) / 1e9


largest_batch = next(size for size in range(1, 2000) if training_gigabytes(size + 1) > card_gigabytes)
empty_gigabytes = training_gigabytes(0)

# %% [batch nearly largest]


def training_gigabytes(batch):
    parts = counts.training_bytes(batch)
    return (sum(parts.values()) + parts["activations"]) / 1e9


largest_batch = 128


# %% [batch nearly gradients]
def training_gigabytes(batch):
    return sum(counts.training_bytes(batch).values()) / 1e9


largest_batch = 200


# %% [batch nearly gibibytes]
def training_gigabytes(batch):
    parts = counts.training_bytes(batch)
    return (sum(parts.values()) + parts["activations"]) / 2**30


largest_batch = 200


# %% [batch wrong outputs]
def training_gigabytes(batch):
    return 2 * counts.training_bytes(batch)["activations"] / 1e9


largest_batch = 200


# %% [batch wrong other]
def training_gigabytes(batch):
    return batch / 100


largest_batch = 300

# %% [throughput start: draw training]
# Train small_net() for two epochs with batches of 8, 32 and 128, and note what comes of it:
# train(made, epochs, size=...) returns the seconds, accuracy(made) the share of right answers.
images_per_second = ...  # three numbers
accuracies = ...  # three numbers


# %% [throughput check]
def check(answer):
    speed, right = list(answer.images_per_second), list(answer.accuracies)
    if len(speed) != 3 or len(right) != 3:
        return "three", {"got": f"{len(speed)}, {len(right)}"}
    if not all(0 <= share <= 1 for share in right):
        return "shares"
    if max(speed) < 5:
        return "seconds"
    if speed[0] > 3 * speed[2]:
        return "slower", {"first": float(speed[0]), "last": float(speed[2])}
    return None


# %% [throughput right]
sizes, rounds = (8, 32, 128), 1 if small else 2
images_per_second, accuracies = [], []
for size in sizes:
    made = small_net()
    images_per_second.append(rounds * len(images) / train(made, rounds, size=size))
    accuracies.append(accuracy(made))
small_speed, middle_speed, large_speed = images_per_second
small_right, middle_right, large_right = accuracies
small_batch, middle_batch, large_batch = sizes

# %% [throughput nearly seconds]
images_per_second = [0.02, 0.01, 0.005]  # seconds for each image
accuracies = [0.5, 0.5, 0.4]

# %% [throughput nearly shares]
images_per_second = [400, 900, 1200]
accuracies = [50, 50, 40]

# %% [throughput wrong slower]
images_per_second = [4000, 900, 400]
accuracies = [0.5, 0.5, 0.4]

# %% [throughput wrong three]
images_per_second = [400]
accuracies = [0.5]


# %% [chip start: network]
# A chip has one area to share out. With the share x for arithmetic it does x * arithmetic multiply-adds a second,
# and reads (1 - x) * memory bytes a second; both numbers stand in the cell [setup].
def seconds(layer, batch, x):
    """How long a layer takes for a batch: arithmetic and reading go on at the same time, and the slower one decides.

    Read are only its parameters, once; layer has parameters and multiply_adds for one image.
    """
    return ...


# %% [chip check]
def check(answer):
    layers = {layer.name: layer for layer in counts.layers}
    cases = [(layers["fc6"], 1, 0.5), (layers["conv2"], 1, 0.5), (layers["fc6"], 128, 0.3), (layers["conv1"], 2, 0.9)]

    def parts(layer, size, x):
        work = layer.multiply_adds * size / (x * arithmetic)
        return work, layer.parameters * bytes_each / ((1 - x) * memory), work / size

    times = np.array([parts(*case) for case in cases])
    got = np.array([answer.seconds(*case) for case in cases], dtype=float)
    known = {
        None: times[:, :2].max(1),
        "sum": times[:, :2].sum(1),
        "batch": np.maximum(times[:, 2], times[:, 1]),
        "reads": np.maximum(times[:, 0], times[:, 1] * [size for _, size, _ in cases]),
        "bytes": np.maximum(times[:, 0], times[:, 1] / bytes_each),
        "work": times[:, 0],
    }
    reason = next((reason for reason, each in known.items() if np.allclose(got, each)), "other")
    return reason if reason != "other" else ("other", {"got": float(got[0]), "want": float(known[None][0])})


# %% [chip right]
def seconds(layer, batch, x):
    work = layer.multiply_adds * batch / (x * arithmetic)
    reading = layer.parameters * bytes_each / ((1 - x) * memory)
    return max(work, reading)


def best_share(batch):
    """The share for arithmetic with which the whole network is fastest."""
    shares = np.linspace(0.01, 0.99, 99)
    whole = [sum(seconds(layer, batch, x) for layer in counts.layers if layer.learned) for x in shares]
    return shares[int(np.argmin(whole))]


one_share, many_share = best_share(1), best_share(batch)


# %% [chip nearly sum]
def seconds(layer, batch, x):
    return layer.multiply_adds * batch / (x * arithmetic) + layer.parameters * bytes_each / ((1 - x) * memory)


# %% [chip nearly batch]
def seconds(layer, batch, x):
    return max(layer.multiply_adds / (x * arithmetic), layer.parameters * bytes_each / ((1 - x) * memory))


# %% [chip nearly reads]
def seconds(layer, batch, x):
    return batch * max(layer.multiply_adds / (x * arithmetic), layer.parameters * bytes_each / ((1 - x) * memory))


# %% [chip nearly bytes]
def seconds(layer, batch, x):
    return max(layer.multiply_adds * batch / (x * arithmetic), layer.parameters / ((1 - x) * memory))


# %% [chip wrong work]
def seconds(layer, batch, x):
    return layer.multiply_adds * batch / (x * arithmetic)


# %% [chip wrong other]
def seconds(layer, batch, x):
    return x
