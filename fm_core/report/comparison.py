"""Compare jobs: their metrics, the hyperparameters that differ, and their curves; as text and as a page.

All facts about a job come from its metrics.json. The file may come from anywhere, so every number is checked, and
missing values stay empty.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fm_core.atomic_file import atomic_write
from fm_core.printable import printable_html
from fm_core.report.charts import Series, curves
from fm_core.report.metric_words import in_words
from fm_core.report.page import STYLE

__all__ = ["MOST_JOBS", "JobFacts", "Row", "compared", "comparison_page", "comparison_text", "write_comparison"]

#: A colour each.
MOST_JOBS = 6
#: Whether a smaller value of a metric is better.
_SMALLER = {
    "cross_entropy": True, "accuracy": False, "auc": False, "pr_auc": False, "rmse": True, "mae": True, "r2": False,
    "binary_classification_accuracy": False, "binary_classification_cross_entropy": True, "binary_f_1.000": False,
    "mse": True, "absolute_loss": True,
}  # fmt: skip
_HELD_OUT = {
    "cross_entropy": "cross entropy",
    "auc": "AUC",
    "pr_auc": "PR AUC",
    "mae": "mean absolute error",
    "r2": "R2",
}
_MOST_COLUMNS, _MOST_POINTS = 10, 2_000


@dataclasses.dataclass(frozen=True)
class JobFacts:
    """What is known of a job.

    Attributes
    ----------
    name : str
    document : mapping
        What its metrics.json holds.
    hyperparameters : mapping of str to str
        Empty: not known.
    """

    name: str
    document: Mapping[str, Any]
    hyperparameters: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Row(NamedTuple):
    """One figure of several jobs.

    Attributes
    ----------
    name : str
    values : tuple of float or None
        None: not known.
    best : int or None
        Whose is the best by more than rounding; None: nobody's, or none is better.
    """

    name: str
    values: tuple[float | None, ...]
    best: int | None


def compared(jobs: Sequence[JobFacts]) -> list[Row]:
    """Give the figures of jobs side by side: of rows held out or tested first, then of training.

    Parameters
    ----------
    jobs : sequence of JobFacts

    Returns
    -------
    rows : list of Row
    """
    rows = []
    for name in _names(jobs, "held_out"):
        values = [_number(_within(job, "held_out", name, "model")) for job in jobs]
        rows.append(_row(f"held out: {_HELD_OUT.get(name, in_words(name))}", values, _SMALLER.get(name)))
    if not rows:
        for name in _names(jobs, "test"):
            values = [_number(_within(job, "test", name)) for job in jobs]
            rows.append(_row(f"test: {in_words(name)}", values, _SMALLER.get(name)))
    for what, said in (("validation", "validation, best"), ("train", "training, last")):
        for name in _metrics(jobs, what):
            of_jobs = [[value for _, value in _curve(job, what, name)] for job in jobs]
            choose = min if _SMALLER.get(name) else max
            chosen = [None if not v else choose(v) if what == "validation" else v[-1] for v in of_jobs]
            rows.append(_row(f"{said}: {in_words(name)}", chosen, _SMALLER.get(name) if what == "validation" else None))
    rows.append(_row("epochs", [float(len(_epochs(job))) for job in jobs]))
    rows.append(_row("rows learned", [_number(_within(job, "rows", "learned")) for job in jobs]))
    rows.append(_row("seconds of training", [_number(_within(job, "seconds", "training")) for job in jobs]))
    rows.append(_row("records a second", [_number(_within(job, "records_per_second")) for job in jobs]))
    return [row for row in rows if any(value is not None for value in row.values)]


def comparison_text(jobs: Sequence[JobFacts]) -> str:
    """Write jobs side by side for a terminal; ``*`` marks the best value.

    Parameters
    ----------
    jobs : sequence of JobFacts

    Returns
    -------
    text : str
    """
    lines = [f"  {'':<40}" + "".join(f" {_short(job.name):>16}" for job in jobs)]
    for row in compared(jobs):
        cells = (f"{'*' if i == row.best else ''}{_shown(value)}" for i, value in enumerate(row.values))
        lines.append(f"  {row.name:<40}" + "".join(f" {cell:>16}" for cell in cells))
    for name, values in _differing(jobs):
        lines.append(f"  {_short(name, 40):<40}" + "".join(f" {_short(value):>16}" for value in values))
    for job in jobs:
        lines += [f"{job.name}: {sentence}" for sentence in _sentences(job)]
    return "\n".join(lines)


def comparison_page(jobs: Sequence[JobFacts]) -> str:
    """Write jobs side by side as a page without scripts, which loads nothing.

    Parameters
    ----------
    jobs : sequence of JobFacts

    Returns
    -------
    html : str
    """
    names = "".join(f"<th>{printable_html(job.name)}</th>" for job in jobs)
    rows = "".join(
        f"<tr><th>{printable_html(row.name)}</th>"
        + "".join(
            f"<td{' class=set' if i == row.best else ''}>{_shown(value)}</td>" for i, value in enumerate(row.values)
        )
        + "</tr>"
        for row in compared(jobs)
    )
    differing = "".join(
        f"<tr><th>{printable_html(name)}</th>{''.join(f'<td>{printable_html(value)}</td>' for value in values)}</tr>"
        for name, values in _differing(jobs)
    )
    importances = "".join(
        f"<figure><h2>What columns matter: {printable_html(job.name)}</h2><ol>"
        + "".join(f"<li>{printable_html(name)}: {value:.3g}</li>" for name, value in _importances(job))
        + "</ol></figure>"
        for job in jobs
        if _importances(job)
    )
    found = "".join(
        f"<li>{printable_html(job.name)}: {printable_html(sentence)}</li>"
        for job in jobs
        for sentence in _sentences(job)
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>Jobs side by side</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>Jobs side by side</h1>\n"
        f'<section><table class="compared"><thead><tr><th></th>{names}</tr></thead><tbody>{rows}</tbody></table>'
        "<p>In bold: the best, where one is better.</p></section>\n"
        f"<section><h2>Findings</h2>{f'<ul>{found}</ul>' if found else '<p>No problems were found.</p>'}</section>\n"
        f"<main>{''.join(_drawn(jobs))}{importances}</main>\n"
        + (
            f'<section><h2>Hyperparameters that differ</h2><table class="compared"><thead><tr><th></th>{names}</tr>'
            f"</thead><tbody>{differing}</tbody></table></section>\n"
            if differing
            else ""
        )
        + "</body>\n</html>\n"
    )


def _cells(row: Row) -> str:
    marked = (" class=set" if i == row.best else "" for i in range(len(row.values)))
    return "".join(f"<td{mark}>{_shown(value)}</td>" for mark, value in zip(marked, row.values, strict=True))


def write_comparison(path: Path, jobs: Sequence[JobFacts]) -> None:
    """Write the page of `comparison_page`, whole or not at all.

    Parameters
    ----------
    jobs : sequence of JobFacts

    Raises
    ------
    OSError
    """
    text = comparison_page(jobs)
    with atomic_write(path) as file:
        file.write(text.encode())


def _drawn(jobs: Sequence[JobFacts]) -> list[str]:
    found = []
    for what, said in (("validation", "validation"), ("train", "training")):
        for name in _metrics(jobs, what):
            series = [
                Series(job.name, _curve(job, what, name)[:_MOST_POINTS], colour=number)
                for number, job in enumerate(jobs)
            ]
            drawing = curves(series, x_title="epoch", title=f"{said} {in_words(name)}")
            word = in_words(name)
            heading = printable_html(f"{word[:1].upper()}{word[1:]}, {said}")
            found.append(f"<figure><h2>{heading}</h2>{drawing}</figure>")
    return found


def _row(name: str, values: Sequence[float | None], smaller: bool | None = None) -> Row:
    known = [value for value in values if value is not None]
    best = None
    if smaller is not None and len(known) == len(values) > 1:
        first, second = sorted(known, reverse=not smaller)[:2]
        if abs(first - second) > 1e-9 * max(abs(first), abs(second)):
            best = values.index(first)
    return Row(name, tuple(values), best)


def _names(jobs: Sequence[JobFacts], member: str) -> list[str]:
    every = [job.document.get(member) for job in jobs]
    return list(dict.fromkeys(str(name) for each in every if isinstance(each, dict) for name in each))


def _metrics(jobs: Sequence[JobFacts], what: str) -> list[str]:
    every = [epoch.get(what) for job in jobs for epoch in _epochs(job)]
    return list(dict.fromkeys(name for each in every if isinstance(each, dict) for name in each))


def _epochs(job: JobFacts) -> list[dict[str, Any]]:
    epochs = job.document.get("epochs")
    return [epoch for epoch in epochs if isinstance(epoch, dict)] if isinstance(epochs, list) else []


def _curve(job: JobFacts, what: str, name: str) -> list[tuple[float, float]]:
    points = []
    for number, epoch in enumerate(_epochs(job)):
        metrics = epoch.get(what)
        value = _number(metrics.get(name)) if isinstance(metrics, dict) else None
        if value is not None:
            points.append((float(number), value))
    return points


def _within(job: JobFacts, *path: str) -> Any:
    found: Any = job.document
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _number(value: Any) -> float | None:
    if type(value) not in (int, float):
        return None
    try:
        return float(value) if math.isfinite(value) and abs(value) < 1e100 else None
    except OverflowError:  # an integer of a thousand digits
        return None


def _importances(job: JobFacts) -> list[tuple[str, float]]:
    found = job.document.get("importances")
    pairs = [(str(name), _number(value)) for name, value in found.items()] if isinstance(found, dict) else []
    return [(name, value) for name, value in pairs if value is not None][:_MOST_COLUMNS]


def _sentences(job: JobFacts) -> list[str]:
    found = job.document.get("findings")
    return [str(sentence)[:1000] for sentence in found[:50]] if isinstance(found, list) else []


def _differing(jobs: Sequence[JobFacts]) -> list[tuple[str, list[str]]]:
    if not all(job.hyperparameters for job in jobs):
        return []
    names = dict.fromkeys(name for job in jobs for name in job.hyperparameters)
    rows = [(name, [job.hyperparameters.get(name, "not set") for job in jobs]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if (value == round(value) and abs(value) < 1e15) or abs(value) >= 1e5 else f"{value:.5g}"


def _short(text: str, most: int = 16) -> str:
    return text if len(text) <= most else "…" + text[1 - most :]
