"""What every field of a recipe changes and where its value comes from: the sentences of `alexnet diff`.

[code] is the released source of 2012, [cc] cuda-convnet of 2011, [paper] the NIPS paper of 2012, [caffe]
models/bvlc_alexnet, [owt] Krizhevsky 2014 and torchvision, [d2l] "Dive into Deep Learning" 8.1, [ours] this project.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alexnet.recipes.recipe import Recipe, differences

# field -> (consequence, source); a name means the same in all networks that have it.
NOTES: Mapping[str, tuple[str, str]] = {
    "model.architecture": ("another network altogether", "[paper] against LeCun et al. 1998"),
    "model.num_classes": ("outputs of the last layer", "the data"),
    "model.crop_size": ("pixels a side of what conv1 sees; decides all sizes after it", "[code] 224; [caffe] 227"),
    "model.in_channels": ("1 sees grey pictures: a third of the weights of conv1", "[d2l] Fashion-MNIST"),
    "model.width": ("multiplies all maps and units; cost falls with its square", "[ours]"),
    "model.channels": ("maps of the convolutions", "[code] layers-145.cfg; [owt] 64-192-384-256-256; [cc]"),
    "model.local_channels": (
        "layers whose filters differ from place to place: most of the parameters of the nets that have them",
        "[code] layers-conv-local-13pct.cfg",
    ),
    "model.without": (
        "one convolution less: about 2 points worse for each, says the paper, which does not say how its neighbours "
        "were joined; here the towers still meet after pool2, and without conv5 fc6 sees the maps of conv4",
        "[paper] 7",
    ),
    "model.fc_features": ("units of the hidden fc layers: most of the parameters", "[code] layers-145.cfg"),
    "model.towers": ("2: conv2, conv4 and conv5 see half of the maps: half their cost", "[code] layers-145.cfg"),
    "model.towers_talk": ("False: two networks that meet in fc8; 1.2 / 1.1 points worse", "[code] net 150"),
    "model.conv1_kernel": ("pixels a side of the first filters", "[paper] 3.5"),
    "model.conv1_stride": ("pixels between two windows of conv1; cost falls with its square", "[paper] 3.5"),
    "model.conv1_padding": (
        "where the windows of conv1 lie: right-bottom gives 55 from 224 aligned at the top left, 2 gives 55 shifted by "
        "two pixels, 1 gives 54 and in the end 5 x 5 cells for fc6, 0 needs 227 for 55",
        "[code] layer.py:1004; [owt] 2; [d2l] 1; [caffe] 0",
    ),
    "model.activation": ("tanh and sigmoid saturate: slower by far in the paper's figure 1", "[paper] 3.1"),
    "model.conv_activation": ("False: convolutions and pooling only, until the fc layers", "Caffe's LeNet"),
    "model.pooling": ("plain (2 x 2 / 2): 0.4 / 0.3 points worse on ILSVRC-2012", "[paper] 3.4; [code] net 147"),
    "model.pool_rounding": (
        "floor drops windows that hang over: smaller maps where sizes are even",
        "[code] layer.py:1163",
    ),
    "model.pool5_rounding": ("another rounding for pool5 alone", "bvlcalexnet of the ONNX model zoo"),
    "model.pool5_grid": ("pool5 is averaged to this many cells a side, so that any crop fits fc6", "torchvision"),
    "model.norm": (
        "none: 1.4 / 1.2 points worse on ImageNet; batch: trains at higher rates; within-map, across-maps: by "
        "neighbours in the map or by other maps",
        "[paper] 3.3; [code] net 148, layers-18pct.cfg",
    ),
    "model.norm_size": ("pixels a side, or maps, that normalise one another", "[code] layers-18pct.cfg: 3; [cc] 9"),
    "model.norm_alpha": ("strength of the norm, divided by the squares that are summed", "[code] layer.py:1183"),
    "model.norm_beta": ("exponent of the norm", "[code] layer-params-18pct-noisylr.cfg"),
    "model.lrn_size": ("maps that normalise one another", "[code] layer-params-145.cfg:137"),
    "model.lrn_alpha": (
        "strength of LRN; 5e-4 is the paper's formula, which does not divide by 5",
        "[code] layer.py:1183",
    ),
    "model.lrn_beta": ("exponent of LRN", "[code] layer-params-145.cfg"),
    "model.lrn_k": ("2 scales everything by 0.59; 1, Caffe's default, does not", "[code] minDiv = 2; caffe.proto"),
    "model.lrn_per_tower": (
        "False: maps of the two towers normalise one another at the border",
        "[code] rnorm1a, rnorm1b",
    ),
    "model.norm1": (
        "where it stands in layer 1; before-activation: negative neighbours count; after-pool: a quarter of the work",
        "[code] layers-145.cfg:35-63; [paper] after ReLU; CaffeNet after pooling",
    ),
    "model.norm2": (
        "where it stands in layer 2; none: LRN1 alone, which lost nothing in 2012",
        "[code] layers-145.cfg:95; net 167",
    ),
    "model.within_map_norm": (
        "a second normalisation by 5 x 5 neighbours; not in the paper",
        "[code] layers-145.cfg:107",
    ),
    "model.dropout": ("share of units of fc6 and fc7 left out in a step; 0 overfits", "[paper] 4.2"),
    "model.dropout_place": (
        "before: pool5 is thinned too, and fc8 sees all of fc7",
        "[code] after; torchvision before",
    ),
    "model.dropout_layers": ("one of fc6 and fc7 alone has dropout; 2012 had it in both", "[paper] 4.2"),
    "model.dropout_scale_at_test": ("True halves at test time, False doubles in training", "[code] layer.cu:1126"),
    "model.init": (
        "with paper, what tells pictures apart nearly dies in conv3-5; source lets it through",
        "[code] initW .03 in layers-145.cfg; [paper] 5; [caffe] fc .005",
    ),
    "model.init_scale": ("wider start values, for narrow layers: their outputs are sums of fewer products", "[ours]"),
    "model.fc_sigma": ("deviation of the first weights of the fc layers", "[code] layers-18pct.cfg; [cc] .1 in 80sec"),
    "model.bias": ("1 keeps ReLUs on at the start; Caffe found flat loss with 1 and took 0.1", "[code] initB; [caffe]"),
    "model.input_norm": (
        "mean-image subtracts the middle of the mean picture, standardise divides by the deviation, unit only scales",
        "[code] convdata_jpeg.py:209; torchvision; [d2l]",
    ),
    "model.test_size": ("pictures are shrunk to this before testing", "[ours]"),
    "augment.view": (
        "crop: shifted windows of one scale; zoom: parts of any size; center: always the same",
        "[paper] 4.1",
    ),
    "augment.flip": ("mirror images double the pictures; wrong for letters and digits", "[paper] 4.1"),
    "augment.chunk": ("32: a batch of 128 has 4 different crops and mirrors", "[code] convdata_jpeg.py: crop_chunk"),
    "augment.color_noise": ("shifts along the axes of colour: more than 1 point in the paper", "[paper] 4.1"),
    "augment.color_noise_until": ("the last epochs see true colours", "[code] layer-params-145.cfg:165-182"),
    "augment.color_shrink": ("keeps the scale of training near that of testing", "[code] convdata_jpeg.py:179"),
    "augment.color_scale": (
        "eigenvalue: 2 times weaker in brightness, 8-17 times in hue; lighting: so, and along the axes of ImageNet",
        "[code] stdev; [paper] eigenvalue; fb.resnet.torch lighting",
    ),
    "augment.min_area": ("smallest part that zoom shows", "torchvision .08"),
    "augment.max_aspect": ("how much zoom squeezes", "torchvision 4/3"),
    "augment.rotation": ("turns pictures by up to so many degrees", "[ours]"),
    "augment.jitter": ("brightness, contrast and saturation change", "[ours]"),
    "augment.fade": (
        "blends a chunk of pictures with another and keeps its labels: 40.25 / 18.12 against 40.53 / 18.05",
        "[code] convdata_jpeg.py:248-260, net 170",
    ),
    "augment.fade_share": ("how much of the other shines through", "[code] convdata_jpeg.py:248-260"),
    "augment.mixup": ("blends pictures and labels", "Zhang et al. 2018"),
    "augment.mixup_alpha": ("how even the blends are", "Zhang et al. 2018"),
    "augment.cutmix": ("pastes parts of one picture on another", "Yun et al. 2019"),
    "augment.cutmix_alpha": ("how even the parts are", "Yun et al. 2019"),
    "optim.algorithm": (
        "sgd-2012 keeps rate-scaled steps, sgd scales them by today's rate",
        "[code] weights.cu:146-198",
    ),
    "optim.lr": ("size of the steps", "[paper] 5"),
    "optim.bias_lr_factor": ("2: biases learn twice as fast", "[code] epsB .02; [caffe] lr_mult 2"),
    "optim.momentum": ("how long a step is remembered", "[paper] 5"),
    "optim.weight_decay": ("pulls weights to zero", "[paper] 5; torchvision 1e-4"),
    "optim.layer_decay": (
        "weight decay of single layers; 1 or 3 on the last layer of the nets for CIFAR-10 keeps it small",
        "[code] layer-params-18pct-noisylr.cfg; [cc]",
    ),
    "optim.decay_biases": ("False: biases are not pulled to zero", "[code] layer.cu:565; torchvision decays all"),
    "optim.old_lr_factor": ("below 1: trained layers move slower than the new one", "[code] net 146"),
    "optim.schedule": ("how the rate falls", "[paper] 5 drops; [code] dexp from 2013"),
    "optim.drop_epochs": ("when the rate falls to a tenth", "[code] layer-params-145.cfg; [caffe] every 20"),
    "optim.conv1_drop_epochs": ("the same for conv1, which settles first", "[code] layer-params-145.cfg:165-182"),
    "optim.conv1_freeze_epoch": (
        "from here on conv1 stays as it is",
        "[code] layer-params-145.cfg",
    ),
    "optim.biases_follow": ("False: biases keep their rate to the end", "[code] final epsB .02"),
    "optim.dexp_factor": ("first rate over last", "[code] layer-params-170.cfg"),
    "optim.dexp_steps": ("plateaus of the rate", "[code] src/lr.cu"),
    "optim.warmup": ("share of the run in which the rate rises", "[ours]"),
    "prepare_size": ("shorter side of the prepared pictures; with crop_size it sets how far crops move", "[paper] 2"),
    "weights": ("starts from trained weights, with a new last layer", "[code] net 146"),
    "epochs": ("how often every picture is seen", "[paper] 5: about 90"),
    "batch_size": ("pictures a step; with twice as many the rate doubles", "[paper] 5; [caffe] 256"),
    "seed": ("another run of the same recipe", "[ours]"),
    "reshuffle": ("False: the same batches in every epoch", "[code] batches are read in sequence"),
    "label_smoothing": ("targets are not quite certain", "Szegedy et al. 2016"),
    "class_weights": ("balanced: the loss of rare classes counts more; log-losses of held-out pictures rise", "[ours]"),
    "growing_crops": ("small crops first: cheaper epochs", "[ours]"),
    "average_decay": ("the mean of the last weights is kept", "Polyak 1992"),
    "precision": ("bfloat16: twice as fast where the processor has it, 8 bits of mantissa", "[ours]"),
    "evaluate_every": ("how often held-out pictures are looked at", "[ours]"),
    "patience": ("the run ends after so many looks at held-out pictures without a better network", "[ours]"),
    "on_nan": ("rollback: from numbers that are not finite back to the last checkpoint, at half the rate", "[ours]"),
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
    """All fields in which two recipes differ, but the name; of two kinds of network only those that both have."""
    found = differences(second, first)
    if first.model.architecture != second.model.architecture:
        kinds = (first.model.architecture, second.model.architecture)
        found = {"model.architecture": kinds} | {n: v for n, v in found.items() if not n.startswith("model.")}
    return [Difference(name, *values, *NOTES[name]) for name, values in found.items() if name != "name"]
