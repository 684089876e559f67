"""Every build of the kernels against the plain NumPy reference, and that against the mathematics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import OPTIMIZERS, available, build_in_use, builds, group, in_use, padded, reference
from fm_core.model import Model
from fm_core.solvers.base import Moment, SolverState
from fm_core.solvers.minibatch import MiniBatchSolver as Solver
from tests.fm_core.strategies import (
    NUM_FACTORS,
    assert_trained_alike,
    dense_batches,
    hyperparameters_for,
    model_of,
    sparse_batches,
)

THREADS = st.sampled_from([1, 2, 3])


def trained(solver, kernels, batches, num_threads=1):
    """Copies of a solver's parameters and scores after training with some kernels."""
    begun = SolverState(solver.n_steps, {name: array.copy() for name, array in solver.arrays().items()})
    solver = Solver(solver.hyperparameters, num_threads, state=begun, kernels=kernels)
    scores = [solver.step(batch).copy() for batch in batches]
    arrays = solver.arrays()
    return arrays["params"], arrays["state"], arrays["bias"], np.concatenate(scores)


@given(data=st.data(), num_threads=THREADS)
def test_sparse_training_is_the_references(kernels, data, num_threads):
    batches = [data.draw(sparse_batches(feature_dim=20)) for _ in range(2)]
    hp = data.draw(hyperparameters_for(20))
    solver = Solver(hp)
    assert_trained_alike(trained(solver, kernels, batches, num_threads), trained(solver, reference, batches))


@given(data=st.data(), num_threads=THREADS)
def test_dense_training_is_the_references(kernels, data, num_threads):
    batch = data.draw(dense_batches())
    hp = data.draw(hyperparameters_for(batch.feature_dim))
    solver = Solver(hp)
    assert_trained_alike(
        trained(solver, kernels, [batch, batch], num_threads), trained(solver, reference, [batch, batch])
    )


@given(batch=sparse_batches(), k=NUM_FACTORS, num_threads=THREADS, classify=st.booleans())
def test_sparse_prediction_is_the_references(kernels, batch, k, num_threads, classify):
    model = model_of(batch.feature_dim, k)
    expected, found = np.empty(batch.n_rows, np.float32), np.empty(batch.n_rows, np.float32)
    rows = (batch.indptr, batch.indices, batch.values, model.w0)
    reference.predict_sparse(*rows, model.w, model.V, expected, classify, 1)
    kernels.predict_sparse(*rows, model.w, model.V, found, classify, num_threads)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # as views of one array, the way a model lies in memory while it is trained
    params = np.hstack([model.V, model.w[:, np.newaxis]])
    kernels.predict_sparse(*rows, params[:, -1], params[:, :-1], found, classify, num_threads)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@given(batch=dense_batches(), k=NUM_FACTORS, num_threads=THREADS, classify=st.booleans())
def test_dense_prediction_is_the_references(kernels, batch, k, num_threads, classify):
    model = model_of(batch.feature_dim, k)
    expected, found = np.empty(batch.n_rows, np.float32), np.empty(batch.n_rows, np.float32)
    reference.predict_dense(batch.values, model.w0, model.w, model.V, expected, classify, 1)
    kernels.predict_dense(batch.values, model.w0, model.w, model.V, found, classify, num_threads)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("is_dense", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("k", [1, 8, 16, 100])
def test_any_number_of_threads_gives_the_same_bits(kernels, is_dense, lazy, k):
    random = np.random.default_rng(0)
    X = (random.random((300, 500)) < 0.05) * random.normal(size=(300, 500))
    batch = as_batch(X, random.normal(size=300), is_dense)
    hp = Hyperparameters(feature_dim=500, num_factors=k, predictor_type="regressor", lazy_update=lazy)
    one = trained(Solver(hp), kernels, [batch] * 3, 1)
    for num_threads in (2, 3, 5, 8):
        for a, b in zip(one, trained(Solver(hp), kernels, [batch] * 3, num_threads), strict=True):
            assert a.tobytes() == b.tobytes()


def test_each_task_is_done_once_however_threads_meet(kernels):
    """More threads than cores, many short tasks: whoever is done takes from the others."""
    import scipy.sparse

    X = scipy.sparse.random(4000, 30_000, 0.0005, "csr", np.float32, np.random.default_rng(2))
    batch = Batch.from_csr(X, np.arange(4000) % 2)
    hp = Hyperparameters(feature_dim=X.shape[1], num_factors=2, predictor_type="binary_classifier", _optimizer="sgd")
    one = trained(Solver(hp), kernels, [batch] * 20, 1)
    many = trained(Solver(hp), kernels, [batch] * 20, 7)
    assert [a.tobytes() for a in one] == [b.tobytes() for b in many]


@given(batch=sparse_batches(feature_dim=20, max_rows=90), num_threads=THREADS, lazy=st.booleans())
def test_entries_grouped_before_or_in_the_step_give_the_same_bits(kernels, batch, num_threads, lazy):
    hp = Hyperparameters(feature_dim=20, num_factors=3, predictor_type="regressor", lazy_update=lazy)
    features, params = [], []
    for prepared in (group(batch.indptr, batch.indices, batch.values, 20), None):
        solver = Solver(hp, num_threads, kernels=kernels)
        [point] = solver.epoch([(batch, prepared)], Moment(0, 0))
        features.append(point.changed)
        params.append(solver.arrays()["params"].tobytes())
    assert params[0] == params[1]
    if lazy:
        assert features[0].tolist() == features[1].tolist() == np.unique(batch.indices).tolist()
    else:
        assert features == [None, None]


def as_batch(X, y, is_dense):
    import scipy.sparse

    return Batch.from_dense(X, y) if is_dense else Batch.from_csr(scipy.sparse.csr_matrix(X, dtype=np.float32), y)


@pytest.mark.parametrize("k", [3, 16, 40])
def test_dense_and_sparse_training_agree_where_every_feature_occurs(kernels, k):
    random = np.random.default_rng(1)
    X, y = random.normal(size=(40, 21)), random.integers(0, 2, 40)
    hp = Hyperparameters(feature_dim=21, num_factors=k, predictor_type="binary_classifier", eps=1e-3)
    dense = trained(Solver(hp), kernels, [as_batch(X, y, True)] * 3)
    assert_trained_alike(dense, trained(Solver(hp), kernels, [as_batch(X, y, False)] * 3))


def test_lazy_updates_leave_other_features_untouched_bit_for_bit(kernels):
    hp = Hyperparameters(feature_dim=9, num_factors=20, predictor_type="regressor", linear_wd=0.5, factors_wd=0.5)
    batch = Batch(
        9, np.ones(2, np.float32), np.array([0, 2], np.int64), np.array([3, 7], np.int32), np.ones(1, np.float32)
    )
    solver = Solver(hp)
    params, state, _, _ = trained(solver, kernels, [batch] * 2)
    others = [0, 1, 2, 4, 5, 6, 8]
    assert params[others].tobytes() == solver.parameters.params[others].tobytes()
    assert not state[others].any()
    assert (params[[3, 7]] != solver.parameters.params[[3, 7]]).all()


def test_a_stored_zero_counts_as_an_occurrence(kernels):
    hp = Hyperparameters(feature_dim=2, num_factors=3, predictor_type="regressor", factors_wd=0.5, linear_wd=0.5)
    batch = Batch(
        2, np.zeros(1, np.float32), np.array([0, 1], np.int64), np.array([1], np.int32), np.ones(1, np.float32)
    )
    solver = Solver(hp)
    params = trained(solver, kernels, [batch])[0]
    assert (np.abs(params[1]) < np.abs(solver.parameters.params[1])).all()
    assert (params[0] == solver.parameters.params[0]).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["sparse", "sparse, with stored zeros", "dense"])
@settings(max_examples=15)
@given(data=st.data(), k=NUM_FACTORS, num_threads=THREADS)
def test_a_gradient_of_zero_moves_nothing(kernels, kind, optimizer, data, k, num_threads):
    """A feature alone in its rows has no pair, whatever its values: Adam would make a step of any noise there."""
    feature_dim = 7
    values = data.draw(arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e3, 1e3, width=32)))
    features = data.draw(arrays(np.int32, len(values), elements=st.integers(0, feature_dim - 1)))
    X = np.zeros((len(values), feature_dim), np.float32)
    X[np.arange(len(values)), features] = values
    y = np.linspace(-1, 3, len(values))
    hp = Hyperparameters(
        feature_dim=feature_dim, num_factors=k, predictor_type="regressor", _optimizer=optimizer,
        factors_wd=0, factors_lr=0.01, factors_init_sigma=0.3, bias_lr=1e-9, linear_lr=1e-9,
    )  # fmt: skip
    batch = as_batch(X, y, kind == "dense")
    if kind == "sparse, with stored zeros":
        indptr = np.arange(0, X.size + 1, feature_dim, dtype=np.int64)
        indices = np.tile(np.arange(feature_dim, dtype=np.int32), len(X))
        batch = Batch(feature_dim, X.ravel(), indptr, indices, y.astype(np.float32))
    solver = Solver(hp)
    params = trained(solver, kernels, [batch] * 3, num_threads)[0]
    if optimizer == "ftrl":  # its first step writes theta anew, from z / slope
        np.testing.assert_allclose(params[:, :k], solver.parameters.params[:, :k], rtol=1e-6)
    else:
        assert params[:, :k].tobytes() == solver.parameters.params[:, :k].tobytes()


@given(data=st.data(), k=NUM_FACTORS)
def test_a_hosts_gradient_of_zero_is_zero(data, k):
    """The same of the kernels for several hosts."""
    values = data.draw(arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e3, 1e3, width=32)))
    n = len(values)
    features = data.draw(arrays(np.int32, n, elements=st.integers(0, 6)))
    params = np.random.default_rng(0).normal(size=(7, k + 1)).astype(np.float32)
    indptr, labels = np.arange(n + 1), np.linspace(-1, 3, n, dtype=np.float32)
    kernels = in_use()[1]
    sums, (residuals, of_pairs, scores) = np.empty((n, padded(k)), np.float32), np.empty((3, n), np.float32)
    has_pairless = kernels.score_rows(
        indptr, features, values, labels, params, 0.5, sums, residuals, of_pairs, scores, False, 2
    )
    distinct, starts, rows, row_values = group(indptr, features, values, 7)
    gradients = np.empty((len(distinct), k + 1), np.float32)
    kernels.gradients(starts, rows, row_values, params[distinct], sums, residuals, of_pairs, has_pairless, gradients, 2)
    assert not gradients[:, :k].any()


@given(batch=sparse_batches(max_rows=4, classify=True), k=st.integers(1, 5), classify=st.booleans())
def test_the_references_gradient_is_the_losss_derivative(batch, k, classify):
    """Central differences of the summed loss; sgd with rates of 1 moves by the gradient."""
    hp = Hyperparameters(
        feature_dim=batch.feature_dim, num_factors=k,
        predictor_type="binary_classifier" if classify else "regressor",
        bias_lr=1, linear_lr=1, factors_lr=1, bias_wd=0, linear_wd=0, factors_wd=0, rescale_grad=1,
        factors_init_sigma=0.3, linear_init_sigma=0.3, bias_init_sigma=0.3, _optimizer="sgd",
    )  # fmt: skip
    solver = Solver(hp)
    params, bias = solver.parameters.params.astype(float), float(solver.parameters.bias[0])
    moved, _, moved_bias, _ = trained(solver, reference, [batch])

    X = np.zeros((batch.n_rows, batch.feature_dim))
    for r in range(batch.n_rows):
        at = slice(batch.indptr[r], batch.indptr[r + 1])
        X[r, batch.indices[at]] = batch.values[at]
    one, other = np.triu_indices(batch.feature_dim, 1)
    products = X[:, one] * X[:, other]

    def loss(params, bias):
        V = params[:, :k]
        pairs = products @ (V[one] * V[other]).sum(axis=1)  # the definition, pair by pair
        z = bias + X @ params[:, k] + pairs
        y = batch.labels.astype(float)
        weights = 1.0 if batch.weights is None else batch.weights.astype(float)
        return np.sum(weights * (np.logaddexp(0, z) - y * z if classify else 0.5 * (z - y) ** 2))

    step = 1e-5
    derivatives = np.empty_like(params)
    for at in np.ndindex(params.shape):
        up, down = params.copy(), params.copy()
        up[at] += step
        down[at] -= step
        derivatives[at] = (loss(up, bias) - loss(down, bias)) / (2 * step)
    np.testing.assert_allclose(params - moved, derivatives, rtol=2e-3, atol=2e-4)
    derivative = (loss(params, bias + step) - loss(params, bias - step)) / (2 * step)
    assert bias - moved_bias[0] == pytest.approx(derivative, rel=2e-3, abs=2e-4)


def test_known_scores(kernels):
    V = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    w = np.array([0.1, 0.2, 0.3], np.float32)
    scores = np.empty(2, np.float32)
    indptr, indices = np.array([0, 2, 2], np.int64), np.array([0, 2], np.int32)
    kernels.predict_sparse(indptr, indices, np.array([2, 1], np.float32), 0.5, w, V, scores, False, 1)
    # .5 + .1 * 2 + .3 * 1 + <(1, 2), (5, 6)> * 2 * 1
    assert scores == pytest.approx([0.5 + 0.2 + 0.3 + 34, 0.5])
    kernels.predict_sparse(indptr, indices, np.array([2, 1], np.float32), 0.5, w, V, scores, True, 1)
    assert scores == pytest.approx([1, 1 / (1 + np.exp(-0.5))])


def test_a_large_value_alone_in_its_row_has_no_pair(kernels):
    """s_f^2 and the squares taken off it would round differently, by hundreds here."""
    w, V = np.array([0.5, 0.25], np.float32), np.full((2, 20), 0.3, np.float32)
    scores = np.empty(2, np.float32)
    indptr, indices = np.array([0, 1, 3], np.int64), np.array([0, 0, 1], np.int32)
    kernels.predict_sparse(indptr, indices, np.array([1e5, 1e5, 1e-3], np.float32), 0, w, V, scores, False, 1)
    assert scores == pytest.approx([5e4, 5e4 + 0.25e-3 + 20 * 0.09 * 1e5 * 1e-3], rel=1e-6)


@pytest.mark.parametrize("k", [1, 20, 64])
def test_large_values_in_dense_rows_do_not_cancel_either(kernels, k):
    w, V = np.array([0.5, 0.25, 0.125], np.float32), np.full((3, k), 0.3, np.float32)
    X = np.array([[1e5, 0, 0], [1e5, 0, 1e-3], [3, 2, 1], [-1e5, 0, 1e-3]], np.float32)
    expected = [
        0.7 + 5e4,
        0.7 + 5e4 + 0.125e-3 + k * 0.09 * 100,
        0.7 + 2.125 + k * 0.09 * 11,
        0.7 - 5e4 + 0.125e-3 - k * 0.09 * 100,
    ]
    scores = np.empty(4, np.float32)
    kernels.predict_dense(X, 0.7, w, V, scores, False, 1)
    assert scores == pytest.approx(expected, rel=1e-6)
    hp = Hyperparameters(feature_dim=3, num_factors=k, predictor_type="regressor")
    model = Model("regressor", 0.7, w, V)
    solver = Solver(hp, model=model)
    assert trained(solver, kernels, [Batch.from_dense(X, np.zeros(4))])[3] == pytest.approx(expected, rel=1e-6)


@given(batch=sparse_batches(max_rows=30), feature_dim=st.sampled_from([40, 2**11, 2**12, 2**22 + 1, 2**31 - 1]))
def test_grouping_lists_each_features_rows_in_order(batch, feature_dim):
    spread = (feature_dim - 1) // 39
    indices = (batch.indices.astype(np.int64) * spread).astype(np.int32)
    features, starts, rows, values = group(batch.indptr, indices, batch.values, feature_dim)
    found = [
        (int(features[j]), int(rows[e]), float(values[e]))
        for j in range(len(features))
        for e in range(starts[j], starts[j + 1])
    ]
    expected = sorted(
        (int(indices[e]), r, float(batch.values[e]))
        for r in range(batch.n_rows)
        for e in range(batch.indptr[r], batch.indptr[r + 1])
    )
    assert found == expected
    assert (np.diff(features) > 0).all()


def test_the_builds_are_those_whose_instructions_the_processor_has(processor):
    needs = {"avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"}, "avx2": {"avx2", "fma"}}
    assert builds() == (*[name for name, flags in needs.items() if flags <= processor], "generic")


def _forget():
    build_in_use.cache_clear()
    in_use.cache_clear()


def test_the_environment_names_the_build(monkeypatch):
    from fm_core.errors import ConfigError

    for name, module in available().items():
        _forget()
        monkeypatch.setenv("FM_CORE_KERNELS", name)
        assert in_use() == (name, module)
    _forget()
    monkeypatch.setenv("FM_CORE_KERNELS", "mmx")
    with pytest.raises(ConfigError, match="FM_CORE_KERNELS is 'mmx', expected one of those this machine runs: "):
        in_use()
    _forget()
    monkeypatch.delenv("FM_CORE_KERNELS")
    assert in_use()[0] == next(iter(available()))
