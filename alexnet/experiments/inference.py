"""How large a difference between arms of an experiment is: its interval, over runs and over images.

Two sources of chance: another seed gives another network, and other test images another error. Runs are not pairs. The
variance of a difference is that between runs, s_a^2 / n_a + s_b^2 / n_b, which holds already the part of the images
that differs from run to run, plus that of the mean difference over images, less that part. Runs of one machine and
precision are a block; the difference is taken within blocks, and joined.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from alexnet.experiments.distributions import SHARE, chi_square_p, student_p, student_t

Floats = npt.NDArray[np.float64]
DRAWS = 10_000


@dataclass(frozen=True, eq=False)
class Sample:
    """The runs of one arm in one block: what each measured, and where it is known, on every image."""

    values: Floats  # (runs,)
    by_image: npt.NDArray[np.float32] | None = None  # (runs, images); its means over images are the values

    @classmethod
    def of(cls, by_image: npt.ArrayLike) -> "Sample":
        """The sample of runs whose answers to every image are known."""
        answers = np.asarray(by_image, np.float32)
        return cls(answers.mean(1, dtype=np.float64), answers)

    @property
    def count(self) -> int:
        """How many runs."""
        return len(self.values)

    @cached_property
    def interplay(self) -> float:
        """The sum of squares of what is due to neither the run nor the image alone, over images less one."""
        assert self.by_image is not None
        y = self.by_image
        images = int(y.shape[1])
        total = float(np.square(y, dtype=np.float64).sum())
        runs = images * float(np.square(self.values).sum())
        columns = y.sum(0, dtype=np.float64)
        by_column = float(np.square(columns).sum()) / self.count
        mean = images * float(self.values.sum()) ** 2 / self.count
        return max(0.0, total - runs - by_column + mean) / (images - 1)


Block = Sequence[Sample]  # an arm and its base, or one sample whose mean is asked for


@dataclass(frozen=True)
class Estimate:
    """A difference with its 95 % interval; in the unit of the samples. Without a spread there is no interval."""

    effect: float
    low: float | None
    high: float | None
    analytic: tuple[float, float] | None  # the same interval by formula
    p: float | None  # that the effect is zero, two-sided
    freedom: float | None  # degrees of freedom, by Welch and Satterthwaite
    counts: tuple[int, ...]  # runs of the arm, and of the base
    spread: tuple[float, ...]  # variance between runs, of the arm and of the base
    of_images: float | None  # variance of the effect due to the choice of images; None if the answers are not known
    blocks: int
    heterogeneity: float | None  # p of Cochran's Q: that the blocks have one effect

    @property
    def half_width(self) -> float | None:
        """Half of the length of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def holds(self, value: float) -> bool:
        """Whether the interval holds a value."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high

    def runs_for(self, half_width: float, most: int = 100_000) -> int | None:
        """How many runs of the arm would give that half-width with the spread found, base and arm growing alike.

        None if the images alone do not allow it, or nothing is known of the spread.
        """
        if self.low is None:
            return None
        ratios = [count / self.counts[0] for count in self.counts]

        def half(n: int) -> float:
            parts = [v / (n * r) for v, r in zip(self.spread, ratios, strict=True)]
            freedom = [n * r - 1 for r in ratios]
            if min(freedom) < 1:
                return math.inf  # fewer than two runs have no spread
            total = sum(parts) + (self.of_images or 0.0)
            if total == 0:
                return 0.0
            return student_t(_welch(parts, freedom)) * math.sqrt(total)

        low, high = 1, 2
        while half(high) > half_width:
            low, high = high, 2 * high
            if high > most:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if half(middle) > half_width else (low, middle)
        return high


def estimate(blocks: Sequence[Block], draws: int = DRAWS) -> Estimate | None:
    """The effect of an arm: the mean of its runs less that of the base, within blocks, and joined over them.

    The interval is a bootstrap over both sources where the answers to every image are known (see `_bootstrap`), and
    else that of Student's t by Welch, which holds for these images only.

    Args:
        blocks: of one machine and precision each; those in which a sample is empty say nothing.

    Returns:
        None if no block has runs of every sample.
    """
    blocks = [block for block in blocks if all(sample.count for sample in block)]
    if not blocks:
        return None
    roles = range(len(blocks[0]))
    signs = [1.0, -1.0][: len(blocks[0])]
    counts = tuple(sum(block[r].count for block in blocks) for r in roles)
    freedom = [counts[r] - len(blocks) for r in roles]
    effects = [sum(signs[r] * float(block[r].values.mean()) for r in roles) for block in blocks]
    if min(freedom) < 1:
        weights = _weights([sum(1 / sample.count for sample in block) for block in blocks])
        effect = math.fsum(w * d for w, d in zip(weights, effects, strict=True))
        return Estimate(effect, None, None, None, None, None, counts, (), None, len(blocks), None)
    spread = tuple(
        sum(float(np.square(block[r].values - block[r].values.mean()).sum()) for block in blocks) / freedom[r]
        for r in roles
    )
    variances = [sum(spread[r] / block[r].count for r in roles) for block in blocks]
    weights = _weights(variances if min(variances) > 0 else [1.0] * len(blocks))
    effect = math.fsum(w * d for w, d in zip(weights, effects, strict=True))
    shares = [sum(w * w / block[r].count for w, block in zip(weights, blocks, strict=True)) for r in roles]
    parts = [spread[r] * shares[r] for r in roles]
    differences = _by_image(blocks, weights, signs)
    of_images = None if differences is None else _of_images(blocks, differences, shares, freedom)
    total = sum(parts) + (of_images or 0.0)
    images = [] if differences is None else [(of_images or 0.0, len(differences) - 1)]
    f = _welch([*parts, *(v for v, _ in images)], [*freedom, *(n for _, n in images)])
    half = student_t(f) * math.sqrt(total)
    low, high = analytic = (effect - half, effect + half)
    if differences is not None:
        low, high = _bootstrap(blocks, weights, spread, differences, of_images or 0.0, effect, f, draws)
    p = student_p(effect / math.sqrt(total), f) if total > 0 else float(effect == 0)
    q = sum((d - effect) ** 2 / v for d, v in zip(effects, variances, strict=True)) if min(variances) > 0 else 0.0
    heterogeneity = chi_square_p(q, len(blocks) - 1) if len(blocks) > 1 else None
    return Estimate(effect, low, high, analytic, p, f, counts, spread, of_images, len(blocks), heterogeneity)


def _weights(variances: Sequence[float]) -> list[float]:
    """Weights by inverse variance, of sum 1."""
    total = sum(1 / v for v in variances)
    return [1 / v / total for v in variances]


def _welch(parts: Sequence[float], freedom: Sequence[float]) -> float:
    """The degrees of freedom of a sum of estimated variances (Welch 1947, Satterthwaite 1946)."""
    divisor = sum(v * v / f for v, f in zip(parts, freedom, strict=True) if v > 0)
    return sum(parts) ** 2 / divisor if divisor > 0 else float(min(freedom))


def _by_image(blocks: Sequence[Block], weights: Sequence[float], signs: Sequence[float]) -> Floats | None:
    """The effect on every image, or None if the answers are not known, are to other images, or to one alone."""
    lengths = {None if s.by_image is None else s.by_image.shape[1] for block in blocks for s in block}
    if lengths & {None, 1} or len(lengths) > 1:
        return None  # a single image says nothing of how images differ
    return np.asarray(
        sum(
            w * sign * sample.by_image.mean(0, dtype=np.float64)
            for w, block in zip(weights, blocks, strict=True)
            for sign, sample in zip(signs, block, strict=True)
            if sample.by_image is not None
        )
    )


def _of_images(
    blocks: Sequence[Block], differences: Floats, shares: Sequence[float], freedom: Sequence[float]
) -> float:
    """The variance due to the choice of images: that of the effect over images, less what differs from run to run."""
    images = len(differences)
    noise = sum(
        share / images * sum(block[r].interplay for block in blocks) / freedom[r] for r, share in enumerate(shares)
    )
    return max(0.0, float(differences.var(ddof=1)) / images - noise)


def _bootstrap(
    blocks: Sequence[Block],
    weights: Sequence[float],
    spread: Sequence[float],
    differences: Floats,
    of_images: float,
    effect: float,
    freedom: float,
    draws: int,
) -> tuple[float, float]:
    """Percentiles of the effect over drawn runs and drawn images.

    Runs and images are drawn apart from each other and what they do is added: drawn together, what differs from run to
    run on single images would count three times (Owen 2007). Two corrections for few runs: drawn deviations have the
    unbiased variance, not (n - 1) / n of it, and the percentiles are widened by t / z (Hesterberg 2015).
    """
    rng = np.random.default_rng(0)
    drawn = np.zeros(draws)
    for role, variance in enumerate(spread):
        deviations = np.concatenate([block[role].values - block[role].values.mean() for block in blocks])
        biased = float(np.square(deviations).mean())
        deviations *= math.sqrt(variance / biased) if biased > 0 else 0.0
        for weight, block in zip(weights, blocks, strict=True):
            picked = rng.integers(len(deviations), size=(draws, block[role].count))
            drawn += weight * (1.0, -1.0)[role] * deviations[picked].mean(1)
    # Rounded, since equal differences may differ in their last bit, and which do so depends on the processor.
    kinds, how_many = np.unique(differences.round(9), return_counts=True)
    kinds -= differences.mean()
    over_images = float(differences.var()) / len(differences)
    if over_images > 0:
        picked = rng.multinomial(len(differences), how_many / len(differences), size=draws)
        drawn += math.sqrt(of_images / over_images) * (picked @ kinds) / len(differences)
    widened = student_t(freedom) / NormalDist().inv_cdf((1 + SHARE) / 2)
    low, high = np.quantile(drawn, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return effect + widened * float(low), effect + widened * float(high)


def holm(p_values: Mapping[str, float | None], family: int | None = None) -> dict[str, float]:
    """Adjusts the p values of a family (Holm 1979): what is below 5 % then holds at a family-wise error rate of 5 %.

    Args:
        p_values: name -> p; None where nothing is known yet, which counts as 1.
        family: how many hypotheses there are, if more than are named.
    """
    count = max(family or 0, len(p_values))
    out, highest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: 1.0 if item[1] is None else item[1])):
        highest = max(highest, min(1.0, (count - rank) * (1.0 if p is None else p)))
        out[name] = highest
    return out
