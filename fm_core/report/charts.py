"""Charts as SVG, and bars as HTML, for the plots of a report.

They are drawn here and not by a library, for four reasons. Colours are variables of the page's style, so charts follow
the reader's light or dark scheme without a script. Text is 11 pixels large on a phone (360 pixels wide); libraries
scale down a drawing made for a screen. Nothing has to be installed or imported, and a job ends some 50 ms earlier than
with pygal. And only two forms are needed, curves and histograms. docs/how-to/report.md says what libraries would need.

Every number must be finite and below 1e100 by magnitude: callers leave others out.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fm_core.printable import printable_html

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Series", "bars", "curves", "histogram", "matrix"]

#: Of the drawing, in its own units, which are about a pixel each; and of a letter.
_WIDTH, _HEIGHT, _LETTER, _LINE = 360, 240, 7.2, 15
_TOP, _RIGHT = 10, 12
_COLOURS = ("var(--first)", "var(--second)", "var(--third)", "var(--fourth)", "var(--fifth)", "var(--sixth)")
#: A histogram's highest bar is cut if it is so many times the second.
_HIDES = 4


class Series(NamedTuple):
    """Points of a chart.

    Attributes
    ----------
    name : str
        In the legend; empty: not there.
    points : sequence of (float, float)
    line, dots, dashed : bool
        Whether points are joined, and marked.
    labels : sequence of str
        Of points, shown where the pointer is; empty: none have any.
    written : int
        So many of the first labels are written beside their points.
    colour : int or None
        None: the series' own.
    """

    name: str
    points: Sequence[tuple[float, float]]
    line: bool = True
    dots: bool = False
    dashed: bool = False
    labels: Sequence[str] = ()
    written: int = 0
    colour: int | None = None


class _Axes:
    """Where numbers are in the drawing, and the grid with its labels."""

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], x_title: str, y_title: str, *, ticks: bool = True
    ) -> None:
        self.x, self.y = _widened(*x), _widened(*y)
        y_ticks = _ticks(*self.y, 5) if ticks else []
        widest = max((len(text) for _, text in y_ticks), default=0)
        self.left = widest * _LETTER + 8 + (_LINE + 2 if y_title else 0)
        self.right = _WIDTH - _RIGHT
        x_ticks: list[tuple[float, str]] = []
        for n in range(6, 1, -1):  # as many as do not touch
            x_ticks = _ticks(*self.x, n) if ticks else []
            room = (self.right - self.left) / max(1, len(x_ticks))
            if max((len(text) for _, text in x_ticks), default=0) * _LETTER + 8 <= room:
                break
        self.bottom = _HEIGHT - 8 - (_LINE + 7 if x_ticks else 0) - (_LINE + 2 if x_title else 0)
        self.parts = [
            f'<line class="grid" x1="{self.left:.1f}" x2="{self.right:.1f}" y1="{self.at_y(value):.1f}" '
            f'y2="{self.at_y(value):.1f}"/>'
            f'<text x="{self.left - 5:.1f}" y="{self.at_y(value) + 4:.1f}" text-anchor="end">{text}</text>'
            for value, text in y_ticks
        ]
        self.parts += [
            f'<line class="grid" x1="{self.at_x(value):.1f}" x2="{self.at_x(value):.1f}" y1="{self.bottom:.1f}" '
            f'y2="{self.bottom + 4:.1f}"/>'
            f'<text x="{_within(self.at_x(value), text):.1f}" y="{self.bottom + 20:.1f}" text-anchor="middle">'
            f"{text}</text>"
            for value, text in x_ticks
        ]
        self.parts.append(f'<path class="axis" d="M{self.left:.1f},{_TOP}V{self.bottom:.1f}H{self.right:.1f}"/>')
        if x_title:
            middle = (self.left + self.right) / 2
            self.parts.append(
                f'<text x="{middle:.1f}" y="{_HEIGHT - 7}" text-anchor="middle">{printable_html(x_title)}</text>'
            )
        if y_title:
            middle = (self.bottom + _TOP) / 2
            self.parts.append(
                f'<text transform="translate({_LINE - 2},{middle:.1f}) rotate(-90)" text-anchor="middle">'
                f"{printable_html(y_title)}</text>"
            )

    def at_x(self, value: float) -> float:
        """Where a number is from left to right."""
        low, high = self.x
        return self.left + (value / 2 - low / 2) / (high / 2 - low / 2) * (self.right - self.left)

    def at_y(self, value: float) -> float:
        """Where a number is from top to bottom."""
        low, high = self.y
        return self.bottom - (value / 2 - low / 2) / (high / 2 - low / 2) * (self.bottom - _TOP)

    def drawing(self, title: str, legend: Sequence[tuple[str, str]] = ()) -> str:
        """Give the drawing, and what its colours are."""
        named = "".join(
            f'<span><i style="background:{colour}"></i>{printable_html(name)}</span>' for name, colour in legend if name
        )
        return (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{printable_html(title)}">'
            f"{''.join(self.parts)}</svg>" + (f'<p class="legend">{named}</p>' if named else "")
        )


def curves(
    series: Sequence[Series], *, x_title: str = "", y_title: str = "", title: str = "", ticks: bool = True
) -> str:
    """Draw points, joined or not.

    Parameters
    ----------
    series : sequence of Series
    x_title, y_title : str
        Of the axes; empty: none.
    title : str
        For those who do not see it.
    ticks : bool
        Whether the axes' numbers mean something.

    Returns
    -------
    svg : str
        An element of a page.
    """
    every = [point for each in series for point in each.points]
    xs, ys = [point[0] for point in every] or [0.0, 1.0], [point[1] for point in every] or [0.0, 1.0]
    axes = _Axes((min(xs), max(xs)), (min(ys), max(ys)), x_title, y_title, ticks=ticks)
    legend, written = [], []
    for number, each in enumerate(series):
        colour = _COLOURS[(number if each.colour is None else each.colour) % len(_COLOURS)]
        at = [(axes.at_x(x), axes.at_y(y)) for x, y in each.points]
        if not at:
            continue
        legend.append((each.name, colour))
        if each.line:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
            dashes = ' stroke-dasharray="6 4"' if each.dashed else ""
            axes.parts.append(f'<polyline class="curve" style="stroke:{colour}"{dashes} points="{path}"/>')
        if each.dots or len(at) == 1:
            labels = [*each.labels, *[""] * len(at)]
            axes.parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" style="fill:{colour}">'
                f"{f'<title>{printable_html(label)}</title>' if label else ''}</circle>"
                for (x, y), label in zip(at, labels, strict=False)
            ]
        written += list(zip(at[: each.written], each.labels, strict=False))
    axes.parts += _written(written)
    return axes.drawing(title, legend if len(series) > 1 else ())


def _written(points: Sequence[tuple[tuple[float, float], str]]) -> list[str]:
    """Write labels next to points, if there is space."""
    taken: list[tuple[float, float, float]] = []
    found = []
    for (x, y), label in points:
        text = label if len(label) <= 22 else label[:21] + "…"
        width = len(text) * _LETTER
        left = x + 5 if x + 5 + width < _WIDTH else x - 5 - width
        if any(abs(y - other) < _LINE and left < end and start < left + width for start, end, other in taken):
            continue
        taken.append((left, left + width, y))
        found.append(f'<text x="{left:.1f}" y="{y + 4:.1f}">{printable_html(text)}</text>')
    return found


def histogram(counts: Mapping[str, "NDArray[np.int64]"], edges: "NDArray[np.float64]", *, x_title: str = "",
              title: str = "") -> str:  # fmt: skip
    """Draw how many there are between edges; a bar that would hide the rest is cut, and its number written on it.

    Parameters
    ----------
    counts : mapping of str to ndarray of int64, shape (n,)
    edges : ndarray of float64, shape (n + 1,)
    x_title, title : str
        As for `curves`.

    Returns
    -------
    svg : str
        An element of a page.
    """
    highest = sorted((int(n) for of_name in counts.values() for n in of_name), reverse=True)
    top = float(highest[0]) if highest else 1.0
    rest = next((n for n in highest[1:] if n), 0)
    if rest and highest[0] > _HIDES * rest:
        top = 1.5 * rest
    axes = _Axes((float(edges[0]), float(edges[-1])), (0.0, max(top, 1.0)), x_title, "number")
    for number, of_name in enumerate(counts.values()):
        colour = _COLOURS[number % len(_COLOURS)]
        for start, end, n in zip(edges[:-1].tolist(), edges[1:].tolist(), of_name.tolist(), strict=True):
            if not n:
                continue
            y, x, width = axes.at_y(min(n, axes.y[1])), axes.at_x(start), max(1.0, axes.at_x(end) - axes.at_x(start))
            axes.parts.append(
                f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{axes.bottom - y:.1f}" '
                f'style="fill:{colour}"><title>{_number(start)} to {_number(end)}: {n:,}</title></rect>'
            )
            if n > axes.y[1]:
                at = max(x + width / 2, axes.left + len(f"{n:,} ↑") * _LETTER / 2 + 4)
                axes.parts.append(f'<text class="cut" x="{at:.1f}" y="{_TOP + 12}" text-anchor="middle">{n:,} ↑</text>')
    legend = [(name, _COLOURS[i % len(_COLOURS)]) for i, name in enumerate(counts)]
    return axes.drawing(title, legend if len(counts) > 1 else ())


def bars(values: Sequence[tuple[str, float, str]]) -> str:
    """Draw a bar for each name, as a table whose names may take several lines.

    Parameters
    ----------
    values : sequence of (str, float, str)
        A name, a number, and the number as it is written; those below 0 have another colour.

    Returns
    -------
    html : str
        An element of a page.
    """
    most = max((abs(value) for _, value, _ in values), default=0.0) or 1.0
    rows = "".join(
        f"<tr><th>{printable_html(name)}</th><td><i style='width:{100 * abs(value) / most:.1f}%"
        f"{';background:var(--second)' if value < 0 else ''}'></i></td>"
        f"<td>{printable_html(text)}</td></tr>"
        for name, value, text in values
    )
    return f'<table class="bars">{rows}</table>'


def matrix(rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Write a table with names at two sides, in HTML.

    Parameters
    ----------
    rows, columns : sequence of str
        The names; they are escaped, as are the cells.
    cells : sequence of sequence of str, shape (len(rows), len(columns))

    Returns
    -------
    table : str
    """
    head = "".join(f"<th>{printable_html(name)}</th>" for name in columns)
    body = "".join(
        f"<tr><th>{printable_html(name)}</th>{''.join(f'<td>{printable_html(cell)}</td>' for cell in of_row)}</tr>"
        for name, of_row in zip(rows, cells, strict=True)
    )
    return f'<table class="matrix"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>'


def _within(x: float, text: str) -> float:
    """Move the middle of a text such that it does not stick out."""
    half = len(text) * _LETTER / 2
    return min(max(x, half), _WIDTH - half)


def _widened(low: float, high: float) -> tuple[float, float]:
    """Widen a range so that numbers of its size differ."""
    least = max(abs(low), abs(high)) * 1e-6
    if high - low > 1e-3 * least:
        return low, high
    width = max(1.0, least)
    return low - width, high + width


def _ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Give round numbers within a range, at most about so many, and how they are written."""
    rough = (high / most) - (low / most)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next((m * size for m in (1, 2, 5) if m * size >= rough * 0.999), 10 * size)
    first = math.ceil(low / step - 1e-9)
    values = [i * step for i in range(first, first + most + 2) if i * step <= high + 1e-9 * step]
    far = max(abs(low), abs(high))
    if far >= 1e6 or far < 1e-3:
        texts = [f"{value:.{_digits(far, step)}e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
                 for value in values]  # fmt: skip
        texts = ["0" if value == 0 else text for value, text in zip(values, texts, strict=True)]
    else:
        texts = [f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}" for value in values]
    return [
        (value, text.replace("-0.0", "0.0") if value == 0 else text) for value, text in zip(values, texts, strict=True)
    ]


def _digits(far: float, step: float) -> int:
    return min(4, max(0, math.floor(math.log10(far)) - math.floor(math.log10(step) + 1e-9)))


def _number(value: float) -> str:
    return f"{value:.4g}"
