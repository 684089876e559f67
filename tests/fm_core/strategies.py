"""Hypothesis strategies of the solver's tests: batches, hyperparameters, models."""

import numpy as np
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model

#: Widths that meet every path through the blocks of sixteen lanes: 64s, a 32, a 16, a remainder.
NUM_FACTORS = st.one_of(st.integers(1, 70), st.sampled_from([8, 16, 31, 32, 33, 48, 64, 65, 112, 128, 130]))


@st.composite
def sparse_batches(draw, feature_dim=None, max_rows=12, classify=None):
    """A CSR batch with empty rows, features that all rows share, and values of both signs."""
    feature_dim = feature_dim or draw(st.integers(1, 40))
    n_rows = draw(st.integers(1, max_rows))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = [
        np.sort(random.permutation(feature_dim)[: random.integers(0, min(feature_dim, 9) + 1)]) for _ in range(n_rows)
    ]
    values = [random.normal(size=len(keys)).astype(np.float32) for keys in rows]
    if draw(st.booleans()):
        values = [np.ones(len(keys), np.float32) for keys in rows]
    return Batch(
        feature_dim=feature_dim,
        indptr=np.cumsum([0] + [len(keys) for keys in rows]).astype(np.int64),
        indices=np.concatenate(rows).astype(np.int32),
        values=np.concatenate(values),
        labels=_labels(random, n_rows, draw(st.booleans()) if classify is None else classify),
        weights=_weights(random, n_rows, draw(st.booleans())),
    )


@st.composite
def dense_batches(draw, max_rows=70):
    """A dense batch about half of whose values are zero."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_rows, width = draw(st.integers(1, max_rows)), draw(st.integers(1, 40))
    values = random.normal(size=(n_rows, width)) * (random.random((n_rows, width)) < 0.5)
    labels = _labels(random, n_rows, draw(st.booleans()))
    return Batch.from_dense(values, labels, _weights(random, n_rows, draw(st.booleans())))


def _weights(random, n, wanted):
    return random.choice(np.array([0, 0.3, 1, 2], np.float32), n) if wanted else None


def _labels(random, n, classify):
    return (random.integers(0, 2, n) if classify else random.normal(size=n)).astype(np.float32)


@st.composite
def hyperparameters_for(draw, feature_dim):
    """Hyperparameters whose updates are well conditioned.

    An Adam step is m / (sqrt(u) + eps): where the gradient all but cancels, a rounding error of it
    decides the step's sign, so eps is kept well above rounding here. FTRL divides by its learning rate:
    by 1e-45 nothing stays finite.
    """
    number = st.floats(0, 0.5, width=32)
    rate = number.map(lambda drawn: drawn if drawn > 2**-20 else 0.0)
    return Hyperparameters(
        feature_dim=feature_dim,
        num_factors=draw(NUM_FACTORS),
        predictor_type=draw(st.sampled_from(["binary_classifier", "regressor"])),
        mini_batch_size=draw(st.integers(1, 20)),
        bias_lr=draw(rate),
        linear_lr=draw(rate),
        factors_lr=draw(rate),
        bias_wd=draw(number),
        linear_wd=draw(number),
        factors_wd=draw(number),
        factors_init_sigma=0.2,
        linear_init_sigma=0.2,
        bias_init_sigma=0.2,
        eps=draw(st.sampled_from([1e-2, 0.1, 1.0])),
        clip_gradient=draw(st.sampled_from([None, 0.01, 0.2])),
        rescale_grad=draw(st.sampled_from([None, 0.5])),
        use_bias=draw(st.booleans()),
        use_linear=draw(st.booleans()),
        lazy_update=draw(st.booleans()),
        _optimizer=draw(st.sampled_from(["adam", "sgd", "adagrad", "ftrl"])),
        seed=draw(st.integers(0, 1000)),
    )


def model_of(feature_dim, num_factors, predictor_type="regressor", seed=0, sigma=0.3):
    """A model with normal parameters."""
    random = np.random.default_rng(seed)
    return Model(
        predictor_type,
        float(random.normal() * sigma),
        (random.normal(size=feature_dim) * sigma).astype(np.float32),
        (random.normal(size=(feature_dim, num_factors)) * sigma).astype(np.float32),
    )


def assert_trained_alike(found, expected):
    """Compare params, state, bias and scores of two trainings, but for what float32 leaves of sums.

    Sums that nearly cancel are off by some 1e-5 of their terms, which are as large as the largest number of the same
    factor; the division by a small root of squares makes more of it.
    """
    for name, a, b in zip(("params", "state", "bias", "scores"), found, expected, strict=True):
        scale = np.maximum(1, np.abs(b).max(axis=0, initial=0))
        wrong = np.abs(a - b) > 1e-4 * scale + 2e-4 * np.abs(b)
        assert not wrong.any(), f"{name}: {a[wrong][:5]} is not {b[wrong][:5]}, at {np.argwhere(wrong)[:5].tolist()}"
