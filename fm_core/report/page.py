"""The training report: one self-contained HTML page with plots.

Plots are those of plots.py, drawn by charts.py. The page has no script and loads nothing, follows the reader's light or
dark scheme, is one column wide on a phone, and can be printed.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fm_core
from fm_core.atomic_file import atomic_write
from fm_core.hyperparameter_text import to_texts
from fm_core.hyperparameters import Hyperparameters, parameters
from fm_core.model import Model
from fm_core.printable import printable_html
from fm_core.report.findings import findings
from fm_core.report.history import TrainingRecord
from fm_core.report.metric_words import in_words
from fm_core.report.plots import plots

__all__ = ["STYLE", "page", "write_report"]


#: Factors that are compared with their initial values, which have to be drawn once more: some milliseconds.
_MOST_COMPARED = 2_000_000

#: Groups that are listed.
_MOST_GROUPS = 100


def write_report(path: Path, record: TrainingRecord, model: Model, hyperparameters: Hyperparameters) -> None:
    """Write the report, whole or not at all.

    Parameters
    ----------
    path : Path
        Where the HTML goes; an existing file is replaced.
    record : TrainingRecord
        What was observed during training.
    model : Model
    hyperparameters : Hyperparameters

    Raises
    ------
    OSError
        The file cannot be written.
    """
    text = page(record, model, hyperparameters)
    with atomic_write(path) as file:
        file.write(text.encode())


def page(record: TrainingRecord, model: Model, hyperparameters: Hyperparameters) -> str:
    """Make the report: one page of HTML, which loads nothing from elsewhere.

    Parameters
    ----------
    record : TrainingRecord
        What was observed during training.
    model : Model
    hyperparameters : Hyperparameters

    Returns
    -------
    page : str
    """
    sentences = findings(record, hyperparameters) + _of_features(model, hyperparameters)
    sections = "".join(
        f"<figure><h2>{printable_html(plot.title)}</h2>{plot.drawing}<figcaption>{printable_html(plot.note)}</figcaption></figure>"
        for plot in plots(record, model)
    )
    warnings = "".join(f"<li>{printable_html(sentence)}</li>" for sentence in sentences)
    return _PAGE.format(
        style=STYLE,
        kind="Binary classifier" if model.is_classifier else "Regressor",
        summary=printable_html(_summary(record, model)),
        tiles="".join(_tile(name, value) for name, value in _headline(record, hyperparameters)),
        findings=f"<ul>{warnings}</ul>" if warnings else "<p>No problems were found.</p>",
        learned=_learned(record),
        plots=sections,
        settings=_settings(hyperparameters),
    )


def _summary(record: TrainingRecord, model: Model) -> str:
    sizes = f"{model.feature_dim:,} features, {model.num_factors} factors, {len(record.epochs)} epochs"
    program = record.made_by or f"fm_core {fm_core.__version__}"
    made = f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(record.started_at))}, {program}"
    return "; ".join(part for part in (record.about, sizes, made) if part)


def _learned(record: TrainingRecord) -> str:
    """Sweeps, noise, and the precisions of groups, where the solver knows them."""
    found = record.learned
    if found is None:
        return ""
    said = (
        []
        if found["noise"] is None
        else [f"The standard deviation of labels around their scores is {found['noise']:.4g}."]
    )
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
        f"<section><h2>Groups of features</h2><p>{printable_html(' '.join(said))}</p>"
        "<div class=wide><table><thead>"
        "<tr><th>features</th><th>that occurred</th><th>precision of w</th><th>of v</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div><p>A large precision means that the parameters of a group's features are "
        "similar.</p></section>"
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


# --- the page --------------------------------------------------------------------------------


def _headline(record: TrainingRecord, hyperparameters: Hyperparameters) -> Sequence[tuple[str, str]]:
    """Give the figures of the model that was kept: with early stopping, not those of the last epoch."""
    kept: dict[str, Any] = record.epochs[-1] if record.epochs else {}
    if hyperparameters.early_stopping_patience is not None and record.best_validation:
        of_best = (epoch for epoch in record.epochs if epoch["epoch"] == record.best_epoch)
        kept = next(of_best, {"validation": record.best_validation})  # from before an interruption
    shown = [
        (f"{what} {in_words(name)}", f"{value:.5g}")
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
    return f"<div><dt>{printable_html(name)}</dt><dd>{printable_html(value)}</dd></div>"


def _settings(hyperparameters: Hyperparameters) -> str:
    table = parameters()
    rows = "".join(
        f"<tr{'' if getattr(hyperparameters, name) == table[name].default else ' class=set'}>"
        f"<th>{printable_html(name)}</th><td>{printable_html(text)}</td></tr>"
        for name, text in to_texts(hyperparameters).items()
        if table[name].has_effect
    )
    return f"<table>{rows}</table>"


STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --faint: #d0d7de; --page: #ffffff; --card: #f6f8fa;
  --first: #0a6cca; --second: #c2410c; --third: #15803d; --fourth: #7e22ce; --fifth: #a16207; --sixth: #be185d; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --faint: #3d444d; --page: #0d1117; --card: #161b22;
  --first: #58a6ff; --second: #f78166; --third: #3fb950; --fourth: #bc8cff; --fifth: #e3b341; --sixth: #f778ba; } }
@media print { :root { color-scheme: light; --text: #000; --faint: #bbb; --page: #fff; --card: #fff; --first: #0a6cca;
  --second: #c2410c; --third: #15803d; --fourth: #7e22ce; --fifth: #a16207; --sixth: #be185d; }
  * { print-color-adjust: exact; } figure, section, .tiles div { break-inside: avoid; }
  main { grid-template-columns: 1fr 1fr !important; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 88rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.tiles div, figure, section { background: var(--card); border: 1px solid var(--faint); border-radius: .5rem; }
.tiles div { padding: .5rem 1rem; } dt { font-size: .85rem; } dd { margin: 0; font-size: 1.35rem; font-weight: 600; }
section { padding: 1rem; margin: 1rem 0; overflow-wrap: anywhere; } section ul { margin: 0; padding-left: 1.2rem; }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; padding: .75rem; min-width: 0; } figcaption { font-size: .9rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--text); font-size: 13px; }
.grid { stroke: var(--faint); } .axis { stroke: var(--text); fill: none; } .curve { fill: none; stroke-width: 2; }
.bar { fill-opacity: .55; } .cut { font-weight: 600; }
.legend { margin: 0; font-size: .85rem; display: flex; flex-wrap: wrap; gap: .2rem 1rem; overflow-wrap: anywhere; }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 50%; }
table { border-collapse: collapse; } th { text-align: left; font-weight: 400; padding-right: 1.5rem; }
td { overflow-wrap: anywhere; padding-right: .75rem; } .wide { overflow-x: auto; }
.wide th, .wide td { overflow-wrap: normal; padding-right: .75rem; } .wide td { white-space: nowrap; }
.set { font-weight: 600; } .set th { font-weight: 600; }
.bars { width: 100%; table-layout: fixed; font-size: .9rem; } .bars th { width: 42%; padding-right: .5rem;
  overflow-wrap: anywhere; } .bars td:last-child { width: 5rem; text-align: right; padding: 0; }
.bars i { display: block; height: .8rem; background: var(--first); border-radius: 2px; }
.matrix { width: 100%; margin: .5rem 0; } .matrix th, .matrix td { padding: .5rem; border: 1px solid var(--faint); }
.compared { width: 100%; } .compared th, .compared td { padding: .25rem .5rem; border-bottom: 1px solid var(--faint); }
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
<section><h2>Findings</h2>{findings}</section>
{learned}
<main>{plots}</main>
<section><h2>Hyperparameters</h2><p>In bold: those that are not the default.</p>{settings}</section>
</body>
</html>
"""
