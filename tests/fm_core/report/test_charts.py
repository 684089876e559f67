"""Charts of any numbers: within the drawing, with ticks that rise and differ."""

import re

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from fm_core.report.charts import Series, bars, curves, histogram, matrix

NUMBER = st.floats(-1e99, 1e99) | st.sampled_from([0.0, 1e-300, -1e-300, 1.0, 1.0 + 1e-12, 1e6, 123456.7, 1e99, -1e99])
POINTS = st.lists(st.tuples(NUMBER, NUMBER), max_size=8)


def numbers_of(drawing):
    found = re.findall(r' (?:x|y|x1|x2|y1|y2|cx|cy|width|height)="([^"]+)"', drawing)
    found += [n for pair in re.findall(r'points="([^"]*)"', drawing) for n in re.split("[ ,]", pair)]
    return [float(n) for n in found]


@given(first=POINTS, second=POINTS)
@settings(max_examples=200, deadline=None)
def test_points_are_within_the_drawing(first, second):
    drawing = curves([Series("a", first, dots=True), Series("b", second, line=False)], x_title="x", y_title="y")
    assert all(-0.1 <= n <= 360.1 for n in numbers_of(drawing))
    assert "nan" not in drawing
    ticks = re.findall(r'text-anchor="(?:end|middle)">([-0-9.,e]+)</text>', drawing)
    assert len(ticks) >= 2 or not (first or second)


def test_a_bar_that_would_hide_the_rest_is_cut_and_says_its_number():
    edges = np.linspace(0, 1, 5)
    drawing = histogram({"features": np.array([100_000, 20, 30, 10])}, edges)
    assert "100,000 \u2191" in drawing
    heights = [float(n) for n in re.findall(r'<rect[^>]* height="([^"]+)"', drawing)]
    assert heights[2] > 0.5 * heights[0]
    assert "\u2191" not in histogram({"features": np.array([100, 90, 30, 40])}, edges)
    assert "\u2191" not in histogram({"features": np.array([7, 0, 0, 0])}, edges)
    histogram({"features": np.zeros(4, np.int64)}, edges)


def test_names_are_text():
    for drawn in (
        bars([("<b>", 1.0, "1"), ("c", -2.0, "-2")]), matrix(["<b>"], ["<b>"], [["<b>"]]),
        curves([Series("<b>", [(0, 0), (1, 1)], dots=True, labels=["<b>", ""], written=1), Series("c", [(0, 1)])]),
    ):  # fmt: skip
        assert "<b>" not in drawn
        assert "&lt;b&gt;" in drawn
