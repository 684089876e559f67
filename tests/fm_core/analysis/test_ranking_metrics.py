"""Ranking metrics against scikit-learn and trec_eval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.analysis.ranking_metrics import AtK, areas_under_curves, groups_in_order

SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=40)


@given(scores=SCORES, seed=st.integers(0, 2**32))
def test_areas_are_scikit_learns(scores, seed):
    metrics = pytest.importorskip("sklearn.metrics")
    labels = np.random.default_rng(seed).integers(0, 2, len(scores)).astype(np.float32)
    roc_auc, pr_auc = areas_under_curves(np.array(scores, np.float32), labels)
    if 0 < labels.sum() < len(labels):
        assert roc_auc == pytest.approx(metrics.roc_auc_score(labels, scores))
    else:
        assert np.isnan(roc_auc)
    if labels.any():
        assert pr_auc == pytest.approx(metrics.average_precision_score(labels, scores))
    else:
        assert np.isnan(pr_auc)


def test_no_rows_have_no_areas():
    assert np.isnan(areas_under_curves(np.empty(0, np.float32), np.empty(0, np.float32))).all()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_scores_that_are_no_numbers_have_no_areas(place):
    scores, labels = np.array([0.1, 0.9, 0.5], np.float32), np.array([0, 1, 1], np.float32)
    assert areas_under_curves(scores, labels) == (1, 1)
    scores[place] = np.nan
    assert np.isnan(areas_under_curves(scores, labels)).all()


def of_groups(groups, scores, gains, k):
    """What the rows of groups come to; relevant is what has a gain."""
    starts, first, ideal = groups_in_order(groups, scores, gains, k)
    order = np.argsort(groups, kind="stable")
    n_relevant = np.add.reduceat(gains[order] > 0, starts[:-1])
    at_k = AtK(k)
    at_k.add(np.where(first >= 0, gains[first], 0), n_relevant, ideal)
    return at_k.values()


def rows(seed, n, graded):
    random = np.random.default_rng(seed)
    groups = random.integers(0, 5, n)
    scores = random.permutation(n).astype(np.float32)  # no ties: trec_eval breaks them by names
    gains = random.integers(0, 4, n) if graded else random.integers(0, 2, n)
    return groups, scores, gains.astype(np.float64)


@given(seed=st.integers(0, 2**32), n=st.integers(1, 60), k=st.integers(1, 12), graded=st.booleans())
def test_they_are_trec_evals(seed, n, k, graded):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    groups, scores, gains = rows(seed, n, graded)
    judged, run = {}, {}
    for row, (group, score, gain) in enumerate(zip(groups, scores, gains, strict=True)):
        judged.setdefault(f"g{group}", {})[f"d{row}"] = int(gain)
        run.setdefault(f"g{group}", {})[f"d{row}"] = float(score)
    judged = {group: items for group, items in judged.items() if any(items.values())}
    wanted = {f"ndcg_cut.{k}", f"P.{k}", f"recall.{k}", f"map_cut.{k}", "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(judged, wanted).evaluate(run)
    values = of_groups(groups, scores, gains, k)
    for ours, theirs in (("ndcg", "ndcg_cut"), ("precision", "P"), ("recall", "recall"), ("map", "map_cut")):
        expected = np.mean([each[f"{theirs}_{k}"] for each in found.values()]) if judged else np.nan
        assert values[f"{ours}_at_{k}"] == pytest.approx(expected, nan_ok=True), ours
    reciprocal = [each["recip_rank"] if each["recip_rank"] >= 1 / k - 1e-9 else 0 for each in found.values()]
    assert values[f"mrr_at_{k}"] == pytest.approx(np.mean(reciprocal) if judged else np.nan, nan_ok=True)


@given(seed=st.integers(0, 2**32), n=st.integers(2, 30), k=st.integers(1, 12))
def test_ndcg_is_scikit_learns(seed, n, k):
    metrics = pytest.importorskip("sklearn.metrics")
    _, scores, gains = rows(seed, n, graded=True)
    if gains.any():
        found = of_groups(np.zeros(n, int), scores, gains, k)[f"ndcg_at_{k}"]
        assert found == pytest.approx(metrics.ndcg_score([gains], [scores], k=k))


def test_of_equal_scores_the_first_comes_first():
    found = of_groups(np.zeros(3, int), np.zeros(3, np.float32), np.array([0.0, 1.0, 1.0]), 1)
    assert found["precision_at_1"] == 0


def test_groups_without_a_relevant_item_are_left_out():
    found = of_groups(np.array([0, 0, 1]), np.array([2, 1, 1], np.float32), np.array([1.0, 0, 0]), 2)
    assert found == {"ndcg_at_2": 1, "precision_at_2": 0.5, "recall_at_2": 1, "map_at_2": 1, "mrr_at_2": 1}
