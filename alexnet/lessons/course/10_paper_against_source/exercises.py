"""The exercises of lesson 10."""


# %% [pad start]
def padded(images):
    """Pads images (N, 3, height, width) so that a convolution of 11 x 11, every 4 pixels, gives the maps of 2012."""
    return ...


# %% [pad check]
def check(answer):
    torch.manual_seed(0)
    kernels = torch.randn(4, 3, 11, 11)
    images = torch.randn(2, 3, 224, 224)

    def maps(sides, mode="constant"):
        return conv2d(pad(images, sides, mode=mode), kernels, stride=4)

    got = conv2d(torch.as_tensor(answer.padded(images.clone())), kernels, stride=4)
    want = maps((0, 3, 0, 3))
    if got.shape != want.shape:
        return "size", {"got": got.shape[-1], "want": want.shape[-1]}
    known = {None: want, "other_side": maps((3, 0, 3, 0)), "edge": maps((0, 3, 0, 3), "replicate")}
    for reason, each in known.items():
        if torch.allclose(got, each, atol=1e-3):
            return reason
    if torch.allclose(got, maps((2, 2, 2, 2)), atol=1e-3) or torch.allclose(got, maps((2, 1, 2, 1)), atol=1e-3):
        return "around", {"shift": 2}
    return "other"


# %% [pad right]
def padded(images):
    return pad(images, (0, 3, 0, 3))


padded_side = padded(torch.zeros(1, 3, crop, crop)).shape[-1]
windows_there = (padded_side - 11) // 4 + 1


# %% [pad nearly around]
def padded(images):
    return pad(images, (2, 2, 2, 2))


# %% [pad nearly other_side]
def padded(images):
    return pad(images, (3, 0, 3, 0))


# %% [pad nearly edge]
def padded(images):
    return pad(images, (0, 3, 0, 3), mode="replicate")


# %% [pad wrong size]
def padded(images):
    return pad(images, (1, 1, 1, 1))


# %% [pad wrong other]
def padded(images):
    return pad(images, (1, 2, 1, 2))


# %% [rule start]
def step(weight, velocity, gradient, rate, momentum=0.9, decay=0.0005):
    """One update of the program of 2012: returns the new weight and the new velocity."""
    return ...


# %% [rule check]
def check(answer):
    gradients = (1.0, -0.5, 2.0)
    rates = (0.1, 0.1, 0.01)
    momentum, decay = 0.8, 0.05

    def run(rule):
        weight, velocity = 3.0, 0.5
        for gradient, rate in zip(gradients, rates, strict=True):
            weight, velocity = rule(weight, velocity, gradient, rate, momentum, decay)
        return float(weight)

    def want(w, v, g, rate, m, d):
        v = m * v - rate * (g + d * w)
        return w + v, v

    def torch_rule(w, v, g, rate, m, d):
        v = m * v + g + d * w
        return w - rate * v, v

    def outside(w, v, g, rate, m, d):
        v = m * v - rate * g
        return w + v - rate * d * w, v

    first = answer.step(3.0, 0.5, 1.0, 0.1, momentum, decay)
    if not isinstance(first, (tuple, list)) or len(first) != 2:
        return "pair", {"got": type(first).__name__}
    got = run(answer.step)
    known = {
        None: want,
        "torch": torch_rule,
        "no_decay": lambda w, v, g, rate, m, d: want(w, v, g, rate, m, 0.0),
        "decay_outside": outside,
        "uphill": lambda w, v, g, rate, m, d: (w + (m * v + rate * (g - d * w)), m * v + rate * (g - d * w)),
    }
    for reason, rule in known.items():
        if abs(got - run(rule)) < 1e-6:
            return reason
    return "other", {"got": got, "want": run(want)}


# %% [rule right]
def step(weight, velocity, gradient, rate, momentum=0.9, decay=0.0005):
    velocity = momentum * velocity - rate * (gradient + decay * weight)
    return weight + velocity, velocity


after_drop, _ = step(*step(0.0, 0.0, 1.0, 0.1), 1.0, 0.01)


# %% [rule nearly torch]
def step(weight, velocity, gradient, rate, momentum=0.9, decay=0.0005):
    velocity = momentum * velocity + gradient + decay * weight
    return weight - rate * velocity, velocity


# %% [rule nearly no_decay]
def step(weight, velocity, gradient, rate, momentum=0.9, decay=0.0005):
    velocity = momentum * velocity - rate * gradient
    return weight + velocity, velocity


# %% [rule nearly decay_outside]
def step(weight, velocity, gradient, rate, momentum=0.9, decay=0.0005):
    velocity = momentum * velocity - rate * gradient
    return weight + velocity - rate * decay * weight, velocity


# %% [rule wrong uphill]
def step(weight, velocity, gradient, rate, momentum=0.9, decay=0.0005):
    velocity = momentum * velocity + rate * (gradient - decay * weight)
    return weight + velocity, velocity


# %% [rule wrong pair]
def step(weight, velocity, gradient, rate, momentum=0.9, decay=0.0005):
    return weight - rate * gradient


# %% [rule wrong other]
def step(weight, velocity, gradient, rate, momentum=0.9, decay=0.0005):
    return weight, velocity


# %% [text start]
as_text = alexnet.recipe("alexnet-2012")  # change its fields


# %% [text check]
def check(answer):
    recipe = answer.as_text
    if not isinstance(recipe, alexnet.Recipe):
        return "no_recipe", {"got": type(recipe).__name__}
    before = {each.field for each in alexnet.diff("alexnet-2012", "alexnet-paper") if each.field.startswith("model.")}
    left = [each.field for each in alexnet.diff(recipe, "alexnet-paper") if each.field.startswith("model.")]
    if not left:
        return None
    if extra := sorted(set(left) - before):
        return "one_more", {"left": ", ".join(extra)}
    if set(left) == before:
        return "unchanged"
    return "some", {"left": ", ".join(left)}


# %% [text right]
differences = alexnet.diff("alexnet-2012", "alexnet-paper")
network_fields = {each.field: each.second for each in differences if each.field.startswith("model.")}
as_text = alexnet.recipe("alexnet-2012", **network_fields)
changed = len(network_fields)

# %% [text nearly some]
as_text = alexnet.recipe("alexnet-2012", norm1="after-activation", lrn_alpha=5e-4, within_map_norm=False)

# %% [text nearly one_more]
as_text = alexnet.recipe("caffe", crop_size=224)

# %% [text wrong unchanged]
as_text = alexnet.recipe("alexnet-2012", epochs=80)

# %% [text wrong no_recipe]
as_text = "alexnet-paper"

# %% [torchvision start]
resized = alexnet.recipe("alexnet-owt")  # change two of its fields


# %% [torchvision check]
def check(answer):
    recipe = answer.resized
    if not isinstance(recipe, alexnet.Recipe):
        return "no_recipe", {"got": type(recipe).__name__}
    if recipe.model.norm != "none":
        return "itself"
    got, want = alexnet.summary(recipe).parameters, alexnet.summary("alexnet-2012").parameters
    if got == want:
        return None
    if tuple(recipe.model.channels) == (96, 256, 384, 384, 256):
        return "one_tower", {"got": got}
    return "kernels" if recipe.model.towers == 2 else ("unchanged", {"got": got, "want": want})


# %% [torchvision right]
kernels = (96, 256, 384, 384, 256)
resized = alexnet.recipe("alexnet-owt", channels=kernels, towers=2)
one_tower = alexnet.summary(alexnet.recipe("alexnet-owt", channels=kernels)).parameters

# %% [torchvision nearly one_tower]
resized = alexnet.recipe("alexnet-owt", channels=(96, 256, 384, 384, 256))

# %% [torchvision nearly kernels]
resized = alexnet.recipe("alexnet-owt", towers=2)

# %% [torchvision wrong itself]
resized = alexnet.recipe("alexnet-2012")

# %% [torchvision wrong unchanged]
resized = alexnet.recipe("alexnet-owt", dropout=0.3)

# %% [torchvision wrong no_recipe]
resized = 60_965_224
