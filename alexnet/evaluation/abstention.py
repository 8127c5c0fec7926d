"""When a network should say "not sure", and how many classes it should name: thresholds with a guarantee.

Both need images that the network was not trained on, and hold for images like those. All functions are pure.

- A precision: of the images that are answered, at least this share is right. The threshold is searched among many, and
  a search finds something by chance; so the tests share one error probability: Learn then Test, fixed-sequence testing
  with several starts (Angelopoulos et al. 2021).
- A coverage: a set of classes for every image, which holds the true one in this share of the images: split conformal
  prediction (Vovk et al. 2005) with the smallest sets on average (Sadinle et al. 2019).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ERROR = 0.05  # probability that the promised precision does not hold, over the choice of the validation images
STARTS = (0.25, 0.5, 0.75, 1.0)  # shares of the images at which a sequence of tests starts
GROWTH = 1.03  # from one test of a sequence to the next, in images that would be answered


@dataclass(frozen=True)
class Threshold:
    """Answers with a probability above `above` are right as often as was promised; None: this cannot be promised."""

    precision: float  # promised, in (0, 1)
    above: float | None
    answered: float  # share of the validation images that are answered, in [0, 1]
    images: int  # validation images

    def sure(self, confidence: float) -> bool:
        """Whether an answer with this probability is given."""
        return self.above is not None and confidence > self.above


def precision_threshold(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], precision: float, *, error: float = ERROR
) -> Threshold:
    """Finds the lowest threshold above which at least a share `precision` of all answers is right.

    Holds with probability 1 - `error` over the choice of the images. How many are tested at once is decided before any
    answer is looked at: a sequence starts at a quarter, at half, at three quarters and at all of the images, the surest
    first, and goes on to less sure ones until a test fails; each has its share of the error.

    Args:
        confidence: the probability of the most probable class of each image (N,).
        right: whether that class is the true one (N,).
    """
    count = len(confidence)
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], np.concatenate([[0], np.cumsum(~right[order])])
    starts = _starts(count, precision, error)
    best, above = 0, None
    for start in starts:
        answered: float = start
        while True:
            number = min(int(answered), count)
            # Only those above the one that sets the threshold are a fair sample of what lies above it.
            limit = float(ranked[number]) if number < count else -math.inf
            tested = int((ranked > limit).sum())
            if tested >= images_needed(precision, error / len(starts)):  # fewer, among equals, are no test
                if not _holds(tested, int(wrong[tested]), precision, error / len(starts)):
                    break
                if tested > best:
                    best, above = tested, limit
            if number == count:
                break
            answered = max(answered * GROWTH, number + 1)
    return Threshold(precision, above, best / count if count else 0.0, count)


def _starts(count: int, precision: float, error: float) -> list[int]:
    """How many of the surest images the first test of each sequence takes; depends on no answer."""
    fewest = images_needed(precision, error / len(STARTS))
    starts = sorted({max(round(share * count), fewest) for share in STARTS})
    if fewest > count:
        starts = [images_needed(precision, error)]  # too few to share the error: a single sequence
    return [start for start in starts if start <= count]


def images_needed(precision: float, error: float = ERROR) -> int:
    """How many answers, all of them right, prove a precision."""
    return math.ceil(math.log(error) / math.log(precision))


def most_precise(count: int, error: float = ERROR) -> float:
    """The highest precision that this number of images could prove."""
    return error ** (1 / count) if count else 0.0


def _holds(count: int, wrong: int, precision: float, error: float) -> bool:
    """Whether the lower limit of Clopper and Pearson (1934) for the share of right answers is at least `precision`.

    That is: so few wrong answers have at most the probability `error`, if the share of right ones is `precision`.
    """
    return count > 0 and binomial_tail(count, wrong, 1 - precision) <= error


def binomial_tail(count: int, most: int, share: float) -> float:
    """The probability of at most `most` successes of `count`, each with probability `share` in (0, 1]."""
    if share == 1:
        return float(most >= count)
    total = math.lgamma(count + 1)
    odds, miss = math.log(share), math.log1p(-share)
    terms = [
        total - math.lgamma(k + 1) - math.lgamma(count - k + 1) + k * odds + (count - k) * miss
        for k in range(min(most, count) + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, terms)))


def set_threshold(true_class: NDArray[np.float64], coverage: float) -> float:
    """The probability that a class must have to belong to the set, so that sets hold the true class often enough.

    For N validation images and one more like them the set of that one holds its class with probability `coverage` or
    more: the ceil((N + 1) coverage)-th largest probability of a true class, and 0, all classes, if there are too few.

    Args:
        true_class: the probability of the true class of each image (N,).
    """
    # 20 x 0.95 is 19.000000000000004 or 18.999999999999996 in floating point, and must be 19.
    rank = max(math.ceil(round((len(true_class) + 1) * coverage, 9)), 1)
    if rank > len(true_class):
        return 0.0
    return float(np.sort(true_class)[::-1][rank - 1])


def prediction_set(probabilities: NDArray[np.float32], least: float) -> list[int]:
    """The classes of one image (classes,) with at least this probability, most probable first; never none."""
    order = np.argsort(-probabilities, kind="stable")
    return [int(i) for n, i in enumerate(order) if n == 0 or float(probabilities[i]) >= least]
