"""The recipes for small images: the networks of cuda-convnet for CIFAR-10, and AlexNet reduced for a laptop.

The networks for CIFAR-10 are those of sections 3.1 and 3.3 of the paper. The error rates in the docstrings are
published figures, in % of the test images of CIFAR-10; they were not measured here. Sources: layers-cifar of the
released code of 2012; cuda-convnet of 2011 for `cifar-80sec`, `cifar-19pct` and `cifar-11pct`. In cuda-convnet every
file of 10,000 images ends with a smaller batch; here only the epoch does.
"""

from dataclasses import replace

from alexnet.recipes.config import AlexNetConfig, AugmentConfig, CifarNetConfig, OptimConfig
from alexnet.recipes.recipe import Recipe

_WHOLE_IMAGE = AugmentConfig(view="center", flip=False, color_noise=0.0)
_CROP_AND_FLIP = AugmentConfig(view="crop", color_noise=0.0)

CIFAR_18PCT = Recipe(
    name="cifar-18pct",
    model=CifarNetConfig(),
    augment=_WHOLE_IMAGE,
    optim=OptimConfig(
        lr=0.001,
        weight_decay=0.004,
        layer_decay=(("fc4", 1.0),),
        drop_epochs=(121, 131),
        conv1_drop_epochs=(121, 131),
        conv1_freeze_epoch=None,
        biases_follow=True,
    ),
    prepare_size=32,
    epochs=140,
    reshuffle=False,
)
"""Three convolutional layers and a softmax, with within-map normalization: 18 %, in 20 minutes on a GPU of 2011.

alexnet train cifar10 --recipe cifar-18pct

All learning rates drop to a tenth after 120 epochs and again after 10 more ([code] layer-params-18pct-noisylr.cfg:3-4).
The last 10 epochs after that are those of Caffe's version of this network.
"""

CIFAR_19PCT = replace(
    CIFAR_18PCT,
    name="cifar-19pct",
    model=CifarNetConfig(norm="none"),
    optim=replace(CIFAR_18PCT.optim, layer_decay=(("fc4", 3.0),)),
)
"""The same without normalization: 19 %; with random crops and horizontal flips and without weight decay 14.2 %.

alexnet train cifar10 --recipe cifar-19pct

Overrides for the 14.2 %: crop_size=24 view=crop flip=true weight_decay=0 layer_decay=[]. The epochs are those of
`cifar-18pct`.
"""

CIFAR_80SEC = replace(
    CIFAR_18PCT,
    name="cifar-80sec",
    model=CifarNetConfig(norm="none", fc_features=(64,), fc_sigma=0.1),
    optim=replace(
        CIFAR_18PCT.optim,
        layer_decay=(("fc4", 0.03), ("fc5", 0.03)),
        drop_epochs=(9,),
        conv1_drop_epochs=(9,),
    ),
    epochs=10,
)
"""The fastest of these networks, with a hidden fully connected layer: 26 % in 80 seconds.

alexnet train cifar10 --recipe cifar-80sec

The learning rate drops to a tenth after 8 epochs. The last 2 epochs are those of Caffe's version of this network.
"""

CIFAR_13PCT = Recipe(
    name="cifar-13pct",
    model=CifarNetConfig(crop_size=24, channels=(64, 64), local_channels=(32, 32), pooling="max", norm="none"),
    augment=_CROP_AND_FLIP,
    optim=OptimConfig(
        lr=0.001,
        weight_decay=0.004,
        layer_decay=(("conv1", 0.0), ("conv2", 0.0)),
        drop_epochs=(501, 511),
        conv1_drop_epochs=(501, 511),
        conv1_freeze_epoch=None,
    ),
    prepare_size=32,
    epochs=520,
    reshuffle=False,
)
"""Two convolutional layers and two local layers, whose kernels differ at every position, on crops of 24 pixels: 13 %.

alexnet train cifar10 --recipe cifar-13pct

In 2011 the network was trained for about 350 epochs on four fifths of the images and for about 150 on all of them, then
for 10 epochs at a tenth and 10 at a hundredth of the learning rate of the weights. Here all epochs use all images.
"""

CIFAR_11PCT = replace(
    CIFAR_13PCT,
    name="cifar-11pct",
    model=CifarNetConfig(
        crop_size=24,
        channels=(64, 64),
        local_channels=(64, 32),
        pooling="max",
        norm="across-maps",
        norm_size=9,
        norm_alpha=0.001,
        norm2="before-pool",
    ),
    optim=replace(CIFAR_13PCT.optim, layer_decay=(("conv1", 0.0), ("conv2", 0.0), ("fc5", 0.01))),
)
"""The same with normalization across channels, twice the kernels in local3 and another weight decay: 11 %, nine views.

alexnet train cifar10 --recipe cifar-11pct

The 13 % and 11 % in section 3.3 of the paper are these two networks, which differ in more than the normalization. To
switch off only the normalization, use model.norm=none. `evaluate` does not offer the nine views (3 x 3 crops, not
flipped).
"""

FIGURE_1 = replace(
    CIFAR_19PCT,
    name="figure-1",
    optim=replace(CIFAR_19PCT.optim, weight_decay=0.0, layer_decay=(), schedule="constant"),
    epochs=40,
)
"""A four-layer network without regularization, for figure 1 of the paper: ReLU or tanh, each with its learning rate.

alexnet train cifar10 --recipe figure-1 activation=tanh lr=0.003

The paper does not say which network its figure shows; this is the four-layer one of cuda-convnet without weight decay.
"""

SMALL_CIFAR = Recipe(
    name="small-cifar",
    model=AlexNetConfig(
        crop_size=24,
        width=0.25,
        conv1_kernel=5,
        conv1_stride=1,
        conv1_padding=2,
        init_scale=2.0,
    ),
    augment=AugmentConfig(color_noise_until=27),
    optim=OptimConfig(drop_epochs=(21, 27), conv1_drop_epochs=(21, 27), conv1_freeze_epoch=None),
    prepare_size=32,
    epochs=30,
    batch_size=64,
)
"""AlexNet with all layers of 2012 at a quarter of the width, for studies on images of 32 pixels that take hours.

alexnet train cifar10 --recipe small-cifar

Each unit sums a quarter of the products, so the initial weights are twice as large (init_scale); without that, training
stays on a plateau at first. The learning rate drops twice in the last third, the color noise ends with the last drop,
and conv1 learns until the end, since there are few steps. Measured: docs/log.md ("The reduced networks for studies").
"""

SMALL_PHOTOS = replace(
    SMALL_CIFAR,
    name="small-photos",
    model=AlexNetConfig(crop_size=56, width=0.25, conv1_kernel=7, conv1_stride=2, init_scale=2.0),
    augment=AugmentConfig(color_noise_until=54),
    optim=replace(SMALL_CIFAR.optim, drop_epochs=(41, 54), conv1_drop_epochs=(41, 54)),
    prepare_size=64,
    epochs=60,
)
"""The same for a few thousand photos of 64 pixels.

alexnet train photos/ --recipe small-photos
"""
