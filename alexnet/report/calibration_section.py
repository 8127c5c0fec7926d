"""The section of the report on probabilities: whether 80 % means 80 in 100, before and after the temperature."""

from dataclasses import replace

from alexnet.evaluation.calibration import (
    CalibrationError,
    brier_score,
    cross_scaled,
    expected_calibration_error,
    reliability_bins,
)
from alexnet.evaluation.evaluate import Evaluation
from alexnet.report.charts import Curve, line_chart
from alexnet.report.html import plural, table


def calibration_section(shown: Evaluation, raw: Evaluation | None) -> str:
    """Builds the reliability diagram, and a table of the calibration error with its interval and the Brier score.

    Args:
        shown: with the probabilities that users see.
        raw: the same images with probabilities as the network gave them; None if they are the same.
    """
    stages = {"as the network gives them": raw or shown}
    note = "This run has no temperature: its probabilities are as the network gives them."
    if raw is not None:
        after = as_answered(shown, raw)
        note = "The temperature was fitted on val, and this is another split."
        if shown.split == "val":
            note = "Measured on val by cross-validation: every image is scaled as the others ask for."
        stages["with the temperature"] = after
    rows, curves = [], [Curve("perfect", (0.0, 1.0), (0.0, 1.0))]
    for name, evaluation in stages.items():
        error = expected_calibration_error(evaluation.probabilities, evaluation.labels)
        rows.append([name, *_cells(error), f"{brier_score(evaluation.probabilities, evaluation.labels):.4f}"])
        bins = reliability_bins(evaluation.probabilities, evaluation.labels)
        curves.append(Curve(name, tuple(b.confidence for b in bins), tuple(b.accuracy for b in bins)))
    chart = line_chart(
        "Reliability diagram", curves, x_label="probability of the most probable class", y_label="share that is right"
    ).replace(' xmlns="http://www.w3.org/2000/svg"', "")  # within a page it is not needed, and looks like a link
    columns = {"Probabilities": "", "Calibration error (95&nbsp;% interval)": "n", "By chance": "n", "": ""}
    verdict = (
        "The error is larger than chance explains."
        if error.distinguishable
        else "The error is not distinguishable from that of a perfectly calibrated network."
    )
    return (
        f'<div class="side">{chart}<div class="wide">{table({**columns, "Brier score": "n"}, rows)}<p>{verdict}</p>'
        f'<p class="note">Calibrated means: of the answers with a probability of 80&nbsp;%, 80 in 100 are right. The '
        f"expected calibration error is how far probability and share are apart, on average over "
        f"{plural(error.count, 'image')}; a perfectly calibrated network that is as sure stays below the figure under "
        f'"by chance" in 95 of 100 samples of this size. {note}</p></div></div>'
    )


def as_answered(shown: Evaluation, raw: Evaluation | None) -> Evaluation:
    """The evaluation with probabilities whose calibration can be judged; arguments as for `calibration_section`."""
    if raw is None or shown.split != "val":
        return shown
    # On the images that it was fitted on a temperature looks better than it is.
    return replace(shown, probabilities=cross_scaled(raw.probabilities, raw.labels))


def _cells(error: CalibrationError) -> list[str]:
    interval = f'{error.value:.3f} <small class="muted">[{error.low:.3f}–{error.high:.3f}]</small>'
    return [interval, f"{error.by_chance:.3f}", "above chance" if error.distinguishable else "within chance"]
