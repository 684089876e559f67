"""Odd data of every kind, for every solver that needs no tuning: a right model, or one sentence, and never a NaN."""

import numpy as np
import pytest
import scipy.sparse as sp

from container.training.memory import Memory
from fm_core.artifact.model_file import load_model, save_model
from fm_core.artifact.spread_file import save_spread
from fm_core.batch import Batch
from fm_core.errors import DataError, FMError, ResourceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.callbacks import Silent
from fm_core.training.fit import fit

SOLVERS = {
    "gibbs": {"solver": "bayes", "epochs": 8},
    "variational": {"solver": "bayes", "_bayes_method": "variational", "epochs": 8},
    "online": {"solver": "online"},
    "auto": {"solver": "auto", "epochs": 8},
}
KINDS = ("regressor", "binary_classifier")


def fields(rng, n, sizes=(9, 6)):
    """One-hot rows."""
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    keys = np.column_stack([offset + rng.integers(size, size=n) for offset, size in zip(offsets, sizes, strict=False)])
    return sp.csr_matrix(
        (np.ones(keys.size, np.float32), keys.ravel(), np.arange(0, keys.size + 1, len(sizes))), (n, offsets[-1])
    )


def planted(rng, X, is_classifier):
    z = np.asarray(X @ rng.normal(0, 1, X.shape[1])).ravel()
    return (
        (z > np.median(z)).astype(np.float32) if is_classifier else (z + rng.normal(0, 0.1, len(z))).astype(np.float32)
    )


def not_finite(rng, is_classifier):
    X = fields(rng, 60)
    y = planted(rng, X, is_classifier)
    y[rng.integers(60)] = rng.choice([np.nan, np.inf, -np.inf])
    return X, y


def constant(rng, is_classifier):
    return fields(rng, 60), np.full(
        60, float(is_classifier) if is_classifier else rng.choice([0.0, 3.5, -1e6]), np.float32
    )


def one_class(rng, is_classifier):
    return fields(rng, 60), np.zeros(60, np.float32)


def separable(rng, is_classifier):
    X = fields(rng, 200)
    y = np.asarray(X[:, :4].sum(axis=1)).ravel().astype(np.float32)
    return X, y


def one_row(rng, is_classifier):
    return fields(rng, 1), np.ones(1, np.float32)


def few_features(rng, is_classifier):
    X = sp.csr_matrix(rng.normal(0, 1, (80, 1)).astype(np.float32))
    return X, planted(rng, X, is_classifier)


def duplicated(rng, is_classifier):
    column = rng.normal(0, 1, (150, 1))
    X = sp.csr_matrix(np.hstack([column] * 6 + [rng.normal(0, 1, (150, 1))]).astype(np.float32))
    return X, planted(rng, X, is_classifier)


def huge(rng, is_classifier):
    X = fields(rng, 150)
    y = planted(rng, X, is_classifier)
    return X, y if is_classifier else y * np.float32(1e30)


def largest(rng, is_classifier):
    """Labels at the end of float32."""
    X = fields(rng, 150)
    y = planted(rng, X, is_classifier)
    return X, y if is_classifier else (y / np.abs(y).max() * 3.4e38).astype(np.float32)


def long_rows(rng, is_classifier):
    values, keys = rng.random(200_000, np.float32) + 0.5, np.tile(np.arange(100_000), 2)
    X = sp.csr_matrix((values, keys, [0, 100_000, 200_000]), (2, 2_500_000))  # sparse, for solver auto too
    return X, np.array([0, 1], np.float32)


def empty_rows(rng, is_classifier):
    return sp.csr_matrix((40, 5), dtype=np.float32), (rng.random(40) < 0.5).astype(np.float32)


def large_values(rng, is_classifier):
    X = sp.csr_matrix(rng.normal(0, 1, (100, 3)) * [1e15, 1, 1e-15]).astype(np.float32)
    return X, planted(rng, sp.csr_matrix(X.toarray() / [1e15, 1, 1e-15]), is_classifier)


DATA = [not_finite, constant, one_class, separable, one_row, few_features, duplicated, huge, largest, long_rows,
        empty_rows, large_values]  # fmt: skip


def trained(solver, kind, X, y, num_factors=4):
    batch = Batch.from_csr(X.tocsr(), y)
    hp = Hyperparameters(
        feature_dim=X.shape[1], num_factors=num_factors, predictor_type=kind, mini_batch_size=50, **SOLVERS[solver]
    )
    return fit(lambda epoch: batch.split(50), hp).model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("make", DATA)
def test_odd_data_gives_a_right_model_or_one_sentence(tmp_path, make, solver, kind):
    is_classifier = kind == "binary_classifier"
    X, y = make(np.random.default_rng(0), is_classifier)
    model, sentence = None, ""
    try:
        model = trained(solver, kind, X, y)
    except FMError as error:
        sentence = str(error)
    if model is None:
        assert "\n" not in sentence
        assert 10 < len(sentence) < 1000
        assert make in (not_finite, large_values, huge, largest), sentence  # all others can be learned
        return
    assert make is not not_finite
    scores = model.predict(Batch.from_csr(X))
    assert np.isfinite(scores).all()
    save_model(tmp_path / "model_algo-1", model, {})
    save_spread(tmp_path, model)
    again = load_model(tmp_path)  # which refuses what is not finite
    assert again.predict(Batch.from_csr(X)).tobytes() == scores.tobytes()
    if again.spread is not None:
        assert np.isfinite(again.std(Batch.from_csr(X))).all()
    # no worse than the mean, or the base rate
    exact, labels = scores.astype(np.float64), y.astype(np.float64)
    if is_classifier:
        share = (labels.sum() + 0.5) / (len(labels) + 1)
        p = np.clip(exact, 1e-9, 1 - 1e-9)
        losses = [-np.mean(labels * np.log(q) + (1 - labels) * np.log(1 - q)) for q in (p, share)]
        assert losses[0] < 1.15 * losses[1] + 0.1
    else:
        assert np.sqrt(np.mean((exact - labels) ** 2)) <= 1.1 * labels.std() + 0.01 * (1 + np.abs(labels).max())


@pytest.mark.parametrize("solver", ["gibbs", "variational"])
def test_memory_that_will_not_do_is_one_sentence_before_it_is_taken(solver):
    def memory(available):
        hp = Hyperparameters(feature_dim=10**6, num_factors=8, predictor_type="regressor", **SOLVERS[solver])
        return Memory(hp, available=available)

    with pytest.raises(ResourceError, match="MiB are available: lower num_factors or feature_dim"):
        memory(100 << 20).check_arrays()
    enough = memory(8 << 30)
    enough.check_arrays()
    enough.check_rows(1000, 10_000, 0.5)
    with pytest.raises(ResourceError, match="keeps all rows in memory, which takes"):
        enough.check_rows(10**8, 2 * 10**9, None)


def test_a_file_of_no_rows_is_one_sentence():
    for solver in SOLVERS:
        hp = Hyperparameters(feature_dim=3, num_factors=2, predictor_type="regressor", **SOLVERS[solver])
        with pytest.raises(DataError, match="has no records, expected at least one"):
            fit(lambda epoch: [], hp)


def test_mini_batches_say_that_a_targets_scale_will_not_do():
    rng = np.random.default_rng(0)
    X = fields(rng, 120)
    y = planted(rng, X, False)
    said = []

    class Listening(Silent):
        def remarked(self, remark):
            said.append(remark)

    for labels, is_far in ((y, False), (y + 200, True), (y * 1000, True)):
        said.clear()
        batch = Batch.from_csr(X, labels.astype(np.float32))
        hp = Hyperparameters(feature_dim=X.shape[1], num_factors=2, predictor_type="regressor", mini_batch_size=50,
                             epochs=2)  # fmt: skip
        fit(lambda epoch, batch=batch: batch.split(50), hp, callback=Listening())
        assert len(said) == is_far, said
        if is_far:
            assert "Labels are far from 1" in said[0]
            assert "use solver bayes or auto" in said[0]


def test_the_estimators_warn_of_it():
    pytest.importorskip("sklearn")
    from fm_core import FMRegressor

    rng = np.random.default_rng(0)
    X = fields(rng, 120)
    y = planted(rng, X, False) * 1e4
    with pytest.warns(UserWarning, match="Labels are far from 1"):
        FMRegressor(solver="minibatch", epochs=1, early_stopping=False).fit(X, y)
    FMRegressor(epochs=5).fit(X, y)  # solver auto learns them: a warning would be an error here
