"""The networks of the released source of 2012, each trained as the notebook at the end of its own parameter file says.

[code] layers/layers-NET.cfg has the layers, layers/layer-params-NET.cfg the learning rates at the end of training, and
in its last lines the notebook: what was changed by hand, in which epoch, and the errors. An epoch in which a run was
"killed" is not counted. The error rates in the docstrings are those of the notebook, with ten views: top-1 / top-5 in
% on ILSVRC-2012 validation, unless stated otherwise. They were not measured here.

The pairs that the paper compares differ in more than their ingredient, because the learning rates were lowered by eye;
`alexnet diff alexnet-2012 net-147` lists everything. To change the ingredient alone, override it in `alexnet-2012`.
"""

from dataclasses import replace

from alexnet.recipes.config import AlexNetConfig, AugmentConfig, OptimConfig
from alexnet.recipes.recipe import Recipe

ALEXNET_2012 = Recipe(augment=AugmentConfig(chunk=32), reshuffle=False)
"""Net 145 of the released source, trained as its notebook says: 40.7 / 18.2 with ten views (section 6.1 of the paper).

alexnet train /data/ILSVRC2012 --recipe alexnet-2012
"""

NET_145_HALF = replace(
    ALEXNET_2012,
    name="net-145-half",
    model=AlexNetConfig(towers=1, channels=(48, 128, 192, 192, 256)),
    augment=AugmentConfig(chunk=32, color_noise_until=66),
    optim=OptimConfig(drop_epochs=(20, 48, 78), conv1_drop_epochs=(20, 48, 66)),
    epochs=95,
)
"""One of the two towers, with conv5 and the fully connected layers of both: 39.2 / 18.2 on ILSVRC-2010, 1.7 / 1.2 more.

alexnet train /data/ILSVRC2012 --recipe net-145-half

Layers above conv1 end at a learning rate of 0.00001, but the notebook does not say since when; here since epoch 78, as
in net 145 on ILSVRC-2010, with which it was compared. Its file has 0.002 as the last learning rate of the biases of
conv1 and conv2; here it is 0 and 0.02, as in the notebook and in the other layers.
"""

NET_147 = replace(
    ALEXNET_2012,
    name="net-147",
    model=AlexNetConfig(pooling="plain"),
    augment=AugmentConfig(chunk=32, color_noise_until=None),
    optim=OptimConfig(bias_lr_factor=0.2, drop_epochs=(23, 51, 79), conv1_drop_epochs=(23, 51), conv1_freeze_epoch=79),
    epochs=89,
)
"""Net 145 with 2 x 2 pooling without overlap: 41.1 / 18.5, 0.4 / 0.3 worse.

alexnet train /data/ILSVRC2012 --recipe net-147

Its color noise is never switched off, conv1 is frozen without a smaller learning rate before, and the biases have a
learning rate of 0.002: that of its file, of which the notebook records no change.
"""

NET_148 = replace(
    ALEXNET_2012,
    name="net-148",
    model=AlexNetConfig(norm="none", within_map_norm=False),
    augment=AugmentConfig(chunk=32, color_noise_until=69),
    optim=OptimConfig(drop_epochs=(22, 44, 86), conv1_drop_epochs=(22, 44, 69), conv1_freeze_epoch=73),
    epochs=96,
)
"""Net 145 without any normalization: 42.0 / 19.4, 1.4 / 1.2 worse.

alexnet train /data/ILSVRC2012 --recipe net-148
"""

NET_150 = replace(
    ALEXNET_2012,
    name="net-150",
    model=AlexNetConfig(towers_talk=False, channels=(96, 320, 384, 384, 256), fc_features=(8192, 4096)),
    augment=AugmentConfig(chunk=32, color_noise_until=66),
    optim=OptimConfig(drop_epochs=(25, 49, 79), conv1_drop_epochs=(25, 49, 66)),
    epochs=91,
)
"""Two towers that are joined only in fc8, with a wider conv2 and fc6: 41.8 / 19.3, 1.2 / 1.1 worse.

alexnet train /data/ILSVRC2012 --recipe net-150
"""

NET_167 = replace(
    ALEXNET_2012,
    name="net-167",
    model=AlexNetConfig(norm2="none", within_map_norm=False),
    augment=AugmentConfig(chunk=32, color_noise_until=63),
    optim=OptimConfig(schedule="dexp", dexp_factor=1000.0, conv1_freeze_epoch=73),
    epochs=95,
)
"""Net 145 with LRN in layer 1 only, and a learning rate that falls by itself to a thousandth: 40.5 / 18.1, no loss.

alexnet train /data/ILSVRC2012 --recipe net-167

It was compared with net 170, whose learning rate ends at 1 / 250 of the first. The nets with this schedule were to run
for 95 epochs ([code] layer-params-169.cfg).
"""
