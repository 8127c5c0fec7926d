"""The mutants of `pinned`: one ingredient of 2012 made wrong in one place, and the tests that are to notice it.

The first ones are of the kinds that the tests named in docs/fidelity.md once missed, the others their neighbors.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One wrong ingredient."""

    name: str
    file: str
    old: str  # stands once in the file
    new: str
    tests: tuple[str, ...]  # those of docs/fidelity.md that are to notice it
    interpreted: bool = False  # the loops as plain Python


LAYERS, WHOLE = "tests/models/test_layers.py::", "tests/models/test_whole_network.py::"
LOOPS, CROPS, MASKS = (
    "tests/kernels/test_loops.py::",
    "tests/data/test_crop_loops.py::",
    "tests/training/test_masks.py::",
)
AUGMENT, OPTIM, PREPARE = (
    "tests/data/test_augment.py::",
    "tests/training/test_optim.py::",
    "tests/data/test_prepare.py::",
)
DIARIES, NAMED, EVALUATE = (
    "tests/recipes/test_diaries.py::",
    "tests/recipes/test_named.py::",
    "tests/evaluation/test_evaluate.py::",
)
BORDER = LOOPS + "test_the_compiled_lrn_never_looks_into_the_other_tower_forward_or_backward"
FORMULA = LOOPS + "test_the_compiled_chain_is_its_formula_with_clipped_windows_and_one_tower_at_a_time"
GRADIENT = LOOPS + "test_the_gradient_of_the_compiled_chain_is_the_central_difference_of_its_formula"
UPDATE = LOOPS + "test_the_compiled_update_is_that_of_2012_across_changes_of_the_rate"
RATES = DIARIES + "test_learning_rates_are_those_of_the_nets_own_diary_in_every_epoch"
FROZEN = DIARIES + "test_conv1_stays_as_it_is_once_it_is_frozen_and_the_rest_moves"
NOISE_ENDS = DIARIES + "test_color_noise_ends_in_the_epoch_of_the_nets_own_diary"
OWN_MASK = MASKS + "test_every_image_and_every_unit_has_a_mask_of_its_own"
NEW_MASK = MASKS + "test_every_step_and_every_layer_draws_anew_and_a_repeated_run_draws_the_same"
HALF = AUGMENT + "test_one_half_is_mirrored_to_a_hundredth"
STATISTICS = PREPARE + "test_statistics_against_numpy_over_all_pixels"
DIVIDED = CROPS + "test_noise_and_difference_to_the_mean_are_divided_together"
BYTES = CROPS + "test_bytes_are_windows_from_their_corner_on_and_mirrored_where_asked"
NORM_POOL, CROP_LOOPS = "alexnet/kernels/norm_pool_loops.py", "alexnet/kernels/crop_loops.py"
NETS = "alexnet/recipes/named_2012.py"

SQUARES = "                    total += squares[c + f]\n"

MUTANTS: tuple[Mutant, ...] = (
    # The kinds that the named tests once missed.
    Mutant(
        "LRN across towers, alone",
        NORM_POOL,
        "                lrn(x, first, here, there, together, count, floors[0], lrn_scale, lrn_k)",
        "                lrn(x, first, here, there, 1, together * count, floors[0], lrn_scale, lrn_k)",
        (BORDER,),
        True,
    ),
    Mutant(
        "LRN across towers, in every chain",
        "alexnet/kernels/operators.py",
        "np.float32(chain.lrn_k), chain.towers)",
        "np.float32(chain.lrn_k), 1)",
        (BORDER,),
        True,
    ),
    Mutant(
        "LRN across towers, its gradient",
        NORM_POOL,
        "                lrn_backward(x, last, out, here, there, together, count, floor, lrn_scale, lrn_k)",
        "                lrn_backward(x, last, out, here, there, 1, together * count, floor, lrn_scale, lrn_k)",
        (BORDER,),
        True,
    ),
    Mutant(
        "squares of the tower before stay in the window",
        NORM_POOL,
        "    values, squares = np.empty(count, np.float32), np.zeros(count + WINDOW, np.float32)\n    for i",
        "    values, squares = np.empty(count, np.float32), np.ones(count + WINDOW, np.float32)\n    for i",
        (FORMULA,),
        True,
    ),
    Mutant(
        "gradient of the map norm with another factor",
        NORM_POOL,
        "    width, factor = a.shape[1], np.float32(-1.5) * scale",
        "    width, factor = a.shape[1], np.float32(-0.75) * scale",
        (GRADIENT,),
        True,
    ),
    Mutant(
        "gradient of the map norm without its second sum",
        NORM_POOL,
        "            g[t] += factor * sums[t] * source[t]",
        "            g[t] += np.float32(0) * sums[t] * source[t]",
        (GRADIENT,),
        True,
    ),
    Mutant(
        "one dropout mask for the whole batch",
        "alexnet/models/layers.py",
        "        return mask(key, rows, units, keep, x).view(x.shape)",
        "        return mask(key, 0 * rows, units, keep, x).view(x.shape)",
        (OWN_MASK,),
    ),
    Mutant(
        "the same dropout mask in every step",
        "alexnet/training/trainer.py",
        "        self.model.train()\n        self.model.seed_dropout(recipe.seed, at.step)",
        "        self.model.train()\n        self.model.seed_dropout(recipe.seed, 0)",
        (NEW_MASK,),
    ),
    Mutant(
        "mirrors with 40 %",
        "alexnet/data/augment.py",
        "    return rng.uniform(seed, epoch, samples, rng.FLIP)[:, 0] < 0.5",
        "    return rng.uniform(seed, epoch, samples, rng.FLIP)[:, 0] < 0.4",
        (HALF,),
    ),
    Mutant(
        "variances for square roots, in the statistics",
        "alexnet/data/pixel_statistics.py",
        "np.sqrt(variances.clip(0)).tolist()",
        "variances.clip(0).tolist()",
        (STATISTICS,),
    ),
    Mutant(
        "variances for square roots, in the noise",
        "alexnet/data/augment.py",
        '    scale = color_stdevs if color_scale == "stdev" else',
        '    scale = color_stdevs**2 if color_scale == "stdev" else',
        (AUGMENT + "test_color_shifts_are_eigenvectors_times_square_roots_times_normal_draws",),
    ),
    Mutant(
        "undivided noise in the crop loop",
        CROP_LOOPS,
        "more[j] + (np.float32(source[j]) - less[j] + added[j]) / divisor",
        "more[j] + (np.float32(source[j]) - less[j]) / divisor + added[j]",
        (DIVIDED,),
        True,
    ),
    Mutant(
        "mean image of all splits",
        "alexnet/data/prepare_shards.py",
        '            if plan.split == "train":\n                work.sums',
        "            if plan.split:\n                work.sums",
        (STATISTICS,),
    ),
    Mutant(
        "net 148 with a rate of 5",
        NETS,
        "    optim=OptimConfig(drop_epochs=(22, 44, 86),",
        "    optim=OptimConfig(lr=5.0, drop_epochs=(22, 44, 86),",
        (RATES,),
    ),
    Mutant(
        "net 167 falls to 1 / 250",
        NETS,
        'schedule="dexp", dexp_factor=1000.0,',
        'schedule="dexp", dexp_factor=250.0,',
        (RATES,),
    ),
    # Others of their kind.
    Mutant(
        "conv1 never frozen with dexp",
        "alexnet/training/optim.py",
        "    if conv1 and config.conv1_freeze_epoch is not None and epoch",
        '    if conv1 and config.schedule == "drops" and config.conv1_freeze_epoch is not None and epoch',
        (FROZEN,),
    ),
    Mutant(
        "noise of net 147 off at 67",
        NETS,
        "color_noise_until=None",
        "color_noise_until=67",
        (NOISE_ENDS,),
    ),
    Mutant(
        "decay of the compiled update without the rate",
        NORM_POOL,
        "            v[i] = momentum * v[i] - rate * (g[i] + decay * w[i])",
        "            v[i] = momentum * v[i] - rate * g[i] - decay * w[i]",
        (UPDATE,),
        True,
    ),
    Mutant(
        "momentum of the compiled update scaled by the rate of now",
        NORM_POOL,
        "            w[i] += v[i]",
        "            w[i] += v[i] * rate / np.float32(0.1)",
        (UPDATE,),
        True,
    ),
    Mutant(
        "a window of pooling that hangs over the border loses its last row",
        NORM_POOL,
        "            for ii in range(min(size, a.shape[1] - top)):",
        "            for ii in range(min(size, a.shape[1] - top) - 1 or 1):",
        (FORMULA,),
        True,
    ),
    Mutant(
        "the gradient of pooling at exchanged rows and columns",
        NORM_POOL,
        "np.uint8(ii * size + jj), out[0, top + ii, left + jj]",
        "np.uint8(jj * size + ii), out[0, top + ii, left + jj]",
        (GRADIENT,),
        True,
    ),
    Mutant(
        "four neighbours instead of five in the compiled LRN",
        NORM_POOL,
        f"                for f in range(1, WINDOW):\n{SQUARES}                target[c]",
        f"                for f in range(1, WINDOW - 1):\n{SQUARES}                target[c]",
        (FORMULA,),
        True,
    ),
    Mutant(
        "the within-map window has four columns",
        NORM_POOL,
        "        sums[t] = p[t] + q[t] + r[t] + s[t] + u[t]",
        "        sums[t] = p[t] + q[t] + r[t] + s[t]",
        (FORMULA,),
        True,
    ),
    Mutant(
        "ReLU before the compiled norm lets negative values pass",
        NORM_POOL,
        "                v = floor if source[c] <= floor else source[c]  # NaN stays NaN",
        "                v = source[c]",
        (FORMULA,),
        True,
    ),
    Mutant(
        "a mirrored window one pixel off in the crop loop",
        CROP_LOOPS,
        "np.uint64(3 * left + width - 3)",
        "np.uint64(3 * left + width)",
        (BYTES,),
        True,
    ),
    Mutant(
        "red and blue exchanged in mirrored windows",
        CROP_LOOPS,
        "            target[place] = row[source]\n",
        "            target[place] = row[source + one + one]\n",
        (BYTES,),
        True,
    ),
    Mutant(
        "crops at 32 positions an axis",
        "alexnet/data/augment.py",
        "rng.CROP, margin + 1, count=2)",
        "rng.CROP, margin, count=2)",
        (AUGMENT + "test_offsets_take_each_of_the_33_values_of_each_axis_evenly_and_independently",),
    ),
    Mutant(
        "a crop of its own for every image of a chunk",
        "alexnet/data/augment.py",
        "samples[np.arange(len(samples)) // chunk * chunk]",
        "samples[np.arange(len(samples))]",
        (NAMED + "test_32_consecutive_images_of_a_batch_share_one_crop_and_one_mirror",),
    ),
    Mutant(
        "noise one epoch too long",
        "alexnet/data/augment.py",
        "epoch < config.color_noise_until",
        "epoch <= config.color_noise_until",
        (NOISE_ENDS,),
    ),
    Mutant(
        "both dropout layers share a mask",
        "alexnet/models/network.py",
        "seed_for(seed, step, DROPOUT, part)",
        "seed_for(seed, step, DROPOUT, 0)",
        (NEW_MASK,),
    ),
    Mutant(
        "the corner of the mean image subtracted",
        "alexnet/models/network.py",
        "(image.shape[-2] - size) // 2, (image.shape[-1] - size) // 2",
        "0, 0",
        ("tests/models/test_network.py::test_the_central_square_of_the_mean_image_is_subtracted",),
    ),
    Mutant(
        "sigma 0.01 in conv5",
        "alexnet/models/alexnet.py",
        '{"conv3": 0.03, "conv4": 0.03, "conv5": 0.03}',
        '{"conv3": 0.03, "conv4": 0.03}',
        (
            "tests/models/test_network.py::"
            "test_weights_of_net_145_start_with_the_spreads_of_the_source_and_biases_with_0_and_1",
        ),
    ),
    Mutant(
        "biases decay",
        "alexnet/training/optim.py",
        '(name.endswith("weights") or config.decay_biases)',
        "1.0",
        (OPTIM + "test_without_gradients_weights_decay_and_biases_and_gains_do_not",),
    ),
    Mutant(
        "alpha not divided by the size",
        "alexnet/models/layers.py",
        "        scale = self.alpha / self.size\n",
        "        scale = self.alpha\n",
        (LAYERS + "test_lrn_is_the_formula_of_the_code_within_each_tower",),
    ),
)
