"""The Bayesian kernels against their plain twin, against closed forms, and with any number of threads."""

import functools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_core.kernels import _by_feature, _eigen, _polya_gamma, builds, load, reference_bayes
from fm_core.solvers.bayes import schedule as scheduling

KEY = np.array([1, 2, 3, 4], np.uint32)


@pytest.fixture(params=builds())
def bayes_kernels(request):
    return load("bayes", request.param)


# ---------------------------------------------------------------- sweeps


def columns(X):
    """Starts, rows and values of a matrix's columns; no values if all are 1."""
    C = sp.csc_matrix(X)
    C.sort_indices()
    values = np.empty(0, np.float32) if (C.data == 1).all() else C.data.astype(np.float32)
    return C.indptr.astype(np.int64), C.indices.astype(np.int32), values


def planned(X, heavy=2**40, chunk=4096, most_words=8):
    """The schedule of a matrix, as if a feature of so many rows were heavy."""
    starts, rows, _ = columns(X)
    longest = int((X != 0).sum(axis=1).max(initial=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduling, "HEAVY", heavy)
        patch.setattr(scheduling, "CHUNK", chunk)
        patch.setattr(scheduling, "TASK", 3)
        patch.setattr(scheduling, "MOST_WORDS", most_words)
        return scheduling.schedule(starts, rows, len(X), longest)


def records_of(X, params, rng):
    """Records with q and z of the parameters, and whatever else is in them."""
    k, x = params.shape[1] - 1, X.astype(float)
    stride = -(-(k + 6) // 16) * 16
    block = np.zeros(len(X) * stride + 16, np.float32)
    start = -(block.ctypes.data // 4) % 16
    records = block[start : start + len(X) * stride].reshape(len(X), stride)
    V, w = params[:, :k].astype(float), params[:, k].astype(float)
    q = x @ V
    records[:, :k], records[:, k] = q, 1
    records[:, k + 1] = x @ w + 0.5 * ((q**2).sum(axis=1) - x**2 @ (V**2).sum(axis=1))
    records[:, k + 2], records[:, k + 3] = rng.uniform(0.05, 0.25, len(X)), rng.normal(size=len(X))
    return records


@functools.cache
def problem(seed, n_rows, n_features, k, density, are_ones, n_groups):
    rng = np.random.default_rng(seed)
    X = (rng.random((n_rows, n_features)) < density).astype(np.float32)
    X[rng.integers(n_rows, size=n_features), np.arange(n_features)] = 1  # each occurs
    if not are_ones:
        X *= rng.choice(np.array([0.5, -1, 2, 1], np.float32), X.shape)
    A = rng.normal(size=(n_groups, k + 1, k + 1))
    return {
        "X": X,
        "params": rng.normal(0, 0.3, (n_features, k + 1)).astype(np.float32),
        "groups": rng.integers(n_groups, size=n_features).astype(np.int32),
        "precision": A @ A.transpose(0, 2, 1) + 2 * np.eye(k + 1),
        "shift": rng.normal(size=(n_groups, k + 1)),
        "noise": rng.normal(size=(n_features, k + 1)).astype(np.float32),
        "rng": np.random.default_rng(seed + 1),
    }


def swept(kernels, p, schedule, noise, is_weighted, num_threads, are_ones=False):
    """Parameters and records after a sweep; of rows of weight 1 if `are_ones`."""
    params = p["params"].copy()
    records = records_of(p["X"], params, np.random.default_rng(5))
    if are_ones or not is_weighted:
        records[:, params.shape[1] + 1] = 1
    kernels.sweep(
        *columns(p["X"]), schedule, records, params, p["groups"], p["precision"], p["shift"],
        noise, 1.0 if is_weighted and not are_ones else 2.5, 0.3, is_weighted, False, num_threads,
    )  # fmt: skip
    return params, records


PROBLEMS = st.builds(
    problem,
    seed=st.integers(0, 50),
    n_rows=st.sampled_from([1, 2, 7, 40, 90, 131]),
    n_features=st.sampled_from([1, 2, 5, 23]),
    k=st.sampled_from([1, 2, 3, 7, 8, 8, 8, 10, 15, 16, 20, 33]),  # eight have walks of their own
    density=st.sampled_from([0.05, 0.3, 1.0]),
    are_ones=st.booleans(),
    n_groups=st.sampled_from([1, 3]),
)


@given(
    p=PROBLEMS, is_weighted=st.booleans(), draws=st.booleans(), num_threads=st.sampled_from([1, 2, 3]),
    heavy=st.sampled_from([3, 2**40]), most_words=st.sampled_from([1, 8]),
)  # fmt: skip
def test_a_sweep_is_the_references(p, is_weighted, draws, num_threads, heavy, most_words):
    schedule = planned(p["X"], heavy, chunk=2, most_words=most_words)
    noise = p["noise"] if draws else p["noise"][:0]
    expected = swept(reference_bayes, p, schedule, noise, is_weighted, 1)
    for build in builds():
        found = swept(load("bayes", build), p, schedule, noise, is_weighted, num_threads)
        for name, a, b in zip(("params", "records"), found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3, err_msg=f"{build} {name}")


@given(p=PROBLEMS, heavy=st.sampled_from([3, 2**40]))
def test_a_weight_of_one_is_none_bit_for_bit(p, heavy):
    # data without noise makes a hundred of any rounding error, every few sweeps
    schedule = planned(p["X"], heavy, chunk=2)
    for build in builds():
        plain, weighted = (
            swept(load("bayes", build), p, schedule, p["noise"], is_weighted, 1, are_ones=True)
            for is_weighted in (False, True)
        )
        np.testing.assert_array_equal(weighted[0], plain[0], err_msg=build)
        np.testing.assert_array_equal(weighted[1], plain[1], err_msg=build)


@given(p=PROBLEMS, num_threads=st.sampled_from([1, 2]))
def test_records_are_made_anew_of_the_parameters(p, num_threads):
    schedule = planned(p["X"], heavy=3, chunk=2)
    expected = records_of(p["X"], p["params"], np.random.default_rng(5))
    k = p["params"].shape[1] - 1
    for build in builds():
        records = records_of(p["X"], 0 * p["params"], np.random.default_rng(5))
        load("bayes", build).sweep(
            *columns(p["X"]), schedule, records, p["params"].copy(), p["groups"], 0 * p["precision"], 0 * p["shift"],
            p["noise"][:0], 1.0, 0.3, False, True, num_threads,
        )  # fmt: skip
        np.testing.assert_allclose(records[:, : k + 6], expected[:, : k + 6], rtol=1e-4, atol=1e-4)


@given(p=PROBLEMS, is_weighted=st.booleans(), heavy=st.sampled_from([3, 2**40]))
def test_threads_do_not_change_a_bit(p, is_weighted, heavy):
    schedule = planned(p["X"], heavy, chunk=2)
    for build in builds():
        one, *others = (
            swept(load("bayes", build), p, schedule, p["noise"], is_weighted, num_threads) for num_threads in (1, 2, 5)
        )
        for other in others:
            np.testing.assert_array_equal(other[0], one[0])
            np.testing.assert_array_equal(other[1], one[1])


def test_a_feature_of_a_million_rows_is_summed_exactly_enough(bayes_kernels):
    n = 1_000_000
    rng = np.random.default_rng(0)
    X = sp.csc_matrix(np.ones((n, 1), np.float32))
    starts, rows, values = X.indptr.astype(np.int64), X.indices.astype(np.int32), np.empty(0, np.float32)
    records = np.zeros((n, 16), np.float32)
    records[:, 2], records[:, 4], records[:, 5] = 1, 1, rng.normal(0.7, 1, n)
    params = np.zeros((1, 3), np.float32)
    bayes_kernels.sweep(
        starts, rows, values, scheduling.schedule(starts, rows, n, 1), records, params, np.zeros(1, np.int32),
        np.eye(3)[np.newaxis].copy(), np.zeros((1, 3)), np.empty((0, 0), np.float32), 1.0, 0.0, False, False, 2,
    )  # fmt: skip
    assert params[0, 2] == pytest.approx(records[:, 5].astype(float).sum() / (n + 1), rel=1e-6)


# ---------------------------------------------------------------- rows between two sweeps


@pytest.mark.parametrize("n_rows", [1, 4095, 4096, 10_000])
def test_regressors_rows_are_turned(bayes_kernels, n_rows):
    rng = np.random.default_rng(1)
    records = rng.normal(size=(n_rows, 16)).astype(np.float32)
    for counts in (1, 2):
        expected = records.copy()
        sums = reference_bayes.turn_rows(expected, 3, 0.4, counts)
        for num_threads in (1, 3):
            found = records.copy()
            np.testing.assert_allclose(
                bayes_kernels.turn_rows(found, 3, 0.4, counts, num_threads), sums, rtol=1e-5, atol=1e-3
            )
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_groups_are_summed(bayes_kernels):
    rng = np.random.default_rng(2)
    params, groups = rng.normal(size=(40_000, 4)).astype(np.float32), rng.integers(3, size=40_000).astype(np.int32)
    found = bayes_kernels.group_sums(params, groups, 4, 2)
    for g in range(4):
        of = params[groups == g].astype(float)
        np.testing.assert_allclose(found[g], [of.sum(axis=0), (of**2).sum(axis=0)])
    np.testing.assert_array_equal(found, bayes_kernels.group_sums(params, groups, 4, 1))


# ---------------------------------------------------------------- tall matrices, and small symmetric ones


@given(
    n=st.sampled_from([0, 1, 65, 300]), width=st.integers(1, 40), out_width=st.integers(1, 20), seed=st.integers(0, 99)
)
def test_products_of_tall_matrices(n, width, out_width, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, -(-width // 16) * 16)).astype(np.float32)
    weights = rng.random(n).astype(np.float32)
    A = matrix[:, :width].astype(float)
    into = np.zeros((2, width, 32), np.float32)
    into[:, :, :out_width] = rng.normal(size=(2, width, out_width))
    which = rng.integers(2, size=n).astype(np.int32)
    for build in builds():
        kernels = load("bayes", build)
        np.testing.assert_allclose(kernels.gram(matrix, width, weights, 2), A.T * weights @ A, rtol=1e-4, atol=1e-4)
        out = np.full((n, 40), 7, np.float32)
        kernels.project(matrix, width, into, which, out, out_width, 2)
        expected = np.einsum("ni,nij->nj", A, into[which, :, :out_width])
        np.testing.assert_allclose(out[:, :out_width], expected, rtol=1e-4, atol=1e-4)
        assert (out[:, out_width:] == 7).all()


@given(
    n=st.integers(0, 40), rank=st.integers(0, 40), scale=st.sampled_from([1e-200, 1, 1e150]), seed=st.integers(0, 99)
)
def test_eigenvectors(n, rank, scale, seed):
    A = np.random.default_rng(seed).normal(size=(n, rank)) * np.sqrt(scale)
    A = A @ A.T
    values, vectors = _eigen.eigen(A)
    assert (np.diff(values) <= 0).all()
    size = max(np.abs(A).max(initial=0), 1e-300)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(n), atol=1e-12)
    np.testing.assert_allclose(vectors * values @ vectors.T / size, A / size, atol=1e-12)


def test_a_matrix_that_is_not_finite_has_no_eigenvalues():
    with pytest.raises(ValueError, match="not finite"):
        _eigen.eigen(np.full((2, 2), np.nan))


# ---------------------------------------------------------------- columns and colours


@given(seed=st.integers(0, 999), n_rows=st.integers(1, 40), n_features=st.integers(1, 30), are_ones=st.booleans())
def test_rows_are_turned_into_columns(seed, n_rows, n_features, are_ones):
    rng = np.random.default_rng(seed)
    X = sp.random(n_rows, n_features, 0.3, "csr", random_state=rng, dtype=np.float32)
    X.sort_indices()
    if are_ones:
        X.data[:] = 1
    counts = np.zeros(n_features, np.int32)
    values = np.empty(0, np.float32) if are_ones else X.data.copy()
    _by_feature.count(X.indices.astype(np.int32), values, counts)
    C = X.tocsc()
    np.testing.assert_array_equal(counts, np.diff(C.indptr))
    rows = np.empty(X.nnz, np.int32)
    _by_feature.transpose(
        X.indptr.astype(np.int64), X.indices.astype(np.int32), values,
        np.arange(n_features, dtype=np.int32), C.indptr[:-1].astype(np.int64), rows,
    )  # fmt: skip
    np.testing.assert_array_equal(rows, C.indices)
    if not are_ones:
        np.testing.assert_array_equal(values, C.data)


@given(p=PROBLEMS, n_words=st.integers(1, 2))
def test_features_of_one_colour_share_no_row(p, n_words):
    X = p["X"] != 0
    starts, rows, _ = columns(X)
    colours = _by_feature.colour(starts, rows, len(X), n_words)
    for colour in np.unique(colours[colours < 64 * n_words]):
        assert X[:, colours == colour].sum(axis=1).max() <= 1


@given(p=PROBLEMS, heavy=st.sampled_from([1, 3, 2**40]), most_words=st.sampled_from([1, 8]))
def test_a_schedule_visits_every_row_of_every_feature_once(p, heavy, most_words):
    X = p["X"]
    starts, _, _ = columns(X)
    schedule = planned(X, heavy, chunk=2, most_words=most_words)
    visited = []
    for first, last, first_heavy, last_heavy, first_chunk, last_chunk, _ in schedule.steps:
        for begin, end in schedule.tasks[first:last]:
            for feature in schedule.order[begin:end]:
                visited += range(starts[feature], starts[feature + 1])
        assert (last_heavy > first_heavy) == (last_chunk > first_chunk)
        for number in range(first_heavy, last_heavy):
            feature, begin, end = schedule.heavy[number]
            chunks = schedule.chunks[begin:end]
            assert (chunks[:, 0] == number).all()
            assert (first_chunk <= begin) & (end <= last_chunk)
            assert (chunks[0, 1], chunks[-1, 2]) == (starts[feature], starts[feature + 1])
        for _, begin, end in schedule.chunks[first_chunk:last_chunk]:
            visited += range(begin, end)
    assert sorted(visited) == list(range(starts[-1]))


def test_a_dense_matrix_of_more_columns_than_colours_is_drawn_one_by_one():
    X = np.ones((3, 700), np.float32)
    schedule = planned(X)
    assert len(schedule.fields) == 0
    assert schedule.steps[-1, -1] == 0


# ---------------------------------------------------------------- Polya-Gamma


@pytest.mark.parametrize("build", _polya_gamma.builds())
def test_polya_gamma_numbers_are_the_references(build):
    c = np.concatenate([np.linspace(-12, 12, 150), [0, 1e-9, 3.1249, 3.1251, 40, -200, 1e4]]).astype(np.float32)
    _polya_gamma.use(build)
    try:
        found = _polya_gamma.polya_gamma(c, KEY, sweep=5, first=17)
    finally:
        _polya_gamma.use(_polya_gamma.builds()[0])
    expected = reference_bayes.polya_gamma(c, KEY, sweep=5, first=17)
    # a try at the edge of being refused may end otherwise in float32
    assert np.mean(np.isclose(found, expected, rtol=1e-3)) > 0.98
    np.testing.assert_array_equal(found, _polya_gamma.polya_gamma(c, KEY, sweep=5, first=17))


def moments(c):
    """Mean and variance of PG(1, c): Polson, Scott, Windle 2013, section 2."""
    if c < 1e-3:
        return 0.25, 1 / 24
    return np.tanh(c / 2) / (2 * c), (np.sinh(c) - c) / (4 * c**3 * np.cosh(c / 2) ** 2)


@pytest.mark.parametrize("c", [0.0, 0.7, 1.9, 3.1, 3.13, 4.5, 8.0, 25.0])
def test_polya_gamma_moments(c):
    n = 400_000
    x = _polya_gamma.polya_gamma(np.full(n, c, np.float32), KEY, sweep=int(10 * c)).astype(float)
    mean, variance = moments(c)
    assert abs(x.mean() - mean) < 4.5 * np.sqrt(variance / n)
    of_squares = np.mean((x - mean) ** 4) - variance**2
    assert abs(np.mean((x - mean) ** 2) - variance) < 4.5 * np.sqrt(of_squares / n)


@pytest.mark.parametrize("c", [0.0, 2.0, 5.0])
def test_polya_gamma_has_the_distribution_of_its_sum_of_gammas(c):
    n, n_terms = 100_000, 200
    x = np.sort(_polya_gamma.polya_gamma(np.full(n, c, np.float32), KEY, sweep=99))
    rng = np.random.default_rng(3)
    sums = np.zeros(n)
    for term in range(1, n_terms):
        sums += rng.exponential(size=n) / ((term - 0.5) ** 2 + c**2 / (4 * np.pi**2)) / (2 * np.pi**2)
    sums += moments(c)[0] - sum(
        1 / ((t - 0.5) ** 2 + c**2 / (4 * np.pi**2)) / (2 * np.pi**2) for t in range(1, n_terms)
    )
    sums.sort()
    both = np.concatenate([x, sums])
    distance = np.abs(np.searchsorted(x, both, "right") - np.searchsorted(sums, both, "right")).max() / n
    assert distance < 1.95 * np.sqrt(2 / n)  # Kolmogorov-Smirnov, one in a thousand


def test_a_score_that_is_no_number_ends():
    _polya_gamma.polya_gamma(np.array([np.nan, np.inf, 1e38], np.float32), KEY)


@settings(max_examples=20)
@given(n_rows=st.sampled_from([1, 15, 1024, 2500]), counts=st.sampled_from([1, 3]), num_threads=st.sampled_from([1, 2]))
def test_classifiers_rows_are_turned(n_rows, counts, num_threads):
    rng = np.random.default_rng(4)
    k, w0 = 3, 0.2
    records = rng.normal(size=(n_rows, 16)).astype(np.float32)
    records[:, k + 3] = rng.choice([-0.5, 0.5], n_rows)
    z = records[:, k + 1] + np.float32(w0)
    om = _polya_gamma.polya_gamma(z, KEY, sweep=8)
    of_bits = []
    for build in _polya_gamma.builds():
        _polya_gamma.use(build)
        try:
            found = records.copy()
            sums = _polya_gamma.turn_rows(found, k, w0, KEY, 8, counts, num_threads)
        finally:
            _polya_gamma.use(_polya_gamma.builds()[0])
        np.testing.assert_array_equal(found[:, k + 2], om)
        before = 0 if counts == 1 else records[:, k + 4 : k + 6]
        expected = np.column_stack([z, 1 / (1 + np.exp(-z))]) + before
        np.testing.assert_allclose(found[:, k + 4 : k + 6], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(sums, [om.sum(), (records[:, k + 3] - om * z).sum()], rtol=1e-4, atol=1e-3)
        of_bits.append(found.tobytes())
    assert len(set(of_bits)) == 1
