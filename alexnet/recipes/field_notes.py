"""Explains every field of a recipe: what it changes and where its value comes from; shown by `alexnet diff`.

[code] is the released source of 2012, [cc] cuda-convnet of 2011, [paper] the NIPS paper of 2012, [caffe]
models/bvlc_alexnet, [owt] Krizhevsky 2014 and torchvision, [d2l] "Dive into Deep Learning" 8.1 (Chinese edition: 7.1),
[ours] this project.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alexnet.recipes.recipe import Recipe, differences

# field -> (consequence, source); a field means the same in all networks that have it.
NOTES: Mapping[str, tuple[str, str]] = {
    "model.architecture": ("a different kind of network", "[paper] and LeCun et al. 1998"),
    "model.num_classes": ("outputs of the last layer", "the data"),
    "model.crop_size": ("pixels a side of the input of conv1; all later sizes depend on it", "[code] 224; [caffe] 227"),
    "model.in_channels": (
        "1: gray images, a third of the weights in conv1; 3: color",
        "[d2l] Fashion-MNIST; 3 in a LeNet: the tutorial of PyTorch",
    ),
    "model.width": ("multiplies all channels and units; the cost grows with its square", "[ours]"),
    "model.channels": ("channels of the convolutional layers", "[code] layers-145.cfg; [owt] 64-192-384-256-256; [cc]"),
    "model.local_channels": (
        "channels of the local layers, whose kernels differ at every position: most of the parameters of such networks",
        "[code] layers-conv-local-13pct.cfg",
    ),
    "model.without": (
        "leaves out one convolutional layer: top-1 error about 2 points higher for each, says the paper; it does not "
        "say how the layers around it were connected; here the towers are still joined after pool2, and without conv5 "
        "the input of fc6 is conv4",
        "[paper] 7",
    ),
    "model.fc_features": (
        "units of the hidden fully connected layers: most of the parameters",
        "[code] layers-145.cfg",
    ),
    "model.towers": (
        "2: conv2, conv4 and conv5 receive half of the channels, at half of the cost",
        "[code] layers-145.cfg",
    ),
    "model.towers_talk": (
        "False: the towers are joined only in fc8; top-1 / top-5 error 1.2 / 1.1 points higher",
        "[code] net 150",
    ),
    "model.conv1_kernel": ("pixels a side of the kernels of conv1", "[paper] 3.5"),
    "model.conv1_stride": ("pixels between two windows of conv1; the cost falls with its square", "[paper] 3.5"),
    "model.conv1_padding": (
        "position of the windows of conv1, for 224 pixels: right-bottom gives 55 windows, aligned at the top left; 2 "
        "gives 55, shifted by two pixels; 1 gives 54, and 5 x 5 cells for fc6; 0 needs 227 pixels for 55",
        "[code] layer.py:1004; [owt] 2; [d2l] 1; [caffe] 0",
    ),
    "model.activation": ("tanh and sigmoid saturate and learn far more slowly in figure 1 of the paper", "[paper] 3.1"),
    "model.conv_activation": ("False: no activation function before the fully connected layers", "Caffe's LeNet"),
    "model.pooling": (
        "plain (2 x 2, stride 2): top-1 / top-5 error 0.4 / 0.3 points higher on ILSVRC-2012",
        "[paper] 3.4; [code] net 147",
    ),
    "model.pool_rounding": (
        "floor drops windows that extend beyond the border: smaller feature maps where sizes are even",
        "[code] layer.py:1163",
    ),
    "model.pool_ties": (
        "all: every one of several equal maxima gets the gradient; first: the first one, as in PyTorch, and faster",
        "[cc] kLocalMaxUndo, all",
    ),
    "model.pool5_rounding": ("a different rounding for pool5 only", "bvlcalexnet of the ONNX model zoo"),
    "model.pool5_grid": ("averages pool5 to this many cells a side, so that crops of any size fit fc6", "torchvision"),
    "model.norm": (
        "none: top-1 / top-5 error 1.4 / 1.2 points higher on ImageNet; batch: allows higher learning rates; "
        "within-map: over pixels of the same channel; across-maps: over adjacent channels",
        "[paper] 3.3; [code] net 148, layers-18pct.cfg",
    ),
    "model.norm_size": (
        "size of the window of the normalization: pixels a side, or channels",
        "[code] layers-18pct.cfg: 3; [cc] 9",
    ),
    "model.norm_alpha": (
        "strength of the normalization; divided by the number of squares in the sum",
        "[code] layer.py:1183",
    ),
    "model.norm_beta": ("exponent of the normalization", "[code] layer-params-18pct-noisylr.cfg"),
    "model.lrn_size": ("adjacent channels in the sum of LRN", "[code] layer-params-145.cfg:137"),
    "model.lrn_alpha": (
        "strength of LRN; 5e-4 is the paper's formula, which does not divide by 5",
        "[code] layer.py:1183",
    ),
    "model.lrn_beta": ("exponent of LRN", "[code] layer-params-145.cfg"),
    "model.lrn_k": (
        "2 multiplies all values by 0.59; 1, the default of Caffe, does not",
        "[code] minDiv = 2; caffe.proto",
    ),
    "model.lrn_per_tower": (
        "False: LRN also sums channels across the border of the two towers",
        "[code] rnorm1a, rnorm1b",
    ),
    "model.norm1": (
        "position of LRN in layer 1; before-activation: negative values count too; after-pool: a quarter of the work",
        "[code] layers-145.cfg:35-63; [paper] after ReLU; CaffeNet after pooling",
    ),
    "model.norm2": (
        "position of LRN in layer 2; none: only LRN in layer 1, which lost nothing in 2012",
        "[code] layers-145.cfg:95; net 167",
    ),
    "model.within_map_norm": (
        "a second normalization over 5 x 5 pixels of the same channel; not in the paper",
        "[code] layers-145.cfg:107",
    ),
    "model.dropout": ("share of the units of fc6 and fc7 dropped in each step; 0 overfits", "[paper] 4.2"),
    "model.dropout_place": (
        "before: dropout on pool5 and fc6, and fc8 receives all units of fc7",
        "[code] after; torchvision before",
    ),
    "model.dropout_layers": ("dropout in both of fc6 and fc7, as in 2012, or in one of them", "[paper] 4.2"),
    "model.dropout_scale_at_test": (
        "True: values are halved at test time; False: they are doubled in training",
        "[code] layer.cu:1126",
    ),
    "model.init": (
        "initial weights; with paper the differences between images nearly vanish in conv3-5, with source they do not",
        "[code] initW .03 in layers-145.cfg; [paper] 5; [caffe] fc .005",
    ),
    "model.init_scale": (
        "multiplies the initial weights; narrow layers need larger ones, since they sum fewer products",
        "[ours]",
    ),
    "model.fc_sigma": (
        "standard deviation of the initial weights of the fully connected layers",
        "[code] layers-18pct.cfg; [cc] .1 in 80sec",
    ),
    "model.bias": (
        "initial biases; 1 keeps ReLUs active at first; in Caffe the loss stayed flat with 1, so it has 0.1",
        "[code] initB; [caffe]",
    ),
    "model.input_norm": (
        "mean-image subtracts the center of the mean image, mean-pixel the mean color; standardise also divides by the "
        "standard deviation; unit only divides by 255",
        "[code] convdata_jpeg.py:209; torchvision; [d2l]",
    ),
    "model.test_size": ("images are resized to this many pixels before evaluation", "[ours]"),
    "augment.view": (
        "crop: random crops of one scale; zoom: random parts of any size, resized; center: always the center",
        "[paper] 4.1",
    ),
    "augment.flip": ("random horizontal flips double the dataset; wrong for letters and digits", "[paper] 4.1"),
    "augment.chunk": (
        "images in a row that share crop and flip; 32: a batch of 128 has 4 different crops and flips",
        "[code] convdata_jpeg.py: crop_chunk",
    ),
    "augment.color_noise": (
        "PCA color augmentation; lowers the top-1 error by more than 1 point in the paper",
        "[paper] 4.1",
    ),
    "augment.color_noise_until": (
        "no color noise from this epoch on: the last epochs see the true colors",
        "[code] layer-params-145.cfg:165-182",
    ),
    "augment.color_shrink": (
        "divides by 1 + color_noise, so that training has nearly the scale of testing",
        "[code] convdata_jpeg.py:179",
    ),
    "augment.color_scale": (
        "eigenvalue: noise 2 times weaker in brightness, 8-17 times in hue; lighting: the same, along ImageNet's axes",
        "[code] stdev; [paper] eigenvalue; fb.resnet.torch lighting",
    ),
    "augment.min_area": ("smallest share of the image that zoom selects", "torchvision .08"),
    "augment.max_aspect": ("largest change of the aspect ratio by zoom", "torchvision 4/3"),
    "augment.rotation": ("rotates images by up to this many degrees", "[ours]"),
    "augment.jitter": ("changes brightness, contrast and saturation at random", "[ours]"),
    "augment.fade": (
        "blends a chunk of images with another and keeps its labels; top-1 / top-5 error 40.25 / 18.12 % with it, "
        "40.53 / 18.05 % without",
        "[code] convdata_jpeg.py:248-260, net 170",
    ),
    "augment.fade_share": ("share of the other chunk in the blend", "[code] convdata_jpeg.py:248-260"),
    "augment.mixup": ("share of the batches that blend images and their labels", "Zhang et al. 2018"),
    "augment.mixup_alpha": ("how even the blends are: larger is more even", "Zhang et al. 2018"),
    "augment.cutmix": ("share of the batches that paste a rectangle of one image into another", "Yun et al. 2019"),
    "augment.cutmix_alpha": ("how even the areas are: larger is more even", "Yun et al. 2019"),
    "optim.algorithm": (
        "sgd-2012: momentum keeps the learning rate of past steps; sgd: all steps use the current one",
        "[code] weights.cu:146-198",
    ),
    "optim.lr": ("learning rate: the size of the steps", "[paper] 5"),
    "optim.bias_lr_factor": ("2: biases have twice the learning rate", "[code] epsB .02; [caffe] lr_mult 2"),
    "optim.momentum": ("how long past gradients affect the steps", "[paper] 5"),
    "optim.weight_decay": ("pulls weights to zero", "[paper] 5; torchvision 1e-4"),
    "optim.layer_decay": (
        "weight decay of single layers; 1 or 3 keeps the last layer of the networks for CIFAR-10 small",
        "[code] layer-params-18pct-noisylr.cfg; [cc]",
    ),
    "optim.decay_biases": ("False: no weight decay on biases", "[code] layer.cu:565; torchvision decays all"),
    "optim.old_lr_factor": ("below 1: pretrained layers learn more slowly than the new layer", "[code] net 146"),
    "optim.schedule": ("learning-rate schedule", "[paper] 5 drops; [code] dexp from 2013"),
    "optim.drop_epochs": (
        "epochs in which the learning rate drops to a tenth",
        "[code] layer-params-145.cfg; [caffe] every 20",
    ),
    "optim.conv1_drop_epochs": ("the same for conv1, which converges first", "[code] layer-params-145.cfg:165-182"),
    "optim.conv1_freeze_epoch": (
        "from this epoch on conv1 is not trained (with schedule drops or dexp)",
        "[code] layer-params-145.cfg, -167.cfg",
    ),
    "optim.biases_follow": ("False: biases keep their learning rate until the end", "[code] final epsB .02"),
    "optim.dexp_factor": (
        "initial learning rate divided by the final one",
        "[code] layer-params-170.cfg; net 167: 1000",
    ),
    "optim.dexp_steps": ("number of constant levels of the learning rate", "[code] src/lr.cu"),
    "optim.warmup": ("share of the run in which the learning rate rises", "[ours]"),
    "prepare_size": ("shorter side of the prepared images; with crop_size it limits how far crops move", "[paper] 2"),
    "prepare_whole": ("whole images are stretched to squares; else their central squares are cut out", "[ours]"),
    "weights": ("starts from pretrained weights, with a new last layer", "[code] net 146"),
    "epochs": ("passes over the training split", "[paper] 5: about 90"),
    "batch_size": ("images per step; with twice as many, double the learning rate", "[paper] 5; [caffe] 256"),
    "seed": ("random seed: another run of the same recipe", "[ours]"),
    "reshuffle": ("False: the same batches in every epoch", "[code] batches are read in sequence"),
    "label_smoothing": (
        "takes this share of the target from the label and spreads it over all classes",
        "Szegedy et al. 2016",
    ),
    "class_weights": (
        "balanced: the loss of rare classes counts more, at most ten times; the log loss on held-out images rises",
        "[ours]",
    ),
    "growing_crops": ("small crops first: the first epochs are cheaper", "[ours]"),
    "average_decay": ("keeps a moving average of the weights", "Polyak 1992"),
    "precision": (
        "tf32: faster on cards since 2020, float32 elsewhere; 10 bits of fraction in products. bfloat16: faster where "
        "the processor or card has it; 7 bits",
        "[ours]",
    ),
    "fit": (
        "data: size, crops, width, augmentation and number of epochs are decided for images and time when a run "
        "is planned; the run keeps what was decided",
        "[ours]",
    ),
    "cues": (
        "mixed: after training, kernel classifiers of color and outlines add to the logits, as much as the validation "
        "images say; on few images they may know what a network does not",
        "[ours]",
    ),
    "evaluate_every": ("epochs between two evaluations of the validation split", "[ours]"),
    "patience": ("the run ends after this many validations in a row without a better network", "[ours]"),
    "on_nan": (
        "rollback: if numbers are not finite, back to the last checkpoint with half the learning rate",
        "[ours]",
    ),
}


@dataclass(frozen=True)
class Difference:
    """One field in which two recipes differ."""

    field: str
    first: Any
    second: Any
    consequence: str
    source: str


def explain(first: Recipe, second: Recipe) -> list[Difference]:
    """Lists all fields in which two recipes differ, except the name; for two kinds of network, no other model field."""
    changed = differences(second, first)
    if first.model.architecture != second.model.architecture:
        kinds = (first.model.architecture, second.model.architecture)
        changed = {"model.architecture": kinds} | {n: v for n, v in changed.items() if not n.startswith("model.")}
    return [Difference(name, *values, *NOTES[name]) for name, values in changed.items() if name != "name"]
