"""A model of scaled rows and labels is brought back to one of the rows as they are."""

import numpy as np
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
    scaling = Scaling.of(rows, kind)
    scaled = scaling.rows(rows)
    assert np.abs(scaled.values).max() <= 4.001
    model = Model.of_params(kind, 0.3, rng.normal(0, 0.5, (d, k + 1)).astype(np.float32))
    found = scaling.model(model).predict(rows)
    expected = model.predict(scaled).astype(np.float64) * scaling.label_scale + scaling.label_mean
    size = 1.0 if is_classifier else scaling.label_scale
    assert np.abs(found - expected).max() < 0.02 * size * (1 + np.abs(shift).max())
