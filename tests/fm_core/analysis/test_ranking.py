"""Ranking against the scores of whole pairs."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from fm_core.analysis.ranking import rank
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
