"""The schedule of a run: position of each step, crop size at each step, and checks that a recipe can be trained."""

from dataclasses import dataclass, replace

from alexnet.data.dataset import Prepared
from alexnet.errors import UsageError
from alexnet.models.build import outline
from alexnet.models.memory import check_batch, check_parameters
from alexnet.models.shapes import grid_sizes
from alexnet.recipes.config import AlexNetConfig
from alexnet.recipes.recipe import Recipe


@dataclass(frozen=True)
class Moment:
    """A step and its position in the run."""

    step: int  # of the whole run, counted from 0
    epoch: int  # counted from 1
    position: int  # in its epoch, counted from 0
    progress: float  # share of the run that is done before this step, in [0, 1)
    ends_epoch: bool


@dataclass(frozen=True)
class Clock:
    """Converts steps of a run to epochs and progress.

    >>> Clock(steps_per_epoch=4, epochs=2).at(5)
    Moment(step=5, epoch=2, position=1, progress=0.625, ends_epoch=False)
    """

    steps_per_epoch: int
    epochs: int

    @property
    def steps(self) -> int:
        """Number of steps of the whole run."""
        return self.steps_per_epoch * self.epochs

    def at(self, step: int) -> Moment:
        """The position of a step, counted from 0, in the run."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return Moment(step, epoch + 1, position, step / self.steps, position + 1 == self.steps_per_epoch)


def crop_size_at(recipe: Recipe, progress: float) -> int:
    """Side of the training crops in pixels when this share of the run is done."""
    reached = [size for start, size in recipe.growing_crops if progress >= start]
    return reached[-1] if reached else recipe.model.crop_size


def check_recipe(recipe: Recipe, prepared: Prepared) -> None:
    """Refuses a recipe that cannot be trained on these images, before any time is spent.

    Raises:
        UsageError: crops that are larger than the images or too small for the network, growing crops that the network
            cannot take or whose shares do not rise, shares of mixup and cutmix above 1 together, layer settings
            without pretrained weights, or a batch too small for batch normalization.
        ResourceError: weights, gradients and momentum, or a batch, do not fit into the memory of this machine.
    """
    config, growing = recipe.model, recipe.growing_crops
    test_size = prepared.size if config.test_size is None else config.test_size
    largest_crop = max(size for _, size in ((0.0, config.crop_size), *growing))
    if recipe.augment.view != "zoom" and largest_crop > prepared.size:
        raise UsageError(
            f"crops of {largest_crop} pixels from images prepared at {prepared.size}",
            fix=f"Use model.crop_size={prepared.size} or less, or prepare the images at a larger --size.",
            code="E258",
        )
    if not config.crop_size <= test_size <= prepared.size:
        raise UsageError(
            f"crops of {config.crop_size} pixels from images of {test_size} at test time, prepared at {prepared.size}",
            fix="Each must be at least as large as the one before: model.crop_size, model.test_size, prepare_size.",
            code="E258",
        )
    if growing:
        shares = [share for share, _ in growing]
        if shares != sorted(shares) or not 0 <= shares[0] <= shares[-1] < 1:
            raise UsageError(
                f"growing_crops starts at the shares {shares} of the run: they must rise from 0 to less than 1",
                fix="For example growing_crops='[[0, 112], [0.5, 160]]'.",
                code="E259",
            )
        if min(size for _, size in growing) < 1:
            raise UsageError(
                f"growing_crops has a crop of {min(size for _, size in growing)} pixels",
                fix="For example growing_crops='[[0, 112], [0.5, 160]]'.",
                code="E259",
            )
        if not isinstance(config, AlexNetConfig) or config.pool5_grid is None:
            raise UsageError(
                "growing_crops needs an AlexNet with model.pool5_grid: fully connected layers alone take one size only",
                fix="Add model.pool5_grid=6, or leave growing_crops out.",
                code="E259",
            )
        if config.input_norm == "mean-image":
            raise UsageError(
                "growing_crops cannot subtract a mean image of one size",
                fix="Use input_norm=mean-pixel.",
                code="E259",
            )
    sizes = (config.crop_size, *(size for _, size in growing))
    for size in sizes:
        grid_sizes(replace(config, crop_size=size))
    network, images = outline(config), min(recipe.batch_size, len(prepared.splits["train"]))
    check_parameters(sum(parameter.numel() for parameter in network.parameters()), copies=3)
    check_batch(network, images, max(sizes))
    if recipe.augment.mixup + recipe.augment.cutmix > 1:
        raise UsageError(
            f"augment.mixup={recipe.augment.mixup} and augment.cutmix={recipe.augment.cutmix} are shares of batches",
            fix="Make their sum 1 or less.",
            code="E260",
        )
    if recipe.weights is None and recipe.optim.old_lr_factor != 1.0:
        raise UsageError(
            f"optim.old_lr_factor={recipe.optim.old_lr_factor} is for pretrained weights, and there are none",
            fix="Add --weights FILE, or use optim.old_lr_factor=1.",
            code="E261",
        )
    batch_norm = isinstance(config, AlexNetConfig) and config.norm == "batch"
    if batch_norm and min(recipe.batch_size, len(prepared.splits["train"])) < 2:
        raise UsageError(
            "batch normalization needs at least 2 images in a batch",
            fix="Use norm=lrn or a larger batch_size.",
            code="E262",
        )
