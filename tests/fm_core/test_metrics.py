import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.metrics import ClassifierMetrics, RegressorMetrics, metrics_for


def plain_classifier_metrics(scores, labels):
    """The definitions, one row at a time."""
    n = len(labels)
    predicted = [1 if s >= 0.5 else 0 for s in scores]
    right = sum(p == y for p, y in zip(predicted, labels, strict=True))
    entropy = -sum(math.log(max(s if y else 1 - s, 1e-12)) for s, y in zip(scores, labels, strict=True))
    hits = sum(p and y for p, y in zip(predicted, labels, strict=True))
    precision = hits / sum(predicted) if sum(predicted) else 0
    recall = hits / sum(labels) if sum(labels) else 0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
    return right / n, entropy / n, f1


rows = st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 1)), min_size=1, max_size=40)


@given(rows=rows, cut=st.integers(0, 40))
def test_classifier_metrics_are_their_definitions_however_rows_are_cut(rows, cut):
    scores = np.array([s for s, _ in rows], np.float32)
    labels = np.array([y for _, y in rows], np.float32)
    metrics = ClassifierMetrics()
    metrics.update(scores[:cut], labels[:cut])
    metrics.update(scores[cut:], labels[cut:])
    expected = plain_classifier_metrics([float(s) for s in scores], [int(y) for y in labels])
    assert list(metrics.values().values()) == pytest.approx(expected)


@given(rows=st.lists(st.tuples(st.floats(-99, 99, width=32), st.floats(-99, 99, width=32)), min_size=1, max_size=40))
def test_regressor_metrics_are_their_definitions(rows):
    errors = [s - y for s, y in rows]
    metrics = RegressorMetrics()
    for s, y in rows:
        metrics.update(np.array([s], np.float32), np.array([y], np.float32))
    values = metrics.values()
    mse = sum(e * e for e in errors) / len(errors)
    assert values["mse"] == pytest.approx(mse)
    assert values["rmse"] == pytest.approx(math.sqrt(mse))
    assert values["absolute_loss"] == pytest.approx(sum(map(abs, errors)) / len(errors))


def test_a_wrong_certainty_costs_a_finite_amount():
    metrics = ClassifierMetrics()
    metrics.update(np.array([1, 0], np.float32), np.array([0, 1], np.float32))
    assert metrics.values()["binary_classification_cross_entropy"] == pytest.approx(-math.log(1e-12))


def test_a_score_that_is_not_a_number_shows_in_the_metrics():
    metrics = ClassifierMetrics()
    metrics.update(np.array([0.5, np.nan], np.float32), np.array([0, 1], np.float32))
    assert math.isnan(metrics.values()["binary_classification_cross_entropy"])


def test_nothing_scored_is_nan_and_not_an_error():
    assert all(math.isnan(v) for v in metrics_for("regressor").values().values())
    assert math.isnan(metrics_for("binary_classifier").values()["binary_classification_accuracy"])


def test_names_are_the_built_ins_in_its_order():
    for kind in ("regressor", "binary_classifier"):
        metrics = metrics_for(kind)
        assert list(metrics.values()) == list(metrics.names)
    assert list(metrics_for("regressor").names) == ["rmse", "mse", "absolute_loss"]
