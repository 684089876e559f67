"""What a whole training comes to."""

import numpy as np
import pytest
import scipy.sparse

from fm_core.hyperparameters import Hyperparameters
from fm_core.training.evaluation import evaluate
from fm_core.training.fit import fit
from tests.fm_core.training.jobs import Recorder, batches_of, hyperparameters, problem


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


def test_shuffling_depends_on_the_seed_and_changes_the_model():
    data = batches_of(*problem(), 50)
    models = [fit(lambda e: data, hyperparameters(epochs=2, shuffle=shuffle)).model for shuffle in (False, True, True)]
    assert models[1].V.tobytes() == models[2].V.tobytes() != models[0].V.tobytes()
