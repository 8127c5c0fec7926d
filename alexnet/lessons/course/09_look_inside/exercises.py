"""The exercises of lesson 9."""


# %% [occlude start]
def occlude(score, image, patch):
    """Maps the fall of a score, a function of an image (height, width), under a square of zeros at every place.

    Each pixel gets the mean of the falls over all squares that cover it; squares move by one pixel.
    """
    return ...


# %% [occlude check]
def check(answer):
    generator = np.random.default_rng(0)
    cases = []
    for height, width, patch in ((5, 6, 2), (7, 4, 3), (4, 4, 1)):
        weights, image = generator.normal(size=(height, width)), generator.uniform(1, 2, (height, width))
        cases.append((lambda seen, weights=weights: float((weights * np.asarray(seen)).sum()) ** 3, image, patch))

    def mapped(score, image, patch):
        total, count = np.zeros(image.shape), np.zeros(image.shape)
        for top in range(image.shape[0] - patch + 1):
            for left in range(image.shape[1] - patch + 1):
                covered = image.copy()
                covered[top : top + patch, left : left + patch] = 0
                total[top : top + patch, left : left + patch] += score(image) - score(covered)
                count[top : top + patch, left : left + patch] += 1
        return total, count

    got = [np.asarray(answer.occlude(score, image.copy(), patch)) for score, image, patch in cases]
    for each, (_, image, _) in zip(got, cases, strict=True):
        if each.shape != image.shape:
            return "shape", {"got": each.shape, "want": image.shape}
    want = [mapped(*case) for case in cases]
    known = {
        None: [total / count for total, count in want],
        "sums": [total for total, _ in want],
        "turned": [-total / count for total, count in want],
    }
    for reason, each in known.items():
        if all(np.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(got, each, strict=True)):
            return reason
    return "other"


# %% [occlude right]
def occlude(score, image, patch):
    whole, total, count = score(image), np.zeros(image.shape), np.zeros(image.shape)
    for top in range(image.shape[0] - patch + 1):
        for left in range(image.shape[1] - patch + 1):
            region = (slice(top, top + patch), slice(left, left + patch))
            covered = image.copy()
            covered[region] = 0
            total[region] += whole - score(covered)
            count[region] += 1
    return total / count


flat_map = occlude(lambda seen: seen[2:4, 2:4].sum(), np.ones((6, 6)), 2)
inside_value, outside_value = flat_map[2, 2], flat_map[0, 0]


# %% [occlude nearly sums]
def occlude(score, image, patch):
    total = np.zeros(image.shape)
    for top in range(image.shape[0] - patch + 1):
        for left in range(image.shape[1] - patch + 1):
            covered = image.copy()
            covered[top : top + patch, left : left + patch] = 0
            total[top : top + patch, left : left + patch] += score(image) - score(covered)
    return total


# %% [occlude nearly turned]
def occlude(score, image, patch):
    total, count = np.zeros(image.shape), np.zeros(image.shape)
    for top in range(image.shape[0] - patch + 1):
        for left in range(image.shape[1] - patch + 1):
            covered = image.copy()
            covered[top : top + patch, left : left + patch] = 0
            total[top : top + patch, left : left + patch] += score(covered) - score(image)
            count[top : top + patch, left : left + patch] += 1
    return total / count


# %% [occlude wrong shape]
def occlude(score, image, patch):
    return np.array([score(image)])


# %% [occlude wrong other]
def occlude(score, image, patch):
    return image * score(image)


# %% [nearest start]
def nearest(vectors, number, k):
    """The numbers of the k rows of `vectors` (N, D) that are nearest to row `number`, without itself, nearest first."""
    return ...


# %% [nearest check]
def check(answer):
    cases = [(torch.randn(12, 5, generator=torch.Generator().manual_seed(seed)), seed, 3) for seed in range(4)]
    cases.append((torch.tensor([[0.0, 1.0], [9.0, 0.0], [0.1, 1.0], [0.0, 5.0]]), 0, 2))
    got = [[int(each) for each in answer.nearest(*case)] for case in cases]
    if any(len(each) != k for each, (_, _, k) in zip(got, cases, strict=True)):
        return "count", {"got": len(got[0]), "want": cases[0][2]}

    def order(vectors, number, distance):
        return sorted(range(len(vectors)), key=lambda row: distance(vectors[row], vectors[number]))

    def euclid(a, b):
        return (a - b).norm().item()

    def ranked(distance, itself=False, turned=False):
        out = []
        for vectors, number, k in cases:
            rows = order(vectors, number, distance)
            rows = rows if itself else [row for row in rows if row != number]
            out.append((rows[::-1] if turned else rows)[:k])
        return out

    def angle(a, b):
        return -torch.nn.functional.cosine_similarity(a, b, dim=0).item()

    known = {
        None: ranked(euclid),
        "itself": ranked(euclid, itself=True),
        "farthest": ranked(euclid, turned=True),
        "angle": ranked(angle),
    }
    return next((reason for reason, want in known.items() if got == want), "other")


# %% [nearest right]
def nearest(vectors, number, k):
    distances = (vectors - vectors[number]).norm(dim=1)
    distances[number] = torch.inf
    return distances.argsort()[:k]


example = nearest(torch.tensor([[0.0], [5.0], [1.0]]), 0, 1).item()


# %% [nearest nearly itself]
def nearest(vectors, number, k):
    return (vectors - vectors[number]).norm(dim=1).argsort()[:k]


# %% [nearest nearly angle]
def nearest(vectors, number, k):
    alike = torch.nn.functional.cosine_similarity(vectors, vectors[number : number + 1])
    alike[number] = -torch.inf
    return alike.argsort(descending=True)[:k]


# %% [nearest wrong farthest]
def nearest(vectors, number, k):
    return (vectors - vectors[number]).norm(dim=1).argsort(descending=True)[:k]


# %% [nearest wrong count]
def nearest(vectors, number, k):
    return (vectors - vectors[number]).norm(dim=1).argsort()


# %% [nearest wrong other]
def nearest(vectors, number, k):
    return list(range(k))


# %% [exciting start]
def exciting(maps, unit, k):
    """The numbers of the k images that excite a unit most at any place; maps is (images, units, height, width)."""
    return ...


# %% [exciting check]
def check(answer):
    cases = [(torch.randn(9, 4, 3, 5, generator=torch.Generator().manual_seed(seed)), seed, 4) for seed in range(4)]
    got = [[int(each) for each in answer.exciting(*case)] for case in cases]
    if any(len(each) != k for each, (_, _, k) in zip(got, cases, strict=True)):
        return "count", {"got": len(got[0]), "want": cases[0][2]}

    def ranked(strength):
        return [strength(maps)[:, unit].argsort(descending=True)[:k].tolist() for maps, unit, k in cases]

    known = {
        None: ranked(lambda maps: maps.amax((2, 3))),
        "mean": ranked(lambda maps: maps.mean((2, 3))),
        "least": ranked(lambda maps: -maps.amax((2, 3))),
        "center": ranked(lambda maps: maps[:, :, 1, 2]),
    }
    return next((reason for reason, want in known.items() if got == want), "other")


# %% [exciting right]
def exciting(maps, unit, k):
    return maps[:, unit].amax((1, 2)).argsort(descending=True)[:k]


spot = torch.zeros(2, 1, 4, 4)
spot[0, 0, 1, 1], spot[1, 0] = 1.0, 0.3
by_strongest, by_mean = exciting(spot, 0, 1).item(), spot.mean((1, 2, 3)).argmax().item()


# %% [exciting nearly mean]
def exciting(maps, unit, k):
    return maps[:, unit].mean((1, 2)).argsort(descending=True)[:k]


# %% [exciting nearly least]
def exciting(maps, unit, k):
    return maps[:, unit].amax((1, 2)).argsort()[:k]


# %% [exciting nearly center]
def exciting(maps, unit, k):
    return maps[:, unit, maps.shape[2] // 2, maps.shape[3] // 2].argsort(descending=True)[:k]


# %% [exciting wrong count]
def exciting(maps, unit, k):
    return [maps[:, unit].amax((1, 2)).argmax()]


# %% [exciting wrong other]
def exciting(maps, unit, k):
    return torch.arange(k)


# %% [agree start]
def agree(first, second):
    """The correlation of the ranks of two maps (arrays of one shape): what counts is the order of the pixels only."""
    return ...


# %% [agree check]
def check(answer):
    generator = np.random.default_rng(0)
    cases = []
    for shape in ((4, 5), (6, 6), (3, 7)):
        first = generator.normal(size=shape)
        cases.append((first, np.exp(3 * first) + 0.1 * generator.normal(size=shape)))
    got = [float(answer.agree(*(each.copy() for each in case))) for case in cases]

    def places(values):
        order = np.argsort(values.ravel(), kind="stable")
        out = np.empty(len(order))
        out[order] = np.arange(len(order))
        return out

    def correlation(change):
        return [np.corrcoef(change(first), change(second))[0, 1] for first, second in cases]

    known = {
        None: correlation(places),
        "values": correlation(np.ravel),
        "order": correlation(lambda values: np.argsort(values.ravel())),
        "squared": [each**2 for each in correlation(places)],
    }
    for reason, want in known.items():
        if np.allclose(got, want, atol=1e-6):
            return reason
    return "other", {"got": got[0], "want": known[None][0]}


# %% [agree right]
def agree(first, second):
    places = [np.argsort(np.argsort(each.ravel())) for each in (first, second)]
    return np.corrcoef(*places)[0, 1]


stretched = np.array([0.1, 0.2, 0.3, 9.0])
same_order = agree(stretched, stretched**3)
by_values = np.corrcoef(stretched, 1 / (1 + np.exp(-stretched)))[0, 1]


# %% [agree nearly values]
def agree(first, second):
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


# %% [agree nearly order]
def agree(first, second):
    return np.corrcoef(np.argsort(first.ravel()), np.argsort(second.ravel()))[0, 1]


# %% [agree nearly squared]
def agree(first, second):
    places = [np.argsort(np.argsort(each.ravel())) for each in (first, second)]
    return np.corrcoef(*places)[0, 1] ** 2


# %% [agree wrong other]
def agree(first, second):
    return float(np.mean(first == second))
