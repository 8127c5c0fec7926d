"""The exercises of lesson 1."""


# %% [side start]
def output_side(image, kernel, stride, padding):
    return ...


# %% [side check]
def check(answer):
    cases = [(227, 11, 4, 0), (28, 5, 1, 2), (224, 11, 4, 2), (224, 11, 4, 1), (55, 3, 2, 0), (13, 3, 1, 1)]
    exact = [(i + 2 * p - k) / s + 1 for i, k, s, p in cases]
    got = [answer.output_side(*case) for case in cases]
    if got == [int(side) for side in exact]:
        return None
    if got == exact:
        return "fraction"
    if [int(side) for side in got] == [int(side) - 1 for side in exact]:
        return "plus_one"
    if got == [(i + p - k) // s + 1 for i, k, s, p in cases]:
        return "one_side"
    place = next(n for n, side in enumerate(exact) if got[n] != int(side))
    i, k, s, p = cases[place]
    return "other", {"i": i, "k": k, "s": s, "p": p, "got": got[place], "want": int(exact[place])}


# %% [side right]
def output_side(image, kernel, stride, padding):
    return (image + 2 * padding - kernel) // stride + 1


d2l_side = output_side(224, 11, 4, 1)
torchvision_side = output_side(224, 11, 4, 2)


# %% [side nearly plus_one]
def output_side(image, kernel, stride, padding):
    return (image + 2 * padding - kernel) // stride


# %% [side nearly one_side]
def output_side(image, kernel, stride, padding):
    return (image + padding - kernel) // stride + 1


# %% [side nearly fraction]
def output_side(image, kernel, stride, padding):
    return (image + 2 * padding - kernel) / stride + 1


# %% [side wrong other]
def output_side(image, kernel, stride, padding):
    return image // stride


# %% [count start]
def conv_parameters(kernel, channels_in, channels_out, groups):
    return ...


# %% [count check]
def check(answer):
    cases = [(11, 3, 96, 1), (5, 96, 256, 2), (3, 256, 384, 1), (3, 384, 384, 2), (5, 6, 16, 1)]
    layers = [torch.nn.Conv2d(i, o, k, groups=g, device="meta") for k, i, o, g in cases]
    want = [sum(each.numel() for each in layer.parameters()) for layer in layers]
    got = [answer.conv_parameters(*case) for case in cases]
    if got == want:
        return None
    if got == [each - o for each, (_, _, o, _) in zip(want, cases, strict=True)]:
        return "bias"
    if got == [k * k * i * o + o for k, i, o, _ in cases]:
        return "groups"
    place = next(n for n in range(len(cases)) if got[n] != want[n])
    k, i, o, g = cases[place]
    return "other", {"k": k, "i": i, "o": o, "g": g, "got": got[place], "want": want[place]}


# %% [count right]
def conv_parameters(kernel, channels_in, channels_out, groups):
    weights = kernel * kernel * (channels_in // groups) * channels_out
    return weights + channels_out


conv2_two_towers = conv_parameters(5, 96, 256, 2)
conv2_one_tower = conv_parameters(5, 96, 256, 1)


# %% [count nearly bias]
def conv_parameters(kernel, channels_in, channels_out, groups):
    return kernel * kernel * (channels_in // groups) * channels_out


# %% [count nearly groups]
def conv_parameters(kernel, channels_in, channels_out, groups):
    return kernel * kernel * channels_in * channels_out + channels_out


# %% [count wrong other]
def conv_parameters(kernel, channels_in, channels_out, groups):
    return kernel * channels_in * channels_out


# %% [largest start: networks]
most_parameters = ...  # the name of a layer of the large network, for example "conv1"
most_products = ...


# %% [largest check]
def check(answer):
    layers = {layer.name: layer for layer in learned(large)}
    memory = max(layers, key=lambda name: layers[name].parameters)
    work = max(layers, key=lambda name: layers[name].multiply_adds)
    got = (answer.most_parameters, answer.most_products)
    if got == (memory, work):
        return None
    unknown = [name for name in got if name not in layers]
    if unknown:
        return "unknown", {"name": unknown[0]}
    if got == (work, memory):
        return "swapped"
    return "half" if got[0] == memory or got[1] == work else "neither"


# %% [largest right]
ranked = {layer.name: layer for layer in learned(large)}
most_parameters = max(ranked, key=lambda name: ranked[name].parameters)
most_products = max(ranked, key=lambda name: ranked[name].multiply_adds)
parameters_share = ranked[most_parameters].parameters / large.parameters
products_share = ranked[most_products].multiply_adds / large.multiply_adds

# %% [largest nearly half]
most_parameters = "fc6"
most_products = "conv1"

# %% [largest nearly swapped]
most_parameters = "conv2"
most_products = "fc6"

# %% [largest wrong neither]
most_parameters = "conv1"
most_products = "fc8"

# %% [largest wrong unknown]
most_parameters = "fc9"
most_products = "conv2"

# %% [gigabyte start: networks]
# In megabytes of a million bytes; large.parameters is how many numbers there are, each of bytes_each bytes.
weights_megabytes = ...  # the weights alone
sgd_megabytes = ...  # what training with momentum keeps for them: weights, gradients, momentum
adam_megabytes = ...  # the same with Adam, which keeps two averages of each gradient


# %% [gigabyte check]
def check(answer):
    one = large.parameters * bytes_each / 1e6
    want = np.array([one, 3 * one, 4 * one])
    got = np.array([answer.weights_megabytes, answer.sgd_megabytes, answer.adam_megabytes], dtype=float)
    if np.allclose(got, want, rtol=0.01):
        return None
    if np.allclose(got, want * 1e6 / 2**20, rtol=0.01):
        return "mebibytes"
    if np.allclose(got, want / bytes_each, rtol=0.01):
        return "numbers"
    if np.allclose(got, want - [0, one, one], rtol=0.01):
        return "gradients"
    place = int(np.argmax(~np.isclose(got, want, rtol=0.01)))
    return ("weights", "sgd", "adam")[place], {"got": got[place]}


# %% [gigabyte right]
weights_megabytes = large.parameters * bytes_each / 1e6
sgd_megabytes = 3 * weights_megabytes
adam_megabytes = 4 * weights_megabytes

# %% [gigabyte nearly mebibytes]
weights_megabytes = large.parameters * bytes_each / 2**20
sgd_megabytes = 3 * weights_megabytes
adam_megabytes = 4 * weights_megabytes

# %% [gigabyte nearly numbers]
weights_megabytes = large.parameters / 1e6
sgd_megabytes = 3 * weights_megabytes
adam_megabytes = 4 * weights_megabytes

# %% [gigabyte nearly gradients]
weights_megabytes = large.parameters * bytes_each / 1e6
sgd_megabytes = 2 * weights_megabytes
adam_megabytes = 3 * weights_megabytes

# %% [gigabyte wrong weights]
weights_megabytes = 1000
sgd_megabytes = 3000
adam_megabytes = 4000

# %% [gigabyte wrong sgd]
weights_megabytes = large.parameters * bytes_each / 1e6
sgd_megabytes = weights_megabytes
adam_megabytes = 4 * weights_megabytes

# %% [gigabyte wrong adam]
weights_megabytes = large.parameters * bytes_each / 1e6
sgd_megabytes = 3 * weights_megabytes
adam_megabytes = 8 * weights_megabytes


# %% [intensity start: networks]
def products_per_byte(layer, batch):
    """How often each byte of the layer's parameters is used when a batch goes through."""
    return ...  # layer.multiply_adds is for one image; layer.parameters are numbers of bytes_each bytes


# %% [intensity check]
def check(answer):
    layers = {layer.name: layer for layer in learned(large)}
    cases = [("conv2", 1), ("fc6", 1), ("fc6", 128), ("conv1", 32)]
    want = np.array([b * layers[n].multiply_adds / (bytes_each * layers[n].parameters) for n, b in cases])
    batches = np.array([b for _, b in cases])
    got = np.array([answer.products_per_byte(layers[n], b) for n, b in cases], dtype=float)
    if np.allclose(got, want):
        return None
    if np.allclose(got, want / batches):
        return "batch"
    if np.allclose(got, want * bytes_each):
        return "bytes"
    if np.allclose(got, 1 / want):
        return "upside_down"
    place = int(np.argmax(~np.isclose(got, want)))
    return "other", {"name": cases[place][0], "batch": cases[place][1], "got": got[place]}


# %% [intensity right]
def products_per_byte(layer, batch):
    return batch * layer.multiply_adds / (layer.parameters * bytes_each)


by_name = {layer.name: layer for layer in learned(large)}
conv2_use = products_per_byte(by_name["conv2"], 1)
fc6_use = products_per_byte(by_name["fc6"], 1)
fc6_batch_use = products_per_byte(by_name["fc6"], 128)


# %% [intensity nearly batch]
def products_per_byte(layer, batch):
    return layer.multiply_adds / (layer.parameters * bytes_each)


# %% [intensity nearly bytes]
def products_per_byte(layer, batch):
    return batch * layer.multiply_adds / layer.parameters


# %% [intensity nearly upside_down]
def products_per_byte(layer, batch):
    return layer.parameters * bytes_each / (batch * layer.multiply_adds)


# %% [intensity wrong other]
def products_per_byte(layer, batch):
    return layer.parameters * batch
