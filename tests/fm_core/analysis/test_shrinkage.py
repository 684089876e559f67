"""Of a model is kept what rows that were held out bear out: all where it surely gains, nothing where it does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.analysis.shrinkage import constant_score, kept_share, log_odds, moved, shrunk
from fm_core.batch import Batch
from fm_core.links import link_for
from fm_core.model import Model

KINDS = pytest.mark.parametrize("is_classifier", [False, True])


def drawn(n, strength, is_classifier, seed=0, sureness=1.0):
    """Scores of rows, and labels that these say so much of."""
    rng = np.random.default_rng(seed)
    z = strength * rng.normal(size=n)
    if is_classifier:
        return sureness * z, (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)
    return sureness * z, z + rng.normal(size=n)


@KINDS
def test_a_model_that_surely_gains_is_kept_whole(is_classifier):
    for n in (200, 20_000):
        scores, labels = drawn(n, 2.0, is_classifier)
        assert kept_share(scores, labels, 0.0, is_classifier=is_classifier) == 1


@KINDS
def test_of_a_model_that_knows_nothing_nearly_nothing_is_kept(is_classifier):
    shares = []
    for seed in range(20):
        labels = drawn(200, 0.0, is_classifier, seed)[1]
        scores = np.random.default_rng(seed + 100).normal(size=200)
        shares.append(kept_share(scores, labels, 0.0, is_classifier=is_classifier))
    assert np.mean(shares) < 0.05
    assert np.count_nonzero(shares) <= 6


@KINDS
def test_a_model_that_is_too_sure_is_brought_down_to_size(is_classifier):
    scores, labels = drawn(5000, 1.0, is_classifier, sureness=4)
    assert kept_share(scores, labels, 0.0, is_classifier=is_classifier) == pytest.approx(0.25, abs=0.05)


def test_a_class_that_no_row_has_may_still_occur():
    scores = np.full(40, -15.0)
    assert kept_share(scores, np.zeros(40), constant_score(1, 100, is_classifier=True), is_classifier=True) < 0.05


@KINDS
def test_too_few_rows_and_scores_that_are_not_finite_keep_nothing(is_classifier):
    assert kept_share(np.ones(2), np.ones(2), 0.0, is_classifier=is_classifier) == 0
    assert kept_share(np.full(20, np.inf), np.ones(20), 0.0, is_classifier=is_classifier) == 0


@KINDS
def test_weights_count_rows_as_often(is_classifier):
    scores, labels = drawn(300, 1.0, is_classifier, sureness=3)
    of = np.where(np.arange(300) < 150, 1e-9, 1.0)
    weighted = kept_share(scores, labels, 0.0, is_classifier=is_classifier, weights=of)
    alone = kept_share(scores[150:], labels[150:], 0.0, is_classifier=is_classifier)
    assert weighted == pytest.approx(alone, abs=0.051)


def test_labels_of_any_scale_are_judged_alike():
    scores, labels = drawn(100, 1.0, False, sureness=3)
    shares = [kept_share(s * scores, s * labels, 0.0, is_classifier=False) for s in (1.0, 1e30, 1e-30)]
    assert shares[0] == shares[1] == shares[2] < 1


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@given(share=st.floats(0, 1), constant=st.floats(-3, 3), seed=st.integers(0, 99))
def test_a_model_moves_towards_a_constant_and_its_scores_with_it(predictor_type, share, constant, seed):
    rng = np.random.default_rng(seed)
    model = Model(
        predictor_type, 0.5, rng.normal(size=4).astype(np.float32), rng.normal(0, 0.5, (4, 3)).astype(np.float32)
    )
    rows = Batch.from_dense(rng.normal(size=(5, 4)).astype(np.float32))
    expected = moved(model.predict(rows), constant, share, link_for(model.predictor_type))
    found = shrunk(model, constant, share).predict(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    if share == 0:
        assert np.ptp(found) == 0


def test_log_odds_of_scores_of_float32_are_finite():
    assert np.isfinite(log_odds(np.array([0, 1e-30, 0.5, 1], np.float32))).all()
