"""The variational kernels against their plain twin, and what records hold against its definition."""

import functools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from fm_core.kernels import builds, load, reference_variational


def columns(X):
    C = sp.csc_matrix(X)
    C.sort_indices()
    values = np.empty(0, np.float32) if (C.data == 1).all() else C.data.astype(np.float32)
    return C.indptr.astype(np.int64), C.indices.astype(np.int32), values


@functools.cache
def problem(seed, n_rows, n_features, k, density, are_ones):
    rng = np.random.default_rng(seed)
    X = (rng.random((n_rows, n_features)) < density).astype(np.float32)
    X[rng.integers(n_rows, size=n_features), np.arange(n_features)] = 1  # each occurs
    if not are_ones:
        X *= rng.choice(np.array([0.5, -1, 1.5, 1], np.float32), X.shape)
    return {
        "X": X,
        "params": rng.normal(0, 0.3, (n_features, k + 1)).astype(np.float32),
        "variances": rng.exponential(0.05, (n_features, k + 1)).astype(np.float32) + np.float32(1e-3),
        "groups": rng.integers(3, size=n_features).astype(np.int32),
        "precision": rng.uniform(1, 9, (3, k + 1)),
        "shift": rng.normal(size=(3, k + 1)),
    }


def blank(p):
    """Records without parameters."""
    k, n = p["params"].shape[1] - 1, len(p["X"])
    rng, stride = np.random.default_rng(5), 3 * (-(-(k + 7) // 16) * 16)
    block = np.zeros(n * stride + 16, np.float32)
    start = -(block.ctypes.data // 4) % 16
    records = block[start : start + n * stride].reshape(n, stride)
    records[:, k] = 1
    records[:, k + 2], records[:, k + 3] = rng.uniform(0.05, 0.25, n), rng.normal(size=n)
    return records


def swept(kernels, p, num_threads=1, n_sweeps=1, edges=None):
    """Parameters, variances and records after records were made, and after sweeps."""
    params, variances, records = p["params"].copy(), p["variances"].copy(), blank(p)
    n = len(params)
    edges = np.array([0, n], np.int64) if edges is None else edges
    order = np.arange(n, dtype=np.int32)
    for only_moves in [True] + [False] * n_sweeps:
        kernels.sweep(
            *columns(p["X"]), order, edges, records, params, variances, p["groups"], p["precision"], p["shift"], 2.5,
            0.3, only_moves, num_threads,
        )  # fmt: skip
    return params, variances, records


PROBLEMS = st.builds(
    problem,
    seed=st.integers(0, 50),
    n_rows=st.sampled_from([1, 2, 7, 40]),
    n_features=st.sampled_from([1, 2, 5, 17]),
    k=st.sampled_from([1, 2, 7, 8, 9, 10, 16, 25]),
    density=st.sampled_from([0.05, 0.3, 1.0]),
    are_ones=st.booleans(),
)


@given(p=PROBLEMS)
def test_a_sweep_is_the_references(p):
    expected = swept(reference_variational, p)
    for build in builds():
        for name, a, b in zip(
            ("means", "variances", "records"), swept(load("variational", build), p), expected, strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3, err_msg=f"{build} {name}")


@given(p=PROBLEMS, w0=st.sampled_from([0.0, -2.0]))
@pytest.mark.parametrize("build", builds())
def test_records_give_each_scores_mean_and_variance(build, p, w0):
    """After sweeps, against the definition: each pair of features, and what pairs that share one have in common."""
    params, variances, records = swept(load("variational", build), p, n_sweeps=2)
    k, x = params.shape[1] - 1, p["X"].astype(float)
    m, s = params.astype(float), variances.astype(float)
    samples = np.random.default_rng(1).normal(m, np.sqrt(s), (1, *m.shape))  # shape only: moments are exact below
    assert samples.shape[1:] == m.shape
    q = x @ m[:, :k]
    z = x @ m[:, k] + ((q**2).sum(axis=1) - x**2 @ (m[:, :k] ** 2).sum(axis=1)) / 2
    var = x**2 @ s[:, k] + 0.1
    for i in range(len(m)):
        u = q - x[:, i : i + 1] * m[i, :k]
        var += x[:, i] ** 2 * (u**2 @ s[i, :k])
        for j in range(i):
            var += x[:, i] ** 2 * x[:, j] ** 2 * (s[i, :k] @ s[j, :k])
    for is_classifier in (False, True):
        ours, twin = records.copy(), records.copy()
        weights = np.random.default_rng(2).choice(np.array([0.25, 1, 3], np.float32), len(x))
        weighted, of_twin = records.copy(), records.copy()
        found = load("variational", build).turn_rows(weighted, k, w0, 0.1, is_classifier, 2, weights)
        expected = reference_variational.turn_rows(of_twin, k, w0, 0.1, is_classifier, 1, weights)
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(weighted, of_twin, rtol=2e-3, atol=2e-3)
        found = load("variational", build).turn_rows(ours, k, w0, 0.1, is_classifier, 2)
        expected = reference_variational.turn_rows(twin, k, w0, 0.1, is_classifier)
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(ours, twin, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(ours[:, k + 4], z + w0, rtol=2e-3, atol=2e-3)
    xi = np.sqrt((z + w0) ** 2 + var)
    np.testing.assert_allclose(ours[:, k + 2], np.tanh(xi / 2) / (2 * xi), rtol=2e-3, atol=2e-3)
    p_of = 1 / (1 + np.exp(-(z + w0) / np.sqrt(1 + np.pi / 8 * var)))
    np.testing.assert_allclose(ours[:, k + 5], p_of, rtol=3e-3, atol=3e-3)


@pytest.mark.parametrize("build", builds())
def test_threads_do_not_change_a_bit(build):
    """Two fields of forty values each: each row has one of both."""
    rng = np.random.default_rng(0)
    X = np.zeros((500, 80), np.float32)
    X[np.arange(500), rng.integers(40, size=500)] = 1
    X[np.arange(500), 40 + rng.integers(40, size=500)] = 1
    p = problem(0, 2, 80, 6, 0.3, True) | {"X": X}
    edges = np.array([0, 40, 80], np.int64)
    one, *others = (swept(load("variational", build), p, n, 3, edges) for n in (1, 2, 3))
    for other in others:
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
