"""The first paragraph of a report: what the model is good for, and what to collect next, in plain words."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from alexnet.cues.measure import Cues
from alexnet.cues.store import beside
from alexnet.evaluation.calibration import expected_calibration_error
from alexnet.evaluation.evaluate import Evaluation, confused_pairs
from alexnet.evaluation.intervals import wilson_interval
from alexnet.report.calibration_section import as_answered
from alexnet.report.html import percent, plural

FEW = 0.5  # a class has few training images, as a share of the median class
WRONG = 0.2  # share of the images of a class that the network is wrong about and sure of, to call them contradictory
LEAST = 3  # such images
MOST_NAMED = 3


def good_for(
    evaluations: Sequence[Evaluation],
    raw: Evaluation | None = None,
    cues: Cues | None = None,
    counts: Mapping[str, int] | None = None,
) -> str:
    """Builds the paragraph from the evaluations of a report; the first of them is the one that is spoken of.

    Args:
        raw: the first with probabilities as the network gave them; None if they are the same.
        cues: what simple cues know; None if they were not measured.
        counts: training images of each class; None if they are not known.
    """
    shown = evaluations[0]
    sentences = [_accuracy(shown)]
    if cues is not None and (result := beside(cues, evaluations)) is not None:
        better = "clearly better" if result.clear else "not clearly better"
        sentences.append(
            f"Simple cues ({escape(cues.baseline)}) reach {percent(result.baseline)} where it reaches "
            f"{percent(result.network)}, on the same images of {escape(cues.split)}: "
            f"it is <strong>{better}</strong> than that."
        )
    if shown.split != "train":
        sentences.append(_calibration(shown, raw))
    sentences += [_confusion(shown), _collect(shown, counts or {})]
    return f"<p>{' '.join(sentence for sentence in sentences if sentence)}</p>"


def _accuracy(shown: Evaluation) -> str:
    right, largest = 1 - shown.top1_error, float(shown.confusion.sum(1).max() / shown.count)
    low, high = wilson_interval(right * shown.count, shown.count)
    measured = (
        f"right on <strong>{percent(right)}</strong> of {plural(shown.count, 'image')} of {escape(shown.split)} "
        f"(95&nbsp;% interval {percent(low)} to {percent(high)})"
    )
    if shown.split == "train":
        return f"It is {measured}, but it was trained on these, so nothing is known of other images."
    chance = f"always naming the largest of its {len(shown.class_names)} classes would be on {percent(largest)}"
    if low <= largest:
        return f"<strong>Good for nothing yet:</strong> it is {measured}, and {chance}."
    return f"It is {measured} that it was not trained on; {chance}."


def _calibration(shown: Evaluation, raw: Evaluation | None) -> str:
    answered = as_answered(shown, raw)
    error = expected_calibration_error(answered.probabilities, answered.labels)
    figure = f"of 80&nbsp;% it means 80 in 100, give or take {100 * error.value:.0f}"
    if error.distinguishable:
        return f"Its probabilities are off by more than chance explains (a calibration error of {error.value:.2f})."
    return f"Its probabilities can be taken at their word: {figure}."


def _confusion(shown: Evaluation) -> str:
    pairs = confused_pairs(shown.confusion, 1)
    if not pairs:
        return "It confused no classes."
    true, predicted, count = pairs[0]
    names = shown.class_names
    return (
        f"What it confuses most: {_name(names[true])} is taken for {_name(names[predicted])} in {count} of "
        f"{plural(int(shown.confusion[true].sum()), 'image')}."
    )


def _collect(shown: Evaluation, counts: Mapping[str, int]) -> str:
    """Names classes with few training images, and those whose images contradict what the network has learned."""
    advice = []
    usual = float(np.median(list(counts.values()))) if counts else 0.0
    few = sorted((count, name) for name, count in counts.items() if count < FEW * usual)
    if few:
        named = ", ".join(f"{_name(name)} ({count})" for count, name in few[:MOST_NAMED])
        advice.append(f"more images of {named}, where the usual class has {usual:.0f}")
    contradictory = []
    sure = shown.probabilities.max(1) > 0.5
    for label, name in enumerate(shown.class_names):
        own = shown.labels == label
        wrong = int((own & sure & (shown.probabilities.argmax(1) != label)).sum())
        if wrong >= LEAST and wrong >= WRONG * own.sum():
            contradictory.append((wrong / own.sum(), name, wrong, int(own.sum())))
    if contradictory:
        worst = sorted(contradictory, reverse=True)[:MOST_NAMED]
        named = ", ".join(f"{_name(name)} ({wrong} of {total})" for _, name, wrong, total in worst)
        advice.append(
            f"more, and more different, images of {named}, which it takes for another class and is sure: some may have "
            "a wrong label, which <code>alexnet doctor DATA --run RUN</code> looks for"
        )
    if not advice and shown.top1_error > 0:
        return "To collect next: more images of every class; none stands out."
    return f"To collect next: {'; and '.join(advice)}." if advice else ""


def _name(name: str) -> str:
    return f"<bdi><em>{escape(name)}</em></bdi>"
