"""What a run is made of, as frozen records: three families of networks, data augmentation, optimization.

Every record checks its own fields when it is made, in Python as on the command line.
"""

from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from alexnet.errors import UsageError

MOST = 10**9  # of anything that is counted: beyond it sizes do not fit into the integers of the libraries
LARGEST = 3e38  # networks compute in float32
Count = Annotated[int, Field(ge=1, le=MOST)]
Natural = Annotated[int, Field(ge=0, le=MOST)]
Finite = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Positive = Annotated[float, Field(gt=0, le=LARGEST)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, le=LARGEST)]
Activation = Literal["relu", "tanh", "sigmoid"]
InputNorm = Literal["mean-image", "mean-pixel", "standardise", "unit"]
NormPlace = Literal["before-activation", "after-activation", "after-pool", "none"]
Init = Literal["source", "paper", "caffe", "torch", "xavier", "kaiming"]
PoolTies = Literal["first", "all"]
Middle = Literal["conv3", "conv4", "conv5"]


class Record:
    """A frozen dataclass whose values are checked, and brought to their type, when it is made.

    Raises:
        UsageError: E214, a value of the wrong kind or out of range, named as on the command line.
    """

    section: ClassVar[str] = ""  # what stands before the names of its fields in a recipe

    def __post_init__(self) -> None:
        given = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        try:
            checked = _checker(type(self)).validate_python(given)  # type: ignore[arg-type]  # a class is hashable
        except ValidationError as error:
            raise wrong_value(error, self.section) from None
        for name, value in checked.items():
            object.__setattr__(self, name, value)


@cache
def _checker(record: type) -> TypeAdapter[dict[str, Any]]:
    return TypeAdapter(TypedDict(record.__name__, _field_types(record)))  # type: ignore[operator]


def _field_types(record: type) -> dict[str, Any]:
    hints = get_type_hints(record, include_extras=True)
    return {f.name: hints[f.name] for f in fields(record)}


def wrong_value(error: ValidationError, section: str = "") -> UsageError:
    """The first mistake that pydantic found in a record, as one of ours."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"] if part not in ("alexnet", "lenet", "cifar")]
    name = ".".join([section, *parts] if section else parts)
    return UsageError(
        f"{name}={first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}",
        fix="Choose another value; alexnet recipes NAME shows those of a recipe.",
        code="E214",
    )


@dataclass(frozen=True)
class AlexNetConfig(Record):
    """Every ingredient of AlexNet. The defaults are net 145 of the released source, the network of the paper."""

    section: ClassVar[str] = "model"

    num_classes: Count = 1000
    crop_size: Count = 224  # pixels a side that go into conv1
    in_channels: Literal[1, 3] = 3  # 1: the mean of red, green and blue
    width: Positive = 1.0  # multiplies all channels and fc widths
    channels: tuple[Count, Count, Count, Count, Count] = (96, 256, 384, 384, 256)  # conv1 .. conv5
    fc_features: tuple[Count, Count] = (4096, 4096)  # fc6, fc7
    without: Middle | None = None  # leave this layer out; its neighbors join, and the towers still exchange after pool2
    towers: Count = 2  # halves that exchange feature maps only at conv3, fc6, fc7, fc8
    towers_talk: bool = True  # False: only fc8 sees both (net 150)
    conv1_kernel: Count = 11
    conv1_stride: Count = 4
    conv1_padding: Literal["right-bottom"] | Natural = "right-bottom"
    activation: Activation = "relu"
    pooling: Literal["overlapping", "plain"] = "overlapping"  # 3x3 / 2 or 2x2 / 2
    pool_rounding: Literal["ceil", "floor"] = "ceil"  # whether a window that reaches over the border counts
    pool5_rounding: Literal["ceil", "floor"] | None = None  # where pool5 differs from the others: ONNX's bvlcalexnet
    pool_ties: PoolTies = "first"  # which of several equal maxima get the gradient; 2012: all
    pool5_grid: Count | None = None  # average pool5 to this many cells a side, so that crops of any size fit fc6
    norm: Literal["lrn", "batch", "none"] = "lrn"
    lrn_size: Count = 5
    lrn_alpha: Finite = 1e-4  # divided by lrn_size, as in the code
    lrn_beta: Finite = 0.75
    lrn_k: Finite = 2.0
    lrn_per_tower: bool = True  # False: neighboring channels count across the border between the towers too
    norm1: NormPlace = "before-activation"  # where LRN is in layer 1; the code's order is conv, LRN, pool, ReLU
    norm2: NormPlace = "after-activation"
    within_map_norm: bool = True  # 5x5 neighbourhood after LRN2; in the code only
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    dropout_place: Literal["after", "before"] = "after"  # fc6 and fc7; torchvision's network has it before them
    dropout_layers: Literal["both", "fc6", "fc7"] = "both"
    dropout_scale_at_test: bool = True
    init: Init = "source"  # initial weights; see initialize_alexnet
    init_scale: Positive = 1.0  # times the sigmas of source, paper, caffe
    bias: Finite = 1.0  # initial biases of conv2, conv4, conv5, fc6, fc7 with source, paper and caffe
    input_norm: InputNorm = "mean-image"
    test_size: Count | None = None  # prepared images are shrunk to this many pixels a side before testing
    architecture: Literal["alexnet"] = "alexnet"


@dataclass(frozen=True)
class LeNetConfig(Record):
    """LeNet-5 as in "Dive into Deep Learning" (sigmoid, average pooling), or its modern form (ReLU, max pooling)."""

    section: ClassVar[str] = "model"

    num_classes: Count = 10
    crop_size: Count = 28
    in_channels: Literal[1, 3] = 1  # 1: the mean of red, green and blue
    width: Positive = 1.0
    channels: tuple[Count, Count] = (6, 16)  # conv1, conv2
    fc_features: tuple[Count, ...] = (120, 84)  # fc layers before the last
    conv1_padding: Natural = 2
    activation: Activation = "sigmoid"
    conv_activation: bool = True  # False: none after the convolutions, as in Caffe's LeNet
    pooling: Literal["average", "max"] = "average"
    input_norm: InputNorm = "unit"
    test_size: Count | None = None
    architecture: Literal["lenet"] = "lenet"


@dataclass(frozen=True)
class CifarNetConfig(Record):
    """The nets of cuda-convnet for CIFAR-10. The defaults are its net of 18 % (layers-18pct.cfg).

    Convolutions of 5 x 5, each followed by pooling (3 x 3 / 2), then "local" layers of 3 x 3 that share no weights
    between positions, then fully connected ones. They are numbered in order: conv1, conv2, local3, local4, fc5.
    """

    section: ClassVar[str] = "model"

    num_classes: Count = 10
    crop_size: Count = 32
    width: Positive = 1.0
    channels: Annotated[tuple[Count, ...], Field(min_length=1)] = (32, 32, 64)  # conv1, conv2, ...
    local_channels: tuple[Count, ...] = ()  # of the layers that share no weights between positions
    fc_features: tuple[Count, ...] = ()  # fc layers before the last
    activation: Activation = "relu"
    pooling: Literal["average", "max"] = "average"  # from pool2 on; pool1 takes the maximum
    pool_ties: PoolTies = "first"  # which of several equal maxima get the gradient; 2012: all
    norm: Literal["within-map", "across-maps", "none"] = "within-map"
    norm_size: Count = 3  # pixels a side, or channels
    norm_alpha: Finite = 5e-5  # divided by the number of values in the sum, as in the code
    norm_beta: Finite = 0.75
    norm1: Literal["before-pool", "after-pool", "none"] = "after-pool"
    norm2: Literal["before-pool", "after-pool", "none"] = "after-pool"
    init: Literal["source", "xavier", "kaiming"] = "source"  # initial weights; see initialize_cifar
    fc_sigma: Rate = 0.01  # of the fc layers with source
    input_norm: InputNorm = "mean-image"
    test_size: Count | None = None
    architecture: Literal["cifar"] = "cifar"


ModelConfig = AlexNetConfig | LeNetConfig | CifarNetConfig


@dataclass(frozen=True)
class AugmentConfig(Record):
    """What happens to a training image. The defaults are those of 2012, with one crop and flip per image."""

    section: ClassVar[str] = "augment"

    view: Literal["crop", "zoom", "center"] = "crop"  # crop: a window of the prepared image; zoom: a part, resized
    flip: bool = True
    chunk: Count = 1  # so many consecutive images of a batch share crop and flip; 2012: 32
    color_noise: Annotated[float, Field(ge=0, le=100)] = 0.1  # coefficient of the PCA color noise; 0 is off
    color_noise_until: int | None = 67  # from this epoch on (counted from 1) there is none
    color_shrink: bool = True  # whether the image is divided by 1 + color_noise as well
    color_scale: Literal["stdev", "eigenvalue", "lighting"] = "stdev"  # of the noise along each axis; see color_shifts
    min_area: Annotated[float, Field(gt=0, le=1)] = 0.25  # zoom: smallest share of the image, before it is cut to fit
    max_aspect: Annotated[float, Field(ge=1, le=100)] = 4 / 3  # zoom: widest ratio of the sides of that part
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0  # zoom: largest angle, in degrees, either way
    jitter: Share = 0.0  # brightness, contrast and saturation are each multiplied by 1 +- this, evenly
    fade: Share = 0.0  # probability that a chunk is blended with another of its batch; labels stay; 2012 tried .05
    fade_share: Share = 0.25  # of the other chunk in the blend
    mixup: Share = 0.0  # share of the batches whose images are blended with one another
    mixup_alpha: Positive = 0.2  # both parameters of the Beta distribution of the blend
    cutmix: Share = 0.0  # share of the batches whose images get a rectangle from another
    cutmix_alpha: Positive = 1.0


@dataclass(frozen=True)
class OptimConfig(Record):
    """The optimizer and its learning rates. The defaults are those of net 145 ([code] layer-params-145.cfg:165-182)."""

    section: ClassVar[str] = "optim"

    algorithm: Literal["sgd-2012", "sgd", "nesterov", "adamw"] = "sgd-2012"
    lr: Rate = 0.01  # learning rate of the weights, at first or (one-cycle) at the peak
    bias_lr_factor: Rate = 2.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # beta1 of adamw
    weight_decay: Rate = 0.0005  # of weights only
    layer_decay: tuple[tuple[str, Rate], ...] = ()  # (layer, weight_decay of its weights) where it is another one
    decay_biases: bool = False  # whether of biases too
    old_lr_factor: Rate = 1.0  # learning rate of pretrained layers, in units of that of the new ones
    schedule: Literal["constant", "drops", "dexp", "one-cycle"] = "drops"
    drop_epochs: tuple[int, ...] = (25, 51, 79)  # drops: from each of these epochs on, counted from 1, a tenth
    conv1_drop_epochs: tuple[int, ...] = (25, 51, 67)
    conv1_freeze_epoch: int | None = 72  # drops, dexp: from this epoch on conv1 stays as it is
    biases_follow: bool = False  # drops: whether the learning rate of the biases drops too
    dexp_factor: Positive = 250.0  # dexp: first learning rate over the last
    dexp_steps: Count = 4
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0  # one-cycle: share of the run in which the learning rate rises
