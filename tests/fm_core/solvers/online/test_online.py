"""Solver online: a race of priors, one learner, its model, and what does not change it."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.checkpoints.writer import Checkpointer
from fm_core.errors import ConfigError, DataError
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers.online import race as racing
from fm_core.solvers.online.algorithm import Online, OnlineLearner
from fm_core.solvers.online.calibration import Recent, fitted
from fm_core.solvers.online.filtering import Filter, Prior
from fm_core.solvers.online.units import Units
from fm_core.training.callbacks import Silent
from fm_core.training.fit import fit
from tests.fm_core.solvers.bayes.problems import ratings

TYPES = {False: "regressor", True: "binary_classifier"}


@pytest.fixture
def short_legs(monkeypatch):
    """A race that small data ends."""
    monkeypatch.setattr(racing, "LEGS", ((100, 5), (200, 3), (400, 2), (800, 1)))


def cut(X, y, size=100):
    X = sp.csr_matrix(X).astype(np.float32)
    return [Batch.from_csr(X[i : i + size], y[i : i + size]) for i in range(0, X.shape[0], size)]


def hyperparameters(X, is_classifier=False, **changes):
    return Hyperparameters(
        **{"feature_dim": X.shape[1], "num_factors": 4, "predictor_type": TYPES[is_classifier], "solver": "online"}
        | {"mini_batch_size": 100}
        | changes
    )


class Told(Silent):
    def __init__(self, stops_at=None):
        self.remarks, self.metrics, self.n, self.stops_at, self.stopped = [], {}, 0, stops_at, False

    def batch(self, report):
        self.stopped = self.stopped or report.batch == self.stops_at

    def remarked(self, remark):
        self.remarks.append(remark)

    def epoch(self, report):
        self.metrics, self.n = report.metrics, self.n + 1


def trained(X, y, is_classifier=False, threads=1, size=100, **changes):
    told = Told()
    found = fit(lambda epoch: cut(X, y, size), hyperparameters(X, is_classifier, **changes), num_threads=threads,
                callback=told)  # fmt: skip
    return found.model, told


def bits(model):
    return model.w0, model.w.tobytes(), model.V.tobytes()


def test_a_planted_regression_is_learned_in_one_pass(short_legs):
    X, y = ratings(60, 40, 20_000)
    model, told = trained(X[:18_000], y[:18_000])
    assert told.n == 1
    scores = model.predict(Batch.from_csr(X[18_000:].astype(np.float32)))
    assert np.sqrt(np.mean((scores - y[18_000:]) ** 2)) < 0.36  # the noise is .3
    assert len(told.remarks) == 4
    assert "after 100 rows 5 of 9 priors remain" in told.remarks[0]
    assert told.remarks[-1].endswith("it alone learns from all further rows")


def test_a_planted_classification_is_learned_and_its_probabilities_are_honest(short_legs):
    X, y = ratings(60, 40, 20_000, is_classifier=True)
    model, told = trained(X[:18_000], y[:18_000], True)
    p, y = model.predict(Batch.from_csr(X[18_000:].astype(np.float32))).astype(float), y[18_000:]
    best, base = -np.mean(np.where(y > 0.5, np.log(p), np.log1p(-p))), y.mean()
    assert best < 0.75 * -(base * np.log(base) + (1 - base) * np.log(1 - base))
    for low, high in ((0, 0.3), (0.3, 0.7), (0.7, 1)):
        part = (p > low) & (p <= high)
        assert abs(p[part].mean() - y[part].mean()) < 0.05
    assert told.metrics["binary_classification_cross_entropy"] < 0.6


@pytest.mark.parametrize("is_classifier", [False, True])
@pytest.mark.parametrize("n", [300, 2000])
def test_threads_do_not_change_a_bit(short_legs, is_classifier, n):
    X, y = ratings(n_rows=n, is_classifier=is_classifier)
    one, *others = (bits(trained(X, y, is_classifier, threads)[0]) for threads in (1, 2, 5))
    assert all(other == one for other in others)


@pytest.mark.parametrize("is_classifier", [False, True])
@pytest.mark.parametrize("stops_at", [4, 9, 15])
def test_a_job_goes_on_where_it_was(short_legs, tmp_path, is_classifier, stops_at):
    X, y = ratings(n_rows=2000, is_classifier=is_classifier)
    hp = hyperparameters(X, is_classifier, batch_metrics_publish_interval=1)
    whole, told = fit(lambda epoch: cut(X, y), hp).model, Told(stops_at)
    kept = Checkpointer(tmp_path, "algo-1", hp, algorithm=Online(), interval=0)
    stopped = fit(
        lambda epoch: cut(X, y), hp, callback=told, checkpointer=kept, should_stop=lambda: told.stopped, num_threads=2
    )
    kept.close()
    assert stopped.stopped
    assert np.isfinite(stopped.model.V).all()
    found = Checkpointer(tmp_path, "algo-1", hp, algorithm=Online()).latest()
    assert (found is None) == (stops_at < 7)  # none is written while there is a race
    again = fit(lambda epoch: cut(X, y), hp, resume=found).model
    assert bits(again) == bits(whole)


def test_a_feature_that_never_occurred_has_no_parameters(short_legs):
    X, y = ratings(n_rows=2000)
    wide = sp.hstack([X, sp.csr_matrix((2000, 5))])
    for n in (300, 2000):  # within the race, and after
        model, _ = trained(sp.csr_matrix(wide)[:n], y[:n])
        assert not model.V[-5:].any()
        assert not model.w[-5:].any()


def test_training_goes_on_from_a_model(short_legs):
    X, y = ratings(n_rows=4000)
    start, _ = trained(X[:2000], y[:2000])
    batch = Batch.from_csr(X[2000:].astype(np.float32))

    def loss(model):
        return np.mean((model.predict(batch) - y[2000:]) ** 2)

    hp = hyperparameters(X)
    told = [fit(lambda epoch: cut(X[2000:2100], y[2000:2100]), hp, model=m).model for m in (None, start)]
    assert loss(told[1]) < 0.5 * loss(told[0])
    nothing = OnlineLearner(hp, model=start)
    assert bits(nothing.model) == bits(start)
    with pytest.raises(ConfigError, match="the model to start from is a regressor"):
        OnlineLearner(hyperparameters(X, True), model=start)


@pytest.mark.parametrize("use", ["use_bias", "use_linear"])
@pytest.mark.parametrize("is_classifier", [False, True])
def test_parts_of_the_model_may_be_left_out(short_legs, use, is_classifier):
    X, y = ratings(n_rows=2000, is_classifier=is_classifier)
    model, _ = trained(X, y, is_classifier, **{use: False})
    assert (model.w0 == 0) == (use == "use_bias")
    assert model.w.any() == (use != "use_linear")


def test_values_of_any_size_are_learned(short_legs):
    rng = np.random.default_rng(0)
    X = rng.normal(0, [20_000, 1, 0.001], (3000, 3))
    y = (5e5 + X @ [3, 2e4, 1e7] + rng.normal(0, 1e4, 3000)).astype(np.float32)
    model, _ = trained(X, y)
    error = model.predict(Batch.from_csr(sp.csr_matrix(X).astype(np.float32))) - y
    assert np.sqrt(np.mean(error[1500:] ** 2)) < 1.3e4


def test_dense_rows_are_those_of_their_sparse_form(short_legs):
    X, y = ratings(n_rows=1000)
    dense = X.toarray().astype(np.float32)
    hp = hyperparameters(X)
    found = fit(lambda epoch: [Batch.from_dense(dense[i : i + 100], y[i : i + 100]) for i in range(0, 1000, 100)], hp)
    assert bits(found.model) == bits(trained(X, y)[0])


@settings(max_examples=40)
@given(
    seed=st.integers(0, 100), n=st.sampled_from([1, 2, 30, 150]), d=st.sampled_from([1, 2, 9]),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e6, 1e15]), shift=st.sampled_from([0.0, 1.0, 1e30]),
    is_classifier=st.booleans(), labels=st.sampled_from(["any", "constant", "late"]),
)  # fmt: skip
def test_odd_data_gives_a_finite_model(seed, n, d, scale, shift, is_classifier, labels):
    rng = np.random.default_rng(seed)
    X = (rng.random((n, d)) < 0.6) * rng.choice([1.0, scale], (n, d))
    y = rng.random(n) * scale + shift
    if labels == "constant":
        y[:] = shift
    elif labels == "late":
        y[: n // 2] = shift
    y = np.float32(y > np.median(y)) if is_classifier else y.astype(np.float32)
    model, _ = trained(X, y, is_classifier, size=7)
    scores = model.predict(Batch.from_csr(sp.csr_matrix(X).astype(np.float32)))
    for numbers in (model.w0, model.w, model.V, scores):
        assert np.isfinite(numbers).all()


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(DataError, match="row 1: the label is 2"):
        trained(np.eye(2), np.array([0, 2], np.float32), True)


def test_the_race_keeps_who_has_the_least_loss():
    """Of a prior that is right, one that forbids to learn, and one that believes anything."""
    X, y = ratings(60, 40, 3000, is_classifier=True)
    units = Units.of(_rows(X), y, 100, True)
    priors = (Prior(1e-4, 1e-6), Prior(1.0, 1.0), Prior(300.0, 300.0))
    found = racing.Race(units, 100, 4, True, Filter.first_state(units, True), priors=priors)
    first = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
    for i in range(0, 3000, 100):
        found.learn(_rows(X[i : i + 100]), y[i : i + 100], first)
    assert found.leader.prior == priors[1]


def _rows(X):
    X = sp.csr_matrix(X)
    return X.indptr.astype(np.int64), X.indices.astype(np.int32), X.data.astype(np.float32)


def test_probabilities_that_are_too_sure_are_scaled():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, 50_000).astype(np.float32)
    y = (rng.random(50_000) < 1 / (1 + np.exp(-z / 2))).astype(np.float32)
    assert fitted(z, y) == pytest.approx(0.5, abs=0.02)
    recent = Recent()
    for i in range(0, 50_000, 1000):
        recent.add(np.zeros(1000, np.float32) if i < 10_000 else z[i : i + 1000], y[i : i + 1000])
    assert recent.fitted() == pytest.approx(0.5, abs=0.02)  # what was long ago is forgotten
    # all on one side: no number is infinite
    assert fitted(np.abs(z) + 1, np.ones(50_000, np.float32)) == 3


def test_a_model_of_a_checkpoint_is_that_of_the_learner(short_legs):
    X, y = ratings(n_rows=2000)
    hp = hyperparameters(X)
    learner = Online().make(hp)
    for _ in learner.epoch([(batch, None) for batch in cut(X, y)], None):
        pass
    assert bits(Online().model_of(hp, learner.arrays())) == bits(learner.model)
    assert {name: array.shape for name, array in learner.arrays().items()}.keys() == Online().layout(hp).keys()
