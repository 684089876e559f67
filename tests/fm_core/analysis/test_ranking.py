"""Ranking against the scores of whole pairs."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy.sparse import csr_array

from fm_core.analysis.ranking import contexts_of, rank, rank_in_context
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.requests.instances import decode_instances
from fm_core.model import Model

FEATURE_DIM = 9

FEATURES = st.dictionaries(
    st.integers(0, FEATURE_DIM - 1), st.floats(-4, 4, width=32, allow_subnormal=False), max_size=FEATURE_DIM
)


def make_model(predictor_type, num_factors):
    random = np.random.default_rng(num_factors)
    return Model(
        predictor_type,
        -0.5,
        random.standard_normal(FEATURE_DIM).astype(np.float32) / 2,
        random.standard_normal((FEATURE_DIM, num_factors)).astype(np.float32) / 2,
    )


def batch_of(rows):
    instances = [{"keys": list(row), "values": list(row.values())} for row in rows]
    return decode_instances(instances, feature_dim=FEATURE_DIM)


@given(
    context=FEATURES,
    candidates=st.lists(FEATURES, max_size=6),
    top_k=st.none() | st.integers(1, 8),
    predictor_type=st.sampled_from(["regressor", "binary_classifier"]),
    num_factors=st.sampled_from([1, 3, 16]),
)
def test_a_ranking_is_the_order_of_the_full_scores(context, candidates, top_k, predictor_type, num_factors):
    model = make_model(predictor_type, num_factors)
    pairs = [{i: context.get(i, 0) + row.get(i, 0) for i in {*context, *row}} for row in candidates]
    full = model.predict(batch_of(pairs))
    ranked = rank(model, batch_of([context]), batch_of(candidates), top_k)
    assert len(ranked.indices) == min(len(candidates), top_k or len(candidates))
    assert len(set(ranked.indices.tolist())) == len(ranked.indices)
    assert ranked.scores.dtype == np.float32
    assert ranked.scores == pytest.approx(full[ranked.indices], rel=1e-4, abs=1e-4)
    assert ranked.scores == pytest.approx(np.sort(full)[::-1][: len(ranked.indices)], rel=1e-4, abs=1e-4)
    assert (np.diff(ranked.scores) <= 0).all()


#: Values as of a price, a year, a time in seconds or milliseconds, beside features of value 1.
LARGE = [1.0, 2e4, 1.7e9, 1.7e12]


@pytest.mark.parametrize("place", ["candidate", "context", "both"])
@pytest.mark.parametrize("value", LARGE)
@pytest.mark.parametrize("num_factors", [1, 7, 16])
def test_large_values_do_not_drown_the_others(place, value, num_factors):
    """Against each pair's products one by one; `Model.predict` is held to the same."""
    random = np.random.default_rng(num_factors)
    n, d = 20, 30
    V = (random.normal(size=(d, num_factors)) * 0.1).astype(np.float32)
    V[29] *= 1e-2  # of a model that has learned such values
    model = Model("regressor", 0.0, np.zeros(d, np.float32), V)
    context, candidates = np.zeros((1, d)), np.zeros((n, d))
    context[0, 0] = 1
    candidates[np.arange(n), 1 + np.arange(n)] = 1
    if place != "candidate":
        context[0, 29] = value
    if place != "context":
        candidates[:, 29] = value
    pairs = context + candidates
    exact = np.array([one_by_one(V.astype(np.float64), row) for row in pairs])
    full = model.predict(Batch.from_csr(csr_array(pairs)))
    ranked = rank(model, Batch.from_csr(csr_array(context)), Batch.from_csr(csr_array(candidates)))
    scores = np.empty(n)
    scores[ranked.indices] = ranked.scores
    tolerance = 1e-5 * np.ptp(exact)
    np.testing.assert_allclose(full, exact, rtol=0, atol=tolerance)
    np.testing.assert_allclose(scores, exact, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(ranked.indices, np.argsort(-exact, kind="stable"))


def one_by_one(V, x):
    """The pairs' part of a score, each product by itself."""
    keys = np.flatnonzero(x)
    return sum(x[i] * x[j] * (V[i] @ V[j]) for at, i in enumerate(keys) for j in keys[:at])


def test_a_feature_on_both_sides_does_not_meet_itself_also_beside_a_joined_one():
    model = make_model("regressor", 3)
    joined = np.array([0.5, -1.0, 2.0])
    (context,) = contexts_of(model, batch_of([{1: 2.0, 4: -1.0}]))
    wide = Model(
        "regressor", model.w0, np.append(model.w, np.float32(0.25)), np.vstack([model.V, joined.astype(np.float32)])
    )
    candidates = [{1: 1.0, 2: 3.0}, {4: 5.0}, {5: 1.0}]
    ranked = rank_in_context(model, context.joined_by(0.25, joined), batch_of(candidates))
    rows = np.zeros((3, FEATURE_DIM + 1))
    rows[:, [1, 4, 9]] = [2.0, -1.0, 1.0]
    for row, candidate in enumerate(candidates):
        for key, value in candidate.items():
            rows[row, key] += value
    expected = wide.predict(Batch.from_csr(csr_array(rows)))
    assert ranked.scores == pytest.approx(expected[ranked.indices], rel=1e-5)


def test_of_equal_candidates_the_first_comes_first():
    model = make_model("regressor", 2)
    rows = [{1: 1.0}, {2: 1.0}] * 50
    ranked = rank(model, batch_of([{}]), batch_of(rows), 60)
    better = 0 if model.w[1] > model.w[2] else 1
    assert ranked.indices.tolist() == [*range(better, 100, 2), *range(1 - better, 20, 2)]


def test_blocks_of_many_candidates_join():
    model = make_model("regressor", 4)
    random = np.random.default_rng(5)
    rows = [
        {int(k): 1.0 for k in random.choice(FEATURE_DIM, random.integers(0, 4), replace=False)} for _ in range(5000)
    ]
    context = {8: 1.0}
    pairs = [{**row, 8: row.get(8, 0) + 1.0} for row in rows]
    ranked = rank(model, batch_of([context]), batch_of(rows))
    assert ranked.scores == pytest.approx(model.predict(batch_of(pairs))[ranked.indices], rel=1e-4, abs=1e-4)


def test_other_rows_than_sparse_ones_of_the_models_width_are_refused():
    model = make_model("regressor", 2)
    good = batch_of([{}])
    with pytest.raises(DataError, match="context have dense rows"):
        rank(model, Batch.from_dense(np.zeros((1, FEATURE_DIM))), good)
    with pytest.raises(DataError, match="candidates have sparse rows of feature_dim=3"):
        rank(model, good, decode_instances([{"features": [1, 2, 3]}], feature_dim=3))


def test_a_score_that_overflows_is_not_left_out():
    model = make_model("regressor", 3)
    with np.errstate(all="ignore"):
        ranked = rank(model, batch_of([{0: 3e38, 1: 3e38, 2: 3e38}]), batch_of([{4: 1.0}, {5: 1.0}, {6: 1.0}]), 2)
    assert len(ranked.indices) == 2
    assert not np.isfinite(ranked.scores).all()
