"""What scored data comes to, against plain loops over users."""

import dataclasses

import numpy as np
import pytest

from fm_core.analysis.evaluation import FullRanking, RowEvaluation, feature_of_rows
from fm_core.analysis.ranking_metrics import AtK
from fm_core.batch import Batch
from fm_core.cluster.collectives import gathered, sum_metrics
from fm_core.errors import DataError
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.solvers.positives import Positives
from tests.fm_core.cluster.members import together

N_USERS, N_ITEMS = 12, 30
D = N_USERS + N_ITEMS
HP = Hyperparameters(
    feature_dim=D, num_factors=3, predictor_type="binary_classifier", user_features=f"0:{N_USERS}",
    item_features=f"{N_USERS}:{D}", ranking_k=4, loss="pairwise",
)  # fmt: skip


def make(seed, n):
    random = np.random.default_rng(seed)
    users, items = random.integers(0, N_USERS, n), random.integers(0, N_ITEMS, n)
    labels = random.integers(0, 2, n).astype(np.float32)
    return users, items, labels


def batch_of(users, items, labels):
    keys = np.column_stack([users, N_USERS + items]).astype(np.int32)
    return Batch(D, np.ones(keys.size, np.float32), np.arange(len(users) + 1) * 2, keys.ravel(), labels)


def model_of(predictor_type="binary_classifier"):
    random = np.random.default_rng(3)
    return Model(
        predictor_type, 0.1, random.standard_normal(D).astype(np.float32),
        random.standard_normal((D, 3)).astype(np.float32),
    )  # fmt: skip


def test_rows_of_users_are_ordered_among_themselves():
    users, items, labels = make(0, 200)
    evaluation = RowEvaluation("binary_classifier", HP)
    model = model_of()
    for start in range(0, 200, 30):
        part = slice(start, start + 30)
        evaluation.update(batch_of(users[part], items[part], labels[part]), model.predict)
    found = evaluation.values()
    scores = model.predict(batch_of(users, items, labels))
    expected = AtK(4)
    shown = set()
    for user in range(N_USERS):
        rows = np.flatnonzero(users == user)
        best = rows[np.argsort(-scores[rows], kind="stable")][:4]
        shown |= set(items[best].tolist())
        gains, ideal = np.zeros((1, 4)), np.zeros((1, 4))
        gains[0, : len(best)] = labels[best]
        ideal[0, : len(best)] = np.sort(labels[rows])[::-1][:4]
        expected.add(gains, np.array([int(labels[rows].sum())]), ideal)
    for name, value in expected.values().items():
        assert found[name] == pytest.approx(value)
    assert found["coverage_at_4"] == pytest.approx(len(shown) / len(set(items.tolist())))
    assert evaluation.n == 200
    assert {"binary_classification_accuracy", "roc_auc", "pr_auc"} <= found.keys()


def test_ratings_are_gains_and_relevant_from_the_threshold_on():
    hp = dataclasses.replace(HP, predictor_type="regressor", relevance_threshold=4.0, loss="pointwise")
    evaluation = RowEvaluation("regressor", hp)
    scores = np.array([3, 2, 1], np.float32)
    batch = batch_of(np.zeros(3, int), np.arange(3), np.array([3, 5, 4], np.float32))
    evaluation.update(batch, lambda _: scores)
    found = evaluation.values()
    discount = 1 / np.log2([2, 3, 4])
    assert found["ndcg_at_4"] == pytest.approx(np.dot([3, 5, 4], discount) / np.dot([5, 4, 3], discount))
    assert found["precision_at_4"] == 0.5
    assert found["mrr_at_4"] == 0.5
    assert "roc_auc" not in found


def test_rows_without_a_user_are_left_out_of_rankings():
    evaluation = RowEvaluation("binary_classifier", HP)
    batch = Batch(D, np.ones(1, np.float32), np.array([0, 1]), np.array([20], np.int32), np.ones(1, np.float32))
    evaluation.update(batch, model_of().predict)
    found = evaluation.values()
    assert np.isnan(found["ndcg_at_4"])
    assert found["pr_auc"] == 1


def test_what_several_hosts_have_is_what_one_would():
    users, items, labels = make(1, 100)
    model = model_of()
    alone = RowEvaluation("binary_classifier", HP)
    alone.update(batch_of(users, items, labels), model.predict)
    parts = [batch_of(users[:60], items[:60], labels[:60]), batch_of(users[60:], items[60:], labels[60:])]

    def joined(member):
        evaluation = RowEvaluation("binary_classifier", HP)
        evaluation.update(parts[member.rank], model.predict)
        evaluation.join(
            lambda totals: sum_metrics(totals, member, "binary_classifier"), lambda mine: gathered(mine, member)
        )
        return evaluation.values()

    for found in together(2, joined):
        assert found == pytest.approx(alone.values())


@pytest.mark.parametrize("num_threads", [1, 2])
def test_full_rankings_are_of_all_items_that_are_not_known(num_threads):
    users, items, _ = make(2, 150)
    train = batch_of(users[:100], items[:100], np.ones(100, np.float32))
    known = Positives(HP, [train])
    test = batch_of(users[100:], items[100:], (np.arange(50) % 4 != 0).astype(np.float32))
    model = model_of()
    evaluation = FullRanking(model, HP, known, num_threads)
    evaluation.update(test, model.predict)
    found = evaluation.values()
    expected = AtK(4)
    shown = set()
    seen = set(zip(users[:100].tolist(), items[:100].tolist(), strict=True))
    catalogue = sorted(set(items[:100].tolist()))
    for user in sorted(set(users[100:].tolist())):
        relevant = {int(items[100 + r]) for r in range(50) if users[100 + r] == user and r % 4} - {
            i for u, i in seen if u == user
        }
        candidates = [item for item in catalogue if (user, item) not in seen]
        scores = model.predict(batch_of(np.full(len(candidates), user), np.array(candidates), None))
        best = [candidates[i] for i in np.argsort(-scores, kind="stable")[:4]]
        if any(users[100 + r] == user and r % 4 for r in range(50)):
            shown |= set(best)
        gains = np.array([[item in relevant for item in best]], np.float64)
        expected.add(gains, np.array([len(relevant)]), (np.arange(4) < len(relevant)).astype(float)[np.newaxis])
    for name, value in expected.values().items():
        assert found[name] == pytest.approx(value), name
    assert found["coverage_at_4"] == pytest.approx(len(shown) / len(catalogue))
    assert evaluation.n == 50


def test_full_rankings_want_sparse_rows():
    known = Positives(HP, [batch_of(*make(2, 50)[:2], np.ones(50, np.float32))])
    with pytest.raises(DataError, match="records are dense"):
        FullRanking(model_of(), HP, known).update(Batch.from_dense(np.ones((2, D)), np.ones(2)), model_of().predict)


def test_dense_rows_have_users_too():
    rows = np.zeros((3, 6), np.float32)
    rows[0, 2] = rows[1, 4] = 1
    assert feature_of_rows(Batch.from_dense(rows), range(2, 5)).tolist() == [0, 2, -1]
