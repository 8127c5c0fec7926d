"""The exercises of lesson 5."""


# %% [across start]
def normalize(responses):
    """Normalizes the responses of all maps at one place, a tensor of as many numbers, as the program of 2012 does."""
    return ...


# %% [across check]
def check(answer):
    torch.manual_seed(0)
    cases = [
        torch.tensor([100.0, 1000.0, 0.0, 0.0, 300.0, 0.0, 0.0, 500.0]),
        300 * torch.randn(16),
        torch.tensor([700.0, 700.0, 700.0, 700.0, 700.0, 700.0]),
    ]

    def torch_norm(size, per_square):
        module = torch.nn.LocalResponseNorm(size, alpha=per_square * size, beta=beta, k=k)
        return [module(case.view(1, -1, 1)).flatten() for case in cases]

    got = [torch.as_tensor(answer.normalize(case.clone())) for case in cases]
    for case, each in zip(cases, got, strict=True):
        if each.shape != case.shape:
            return "shape", {"got": tuple(each.shape), "want": tuple(case.shape)}

    def same(want):
        return all(torch.allclose(a.double(), b.double(), rtol=1e-3, atol=1e-3) for a, b in zip(got, want, strict=True))

    if same(torch_norm(n, alpha / n)):
        return None
    if same(torch_norm(n, alpha)):
        return "undivided"
    if same(torch_norm(1, alpha / n)):
        return "own"
    rolled = [sum(torch.roll(case**2, shift) for shift in range(-(n // 2), n // 2 + 1)) for case in cases]
    if same([case / (k + alpha / n * each) ** beta for case, each in zip(cases, rolled, strict=True)]):
        return "wraps"
    return "other", {"got": got[0][0].item(), "want": torch_norm(n, alpha / n)[0][0].item()}


# %% [across right]
def normalize(responses):
    squares = torch.nn.functional.pad(responses**2, (n // 2, n // 2)).unfold(0, n, 1).sum(1)
    return responses / (k + alpha / n * squares) ** beta


beside_loud = normalize(torch.tensor([100.0, 1000.0]))[0].item()
beside_silent = normalize(torch.tensor([100.0, 0.0]))[0].item()


# %% [across nearly undivided]
def normalize(responses):
    squares = torch.nn.functional.pad(responses**2, (n // 2, n // 2)).unfold(0, n, 1).sum(1)
    return responses / (k + alpha * squares) ** beta


# %% [across nearly wraps]
def normalize(responses):
    squares = sum(torch.roll(responses**2, shift) for shift in (-2, -1, 0, 1, 2))
    return responses / (k + alpha / n * squares) ** beta


# %% [across nearly own]
def normalize(responses):
    return responses / (k + alpha / n * responses**2) ** beta


# %% [across wrong shape]
def normalize(responses):
    return (responses**2).sum()


# %% [across wrong other]
def normalize(responses):
    return responses / responses.norm()


# %% [arguments start]
as_printed = ...  # torch.nn.LocalResponseNorm with arguments that give the formula as the paper prints it


# %% [arguments check]
def check(answer):
    module = answer.as_printed
    if not isinstance(module, torch.nn.Module):
        return "no_layer", {"got": type(module).__name__}
    maps = 300 * torch.randn(1, 12, 3, 3, generator=torch.Generator().manual_seed(1))

    def want(per_square, constant=k):
        squares = torch.nn.functional.pad(maps[0] ** 2, (0, 0, 0, 0, n // 2, n // 2)).unfold(0, n, 1).sum(-1)
        return maps / (constant + per_square * squares) ** beta

    got = module(maps)
    known = {
        None: want(alpha),
        "program": want(alpha / n),
        "constant": want(alpha, 1.0),
        "upside_down": want(alpha / n**2),
    }
    for reason, each in known.items():
        if torch.allclose(got, each, rtol=1e-3, atol=1e-3):
            return reason
    return "other"


# %% [arguments right]
as_printed = torch.nn.LocalResponseNorm(n, alpha=alpha * n, beta=beta, k=k)
printed_alpha = as_printed.alpha

# %% [arguments nearly program]
as_printed = torch.nn.LocalResponseNorm(n, alpha=alpha, beta=beta, k=k)

# %% [arguments nearly constant]
as_printed = torch.nn.LocalResponseNorm(n, alpha=alpha * n, beta=beta)

# %% [arguments wrong upside_down]
as_printed = torch.nn.LocalResponseNorm(n, alpha=alpha / n, beta=beta, k=k)

# %% [arguments wrong no_layer]
as_printed = alpha * n

# %% [arguments wrong other]
as_printed = torch.nn.LocalResponseNorm(3)

# %% [peak start]
best_response = ...  # a number: of a map whose neighbors are silent


# %% [peak check]
def check(answer):
    got = float(answer.best_response)
    x = torch.arange(1.0, 2000.0, dtype=torch.float64)

    def highest(per_square):
        outputs = x / (k + per_square * x**2) ** beta
        return x[outputs.argmax()].item(), outputs.max().item()

    want, output = highest(alpha / n)
    if abs(got - want) < 0.01 * want:
        return None
    if abs(got - output) < 0.01 * output:
        return "output"
    if abs(got - highest(alpha)[0]) < 0.01 * want:
        return "paper"
    return "other", {"got": got, "output": got / (k + alpha / n * got**2) ** beta, "highest": output}


# %% [peak right]
best_response = (k / (alpha / n) / (2 * beta - 1)) ** 0.5
best_output = best_response / (k + alpha / n * best_response**2) ** beta

# %% [peak nearly output]
best_response = 116.6

# %% [peak nearly paper]
best_response = 200

# %% [peak wrong other]
best_response = 1500


# %% [within start]
def within_map(responses):
    """Normalizes one map, (height, width), over 5 x 5 of its own pixels, as the program of 2012 does."""
    size, alpha_within = 5, 0.001
    return ...


# %% [within check]
def check(answer):
    torch.manual_seed(0)
    cases = [300 * torch.randn(9, 9), torch.full((6, 8), 200.0), 150 * torch.rand(5, 12)]
    got = [torch.as_tensor(answer.within_map(case.clone())) for case in cases]
    for case, each in zip(cases, got, strict=True):
        if each.shape != case.shape:
            return "shape", {"got": tuple(each.shape), "want": tuple(case.shape)}

    def formula(case, constant=1.0, whole=True, divided=25):
        means = torch.nn.functional.avg_pool2d(case[None] ** 2, 5, stride=1, padding=2, count_include_pad=whole)[0]
        return case / (constant + 0.001 * 25 / divided * means) ** beta

    known = {None: {}, "clipped": {"whole": False}, "constant": {"constant": k}, "undivided": {"divided": 1}}
    for reason, fields in known.items():
        if all(
            torch.allclose(a.float(), formula(b, **fields), rtol=1e-3, atol=1e-3)
            for a, b in zip(got, cases, strict=True)
        ):
            return reason
    return "other"


# %% [within right]
def within_map(responses):
    size, alpha_within = 5, 0.001
    means = torch.nn.functional.avg_pool2d(responses[None] ** 2, size, stride=1, padding=size // 2)[0]
    return responses / (1 + alpha_within * means) ** beta


flat = within_map(torch.full((9, 9), 200.0))
flat_inside, flat_corner = flat[4, 4].item(), flat[0, 0].item()


# %% [within nearly clipped]
def within_map(responses):
    means = torch.nn.functional.avg_pool2d(responses[None] ** 2, 5, 1, 2, count_include_pad=False)[0]
    return responses / (1 + 0.001 * means) ** beta


# %% [within nearly constant]
def within_map(responses):
    means = torch.nn.functional.avg_pool2d(responses[None] ** 2, 5, 1, 2)[0]
    return responses / (k + 0.001 * means) ** beta


# %% [within nearly undivided]
def within_map(responses):
    sums = 25 * torch.nn.functional.avg_pool2d(responses[None] ** 2, 5, 1, 2)[0]
    return responses / (1 + 0.001 * sums) ** beta


# %% [within wrong shape]
def within_map(responses):
    return torch.nn.functional.avg_pool2d(responses[None] ** 2, 5)[0]


# %% [within wrong other]
def within_map(responses):
    return responses / 2


# %% [simpler start: data training cost]
simpler = digits_model()  # change its fields; alexnet recipes demo lists them


# %% [simpler check]
def check(answer):
    network = answer.simpler
    if not isinstance(network, torch.nn.Module) or not hasattr(network, "layers"):
        return "no_network", {"got": type(network).__name__}
    kinds = [type(each).__name__ for each in network.layers]
    if any(kind.startswith("BatchNorm") for kind in kinds):
        return "batch"
    across_maps, within = kinds.count("LocalResponseNorm"), kinds.count("WithinMapNorm")
    if not across_maps and not within:
        return None
    if across_maps + within < 3:
        return "some_left", {"left": across_maps + within}
    return "unchanged"


# %% [simpler right]
simpler = digits_model(norm="none")
batch = images[:64]
whole_ms = milliseconds(digits_model(), batch, 3)
simpler_ms = milliseconds(simpler, batch, 3)

# %% [simpler nearly some_left]
simpler = digits_model(within_map_norm=False)

# %% [simpler nearly batch]
simpler = digits_model(norm="batch")

# %% [simpler wrong unchanged]
simpler = digits_model(lrn_alpha=0.0)

# %% [simpler wrong no_network]
simpler = "none"
