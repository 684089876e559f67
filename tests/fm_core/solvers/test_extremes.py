"""Models of columns with values far beyond all others: bounded there, and left alone where nothing is extreme."""

import gzip

import numpy as np
import pytest

from fm_core.batch import Batch
from fm_core.solvers.extremes import Extremes, bounded
from fm_core.solvers.scaling import Scaling


def parameters_of(V):
    V = np.array(V, np.float32)
    return 0.5, np.arange(1, len(V) + 1, dtype=np.float32), V


def extremes_of(X, y, kind="regressor"):
    """As scaling.py finds them, of columns that are not of size."""
    batch = Batch.from_dense(np.asarray(X * 1000, np.float32), np.asarray(y, np.float32))
    return Scaling.of([batch], X.shape[1], kind).extremes


RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((2000, 3))
LABELS = RNG.standard_normal(2000)
FAR = NORMAL.copy()
FAR[7, 1], FAR[8, 2] = 900, 400


@pytest.mark.parametrize("X", [NORMAL, np.exp(NORMAL[:500]), (RNG.random((2000, 3)) < 0.001).astype(float) * 7,
                               np.zeros((4, 3))])  # fmt: skip
def test_columns_without_extremes_and_columns_of_two_values_are_left_as_they_are(X):
    given = parameters_of([[9, 1], [8, 2], [7, 3]])
    found = bounded(*given, extremes_of(X, LABELS[: len(X)]))
    assert all(a is b for a, b in zip(found, given, strict=True))


@pytest.mark.parametrize("kind", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("n", [2000, 200])
def test_a_pair_with_extremes_moves_a_score_by_no_more_than_labels_move(kind, n):
    labels = LABELS[:n] if kind == "regressor" else (LABELS[:n] > 0).astype(float)
    extremes = extremes_of(FAR[:n], labels, kind)
    w0, w, V = parameters_of([[1, 1], [2, 0.5], [0.3, 3]])
    found = bounded(w0, w, V, extremes)
    most = 10 if kind == "binary_classifier" else np.abs(labels - labels.mean()).max() / labels.std()
    pairs = np.abs(found[2] @ found[2].T) * np.outer(extremes.greatest, extremes.greatest)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert pairs[i, j] <= most * 1.001
    assert (found[2][0] == V[0]).all()  # the normal one
    np.testing.assert_allclose(found[2][1] / found[2][1, 0], V[1] / V[1, 0], rtol=1e-5)  # only shorter
    assert (found[1] == w).all()
    assert found[0] == w0


def test_values_are_seen_from_the_middle_of_their_column():
    rng = np.random.default_rng(1)
    extremes = Extremes(np.array([30.0, 2, 40]), np.array([25.0, 0, 30]), 3.0)
    w0, w, V = 0.5, rng.normal(size=3), rng.normal(size=(3, 2))
    means, x = np.array([5.0, -2, 7]), rng.normal(0, 10, (50, 3))

    def scores(w0, w, V, rows):
        return w0 + rows @ w + ((rows @ V) ** 2 - rows**2 @ V**2).sum(axis=1) / 2

    # the same as of a model of distances from the middle
    shorter = bounded(0.0, w, V, extremes)[2]
    assert not np.allclose(shorter, V)
    expected = scores(w0, w, V, x) - scores(0, 0 * w, V, x - means) + scores(0, 0 * w, shorter, x - means)
    np.testing.assert_allclose(scores(*bounded(w0, w, V, extremes, means), x), expected, rtol=1e-8)


def test_small_pairs_with_extremes_are_left_as_they_are():
    given = parameters_of([[1e-3, 0], [1e-3, 0], [1e-5, 0]])
    assert bounded(*given, extremes_of(FAR, LABELS))[2] is given[2]


def test_real_extremes_do_not_make_the_default_worse_than_the_mean(shared):
    pytest.importorskip("sklearn")
    from fm_core import FMRegressor

    with gzip.open(shared / "data/tables/housing.csv.gz") as file:
        table = np.genfromtxt(file, np.float32, delimiter=",", skip_header=1)
    rows = np.random.default_rng(1).permutation(len(table))
    train, test = table[rows[:5000]], table[rows[15000:]]
    errors = FMRegressor(num_factors=8).fit(train[:, :-1], train[:, -1]).predict(test[:, :-1]) - test[:, -1]
    assert np.sqrt(np.mean(errors.astype(float) ** 2)) < 0.75 * test[:, -1].std()  # .64; .94 if nothing were bounded
