"""The training report: one self-contained HTML page, with the plots a person wants after a job.

Plots are SVG by pygal, an optional dependency (``report``) that is imported here alone. The
page has no script and loads nothing, follows the reader's light or dark scheme, and is one
column wide on a phone.

Numbers of a training may be anything: infinite, not a number, 1e300, all equal. What cannot be drawn is left out of a
plot, and the note below the plot says so.
"""

import dataclasses
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fm_core.analysis.inspection import factor_norms
from fm_core.atomic_file import atomic_write
from fm_core.errors import ConfigError
from fm_core.hyperparameter_text import to_texts
from fm_core.hyperparameters import Hyperparameters, parameters
from fm_core.metrics import metrics_for
from fm_core.model import Model
from fm_core.report.findings import findings
from fm_core.report.history import TrainingRecord

__all__ = ["page", "write_report"]


#: Factors that are compared with their initial values, which have to be drawn once more: some milliseconds.
_MOST_COMPARED = 2_000_000

#: Points beyond are left out of plots, whose scales would overflow.
_LARGEST_DRAWN = 1e100

#: Groups that are listed.
_MOST_GROUPS = 100

#: Features whose norms are computed.
_MOST_NORMS = 20_000


class _Plot(NamedTuple):
    """A plot: what it is called, what one may see in it, and its SVG."""

    title: str
    note: str
    svg: str


def write_report(path: Path, record: TrainingRecord, model: Model, hyperparameters: Hyperparameters) -> None:
    """Write the report, whole or not at all.

    Raises
    ------
    ConfigError
        pygal cannot be imported.
    OSError
        The file cannot be written.
    """
    text = page(record, model, hyperparameters)
    with atomic_write(path) as file:
        file.write(text.encode())


def page(record: TrainingRecord, model: Model, hyperparameters: Hyperparameters) -> str:
    """Make the page."""
    plots = _plots(record, model)
    sentences = findings(record, hyperparameters) + _of_features(model, hyperparameters)
    sections = "".join(
        f"<figure><h2>{html.escape(plot.title)}</h2>{plot.svg}<figcaption>{html.escape(plot.note)}</figcaption></figure>"
        for plot in plots
    )
    warnings = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return _PAGE.format(
        style=_STYLE,
        kind="Binary classifier" if model.is_classifier else "Regressor",
        summary=f"{model.feature_dim:,} features, {model.num_factors} factors, {len(record.epochs)} epochs",
        tiles="".join(_tile(name, value) for name, value in _headline(record, hyperparameters)),
        findings=f"<ul>{warnings}</ul>" if warnings else "<p>Nothing stands out.</p>",
        learned=_learned(record),
        plots=sections,
        settings=_settings(hyperparameters),
    )


def _learned(record: TrainingRecord) -> str:
    """Sweeps, noise, and the precisions of groups, where the solver knows them."""
    found = record.learned
    if found is None:
        return ""
    said = [] if found["noise"] is None else [f"Labels are {found['noise']:.4g} off their scores on the whole."]
    sweeps = found["sweeps"]
    if sweeps is not None and sweeps["effective"] is not None:
        more = "More would still help." if sweeps["more_would_help"] else "More would hardly help."
        said.append(
            f"The mean of {sweeps['samples']} samples, worth {sweeps['effective']:.0f} independent ones. {more}"
        )
    rows = "".join(
        f"<tr><td>{group['first']} to {group['last']}</td><td>{group['n_features']:,}</td>"
        f"<td>{group['w_precision']:.4g}</td><td>{group['v_precision']:.4g}</td></tr>"
        for group in found["groups"][:_MOST_GROUPS]
    )
    return (
        f"<section><h2>What was learned of groups of features</h2><p>{html.escape(' '.join(said))}</p>"
        "<table><thead><tr><th>features</th><th>that occurred</th><th>precision of w</th><th>of v</th></tr></thead>"
        f"<tbody>{rows}</tbody></table><p>The larger a precision, the less the group's features matter beyond what "
        "they have in common.</p></section>"
    )


# --- sentences -------------------------------------------------------------------------------


def _of_features(model: Model, hyperparameters: Hyperparameters) -> list[str]:
    """Count features whose parameters are still the initial ones: no batch had them."""
    hp = hyperparameters
    learns = hp.lazy_update and hp.linear_lr > 0 and hp.factors_lr > 0
    n = min(model.feature_dim, _MOST_COMPARED // model.num_factors)
    if not learns or not n:
        return []
    initial = Model.initialise(dataclasses.replace(hp, feature_dim=n))
    n_unseen = int(np.count_nonzero((model.V[:n] == initial.V).all(axis=1) & (initial.w == model.w[:n])))
    if not n_unseen:
        return []
    which = f"{n_unseen:,} of {'' if n == model.feature_dim else 'the first '}{n:,} features"
    return [f"{which} never occurred in the training data: their contribution to a score is random."]


# --- plots -----------------------------------------------------------------------------------


def _plots(record: TrainingRecord, model: Model) -> list[_Plot]:
    plots = _learning_curves(record, model)
    scores, labels = record.sample.scores, record.sample.labels
    drawable = np.isfinite(scores)
    if drawable.any():
        of_kind = _plots_of_classifier if model.is_classifier else _plots_of_regressor
        n_left_out = len(scores) - int(drawable.sum())
        left_out = f" Left out: {n_left_out} of {len(scores)} whose score is not finite." if n_left_out else ""
        plots += [plot._replace(note=plot.note + left_out) for plot in of_kind(scores[drawable], labels[drawable])]
    return [*plots, _norms(model), _times(record)]


def _is_drawable(value: float) -> bool:
    return abs(value) < _LARGEST_DRAWN  # and neither infinite nor NaN


def _learning_curves(record: TrainingRecord, model: Model) -> list[_Plot]:
    plots = []
    names = dict.fromkeys(
        name for epoch in record.epochs for what in ("train", "validation") for name in epoch.get(what, ())
    )
    for name in names or metrics_for(model.predictor_type).names:
        chart = _chart("XY", x_title="epoch", dots_size=2 if len(record.epochs) < 60 else 0)
        drawn: list[tuple[float, float]] = []
        for what in ("train", "validation"):
            points = [
                (e["epoch"], e[what][name])
                for e in record.epochs
                if name in e.get(what, ()) and _is_drawable(e[what][name])
            ]
            if points:
                chart.add(what, points)
                drawn += points
        if record.epochs and name in (record.test or ()) and _is_drawable(record.test[name]):
            ends = (record.epochs[0]["epoch"], record.epochs[-1]["epoch"])
            points = [(x, record.test[name]) for x in ends]
            chart.add("test (the saved model)", points, stroke_style={"dasharray": "6, 4"})
            drawn += points
        _widen(chart, drawn)
        note = "Training values are means over an epoch, of scores given before each update."
        plots.append(_Plot(name, note, _svg(chart)))
    return plots


def _plots_of_classifier(scores: NDArray[np.float32], labels: NDArray[np.float32]) -> list[_Plot]:
    positive = labels > 0.5
    calibration = _chart("XY", dots_size=4, x_title="mean score", y_title="share of label 1")
    tenths = np.minimum((scores * 10).astype(int), 9)
    bins = [tenths == i for i in range(10) if (tenths == i).any()]
    calibration.add("model", [(float(scores[b].mean()), float(positive[b].mean())) for b in bins])
    calibration.add("perfect", [(0, 0), (1, 1)], show_dots=False, stroke_style={"dasharray": "6, 4"})

    edges = np.linspace(0, 1, 31)
    return [
        _roc_curve(scores, positive),
        _Plot("Calibration", "Of the test rows, by tenths of the score. On the line, scores are probabilities.",
              _svg(calibration)),
        _Plot(
            "Scores", "Of the test rows, by their label.",
            _histogram({"label 0": scores[~positive], "label 1": scores[positive]}, edges),
        ),
    ]  # fmt: skip


def _roc_curve(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> _Plot:
    if positive.all() or not positive.any():
        return _Plot("ROC curve", f"All test rows have label {int(positive[0])}: of one class there is no curve.", "")
    order = np.argsort(-scores, kind="stable")
    last_of_equal = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    true = np.append(0, np.cumsum(positive[order])[last_of_equal]) / positive.sum()
    false = np.append(0, np.cumsum(~positive[order])[last_of_equal]) / (~positive).sum()
    area = float(np.trapezoid(true, false))
    kept = np.unique(np.linspace(0, len(true) - 1, 200).astype(int))
    roc = _chart("XY", show_dots=False, x_title="false positive rate", y_title="true positive rate")
    roc.add("model", list(zip(false[kept].tolist(), true[kept].tolist(), strict=True)))
    roc.add("chance", [(0, 0), (1, 1)], stroke_style={"dasharray": "6, 4"})
    return _Plot("ROC curve", f"Of the test rows. The area below it is {area:.4f}.", _svg(roc))


def _plots_of_regressor(of_model: NDArray[np.float32], of_rows: NDArray[np.float32]) -> list[_Plot]:
    scores, labels = of_model.astype(np.float64), of_rows.astype(np.float64)
    residuals = labels - scores
    shown = slice(None, None, max(1, len(scores) // 600))
    chart = _chart("XY", stroke=False, dots_size=2, show_legend=False, x_title="score", y_title="label - score")
    points = list(zip(scores[shown].tolist(), residuals[shown].tolist(), strict=True))
    chart.add("residual", points)
    _widen(chart, points)
    return [
        _Plot("Residuals", "Of test rows. A slope or a funnel is something the model has not learned.", _svg(chart)),
        _Plot("Distribution of residuals", f"Their mean is {residuals.mean():.4g}; near 0 is right.",
              _histogram({"label - score": residuals}, _edges(residuals))),
        _Plot("Scores and labels", "Of the test rows.",
              _histogram({"labels": labels, "scores": scores}, _edges(np.concatenate([scores, labels])))),
    ]  # fmt: skip


def _norms(model: Model) -> _Plot:
    # A histogram of so many features is as good as one of all.
    step = -(-model.feature_dim // _MOST_NORMS)
    norms = factor_norms(Model(model.predictor_type, model.w0, model.w[::step], model.V[::step]))
    norms = norms[np.isfinite(norms)]
    which = "each feature's" if step == 1 else f"one in {step} features'"
    note = f"Of {which} factors. A bar near 0 holds features that were seen seldom, or not at all."
    return _Plot("Norms of factors", note, _histogram({"features": norms}, _edges(norms)))


def _times(record: TrainingRecord) -> _Plot:
    seconds = record.as_document()["seconds"]
    chart = _chart("HorizontalBar", show_legend=False, x_title="seconds", height=220)
    chart.x_labels = ["until the first batch", "training", "validation", "test"]
    chart.add("seconds", [round(value, 4) for value in seconds.values()])
    return _Plot("Where the time went", f"{record.records_per_second:,.0f} records a second in training.", _svg(chart))


def _edges(values: NDArray[Any]) -> NDArray[np.float64]:
    # the outermost thousandths would squeeze all the rest
    if not len(values):
        return np.linspace(0, 1, 31)
    skipped = len(values) // 1000
    low, high = np.partition(values, (skipped, -1 - skipped))[[skipped, -1 - skipped]]
    return np.linspace(low, high if high - low > _least(low, high) else low + max(1, _least(low, high)), 31)


def _least(low: float, high: float) -> float:
    """A width that numbers of this size can be told apart by: equal large ones have none by themselves."""
    return max(abs(low), abs(high)) * 1e-6


def _widen(chart: Any, points: Sequence[tuple[float, float]]) -> None:
    """Give a chart of points that are all but equal, and large, a scale of some width."""
    for name, values in zip(("xrange", "range"), zip(*points, strict=True), strict=False):
        low, high = min(values), max(values)
        if high - low <= 1e-3 * _least(low, high):
            width = max(1, _least(low, high))
            setattr(chart, name, (low - width, high + width))


def _histogram(values: dict[str, NDArray[Any]], edges: NDArray[np.float64]) -> str:
    chart = _chart("Histogram", show_legend=len(values) > 1, y_title="number")
    for name, of_name in values.items():
        counts, _ = np.histogram(of_name.clip(edges[0], edges[-1]), edges)
        chart.add(name, list(zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)))
    return _svg(chart)


def _chart(kind: str, **options: Any) -> Any:
    try:
        import pygal
        from pygal.style import Style
    except ImportError as error:
        raise ConfigError("a report needs pygal, which cannot be imported here: pip install pygal") from error
    style = Style(
        background="transparent", plot_background="transparent", font_family="inherit",
        foreground="var(--text)", foreground_strong="var(--text)", foreground_subtle="var(--faint)",
        colors=("var(--first)", "var(--second)", "var(--third)"),
        label_font_size=15, major_label_font_size=15, legend_font_size=15, title_font_size=15,
    )  # fmt: skip
    settings = {"width": 520, "height": 330, "legend_at_bottom": True, **options}
    chart = getattr(pygal, kind)(style=style, js=(), disable_xml_declaration=True, **settings)
    chart.add_xml_filter(_without_scripts)
    return chart


def _without_scripts(svg: Any) -> Any:
    """Take out the settings that pygal leaves for its tooltips, which would need a script from elsewhere."""
    for parent in list(svg.iter()):
        for child in list(parent):
            if str(child.tag).endswith("script"):
                parent.remove(child)
    return svg


def _svg(chart: Any) -> str:
    drawn: str = chart.render(is_unicode=True)
    return drawn


# --- the page --------------------------------------------------------------------------------


def _headline(record: TrainingRecord, hyperparameters: Hyperparameters) -> Sequence[tuple[str, str]]:
    """Give the figures of the model that was kept: with early stopping, not those of the last epoch."""
    kept: dict[str, Any] = record.epochs[-1] if record.epochs else {}
    if hyperparameters.early_stopping_patience is not None and record.best_validation:
        of_best = (epoch for epoch in record.epochs if epoch["epoch"] == record.best_epoch)
        kept = next(of_best, {"validation": record.best_validation})  # from before an interruption
    shown = [
        (f"{what} {name}", f"{value:.5g}")
        for what, metrics in (
            ("train", kept.get("train")),
            ("validation", kept.get("validation")),
            ("test", record.test),
        )
        for name, value in list((metrics or {}).items())[:1]
    ]
    if hyperparameters.early_stopping_patience is not None and record.best_epoch is not None:
        shown.append(("kept epoch", f"{record.best_epoch}"))
    return [*shown, ("records a second", f"{record.records_per_second:,.0f}")]


def _tile(name: str, value: str) -> str:
    return f"<div><dt>{html.escape(name.replace('binary_classification_', ''))}</dt><dd>{html.escape(value)}</dd></div>"


def _settings(hyperparameters: Hyperparameters) -> str:
    table = parameters()
    rows = "".join(
        f"<tr{'' if getattr(hyperparameters, name) == table[name].default else ' class=set'}>"
        f"<th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
        for name, text in to_texts(hyperparameters).items()
        if table[name].has_effect
    )
    return f"<table>{rows}</table>"


_STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --faint: #d0d7de; --page: #ffffff; --card: #f6f8fa;
  --first: #0a6cca; --second: #c2410c; --third: #15803d; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --faint: #3d444d; --page: #0d1117; --card: #161b22;
  --first: #58a6ff; --second: #f78166; --third: #3fb950; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 88rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.tiles div, figure, section { background: var(--card); border: 1px solid var(--faint); border-radius: .5rem; }
.tiles div { padding: .5rem 1rem; } dt { font-size: .85rem; } dd { margin: 0; font-size: 1.35rem; font-weight: 600; }
section { padding: 1rem; margin: 1rem 0; } section ul { margin: 0; padding-left: 1.2rem; }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; padding: 1rem; min-width: 0; } figcaption { font-size: .9rem; }
svg { width: 100%; height: auto; } .axis .guide.line { stroke: var(--faint) !important; }
table { border-collapse: collapse; } th { text-align: left; font-weight: 400; padding-right: 1.5rem; }
td { overflow-wrap: anywhere; } .set { font-weight: 600; } .set th { font-weight: 600; }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Training report</title>
<style>{style}</style>
</head>
<body>
<h1>{kind}</h1>
<p>{summary}</p>
<dl class="tiles">{tiles}</dl>
<section><h2>What stands out</h2>{findings}</section>
{learned}
<main>{plots}</main>
<section><h2>Hyperparameters</h2><p>In bold: those that are not the default.</p>{settings}</section>
</body>
</html>
"""
