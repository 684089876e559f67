import dataclasses
import mmap
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.solvers.minibatch import MiniBatchSolver
from fm_core.training.evaluation import evaluate
from fm_core.training.fit import fit


def problem(n=400, feature_dim=60, classify=True, seed=0):
    """Rows of five ones, labels from a planted model."""
    random = np.random.default_rng(seed)
    keys = np.sort(np.array([random.permutation(feature_dim)[:5] for _ in range(n)]), axis=1)
    V = random.normal(size=(feature_dim, 3)) * 0.6
    s = V[keys].sum(axis=1)
    z = 0.5 * (s**2 - (V[keys] ** 2).sum(axis=1)).sum(axis=1) + random.normal(size=feature_dim)[keys].sum(axis=1)
    y = (random.random(n) < 1 / (1 + np.exp(-z))) if classify else z
    X = scipy.sparse.csr_matrix((np.ones(5 * n), keys.ravel(), np.arange(0, 5 * n + 1, 5)), (n, feature_dim))
    return X, y.astype(np.float32)


def batches_of(X, y, size, is_dense=False):
    make = (lambda rows, labels: Batch.from_dense(rows.toarray(), labels)) if is_dense else Batch.from_csr
    return [make(X[i : i + size], y[i : i + size]) for i in range(0, X.shape[0], size)]


def hyperparameters(**changes):
    return Hyperparameters(
        **{
            "feature_dim": 60, "num_factors": 4, "predictor_type": "binary_classifier", "mini_batch_size": 50,
            "bias_lr": 0.01, "linear_lr": 0.02, "factors_lr": 0.02, "factors_init_sigma": 0.1, **changes,
        }
    )  # fmt: skip


class Recorder:
    def __init__(self):
        self.told = []

    def started(self, is_dense):
        self.told.append(("started", is_dense))

    def batch(self, report):
        self.told.append(("batch", report))

    def epoch(self, report):
        self.told.append(("epoch", report))

    def validated(self, report):
        self.told.append(("validated", report))

    def of(self, kind):
        return [what for told, what in self.told if told == kind]


@pytest.mark.parametrize("is_dense", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad", "ftrl"])
def test_every_optimizer_learns(optimizer, is_dense):
    data = batches_of(*problem(), 50, is_dense)
    rates = {"sgd": 3.0, "adagrad": 0.2, "ftrl": 0.3, "adam": 0.02}
    rate = rates[optimizer]
    hp = hyperparameters(_optimizer=optimizer, epochs=30, linear_lr=rate, factors_lr=rate, bias_lr=rate)
    losses = [evaluate(Model.initialise(hp), data)[0], evaluate(fit(lambda e: data, hp).model, data)[0]]
    before, after = (m["binary_classification_cross_entropy"] for m in losses)
    assert before > 0.66
    assert after < 0.5


def test_training_metrics_are_of_scores_before_each_update():
    data = batches_of(*problem(), 50)
    hp = hyperparameters(batch_metrics_publish_interval=1)
    recorder = Recorder()
    fit(lambda e: data, hp, callback=recorder)
    first = evaluate(Model.initialise(hp), data[:1])[0]
    assert recorder.of("batch")[0].metrics == first


def test_what_is_told_and_when():
    data = batches_of(*problem(120), 50)
    recorder = Recorder()
    result = fit(lambda e: data, hyperparameters(epochs=2, batch_metrics_publish_interval=2), callback=recorder)
    assert [kind for kind, _ in recorder.told] == ["started"] + ["batch", "batch", "epoch"] * 2
    assert [(r.epoch, r.batch) for r in recorder.of("batch")] == [(0, 0), (0, 2), (1, 0), (1, 2)]
    epochs = recorder.of("epoch")
    assert [(r.epoch, r.epochs, r.n_records, r.n_batches) for r in epochs] == [(0, 2, 120, 3), (1, 2, 120, 3)]
    assert epochs[1].metrics == result.metrics == recorder.of("batch")[-1].metrics
    assert all(r.ended >= r.started for r in epochs)
    assert result.epochs_done == 2
    assert not result.stopped


@settings(max_examples=10)
@given(st.integers(1, 4), st.booleans())
def test_the_model_does_not_depend_on_threads(num_threads, lazy):
    data = batches_of(*problem(), 64)
    hp = hyperparameters(epochs=2, lazy_update=lazy)
    one, many = fit(lambda e: data, hp).model, fit(lambda e: data, hp, num_threads=num_threads).model
    assert one.V.tobytes() == many.V.tobytes()
    assert one.w0 == many.w0


def test_a_short_last_batch_is_rescaled_as_a_full_one():
    """rescale_grad is 1 / mini_batch_size whatever the number of rows."""
    X, y = problem(30)
    hp = hyperparameters(mini_batch_size=50)
    short = fit(lambda e: batches_of(X, y, 50), hp).model
    same = fit(lambda e: batches_of(X, y, 50), dataclasses.replace(hp, rescale_grad=1 / 50)).model
    other = fit(lambda e: batches_of(X, y, 50), dataclasses.replace(hp, rescale_grad=1 / 30)).model
    assert short.w0 == same.w0 != other.w0


def test_few_records_of_many_features_take_little_memory():
    """All there is comes as one short batch: its features are far apart, and each maps a small page."""
    d, n = 1_000_000, 60
    keys = np.arange(n, dtype=np.int32) * (d // n)
    batch = Batch(d, np.ones(n, np.float32), np.array([0, n], np.int64), keys, np.ones(1, np.float32))
    solver = MiniBatchSolver(Hyperparameters(feature_dim=d, num_factors=16, predictor_type="regressor"))
    before = resident()
    solver.step(batch)
    assert solver.arrays()["state"][keys].any(axis=1).all()
    assert resident() - before < 20e6  # 2 MB for each of them would be 120


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def test_unused_terms_stay_out():
    data = batches_of(*problem(), 50)
    model = fit(lambda e: data, hyperparameters(use_bias=False, use_linear=False)).model
    assert model.w0 == 0
    assert not model.w.any()
    assert model.V.any()


def test_shuffling_depends_on_the_seed_and_changes_the_model():
    data = batches_of(*problem(), 50)
    models = [fit(lambda e: data, hyperparameters(epochs=2, shuffle=shuffle)).model for shuffle in (False, True, True)]
    assert models[1].V.tobytes() == models[2].V.tobytes() != models[0].V.tobytes()


def test_early_stopping_keeps_the_best_epochs_model():
    X, y = problem(300)
    train, validation = batches_of(X[:100], y[:100], 50), batches_of(X[100:], y[100:], 50)
    recorder = Recorder()
    hp = hyperparameters(
        epochs=400, linear_lr=0.2, factors_lr=0.2, linear_wd=0, factors_wd=0, early_stopping_patience=3
    )
    result = fit(lambda e: train, hp, validation=lambda e: validation, callback=recorder)
    losses = [r.metrics["binary_classification_cross_entropy"] for r in recorder.of("validated")]
    best = int(np.argmin(losses))
    assert len(losses) == best + 4 < 400
    assert evaluate(result.model, validation)[0]["binary_classification_cross_entropy"] == losses[best]
    assert [r.is_best for r in recorder.of("validated")][best:] == [True, False, False, False]


def test_without_patience_the_last_model_is_kept():
    X, y = problem(300)
    train, validation = batches_of(X[:100], y[:100], 50), batches_of(X[100:], y[100:], 50)
    hp = hyperparameters(epochs=3)
    result = fit(lambda e: train, hp, validation=lambda e: validation)
    assert result.model.V.tobytes() == fit(lambda e: train, hp).model.V.tobytes()


def test_a_validation_pass_that_a_stop_cut_short_is_not_told():
    data = batches_of(*problem(), 50)
    stop = []

    def validation(epoch):
        yield data[0]
        stop.append(1)
        yield data[1]

    recorder = Recorder()
    hp = hyperparameters(epochs=9, early_stopping_patience=1)
    result = fit(lambda e: data, hp, validation=validation, callback=recorder, should_stop=lambda: bool(stop))
    assert result.stopped
    assert result.epochs_done == 1
    assert recorder.of("validated") == []


def test_patience_needs_validation_data():
    with pytest.raises(ConfigError, match="early_stopping_patience is 2, which needs validation data"):
        fit(lambda e: [], hyperparameters(early_stopping_patience=2))


def test_no_records_are_refused():
    with pytest.raises(DataError, match="the training data has no records"):
        fit(lambda e: [], hyperparameters())


@pytest.mark.parametrize("is_dense", [False, True])
def test_divergence_is_told_with_its_place_and_rates(is_dense):
    X, y = problem(classify=False)
    hp = hyperparameters(predictor_type="regressor", _optimizer="sgd", factors_lr=1e6, epochs=50)
    with pytest.raises(DivergenceError, match=r"epoch \d+, batch \d+: .*factors_lr=1e\+06: lower the learning rates"):
        fit(lambda e: batches_of(X * 10, y, 50, is_dense), hp)


def test_a_stop_between_batches_gives_the_model_so_far():
    data = batches_of(*problem(), 50)
    polled = []

    def should_stop():
        polled.append(1)
        return len(polled) > 12

    result = fit(lambda e: data, hyperparameters(epochs=1000), should_stop=should_stop)
    assert result.stopped
    assert result.epochs_done < 1000
    assert np.isfinite(result.model.V).all()


def test_a_stop_before_any_data_gives_the_initial_model():
    hp = hyperparameters()
    result = fit(lambda e: batches_of(*problem(), 50), hp, should_stop=lambda: True)
    assert result.stopped
    assert result.model.V.tobytes() == Model.initialise(hp).V.tobytes()


def test_training_goes_on_from_a_model_that_may_grow():
    data = batches_of(*problem(), 50)
    trained = fit(lambda e: data, hyperparameters()).model
    grown = MiniBatchSolver(hyperparameters(feature_dim=70), model=trained).model
    assert (grown.V[:60] == trained.V).all()
    assert (grown.V[60:] == Model.initialise(hyperparameters(feature_dim=70)).V[60:]).all()
    assert grown.w0 == np.float32(trained.w0)
    with pytest.raises(ConfigError, match="feature_dim=60, more than the hyperparameter's 50"):
        MiniBatchSolver(hyperparameters(feature_dim=50), model=trained)
    with pytest.raises(ConfigError, match=r"is a binary_classifier with num_factors=4, expected .* num_factors=5"):
        MiniBatchSolver(hyperparameters(num_factors=5), model=trained)


def test_batches_without_labels_are_refused():
    X, _ = problem(10)
    with pytest.raises(DataError, match="a batch has no labels, expected one for each row"):
        MiniBatchSolver(hyperparameters()).step(Batch.from_csr(X))


def test_the_built_ins_curve_is_ours(shared):
    """ML-100K u1, file order: the real job's log and its test scores (SageMaker, 2023)."""
    folder = shared / "data" / "ml100k_u1"

    def load(name):
        return scipy.sparse.load_npz(folder / f"{name}.npz"), np.load(folder / f"{name}.npz")["y"]

    X, y = load("train")
    data = batches_of(X, y, 1000)
    hp = Hyperparameters(feature_dim=X.shape[1], num_factors=64, predictor_type="regressor", epochs=50)
    recorder = Recorder()
    model = fit(lambda e: data, hp, callback=recorder).model
    curve = [r.metrics["rmse"] for r in recorder.of("epoch")]
    real = {0: 1.8169, 1: 1.1113, 10: 1.0497, 29: 0.9824, 49: 0.9417}
    for epoch, rmse in real.items():
        assert curve[epoch] == pytest.approx(rmse, abs=0.002), epoch
    test = evaluate(model, batches_of(*load("test"), 1000))[0]
    assert test["rmse"] == pytest.approx(1.0003, abs=0.003)
    assert test["absolute_loss"] == pytest.approx(0.7952, abs=0.003)
