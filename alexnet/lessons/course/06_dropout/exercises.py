"""The exercises of lesson 6."""


# %% [dropout start]
def dropout_2012(x, keep, training):
    """Dropout as in 2012: keep is the share of values that stays, training is True or False."""
    return ...


# %% [dropout check]
def check(answer):
    torch.manual_seed(0)
    x = 3 * torch.ones(4000)
    seen = {}
    for keep in (0.5, 0.8):
        first, second = (torch.as_tensor(answer.dropout_2012(x.clone(), keep, True)).float() for _ in range(2))
        tested = torch.as_tensor(answer.dropout_2012(x.clone(), keep, False)).float()
        if first.shape != x.shape or tested.shape != x.shape:
            return "shape", {"got": tuple(first.shape), "want": tuple(x.shape)}
        share = (first != 0).float().mean().item()
        seen[keep] = first, second, tested, share
    first, second, tested, share = seen[0.8]
    if torch.equal(first, second) and 0 < share < 1:
        return "same_mask"
    if abs(share - 0.2) < 0.05:
        return "turned"
    if abs(share - 0.8) > 0.05 or abs(seen[0.5][3] - 0.5) > 0.05:
        return "share", {"got": share, "keep": 0.8}
    if torch.allclose(first.max(), torch.tensor(3 / 0.8)):
        return "inverted"
    if torch.allclose(tested, x):
        return "test"
    if first.max() == 3 and torch.allclose(tested, 0.8 * x):
        return None
    return "other", {"got": tested.max().item()}


# %% [dropout right]
def dropout_2012(x, keep, training):
    return x * (torch.rand_like(x) < keep) if training else x * keep


kept_share = (dropout_2012(torch.ones(10000), 1 - p, True) != 0).float().mean().item()


# %% [dropout nearly inverted]
def dropout_2012(x, keep, training):
    return x * (torch.rand_like(x) < keep) / keep if training else x


# %% [dropout nearly test]
def dropout_2012(x, keep, training):
    return x * (torch.rand_like(x) < keep) if training else x


# %% [dropout nearly turned]
def dropout_2012(x, keep, training):
    return x * (torch.rand_like(x) > keep) if training else x * keep


# %% [dropout wrong same_mask]
def dropout_2012(x, keep, training):
    generator = torch.Generator().manual_seed(0)
    return x * (torch.rand(x.shape, generator=generator) < keep) if training else x * keep


# %% [dropout wrong share]
def dropout_2012(x, keep, training):
    return x * keep


# %% [dropout wrong shape]
def dropout_2012(x, keep, training):
    return x[torch.rand_like(x) < keep] if training else x * keep


# %% [dropout wrong other]
def dropout_2012(x, keep, training):
    return x * (torch.rand_like(x) < keep) if training else x * keep**2


# %% [convert start]
def convert(weight, bias, keep):
    """For a layer after dropout of 2012: its weight and bias in a program that divides by keep in training."""
    return ..., ...


# %% [convert check]
def check(answer):
    torch.manual_seed(0)
    for keep in (0.5, 0.8):
        weight, bias, x = torch.randn(4, 6), torch.randn(4), torch.randn(6)
        got = answer.convert(weight.clone(), bias.clone(), keep)
        if not isinstance(got, tuple) or len(got) != 2:
            return "two", {"got": type(got).__name__}
        if got[0] is ... or got[1] is ...:
            return "two", {"got": "..."}
        output = got[0] @ x + got[1]
        known = {
            "bias": keep * (weight @ x + bias),
            "upside_down": weight @ x / keep + bias,
            "unchanged": weight @ x + bias,
            "half": 0.5 * weight @ x + bias,
        }
        if torch.allclose(output, keep * weight @ x + bias, atol=1e-4):
            continue
        return next((reason for reason, each in known.items() if torch.allclose(output, each, atol=1e-4)), "other")
    return None


# %% [convert right]
def convert(weight, bias, keep):
    return keep * weight, bias


# %% [convert nearly bias]
def convert(weight, bias, keep):
    return keep * weight, keep * bias


# %% [convert nearly upside_down]
def convert(weight, bias, keep):
    return weight / keep, bias


# %% [convert nearly half]
def convert(weight, bias, keep):
    return 0.5 * weight, bias


# %% [convert wrong unchanged]
def convert(weight, bias, keep):
    return weight, bias


# %% [convert wrong two]
def convert(weight, bias, keep):
    return keep * weight


# %% [convert wrong other]
def convert(weight, bias, keep):
    return 0 * weight, bias


# %% [average start]
def average(logits):
    """The mean answer of all masks: (masks, images, classes) to probabilities (images, classes)."""
    return ...


# %% [average check]
def check(answer):
    logits = 3 * torch.randn(7, 5, 4, generator=torch.Generator().manual_seed(0))
    got = torch.as_tensor(answer.average(logits.clone()))
    if got.shape != (5, 4):
        return "shape", {"got": tuple(got.shape), "want": (5, 4)}
    known = {
        None: logits.softmax(2).mean(0),
        "logits": logits.mean(0).softmax(1),
        "no_probabilities": logits.mean(0),
        "votes": torch.nn.functional.one_hot(logits.argmax(2), 4).float().mean(0),
        "over_masks": logits.softmax(0).mean(0),
    }
    return next((reason for reason, each in known.items() if torch.allclose(got, each, atol=1e-5)), "other")


# %% [average right]
def average(logits):
    return logits.softmax(2).mean(0)


two = torch.tensor([[[4.0, 0.0]], [[-1.0, 0.0]]])
arithmetic, geometric = average(two)[0, 0].item(), two.mean(0).softmax(1)[0, 0].item()


# %% [average nearly logits]
def average(logits):
    return logits.mean(0).softmax(1)


# %% [average nearly votes]
def average(logits):
    return torch.nn.functional.one_hot(logits.argmax(2), logits.shape[2]).float().mean(0)


# %% [average nearly over_masks]
def average(logits):
    return logits.softmax(0).mean(0)


# %% [average wrong no_probabilities]
def average(logits):
    return logits.mean(0)


# %% [average wrong shape]
def average(logits):
    return logits.softmax(2).mean(1)


# %% [average wrong other]
def average(logits):
    return logits[0].softmax(1) + 1


# %% [lenet start: data training]
lenet = alexnet.create_model("lenet", data=data)  # ReLU is a field; a layer can be replaced: lenet.layers.act3 = ...


# %% [lenet check]
def check(answer):
    network = answer.lenet
    if not isinstance(network, torch.nn.Module) or not hasattr(network, "layers"):
        return "no_network", {"got": type(network).__name__}
    kinds = {type(each).__name__ for each in network.modules()}
    relu, dropout = "ReLU" in kinds and "Sigmoid" not in kinds, "Dropout" in kinds
    if not relu and not dropout:
        return "unchanged"
    if not (relu and dropout):
        return "activation" if dropout else "dropout"
    last = list(network.layers)[-1]
    return "logits" if any(type(each).__name__ == "Dropout" for each in last.modules()) else None


# %% [lenet right]
lenet = alexnet.create_model("lenet", data=data, activation="relu", pooling="max")
for name in ("act3", "act4"):
    setattr(lenet.layers, name, torch.nn.Sequential(getattr(lenet.layers, name), torch.nn.Dropout(p)))
plain = alexnet.create_model("lenet", data=data, activation="relu", pooling="max")
lenet_epochs = 2 if small else 20
train(lenet, lenet_epochs)
train(plain, lenet_epochs)
lenet_error = error(lenet, held_images, held_classes)
plain_error = error(plain, held_images, held_classes)

# %% [lenet nearly dropout]
lenet = alexnet.create_model("lenet", data=data, activation="relu")

# %% [lenet nearly activation]
lenet = alexnet.create_model("lenet", data=data)
lenet.layers.act3 = torch.nn.Sequential(lenet.layers.act3, torch.nn.Dropout(p))

# %% [lenet nearly logits]
lenet = alexnet.create_model("lenet", data=data, activation="relu")
lenet.layers.fc5 = torch.nn.Sequential(lenet.layers.fc5, torch.nn.Dropout(p))

# %% [lenet wrong unchanged]
lenet = alexnet.create_model("lenet", data=data, pooling="max")

# %% [lenet wrong no_network]
lenet = "lenet"

# %% [overfit start: data training]
overfitting = digits_model()  # change its fields; alexnet recipes demo lists them


# %% [overfit check]
def check(answer):
    network = answer.overfitting
    if not isinstance(network, torch.nn.Module) or not hasattr(network, "layers"):
        return "no_network", {"got": type(network).__name__}
    shares = [each.p for each in network.modules() if type(each).__name__ == "Dropout"]
    if not any(shares):
        return None
    if not all(shares):
        return "one"
    return ("less", {"got": max(shares)}) if max(shares) < p else "unchanged"


# %% [overfit right]
overfitting = digits_model(dropout=0.0)
overfit_epochs = 2 if small else 14
training_loss, validation_loss = train(overfitting, overfit_epochs)[-1]
times_larger = validation_loss / training_loss

# %% [overfit nearly one]
overfitting = digits_model(dropout_layers="fc6")

# %% [overfit nearly less]
overfitting = digits_model(dropout=0.1)

# %% [overfit wrong unchanged]
overfitting = digits_model(norm="none")

# %% [overfit wrong no_network]
overfitting = 0.0
