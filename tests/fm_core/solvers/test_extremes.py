"""Models of columns with values far beyond all others: bounded there, and left alone where nothing is extreme."""

import gzip

import numpy as np
import pytest

from fm_core.batch import Batch
from fm_core.model import Model
from fm_core.solvers.extremes import bounded


def model_of(V, kind="regressor"):
    V = np.array(V, np.float32)
    return Model(kind, 0.5, np.arange(1, len(V) + 1, dtype=np.float32), V)


def rows_of(X, y):
    X = np.asarray(X, np.float32)
    return Batch.from_dense(X - X.mean(axis=0), np.asarray(y, np.float32))


RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((2000, 3))
LABELS = RNG.standard_normal(2000)
FAR = NORMAL.copy()
FAR[7, 1], FAR[8, 2] = 900, 400


@pytest.mark.parametrize("X", [NORMAL, np.exp(NORMAL[:500]), (RNG.random((2000, 3)) < 0.001).astype(float) * 7,
                               np.zeros((4, 3))])  # fmt: skip
def test_columns_without_extremes_and_columns_of_two_values_are_left_as_they_are(X):
    model = model_of([[9, 1], [8, 2], [7, 3]])
    assert bounded(model, rows_of(X, LABELS[: len(X)])) is model


@pytest.mark.parametrize("kind", ["regressor", "binary_classifier"])
def test_a_pair_with_extremes_moves_a_score_by_no_more_than_labels_move(kind):
    labels = LABELS if kind == "regressor" else (LABELS > 0).astype(float)
    rows, model = rows_of(FAR, labels), model_of([[1, 1], [2, 0.5], [0.3, 3]], kind)
    found = bounded(model, rows)
    most = 10 if kind == "binary_classifier" else np.abs(labels - labels.mean()).max()
    greatest = np.abs(rows.values).max(axis=0)
    pairs = np.abs(found.V @ found.V.T) * np.outer(greatest, greatest)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert pairs[i, j] <= most * 1.001
    assert (found.V[0] == model.V[0]).all()  # the normal one
    np.testing.assert_allclose(found.V[1] / found.V[1, 0], model.V[1] / model.V[1, 0], rtol=1e-5)  # only shorter
    assert (found.w == model.w).all()
    assert found.w0 == model.w0


def test_small_pairs_with_extremes_are_left_as_they_are():
    model = model_of([[1e-3, 0], [1e-3, 0], [1e-5, 0]])
    assert bounded(model, rows_of(FAR, LABELS)) is model


def test_real_extremes_do_not_make_the_default_worse_than_the_mean(shared):
    pytest.importorskip("sklearn")
    from fm_core import FMRegressor

    with gzip.open(shared / "data/tables/housing.csv.gz") as file:
        table = np.genfromtxt(file, np.float32, delimiter=",", skip_header=1)
    rows = np.random.default_rng(1).permutation(len(table))
    train, test = table[rows[:5000]], table[rows[15000:]]
    errors = FMRegressor(num_factors=8).fit(train[:, :-1], train[:, -1]).predict(test[:, :-1]) - test[:, -1]
    assert np.sqrt(np.mean(errors.astype(float) ** 2)) < 0.75 * test[:, -1].std()  # .64; .94 if nothing were bounded
