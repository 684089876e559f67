import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.report.history import Sample, SampledModel, TrainingRecord
from fm_core.training.callbacks import Together
from fm_core.training.evaluation import evaluate
from fm_core.training.fit import fit
from tests.fm_core.strategies import model_of


@given(st.lists(st.integers(0, 300), max_size=20), st.sampled_from([2, 8, 64]))
def test_a_sample_is_bounded_and_at_even_distances_from_the_first_row(lengths, limit):
    sample = Sample(limit)
    start = 0
    for length in lengths:
        numbers = np.arange(start, start + length, dtype=np.float32)
        sample.add(numbers, -numbers)
        start += length
    kept = sample.scores
    np.testing.assert_array_equal(sample.labels, -kept)
    stride = 1
    while math.ceil(start / stride) >= limit:
        stride *= 2
    assert kept.tolist() == list(range(0, start, stride))


def test_a_sampled_model_scores_as_the_model_does_and_keeps_what_it_gave():
    model, sample = model_of(5, 2), Sample()
    rows = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    batches = [Batch.from_dense(rows[i : i + 10], np.arange(i, i + 10)) for i in (0, 10, 20)]
    assert evaluate(SampledModel(model, sample), batches) == evaluate(model, batches)
    np.testing.assert_array_equal(sample.scores, model.predict(Batch.from_dense(rows)))
    np.testing.assert_array_equal(sample.labels, np.arange(30))


def test_a_record_has_the_metrics_and_times_of_each_epoch(tmp_path):
    random = np.random.default_rng(0)
    batch = Batch.from_dense(random.normal(size=(40, 3)), random.normal(size=40))
    hyperparameters = Hyperparameters(feature_dim=3, num_factors=2, predictor_type="regressor", epochs=3)
    first, second = TrainingRecord(), TrainingRecord()
    result = fit(
        lambda epoch: [batch], hyperparameters, validation=lambda epoch: [batch], callback=Together(first, second)
    )
    first.tested({"mse": math.nan}, 0, 0.5)
    assert [epoch["epoch"] for epoch in first.epochs] == [0, 1, 2]
    assert first.epochs[-1]["train"] == result.metrics == second.epochs[-1]["train"]
    assert first.epochs[0]["n_records"] == 40
    first.save(tmp_path / "metrics.json")
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert document["epochs"][2]["validation"] == pytest.approx(evaluate(result.model, [batch])[0])
    assert document["test"] == {"mse": None}
    assert document["seconds"]["test"] == 0.5
    assert document["records_per_second"] > 0


def test_a_record_of_no_epoch_can_be_written(tmp_path):
    TrainingRecord().save(tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text())["epochs"] == []
