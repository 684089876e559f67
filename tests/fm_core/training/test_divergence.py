"""A training whose numbers stop being finite says so, whichever they are, and whoever trains."""

import dataclasses
import logging

import numpy as np
import pytest
import scipy.sparse

from fm_core.artifact.model_file import load_model, save_model
from fm_core.batch import Batch
from fm_core.cluster.averaged import fit_local_sgd
from fm_core.cluster.data import DistributedData
from fm_core.cluster.sharded import fit_together
from fm_core.errors import ArtifactError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.training.fit import fit
from tests.fm_core.cluster.members import together

FEATURE_DIM = 6
ROWS = np.eye(4, FEATURE_DIM, dtype=np.float32) + np.eye(4, FEATURE_DIM, k=2, dtype=np.float32)


def hyperparameters(**changes):
    return Hyperparameters(
        **{"feature_dim": FEATURE_DIM, "num_factors": 3, "predictor_type": "regressor", "mini_batch_size": 4, **changes}
    )


def alone(batches, hp):
    return fit(lambda epoch: batches, hp).model


def sharded(batches, hp):
    return together(2, lambda m: fit_together(DistributedData(lambda epoch: batches, False), hp, m))[0].model


def averaged(batches, hp):
    return together(2, lambda m: fit_local_sgd(DistributedData(lambda epoch: batches, False), hp, m))[0].model


WAYS = pytest.mark.parametrize("way", [alone, sharded, averaged])
KINDS = pytest.mark.parametrize("is_dense", [False, True], ids=["sparse", "dense"])


def batch_of(X, y, is_dense=False):
    labels = np.asarray(y, np.float32)
    return Batch.from_dense(X, labels) if is_dense else Batch.from_csr(scipy.sparse.csr_array(X), labels)


@WAYS
@KINDS
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad", "ftrl"])
@pytest.mark.parametrize(
    ("labels", "factor", "changes"),
    [
        ([-1e5] * 4, 1, {"bias_lr": 1e36, "linear_lr": 0.0, "factors_lr": 0.0}),
        ([1e22] * 4, 1, {"bias_lr": 1e20}),
        ([1e30] * 4, 1, {}),
        ([3e38] * 4, 1, {}),
        ([1, 1, 1, 1e30], 1, {"use_bias": False}),
        ([1] * 4, 1e30, {}),
        ([1] * 4, 1e18, {}),
        ([1] * 4, 1, {"linear_lr": 1e38}),
        ([1] * 4, 1, {"factors_lr": 1e38, "_learning_rate": 1e5}),
    ],
    ids=["bias", "bias and labels", "labels", "largest labels", "no bias", "values", "large values", "w", "V"],
)
def test_a_model_is_finite_and_went_on_to_learn_or_there_is_none(way, is_dense, optimizer, labels, factor, changes):
    """No run may end with a model that no reader takes, nor with parameters that an overflow has frozen."""
    hp = hyperparameters(_optimizer=optimizer, **changes)
    batches = [batch_of(ROWS * np.float32(factor), labels, is_dense)]
    for epochs in (1, 3):
        try:
            model = way(batches, dataclasses.replace(hp, epochs=epochs))
        except DivergenceError as raised:
            sentence = str(raised)
            is_whole = all(part in sentence for part in ("no longer finite", "epoch ", "lower the learning rates"))
            assert is_whole, sentence
            continue
        assert all(np.isfinite(array).all() for array in (model.w0, model.w, model.V))
        assert optimizer in ("sgd", "ftrl") or max(np.abs(labels)) * factor < 1e19


@KINDS
@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
@pytest.mark.parametrize("use_bias", [False, True])
def test_parameters_that_an_overflow_has_frozen_are_said(is_dense, optimizer, use_bias):
    """One label of 1e25 among good ones makes a root infinite that every later step divides by."""
    good, bad = batch_of(ROWS, [1, 2, 3, 4], is_dense), batch_of(ROWS, [1, 2, 1e25, 4], is_dense)
    hp = hyperparameters(_optimizer=optimizer, use_bias=use_bias, epochs=2)
    where = "epoch 0, batch 1: the bias" if use_bias else "epoch 2, after 0 batches: the optimizer's state of features"
    with pytest.raises(DivergenceError, match=rf"{where} .*is no longer finite .*scale labels and values down"):
        fit(lambda epoch: [good, bad, good], hp)


@pytest.mark.parametrize("name", ["w0", "w", "V"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_model_that_is_not_finite_is_no_artifact(tmp_path, name, value):
    model = Model.initialise(hyperparameters())
    if name == "w0":
        model = Model(model.predictor_type, value, model.w, model.V)
    else:
        getattr(model, name)[-1] = value
    save_model(tmp_path / "model", Model.initialise(hyperparameters()), {})
    before = (tmp_path / "model").read_bytes()
    with pytest.raises(ArtifactError, match="has a parameter that is not finite"):
        save_model(tmp_path / "model", model, {})
    assert (tmp_path / "model").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    load_model(tmp_path / "model")


@WAYS
def test_validation_data_whose_loss_is_never_finite_is_said(caplog, way):
    batch = batch_of(ROWS, [1, 2, 3, 4])
    huge = batch_of(ROWS * np.float32(1e24), [1, 2, 3, 4])
    hp = hyperparameters(early_stopping_patience=2, epochs=50)
    both = {"validation": lambda epoch: [huge]}
    if way is alone:
        result = fit(lambda epoch: [batch], hp, **both)
    else:
        data, held_out = (DistributedData(lambda epoch, rows=rows: [rows], False) for rows in (batch, huge))
        train = fit_together if way is sharded else fit_local_sgd
        result = together(2, lambda m: train(data, hp, m, validation=held_out))[0]
    assert result.epochs_done == 3
    said = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    assert len(said) == 3
    assert all("it cannot be the best epoch; there is none so far" in sentence for sentence in said)


def test_one_epoch_whose_validation_loss_is_not_finite_is_said_and_another_is_kept(caplog):
    batch, huge = (batch_of(ROWS * np.float32(by), [1, 2, 3, 4]) for by in (1, 1e24))
    hp = hyperparameters(early_stopping_patience=2, epochs=4)
    result = fit(lambda epoch: [batch], hp, validation=lambda epoch: [huge if epoch == 1 else batch])
    assert result.epochs_done == 4
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "The validation loss of epoch 1 is " in said
    assert "none so far" not in said
