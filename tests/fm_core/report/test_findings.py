"""Rules of the report on jobs that were made to have each fault, and on healthy ones, of which nothing is said."""

import json
import re

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.report.findings import findings
from fm_core.report.history import SampledModel, TrainingRecord
from fm_core.training.evaluation import evaluate
from fm_core.training.fit import fit

#: What says, in one form or another, that scores are not known to beat the baseline.
NOT_BETTER = "no better than|worse than predicting|too few to tell|do not show|is too little to tell"


def one_hot(rng, n, sizes=(6, 5, 4)):
    offsets = np.cumsum([0, *sizes[:-1]])
    codes = np.stack([rng.integers(0, size, n) for size in sizes], axis=1)
    X = csr_matrix((np.ones(codes.size), (codes + offsets).ravel(), np.arange(n + 1) * len(sizes)), (n, sum(sizes)))
    return X, codes


def labels_of(rng, codes, kind, noise=1.0):
    z = np.where(codes[:, 0] < 3, 1.5, -1.5) + np.where(codes[:, 1] == 2, 1.0, -0.5)
    if kind == "regressor":
        return (z + noise * rng.normal(size=len(z))).astype(np.float32)
    return (rng.random(len(z)) < 1 / (1 + np.exp(-z / noise))).astype(np.float32)


def said(kind, train, test, **given):
    """What is said of a job that learned from `train`, and scored `test`: both (X, y)."""
    hp = Hyperparameters(feature_dim=train[0].shape[1], predictor_type=kind, **({"num_factors": 4} | given))
    record = TrainingRecord()
    batches = Batch.from_csr(train[0].astype(np.float32), train[1])
    tested = Batch.from_csr(test[0].astype(np.float32), test[1])
    result = fit(lambda epoch: batches.split(hp.mini_batch_size), hp, callback=record)
    metrics, n = evaluate(SampledModel(result.model, record.sample), [tested])
    record.tested(metrics, n, 0.1)
    return findings(record, hp), record


MINIBATCH = {"epochs": 40, "mini_batch_size": 50, "linear_lr": 0.01, "factors_lr": 0.01, "shuffle": True}
KINDS = pytest.mark.parametrize("kind", ["regressor", "binary_classifier"])


def made(kind, n=1500, seed=0, **others):
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(2):
        X, codes = one_hot(rng, n, **others)
        parts.append((X, labels_of(rng, codes, kind)))
    return parts


@KINDS
@pytest.mark.parametrize("given", [{"solver": "bayes"}, {"solver": "bayes", "epochs": 60}, MINIBATCH])
def test_of_a_healthy_job_nothing_is_said(kind, given):
    assert said(kind, *made(kind), **given)[0] == []


@KINDS
def test_a_model_that_knows_its_training_data_by_heart_is_said(kind):
    train, test = made(kind, n=300, sizes=(40, 40, 40))
    given = MINIBATCH | {"epochs": 200, "num_factors": 16, "factors_init_sigma": 0.3, "factors_wd": 0.0}
    found, _ = said(kind, train, test, **given)
    (sentence,) = [one for one in found if "times that of training rows" in one]
    assert "overfits the training data; use solver bayes" in sentence
    assert not any("may improve it" in one for one in found)  # more epochs would be the wrong advice
    if kind == "binary_classifier":
        assert any("overconfident" in one for one in found)


@KINDS
def test_features_that_tell_nothing_are_said(kind):
    rng = np.random.default_rng(0)
    (X, y), (X_test, y_test) = made(kind)
    found, _ = said(kind, (X, rng.permutation(y)), (X_test, rng.permutation(y_test)), solver="bayes")
    assert any(re.search(NOT_BETTER, one) for one in found)


@KINDS
def test_columns_that_went_in_as_they_were_are_said(kind):
    rng = np.random.default_rng(0)
    train, test = made(kind)
    raw = [
        (csr_matrix(np.column_stack([X.toarray(), rng.integers(1950, 2020, len(y)), rng.gamma(1, 300, len(y))])), y)
        for X, y in (train, test)
    ]
    found, _ = said(kind, *raw, epochs=3, mini_batch_size=50, linear_lr=0.05, factors_lr=0.01)
    assert any("worse than predicting" in one for one in found), found
    assert any("scale of numeric features" in one for one in found)


@KINDS
def test_test_rows_of_another_world_are_said(kind):
    train, (X_test, y_test) = made(kind)
    moved = y_test + 2 if kind == "regressor" else np.where(np.arange(len(y_test)) % 2, 1, y_test).astype(np.float32)
    found, _ = said(kind, train, (X_test, moved), solver="bayes")
    assert any("Scores of test rows are too low" in one for one in found)


@KINDS
def test_a_column_that_tells_the_label_is_said(kind):
    parts = [
        (csr_matrix(np.column_stack([X.toarray(), y, 1 - y])), y)
        for X, y in ((X, (codes[:, 0] < 3).astype(np.float32)) for X, codes in (
            one_hot(np.random.default_rng(seed), 800) for seed in (0, 1)))
    ]  # fmt: skip
    if kind == "regressor":
        parts = [(X, y + np.float32(0.002) * np.sin(np.arange(len(y), dtype=np.float32))) for X, y in parts]
    found, _ = said(kind, *parts, solver="bayes", epochs=60)
    assert any("almost perfectly" in one for one in found), found


def test_labels_far_from_1_are_said_where_they_are_learned_slowly():
    (X, y), (X_test, y_test) = made("regressor")
    far = (X, 20_000 * y + 5e5), (X_test, 20_000 * y_test + 5e5)
    found, _ = said("regressor", *far, **MINIBATCH)
    assert any("Labels are far from 1" in one for one in found)
    found, _ = said("regressor", *far, solver="bayes")
    assert found == []


@KINDS
def test_too_few_epochs_are_said(kind):
    train, test = made(kind)
    found, _ = said(kind, train, test, **(MINIBATCH | {"epochs": 2, "linear_lr": 0.004, "factors_lr": 0.004}))
    assert any("more epochs, or higher learning rates" in one for one in found)


@KINDS
@pytest.mark.parametrize("n_test", [1, 2, 4, 5, 12, 29, 30, 60])
@pytest.mark.parametrize("given", [{"solver": "bayes", "epochs": 20}, MINIBATCH], ids=["bayes", "minibatch"])
@pytest.mark.parametrize("seed", range(3))
def test_features_that_tell_nothing_are_said_however_few_rows_are_tested(kind, n_test, given, seed):
    rng = np.random.default_rng(seed)
    (X, y), (X_test, y_test) = made(kind, n=200, seed=seed, sizes=(20, 30, 40))
    test = X_test[:n_test], rng.permutation(y_test)[:n_test]
    found, _ = said(kind, (X, rng.permutation(y)), test, **given)
    assert any(re.search(NOT_BETTER, one) for one in found), found


@KINDS
@pytest.mark.parametrize("n_test", [5, 12, 29])
def test_of_a_few_test_rows_that_are_scored_well_no_ill_is_said(kind, n_test):
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(2):
        X, codes = one_hot(rng, 1500)
        parts.append((X, labels_of(rng, codes, kind, noise=0.1)))
    (train, (X_test, y_test)) = parts
    assert said(kind, train, (X_test[:n_test], y_test[:n_test]), solver="bayes")[0] == []


@KINDS
@pytest.mark.parametrize("learns", [True, False])
def test_where_nothing_is_tested_the_rows_learned_from_tell(kind, learns):
    (X, y), _ = made(kind)
    hp = Hyperparameters(feature_dim=X.shape[1], predictor_type=kind, num_factors=2, epochs=3,
                         **({"solver": "bayes"} if learns else {"linear_lr": 0, "factors_lr": 0}))  # fmt: skip
    record, rows = TrainingRecord(), Batch.from_csr(X.astype(np.float32), y)
    model = fit(lambda epoch: rows.split(hp.mini_batch_size), hp, callback=record).model
    record.learned_sample.add(model.predict(rows), y)
    found = findings(record, hp)
    assert any("Even the rows that were learned from are scored no better" in one for one in found) != learns
    assert any("quality on unseen rows is unknown" in one for one in found)


def test_what_is_said_is_in_metrics_json(tmp_path):
    train, test = made("regressor")
    rng = np.random.default_rng(0)
    found, record = said("regressor", (train[0], rng.permutation(train[1])), test, solver="bayes")
    record.save(tmp_path / "metrics.json", found)
    assert json.loads((tmp_path / "metrics.json").read_text())["findings"] == found != []


# --- weights -----------------------------------------------------------------------------------


def of_sample(kind, scores, labels, weights=None, **given):
    record = TrainingRecord()
    hp = Hyperparameters(feature_dim=9, num_factors=2, predictor_type=kind, solver="bayes", **given)
    for sample in (record.sample, record.learned_sample):
        sample.add(scores.astype(np.float32), labels.astype(np.float32), weights)
    record.tested({}, len(labels), 0.1)
    return findings(record, hp)


@KINDS
@pytest.mark.parametrize("shift", [0.0, 0.4, 3.0])
def test_rows_without_a_weight_are_as_if_they_were_not_there(kind, shift):
    rng = np.random.default_rng(0)
    z = rng.normal(size=900)
    labels = z + rng.normal(size=900) > 0 if kind == "binary_classifier" else z + 0.3 * rng.normal(size=900)
    scores = 1 / (1 + np.exp(-(2 * z + shift))) if kind == "binary_classifier" else z + shift
    counted = np.arange(900) % 3 > 0
    scores[~counted] = 0.999  # far off, for most
    alone = of_sample(kind, scores[counted], labels[counted])
    assert of_sample(kind, scores, labels, counted.astype(np.float32)) == alone
    assert of_sample(kind, scores, labels) != alone


def test_means_of_weighted_rows_are_those_of_rows_that_are_repeated():
    labels = np.repeat([0.0, 1.0], [600, 400])
    scores = np.where(labels, 0.9, 0.6)
    repeats = np.where(labels, 3, 1)
    weighted = of_sample("binary_classifier", scores, labels, repeats.astype(np.float32))
    repeated = of_sample("binary_classifier", np.repeat(scores, repeats), np.repeat(labels, repeats))
    (said, as_said) = ([each for each in found if "too high" in each] for found in (weighted, repeated))
    assert said == as_said
    assert len(said) == 1


def test_a_job_that_weights_a_class_is_held_to_what_it_was_asked_for():
    rng = np.random.default_rng(0)
    z = rng.normal(size=4000)
    labels = rng.random(4000) < 1 / (1 + np.exp(-(2 * z - 1)))
    odds = 5 * np.exp(2 * z - 1)  # as of rows of label 1 that count five times
    scores = odds / (1 + odds)
    assert any("too high" in each for each in of_sample("binary_classifier", scores, labels))
    assert of_sample("binary_classifier", scores, labels, positive_class_weight=5.0) == []
