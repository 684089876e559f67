"""Mini-batches of columns and labels of like size: the model of scaled rows, brought back, wherever it is looked at."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from fm_core.batch import Batch
from fm_core.errors import ConfigError
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers import registry
from fm_core.solvers.base import Moment, SolverState
from fm_core.solvers.minibatch import MiniBatch
from fm_core.solvers.scaling import Scaling
from fm_core.solvers.standardized import StandardizedMiniBatch
from fm_core.training.callbacks import Silent
from fm_core.training.fit import fit

KINDS = ("regressor", "binary_classifier")


def hyperparameters(kind, **changes):
    return Hyperparameters(
        **{
            "feature_dim": 5, "num_factors": 3, "predictor_type": kind, "mini_batch_size": 40, "epochs": 20,
            "linear_lr": 0.02, "factors_lr": 0.02, "factors_init_sigma": 0.05, "standardize": True, **changes,
        }
    )  # fmt: skip


def rows(kind, is_sparse=False, weights=False):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5))
    z = X[:, 0] - X[:, 1] * X[:, 2]
    X = (X + np.array([0, 3, -1, 0, 20])) * [1, 1e4, 1e-3, 1, 1e6]
    if is_sparse:
        X[rng.random(X.shape) < 0.3] = 0
    y = (z > 0) if kind == "binary_classifier" else 2e5 + 5e4 * (z + 0.1 * rng.normal(size=200))
    X, y = X.astype(np.float32), y.astype(np.float32)
    batch = Batch.from_csr(sp.csr_matrix(X), y) if is_sparse else Batch.from_dense(X, y)
    return batch.with_weights(rng.integers(1, 4, 200).astype(np.float32)) if weights else batch


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("weights", [False, True])
def test_the_model_is_that_of_scaled_rows_brought_back(kind, is_sparse, weights):
    whole, hp = rows(kind, is_sparse, weights), hyperparameters(kind)
    told = []

    class Told(Silent):
        def epoch(self, report):
            told.append(report.metrics)

    found = fit(lambda epoch: whole.split(40), hp, callback=Told()).model
    scaling = Scaling.of(whole.split(40), 5, kind)
    scaled = scaling.rows(whole)
    by_hand = dataclasses.replace(hp, standardize=False, bias_init_method="constant", bias_init_value=scaling.bias)
    inner = fit(lambda epoch: scaled.split(40), by_hand).model
    expected = scaling.model(inner)
    assert (found.w0, found.V.tobytes()) == (expected.w0, expected.V.tobytes())
    labels = whole.known_labels.astype(np.float64)
    scores = found.predict(whole).astype(np.float64)
    if kind == "regressor":
        assert told[-1]["rmse"] == pytest.approx(
            np.sqrt(np.average((scores - labels) ** 2, weights=whole.weights)), rel=0.1
        )
        assert told[-1]["rmse"] < (0.9 if is_sparse else 0.6) * labels.std()  # 5 without: labels of 200,000
    else:
        assert np.mean((scores > 0.5) == labels) > (0.6 if is_sparse else 0.85)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_checkpoint_keeps_goes_on_to_the_same_bytes(kind):
    whole, hp = rows(kind), hyperparameters(kind)
    algorithm = registry.algorithm(hp)
    assert isinstance(algorithm, StandardizedMiniBatch)
    assert algorithm.looks_first
    algorithm.look(hp, whole.split(40))
    solver = algorithm.make(hp, is_dense=True)
    items = [(batch, algorithm.prepare(batch)) for batch in whole.split(40)]
    points = list(solver.epoch(items[:3], Moment(0, 0)))
    assert [point.batch is batch for point, (batch, _) in zip(points, items, strict=False)] == [True] * 3
    kept = {name: array.copy() for name, array in solver.arrays().items()}
    layout = algorithm.layout(hp)
    assert {name: (array.shape, str(array.dtype)) for name, array in kept.items()} == {
        name: (spec.shape, spec.dtype) for name, spec in layout.items()
    }
    of_model = {name: array for name, array in kept.items() if layout[name].of_model}
    assert algorithm.model_of(hp, of_model).V.tobytes() == solver.model.V.tobytes()
    other = StandardizedMiniBatch()
    again = other.make(hp, is_dense=True, state=SolverState(solver.n_steps, kept))
    assert not other.looks_first
    list(solver.epoch(items[3:], Moment(0, 3)))
    list(again.epoch([(batch, other.prepare(batch)) for batch, _ in items[3:]], Moment(0, 3)))
    assert again.model.V.tobytes() == solver.model.V.tobytes()
    assert again.model.w0 == solver.model.w0
    assert again.n_steps == solver.n_steps == 5


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_from_a_model(kind):
    whole, hp = rows(kind), hyperparameters(kind)
    first = fit(lambda epoch: whole.split(40), hp).model
    still = dataclasses.replace(hp, epochs=1, linear_lr=0.0, factors_lr=0.0, bias_lr=0.0)
    same = fit(lambda epoch: whole.split(40), still, model=first).model
    np.testing.assert_allclose(same.predict(whole), first.predict(whole), rtol=1e-3, atol=1e-3)


def test_class_weights_and_held_out_rows_are_in_the_first_look():
    whole = rows("binary_classifier")
    hp = hyperparameters("binary_classifier", positive_class_weight=5.0, validation_fraction=0.2, epochs=1)
    looked = []

    class Looking(StandardizedMiniBatch):
        def look(self, hyperparameters, batches):
            looked.extend(batches)
            super().look(hyperparameters, looked)

    fit(lambda epoch: whole.split(40), hp, algorithm=Looking())
    assert sum(batch.n_rows for batch in looked) == 160
    assert {float(w) for batch in looked for w in np.unique(batch.weights)} == {1.0, 5.0}


def test_what_it_cannot_do_is_refused_in_one_sentence():
    hp = hyperparameters("regressor")
    assert registry.combination(hp) == registry.Combination("standardized", "one", True, True, True)
    assert type(registry.algorithm(dataclasses.replace(hp, standardize=False))) is MiniBatch
    with pytest.raises(
        ConfigError, match=r"solver standardized \(standardize=true\) trains on one host, but there are 2"
    ):
        registry.combination(hp, 2)
    for name in ("use_bias", "use_linear"):
        with pytest.raises(ConfigError, match=f"{name} is false, but standardize needs that part"):
            registry.algorithm(dataclasses.replace(hp, **{name: False}))
    ranked = dataclasses.replace(hp, loss="softmax", user_features="0:2", item_features="2:5")
    with pytest.raises(ConfigError, match="standardize is true, but loss softmax does not predict numbers"):
        registry.combination(ranked)
