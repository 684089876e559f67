"""The best epoch, and the end of patience."""

import numpy as np
import pytest

from fm_core.errors import ConfigError
from fm_core.training.evaluation import evaluate
from fm_core.training.fit import fit
from tests.fm_core.training.jobs import Recorder, batches_of, hyperparameters, problem


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


def test_patience_needs_validation_data():
    with pytest.raises(ConfigError, match="early_stopping_patience is 2, which needs validation data"):
        fit(lambda e: [], hyperparameters(early_stopping_patience=2))
