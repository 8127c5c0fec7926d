"""Lesson 6: dropout; training and test, weights that are halved, what it costs, a hundred masks."""

# %% [setup]
import matplotlib.pyplot as plt
import torch
from matplotlib.colors import ListedColormap
from torch.nn.functional import cross_entropy

import alexnet

p = 0.5  # the share that is dropped, the paper, section 4.2
masks = 100  # how many we draw

# %% [layer]
layers = {
    "2012": alexnet.create_model("demo", dropout_scale_at_test=True).layers.drop6,
    "inverted": alexnet.create_model("demo", dropout_scale_at_test=False).layers.drop6,
}
torch.manual_seed(0)
ones = torch.ones(1, 1000)
trains, tests = {}, {}
for name, layer in layers.items():
    trains[name], tests[name] = layer.train()(ones), layer.eval()(ones)
    print(f"{name:9} {trains[name].unique().tolist()} {tests[name].unique().tolist()}")
train_2012, test_2012 = trains["2012"].max().item(), tests["2012"].max().item()
train_inverted, test_inverted = trains["inverted"].max().item(), tests["inverted"].max().item()
mean_2012, mean_inverted = trains["2012"].mean().item(), trains["inverted"].mean().item()

# %% [data]
data = alexnet.load_data("digits", size=28)
images, classes = data.train.tensors()
held_images, held_classes = data.val.tensors()
few = 128 if small else 256  # images to train on: few, so that a network can learn them by heart
images, classes = images[:few], classes[:few]


# %% [training]
def digits_model(**fields):
    """AlexNet for digits, with dropout as in 2012."""
    chosen = {"num_classes": 10, "dropout": p, "dropout_scale_at_test": True} | fields
    return alexnet.create_model("demo", data=data, **chosen)


def loss(network, images, classes):
    """The mean cross-entropy, without masks."""
    network.eval()
    with torch.inference_mode():
        return cross_entropy(network(images), classes).item()


def error(network, images, classes):
    """The share of images whose class is not the network's first choice."""
    network.eval()
    with torch.inference_mode():
        return (network(images).argmax(1) != classes).float().mean().item()


def train(network, epochs):
    """Trains on the few images; returns the training and the validation loss after every epoch."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.001)
    losses = []
    for _ in range(epochs):
        network.train()
        for chosen in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            cross_entropy(network(images[chosen]), classes[chosen]).backward()
            optimizer.step()
        losses.append((loss(network, images, classes), loss(network, held_images, held_classes)))
    return losses


# %% [pair]
epochs = 4 if small else 14
target = 0.1
trained, losses, reached = {}, {}, {}
for name, share in (("with", p), ("without", 0.0)):
    trained[name] = digits_model(dropout=share)
    losses[name] = train(trained[name], epochs)
    below = [epoch for epoch, (loss_here, _) in enumerate(losses[name], 1) if loss_here < target]
    reached[name] = str(below[0]) if below else f">{epochs}"
    print(f"{share:.1f}", *(f"{first:.3f}/{second:.3f}" for first, second in losses[name]))
reached_with, reached_without = reached["with"], reached["without"]
errors = {name: error(network, held_images, held_classes) for name, network in trained.items()}
error_with, error_without = errors["with"], errors["without"]
loss_with, loss_without = losses["with"][-1][1], losses["without"][-1][1]
gap_with, gap_without = (losses[name][-1][1] - losses[name][-1][0] for name in ("with", "without"))
count = len(held_images)

# %% [losses]
figure, axes = plt.subplots()
for name, color in (("with", "tab:blue"), ("without", "tab:orange")):
    training, validation = zip(*losses[name], strict=True)
    axes.semilogy(range(1, epochs + 1), training, color=color, label=f"{labels[name]}, {labels['training']}")
    axes.semilogy(range(1, epochs + 1), validation, "--", color=color, label=f"{labels[name]}, {labels['validation']}")
axes.axhline(target, color="black", linewidth=0.8)
axes.set(xlabel=labels["epoch"], ylabel=labels["loss"])
axes.legend()
plt.show()

# %% [converted]
network = trained["with"]
inverted = digits_model(dropout_scale_at_test=False)
inverted.load_state_dict(network.state_dict())
network.eval(), inverted.eval()
with torch.inference_mode():
    logits = network(held_images)
    wrong_scale = inverted(held_images)
    for layer in (inverted.layers.fc7, inverted.layers.fc8):
        layer.weight *= 1 - p
    right_scale = inverted(held_images)
sure, too_sure = (each.softmax(1).max(1).values.mean().item() for each in (logits, wrong_scale))
same = (wrong_scale.argmax(1) == logits.argmax(1)).float().mean().item()
larger = (wrong_scale.std() / logits.std()).item()
converted_gap = (right_scale - logits).abs().max().item()
print(f"{sure:.1%}  {too_sure:.1%}  {larger:.1f}  {converted_gap:.0e}")

# %% [masked]
names = [name for name, _ in network.layers.named_children()]
head = network.layers[names.index("fc6") :]  # the fully connected layers: what comes before has no masks
with torch.inference_mode():
    features = network.eval().activations(held_images)["flatten"]
    scaled = head.eval()(features).softmax(1)
    torch.manual_seed(0)
    head.train()
    answers = torch.stack([head(features).softmax(1) for _ in range(masks)])  # (masks, images, classes)
print(tuple(answers.shape))

# %% [jitter]
doubtful = scaled.max(1).values.argmin()  # the image of which the network is least sure
choice = scaled[doubtful].argmax().item()
chances = answers[:, doubtful, choice]
lowest, highest = chances.min().item(), chances.max().item()
scaled_chance, mean_chance = scaled[doubtful, choice].item(), chances.mean().item()
others = int((answers[:, doubtful].argmax(1) != choice).sum())
changing = (answers.argmax(2) != scaled.argmax(1)).any(0).float().mean().item()
print(f"{lowest:.2f}  {highest:.2f}  {others}  {changing:.0%}")
with torch.inference_mode():
    hidden = head[:2](features[doubtful : doubtful + 1])  # fc6 and its ReLU
    drawn = torch.cat([head[2](hidden) for _ in range(24)])
states = torch.where(hidden == 0, 0.0, torch.where(drawn == 0, 1.0, 2.0))[:, :60]

# %% [answers]
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.4), width_ratios=(3, 2))
left.imshow(states.numpy(), cmap=ListedColormap(["white", "lightgray", "tab:blue"]), aspect="auto")
left.set(xlabel=labels["unit"], ylabel=labels["mask"])
right.plot(chances, ".", color="gray")
right.axhline(scaled_chance, color="tab:blue", label=labels["scaled"])
right.axhline(mean_chance, color="tab:red", linestyle="--", label=labels["mean"])
right.set(xlabel=labels["mask"], ylabel=labels["chance"], ylim=(-0.02, 1.35))
right.legend(loc="upper right", fontsize=8)
plt.show()

# %% [ensemble]
place = torch.arange(count)


def judged(probabilities):
    """The share of wrong first choices, and the mean cross-entropy."""
    wrong = (probabilities.argmax(1) != held_classes).float().mean().item()
    return wrong, -probabilities[place, held_classes].clamp_min(1e-12).log().mean().item()


running = answers.cumsum(0) / torch.arange(1, masks + 1).view(-1, 1, 1)
by_masks = [judged(each) for each in running]
single_error, single_loss = torch.tensor([judged(each) for each in answers]).mean(0).tolist()
scaled_error, scaled_loss = judged(scaled)
mean_error, mean_loss = by_masks[-1]
agree = (running[-1].argmax(1) == scaled.argmax(1)).float().mean().item()
units = head[0].out_features + head[3].out_features
thinned_digits = len(str(2**units))
print(f"{single_error:.1%} {single_loss:.3f}   {scaled_error:.1%} {scaled_loss:.3f}   {mean_error:.1%} {mean_loss:.3f}")

# %% [averaged]
figure, axes = plt.subplots()
axes.semilogx(range(1, masks + 1), [each for _, each in by_masks], color="tab:red", label=labels["mean"])
axes.axhline(scaled_loss, color="tab:blue", label=labels["scaled"])
axes.axhline(single_loss, color="gray", linestyle=":", label=labels["single"])
axes.set(xlabel=labels["masks"], ylabel=labels["validation_loss"], ylim=(0, None))
axes.legend()
plt.show()
