"""The exercises of lesson 3."""


# %% [views start]
def number_of_views(image, crop):
    """How many views a window of `crop` pixels and its mirror make of an image of `image` pixels a side."""
    return ...


# %% [views check]
def check(answer):
    cases = [(256, 224), (32, 24), (32, 28), (40, 39), (8, 8)]
    got = [answer.number_of_views(*case) for case in cases]
    want = [2 * torch.zeros(image).unfold(0, crop, 1).shape[0] ** 2 for image, crop in cases]
    if got == want:
        return None
    if got == [2 * (image - crop) ** 2 for image, crop in cases]:
        return "fence"
    if got == [each / 2 for each in want]:
        return "mirror"
    if got == [2 * (image - crop + 1) for image, crop in cases]:
        return "one_axis"
    if got == [4 * (image - crop + 1) ** 2 for image, crop in cases]:
        return "both_mirrors"
    (image, crop), first, right = next(each for each in zip(cases, got, want, strict=True) if each[1] != each[2])
    return "other", {"i": image, "c": crop, "got": first, "want": right}


# %% [views right]
def number_of_views(image, crop):
    return 2 * (image - crop + 1) ** 2


of_cifar = number_of_views(32, 24)  # images and windows of the networks for CIFAR-10 in the same source


# %% [views nearly fence]
def number_of_views(image, crop):
    return 2 * (image - crop) ** 2


# %% [views nearly mirror]
def number_of_views(image, crop):
    return (image - crop + 1) ** 2


# %% [views nearly one_axis]
def number_of_views(image, crop):
    return 2 * (image - crop + 1)


# %% [views nearly both_mirrors]
def number_of_views(image, crop):
    return 4 * (image - crop + 1) ** 2


# %% [views wrong other]
def number_of_views(image, crop):
    return 2 * (image // crop) ** 2


# %% [color start]
def color_shift(stdevs, vectors, z, strength):
    """What is added to red, green and blue; `vectors` has the axes in its columns, z a draw for each axis."""
    return ...


# %% [color check]
def check(answer):
    random = np.random.default_rng(3)
    forms = {
        "": lambda s, v, z, a: a * (v * (s * z)).sum(1),
        "eigenvalue": lambda s, v, z, a: a * (v * (s**2 * z)).sum(1),
        "rows": lambda s, v, z, a: a * (v.T * (s * z)).sum(1),
        "strength": lambda s, v, z, a: (v * (s * z)).sum(1),
        "no_axes": lambda s, v, z, a: a * s * z,
    }
    fits = set(forms)
    for _ in range(3):
        axes, _ = np.linalg.qr(random.normal(size=(3, 3)))
        case = (np.array([90.0, 30.0, 12.0]) * random.uniform(0.5, 1.5, 3), axes, random.normal(size=3), 0.2)
        got = np.asarray(answer.color_shift(*case), dtype=float)
        if got.shape != (3,):
            return "shape", {"got": got.shape}
        fits -= {name for name in fits if not np.allclose(got, forms[name](*case), rtol=1e-4)}
    if "" in fits:
        return None
    return fits.pop() if fits else "other"


# %% [color right]
def color_shift(stdevs, vectors, z, strength):
    return strength * vectors @ (stdevs * z)


red, green, blue = color_shift(stdevs, vectors, np.array([1.0, 0.0, 0.0]), strength)


# %% [color nearly eigenvalue]
def color_shift(stdevs, vectors, z, strength):
    return strength * vectors @ (stdevs**2 * z)


# %% [color nearly rows]
def color_shift(stdevs, vectors, z, strength):
    return strength * (stdevs * z) @ vectors


# %% [color nearly strength]
def color_shift(stdevs, vectors, z, strength):
    return vectors @ (stdevs * z)


# %% [color wrong no_axes]
def color_shift(stdevs, vectors, z, strength):
    return strength * stdevs * z


# %% [color wrong shape]
def color_shift(stdevs, vectors, z, strength):
    return strength * vectors * stdevs * z


# %% [color wrong other]
def color_shift(stdevs, vectors, z, strength):
    return strength * z


# %% [average start]
def answer_of(logits):
    """One probability for each class, from the logits of several views: (views, classes)."""
    return ...


# %% [average check]
def check(answer):
    random = torch.Generator().manual_seed(0)
    fits = {"", "logits", "votes", "largest", "one_view"}
    for views in (10, 5, 2):
        logits = 4 * torch.randn(views, 6, generator=random)
        got = torch.as_tensor(answer.answer_of(logits.clone())).float()
        if got.shape != (6,):
            return "shape", {"got": tuple(got.shape)}
        each = logits.exp() / logits.exp().sum(1, keepdim=True)
        mean = logits.mean(0)
        forms = {
            "": sum(each) / views,
            "logits": mean.exp() / mean.exp().sum(),
            "votes": torch.bincount(logits.argmax(1), minlength=6) / views,
            "largest": each.max(0).values,
            "one_view": each[0],
        }
        fits -= {name for name in fits if not torch.allclose(got, forms[name], atol=1e-4)}
    if "" in fits:
        return None
    return fits.pop() if fits else ("other", {"total": got.sum().item()})


# %% [average right]
def answer_of(logits):
    return logits.softmax(1).mean(0)


two_views = torch.tensor([[9.0, 0.0], [0.0, 1.0]])  # one view is sure of the first class, one leans to the second
of_probabilities = answer_of(two_views)[0].item()
of_logits = two_views.mean(0).softmax(0)[0].item()


# %% [average nearly logits]
def answer_of(logits):
    return logits.mean(0).softmax(0)


# %% [average nearly votes]
def answer_of(logits):
    return torch.bincount(logits.argmax(1), minlength=logits.shape[1]) / len(logits)


# %% [average nearly largest]
def answer_of(logits):
    return logits.softmax(1).max(0).values


# %% [average wrong one_view]
def answer_of(logits):
    return logits[0].softmax(0)


# %% [average wrong shape]
def answer_of(logits):
    return logits.softmax(1).mean(1)


# %% [average wrong other]
def answer_of(logits):
    return logits.mean(0)


# %% [nine start]
def nine_views(pixels, size):
    """Three by three windows, at the start, the middle and the end of each side: (3, H, H) to (9, 3, size, size)."""
    return ...


# %% [nine check]
def check(answer):
    pixels = torch.arange(3 * 12 * 12).view(3, 12, 12)
    for size in (8, 10):
        got = answer.nine_views(pixels, size)
        got = torch.stack(list(got)) if isinstance(got, (list, tuple)) else torch.as_tensor(got)
        ends = [(12 - size) // 2 * i for i in range(3)]
        want = {tuple(pixels[:, y : y + size, x : x + size].flatten().tolist()) for y in ends for x in ends}
        if got.shape[1:] != (3, size, size):
            return "shape", {"got": tuple(got.shape)}
        seen = {tuple(each.flatten().tolist()) for each in got}
        if len(got) == 9 and seen == want:
            continue
        if len(got) == 18 and want <= seen:
            return "mirrored"
        if seen < want:
            return "some", {"got": len(seen)}
        return "other", {"got": len(seen & want)}
    return None


# %% [nine right]
def nine_views(pixels, size):
    last = pixels.shape[-1] - size
    starts = (0, last // 2, last)
    return torch.stack([pixels[:, top : top + size, left : left + size] for top in starts for left in starts])


nine_of_photo = len(nine_views(torch.zeros(3, side, side), crop))


# %% [nine nearly some]
def nine_views(pixels, size):
    starts = (0, pixels.shape[-1] - size)
    return torch.stack([pixels[:, top : top + size, left : left + size] for top in starts for left in starts])


# %% [nine nearly mirrored]
def nine_views(pixels, size):
    last = pixels.shape[-1] - size
    starts = (0, last // 2, last)
    views = torch.stack([pixels[:, top : top + size, left : left + size] for top in starts for left in starts])
    return torch.cat([views, views.flip(-1)])


# %% [nine wrong other]
def nine_views(pixels, size):
    return torch.stack([pixels[:, i : i + size, i : i + size].flip(-1) for i in (0, 1, 2) for _ in range(3)])


# %% [nine wrong shape]
def nine_views(pixels, size):
    return pixels[:, :size, :size]


# %% [invariance start: data augment]
keeps_the_digit = ...  # a set: those of "shift", "mirror", "upside down" and "brighter" that leave a digit what it is


# %% [invariance check]
def check(answer):
    kinds = {"shift", "mirror", "upside down", "brighter"}
    given = answer.keeps_the_digit
    if isinstance(given, str) or not all(isinstance(each, str) for each in given):
        return "no_names", {"got": type(given).__name__}
    chosen, want = set(given), {"shift", "brighter"}
    if chosen == want:
        return None
    if chosen - kinds:
        return "unknown", {"name": sorted(chosen - kinds)[0]}
    if chosen < want and chosen:
        return "too_few"
    if len(chosen - want) == 1 and want < chosen:
        return "one_too_many"
    return "other"


# %% [invariance right]
keeps_the_digit = {"shift", "brighter"}
held_windows = five_windows(held_images, digit)
still, moved = (alexnet.create_model("lenet", data=data, activation="relu", pooling="max") for _ in range(2))
rounds = 1 if small else 10
train(still, False, False, rounds)
train(moved, True, False, rounds)
still_corner, moved_corner = (error(each, held_windows[:1], held_classes) for each in (still, moved))
upside_down = error(moved, [held_windows[2].flip(-2)], held_classes)

# %% [invariance nearly one_too_many]
keeps_the_digit = {"shift", "mirror", "brighter"}

# %% [invariance nearly too_few]
keeps_the_digit = ["shift"]

# %% [invariance wrong other]
keeps_the_digit = {"mirror", "upside down"}

# %% [invariance wrong unknown]
keeps_the_digit = {"shift", "bright"}

# %% [invariance wrong no_names]
keeps_the_digit = "shift"
