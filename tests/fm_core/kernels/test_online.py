"""The online kernels against their plain twin, and one feature against the closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.kernels import builds, load, reference_online


def padded(numbers, n):
    found = np.ones(-(-n // 16) * 16, np.float32)
    found[: len(numbers)] = numbers
    return found


def problem(seed, n_rows, n_features, k, longest, is_classifier):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest + 1, n_rows)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    keys = rng.integers(n_features, size=indptr[-1]).astype(np.int32)  # a key may stand twice in a row
    values = rng.choice(np.array([1, 1, 0.5, -2, 0], np.float32), indptr[-1])
    labels = (rng.random(n_rows) < 0.4) if is_classifier else rng.normal(0, 3, n_rows)
    is_factor = np.zeros(-(-(k + 1) // 16) * 16, np.float32)
    is_factor[:k] = 1
    return {
        "rows": (indptr, keys, values, labels.astype(np.float32)),
        "params": rng.normal(0, 0.3, (n_features, k + 1)).astype(np.float32),
        "information": rng.exponential(2, (n_features, k + 1)).astype(np.float32),
        "precision": padded(np.append(np.full(k, 20), 5), k + 1),
        "is_factor": is_factor,
        "is_classifier": is_classifier,
        "weights": rng.choice(np.array([0, 0.2, 1, 2, 2.5, 30], np.float32), n_rows) if seed % 2 else None,
    }


def learned(kernels, p):
    params, information = p["params"].copy(), p["information"].copy()
    state, scores = np.array([0.3, 4.0, 1.0, 7.0]), np.zeros(len(p["rows"][3]), np.float32)
    kernels.filter_rows(
        *p["rows"], params, information, p["precision"], p["is_factor"], state, scores, p["is_classifier"],
        p["weights"],
    )  # fmt: skip
    return params, information, state, scores


@given(
    p=st.builds(
        problem,
        seed=st.integers(0, 1000),
        n_rows=st.sampled_from([0, 1, 2, 9, 40]),
        n_features=st.sampled_from([1, 3, 12, 70]),
        k=st.sampled_from([1, 2, 3, 7, 8, 14, 15, 16, 17, 31, 40]),
        longest=st.sampled_from([0, 1, 4, 11]),
        is_classifier=st.booleans(),
    )
)
def test_rows_are_learned_as_the_reference_does(p):
    expected = learned(reference_online, p)
    for build in builds():
        for name, a, b in zip(
            ("params", "information", "state", "scores"), learned(load("online", build), p), expected, strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3, err_msg=f"{build} {name}")


@pytest.mark.parametrize("build", builds())
def test_one_weight_has_the_posterior_of_a_ridge_regression(build):
    """Without pairs and with noise that is known, what is assumed is exact: row by row is all at once."""
    rng = np.random.default_rng(0)
    x, prior = rng.normal(0, 1, 50).astype(np.float32), 3.0
    y = (0.8 * x + rng.normal(0, 0.5, 50)).astype(np.float32)
    params, information = np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32)
    state = np.array([0.0, 1e30, 0.25, 1e12])  # the noise's variance stays as it is
    is_factor = np.zeros(16, np.float32)
    is_factor[0] = 1
    load("online", build).filter_rows(
        np.arange(51), np.zeros(50, np.int32), x, y, params, information, padded([1e30, prior], 2), is_factor, state,
        np.empty(50, np.float32), False,
    )  # fmt: skip
    precision = prior + (x.astype(float) ** 2).sum() / 0.25
    assert information[0, 1] + prior == pytest.approx(precision, rel=1e-4)
    assert params[0, 1] == pytest.approx((x.astype(float) * y).sum() / 0.25 / precision, rel=1e-4)


@pytest.mark.parametrize("build", builds())
@pytest.mark.parametrize("label", [1e15, -1e15])
def test_a_label_far_off_moves_no_further_than_some_deviations(build, label):
    p = problem(1, 9, 3, 2, 4, False)
    p["rows"][3][4] = label
    params, information, state, scores = learned(load("online", build), p)
    for numbers in (params, information, state, scores):
        assert np.isfinite(numbers).all()
    assert np.abs(params).max() < 20
