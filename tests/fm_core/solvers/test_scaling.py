"""A model of scaled rows and labels is brought back to one of the rows as they are."""

import numpy as np
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.model import Model
from fm_core.solvers.scaling import Scaling


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**31), st.booleans())
def test_scores_are_the_same(n, d, k, seed, is_classifier):
    rng = np.random.default_rng(seed)
    shift, size = rng.normal(size=d) * 10.0 ** rng.integers(-1, 2, d), 10.0 ** rng.integers(-2, 5, d)
    values = ((rng.normal(size=(n, d)) + shift) * size).astype(np.float32)
    values[:, rng.random(d) < 0.2] = 7  # columns that say nothing
    labels = rng.integers(0, 2, n) if is_classifier else 2e5 + 1e4 * rng.normal(size=n)
    kind = "binary_classifier" if is_classifier else "regressor"
    rows = Batch.from_dense(values, labels.astype(np.float32))
    scaling = Scaling.of(rows.split(7), d, kind)  # in whatever pieces
    scaled = scaling.rows(rows)
    assert np.abs(scaled.values).max() <= 4.001
    whole = Scaling.of([rows], d, kind)
    for name in ("means", "scales", "label_mean", "label_scale"):
        np.testing.assert_allclose(getattr(scaling, name), getattr(whole, name), rtol=1e-5, atol=1e-5 * size.max())
    model = Model.of_params(kind, 0.3, rng.normal(0, 0.5, (d, k + 1)).astype(np.float32))
    found = scaling.model(model).predict(rows)
    expected = model.predict(scaled).astype(np.float64) * scaling.label_scale + scaling.label_mean
    size = 1.0 if is_classifier else scaling.label_scale
    assert np.abs(found - expected).max() < 0.02 * size * (1 + np.abs(shift).max())
    np.testing.assert_allclose(scaling.scores(model.predict(scaled)), expected, rtol=1e-5, atol=1e-5 * size)
    back = scaling.model_there(scaling.model(model))
    np.testing.assert_allclose(back.V, model.V, rtol=1e-4, atol=1e-6)
    assert np.abs(back.predict(scaled) - model.predict(scaled)).max() < 0.02 * (1 + np.abs(shift).max())
    again = Scaling.of_arrays(scaling.arrays()).model(model)
    assert (again.w0, again.V.tobytes()) == (scaling.model(model).w0, scaling.model(model).V.tobytes())


def test_columns_of_size_stay_as_they_are_and_sparse_ones_are_only_divided():
    rng = np.random.default_rng(0)
    pixels = (rng.random((50, 4)) * (rng.random((50, 4)) < 0.5)).astype(np.float32)
    labels = rng.normal(7, 2, 50).astype(np.float32)
    scaling = Scaling.of([Batch.from_dense(pixels, labels)], 4, "regressor")
    assert (scaling.means == 0).all()
    assert (scaling.scales == 1).all()
    X = sp.random(60, 9, 0.3, "csr", dtype=np.float32, random_state=1) * np.float32(200)
    scaling = Scaling.of([Batch.from_csr(X[:20], labels[:20]), Batch.from_csr(X[20:], labels[:40])], 9, "regressor")
    scaled = scaling.rows(Batch.from_csr(X, np.tile(labels, 2)[:60]))
    assert (scaling.means == 0).all()
    assert np.abs(scaled.values).max() <= 4.001
    size = np.sqrt(np.asarray(X.multiply(X).mean(axis=0))).ravel()
    np.testing.assert_allclose(scaling.scales, np.maximum(size, X.max(axis=0).toarray().ravel() / 4), rtol=1e-5)


def test_rows_count_as_their_weights_say():
    rng = np.random.default_rng(0)
    X, y = rng.normal(50, 9, (40, 3)).astype(np.float32), rng.normal(3, 1, 40).astype(np.float32)
    weights = rng.integers(1, 4, 40)
    one = Scaling.of([Batch.from_dense(X, y).with_weights(weights.astype(np.float32))], 3, "regressor")
    each = Scaling.of([Batch.from_dense(np.repeat(X, weights, 0), np.repeat(y, weights))], 3, "regressor")
    for name in ("means", "scales", "label_mean", "label_scale"):
        np.testing.assert_allclose(getattr(one, name), getattr(each, name), rtol=1e-5)
