"""What the loop tells, when it stops, and what it refuses."""

import numpy as np
import pytest

from fm_core.errors import DataError, DivergenceError
from fm_core.model import Model
from fm_core.training.evaluation import evaluate
from fm_core.training.fit import fit
from tests.fm_core.training.jobs import Recorder, batches_of, hyperparameters, problem


def test_training_metrics_are_of_scores_before_each_update():
    data = batches_of(*problem(), 50)
    hp = hyperparameters(batch_metrics_publish_interval=1)
    recorder = Recorder()
    fit(lambda e: data, hp, callback=recorder)
    first = evaluate(Model.initialise(hp), data[:1])[0]
    told = recorder.of("batch")[0].metrics
    assert told == {name: first[name] for name in told}


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
