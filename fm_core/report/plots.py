"""What a report shows of a training: each plot with what one may see in it, and a table of what each column matters.

Numbers of a training may be anything: infinite, not a number, 1e300, all equal. What cannot be drawn is left out of a
plot, and the note below the plot says so.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fm_core.analysis.inspection import factor_norms
from fm_core.metrics import metrics_for
from fm_core.model import Model
from fm_core.report.charts import Series, bars, curves, histogram, matrix
from fm_core.report.history import TrainingRecord
from fm_core.report.metric_words import in_words

__all__ = ["Plot", "plots"]

#: Points beyond are left out of plots, whose scales would overflow.
_LARGEST_DRAWN = 1e100

#: Features whose norms are computed.
_MOST_NORMS = 20_000

#: Columns, and pairs of them, that are listed.
_MOST_LISTED = 15


class Plot(NamedTuple):
    """A plot: what it is called, what one may see in it, and its SVG or HTML."""

    title: str
    note: str
    drawing: str


def plots(record: TrainingRecord, model: Model) -> list[Plot]:
    """Draw all plots that the data allows.

    Parameters
    ----------
    record : TrainingRecord
    model : Model

    Returns
    -------
    plots : list of Plot
    """
    found = _learning_curves(record, model)
    scores, labels = record.sample.scores, record.sample.labels
    drawable = np.isfinite(scores)
    if drawable.any():
        of_kind = _plots_of_classifier if model.is_classifier else _plots_of_regressor
        n_left_out = len(scores) - int(drawable.sum())
        left_out = f" Left out: {n_left_out} of {len(scores)} whose score is not finite." if n_left_out else ""
        found += [plot._replace(note=plot.note + left_out) for plot in of_kind(scores[drawable], labels[drawable])]
    return [*_importances(record), *found, *_map(record), _norms(model), _times(record)]


def _importances(record: TrainingRecord) -> list[Plot]:
    unit = record.importance_unit
    note = f"Average change of a score when the column's cell is replaced by that of another row, in {unit}."
    found = []
    if record.importances:
        values = [(name, value, f"{value:.3g}") for name, value in record.importances[:_MOST_LISTED]]
        found.append(Plot("What columns matter", note, bars(values)))
    if record.pairs:
        values = [(name, value, f"{value:.3g}") for name, value in record.pairs[:_MOST_LISTED]]
        found.append(
            Plot(
                "What pairs of columns matter",
                f"In addition to the effect of each column alone, in {unit}.",
                bars(values),
            )
        )
    if record.effects:
        values = [(name, value, f"{value:+.3g}") for name, value in record.effects[:_MOST_LISTED]]
        note = f"Mean score of the rows that have the value, minus the mean score of all rows, in {unit}."
        found.append(Plot("What values matter", note, bars(values)))
    return found


def _map(record: TrainingRecord) -> list[Plot]:
    if len(record.embedding) < 3:
        return []
    columns = list(dict.fromkeys(point.column for point in record.embedding))
    series = []
    for column in columns:
        of_column = [point for point in record.embedding if point.column == column]
        series.append(
            Series(column, [(point.x, point.y) for point in of_column], line=False, dots=True,
                   labels=[point.name for point in of_column], written=max(3, 12 // len(columns)))
        )  # fmt: skip
    note = (
        "The factors of the most important values, projected on their two principal components. Values that are close "
        "to each other and far from the center interact alike with other values."
    )
    return [Plot("Map of embeddings", note, curves(series, ticks=False, title="map of embeddings"))]


def _is_drawable(value: float) -> bool:
    return abs(value) < _LARGEST_DRAWN  # and neither infinite nor NaN


def _learning_curves(record: TrainingRecord, model: Model) -> list[Plot]:
    found = []
    names = dict.fromkeys(
        name for epoch in record.epochs for what in ("train", "validation") for name in epoch.get(what, ())
    )
    for name in names or metrics_for(model.predictor_type).names:
        series = []
        for number, what in enumerate(("train", "validation")):
            points = [
                (e["epoch"], e[what][name])
                for e in record.epochs
                if name in e.get(what, ()) and _is_drawable(e[what][name])
            ]
            if points:
                said = {"train": "training", "validation": "validation"}[what]
                series.append(Series(said, points, dots=len(record.epochs) < 60, colour=number))
        if record.epochs and name in (record.test or ()) and _is_drawable(record.test[name]):
            ends = (record.epochs[0]["epoch"], record.epochs[-1]["epoch"])
            points = [(x, record.test[name]) for x in ends]
            series.append(Series("test (the saved model)", points, dashed=True, colour=2))
        note = "Training values are means over an epoch, of scores given before each update."
        word = in_words(name)
        title = word[0].upper() + word[1:]
        found.append(Plot(title, note, curves(series, x_title="epoch", title=f"{word} by epoch")))
    return found


def _plots_of_classifier(scores: NDArray[np.float32], labels: NDArray[np.float32]) -> list[Plot]:
    positive = labels > 0.5
    tenths = np.minimum((scores * 10).astype(int), 9)
    bins = [tenths == i for i in range(10) if (tenths == i).any()]
    calibration = curves(
        [
            Series("model", [(float(scores[b].mean()), float(positive[b].mean())) for b in bins], dots=True),
            Series("perfect", [(0, 0), (1, 1)], dashed=True),
        ],
        x_title="mean score", y_title="share of label 1", title="calibration",
    )  # fmt: skip
    edges = np.linspace(0, 1, 31)
    of_label = {"label 0": scores[~positive], "label 1": scores[positive]}
    return [
        *_curves_of_ranks(scores, positive),
        Plot("Calibration", "Test rows in ten groups by score. On the diagonal, scores are calibrated probabilities.",
             calibration),
        _confusion(scores, positive),
        Plot("Scores", "Test rows, by label.", _histogram(of_label, edges, "score")),
    ]  # fmt: skip


def _curves_of_ranks(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> list[Plot]:
    """Draw ROC, precision and recall, and gain: what the first rows by score hold."""
    if positive.all() or not positive.any():
        return [Plot("ROC curve", f"All test rows have label {int(positive[0])}, so there are no curves.", "")]
    order = np.argsort(-scores, kind="stable")
    last_of_equal = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    n_true = np.append(0, np.cumsum(positive[order])[last_of_equal])
    n_all = np.append(0, last_of_equal + 1)
    true, false = n_true / positive.sum(), (n_all - n_true) / (~positive).sum()
    area = float((np.diff(false) * (true[1:] + true[:-1])).sum() / 2)  # NumPy 1 has no trapezoid
    precision = n_true[1:] / n_all[1:]
    mean_precision = float((np.diff(true) * precision).sum())
    share = float(positive.mean())
    kept = np.unique(np.linspace(0, len(true) - 1, 200).astype(int))
    kept_of = kept[kept > 0] - 1

    def points(x: NDArray[Any], y: NDArray[Any]) -> list[tuple[float, float]]:
        return list(zip(x.tolist(), y.tolist(), strict=True))

    gained = float(np.interp(0.1, n_all / len(scores), true))
    roc = curves(
        [Series("model", points(false[kept], true[kept])), Series("chance", [(0, 0), (1, 1)], dashed=True)],
        x_title="false positive rate", y_title="true positive rate", title="ROC curve",
    )  # fmt: skip
    precise = curves(
        [Series("model", points(true[1:][kept_of], precision[kept_of])),
         Series("chance", [(0, share), (1, share)], dashed=True), Series("", [(0, 0), (0, 1)], line=False)],
        x_title="recall", y_title="precision", title="precision-recall curve",
    )  # fmt: skip
    gain = curves(
        [Series("model", points((n_all / len(scores))[kept], true[kept])),
         Series("perfect", [(0, 0), (share, 1), (1, 1)], dashed=True),
         Series("chance", [(0, 0), (1, 1)], dashed=True)],
        x_title="share of rows, best first", y_title="share of label 1", title="gain curve",
    )  # fmt: skip
    return [
        Plot("ROC curve", f"Test rows. The area under the curve is {area:.4f}.", roc),
        Plot("Precision and recall", f"Of the test rows. The mean precision is {mean_precision:.4f}; by chance it is "
             f"{share:.4f}, the share of label 1.", precise),
        Plot("Gain", f"Of the test rows. The tenth with the highest scores holds {100 * gained:.0f} % of those with "
             "label 1.", gain),
    ]  # fmt: skip


def _confusion(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> Plot:
    said = scores >= 0.5
    n = [[int((positive == truth)[said == answer].sum()) for answer in (False, True)] for truth in (False, True)]
    cells = [[f"{count:,} ({100 * count / max(1, sum(row)):.0f} %)" for count in row] for row in n]
    drawn = matrix(["label 0", "label 1"], ["predicted 0", "predicted 1"], cells)
    return Plot("Confusion matrix", "Test rows by label and prediction (1 from a score of 0.5 on), and their share of "
                "the label's.", drawn)  # fmt: skip


def _plots_of_regressor(of_model: NDArray[np.float32], of_rows: NDArray[np.float32]) -> list[Plot]:
    scores, labels = of_model.astype(np.float64), of_rows.astype(np.float64)
    residuals = labels - scores
    shown = slice(None, None, max(1, len(scores) // 600))
    points = list(zip(scores[shown].tolist(), residuals[shown].tolist(), strict=True))
    residual = curves(
        [Series("residual", points, line=False, dots=True)],
        x_title="score", y_title="label - score", title="residuals by score",
    )  # fmt: skip
    return [
        Plot("Residuals", "Test rows. A slope or a funnel shows what the model has not learned.", residual),
        Plot("Distribution of residuals", f"Their mean is {residuals.mean():.4g}; it should be near 0.",
             _histogram({"label - score": residuals}, _edges(residuals), "label - score")),
        Plot("Scores and labels", "Of the test rows.",
             _histogram({"labels": labels, "scores": scores}, _edges(np.concatenate([scores, labels])), "")),
    ]  # fmt: skip


def _norms(model: Model) -> Plot:
    # A histogram of so many features is as good as one of all.
    step = -(-model.feature_dim // _MOST_NORMS)
    norms = factor_norms(Model(model.predictor_type, model.w0, model.w[::step], model.V[::step]))
    norms = norms[np.isfinite(norms)]
    which = "each feature's" if step == 1 else f"one in {step} features'"
    note = f"Of {which} factors. Bars near 0 are features that occurred rarely or never."
    return Plot("Norms of factors", note, _histogram({"features": norms}, _edges(norms), "norm"))


def _times(record: TrainingRecord) -> Plot:
    seconds = record.as_document()["seconds"].values()
    names = ("until the first batch", "training", "validation", "test")
    drawn = bars([(name, value, f"{value:.3g} s") for name, value in zip(names, seconds, strict=True)])
    return Plot("Time spent", f"{record.records_per_second:,.0f} records a second in training.", drawn)


def _edges(values: NDArray[Any]) -> NDArray[np.float64]:
    # the outermost thousandths would squeeze all the rest
    if not len(values):
        return np.linspace(0, 1, 31)
    skipped = len(values) // 1000
    low, high = np.partition(values, (skipped, -1 - skipped))[[skipped, -1 - skipped]]
    return np.linspace(low, high if high - low > _least(low, high) else low + max(1, _least(low, high)), 31)


def _least(low: float, high: float) -> float:
    """The smallest width at which numbers of this size differ: equal large numbers have no width."""
    return max(abs(low), abs(high)) * 1e-6


def _histogram(values: dict[str, NDArray[Any]], edges: NDArray[np.float64], x_title: str) -> str:
    counts = {name: np.histogram(of_name.clip(edges[0], edges[-1]), edges)[0] for name, of_name in values.items()}
    return histogram(counts, edges, x_title=x_title)
