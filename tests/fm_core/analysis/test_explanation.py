import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.analysis.explanation import MAX_FEATURES, explain
from fm_core.batch import Batch
from fm_core.errors import DataError
from tests.fm_core.strategies import dense_batches, model_of, sparse_batches


@given(st.one_of(sparse_batches(), dense_batches(max_rows=5)), st.integers(1, 9))
def test_the_shares_add_up_to_the_score(batch, num_factors):
    model = model_of(batch.feature_dim, num_factors)
    totals = [explanation.total for explanation in explain(model, batch)]
    np.testing.assert_allclose(totals, model.predict(batch), rtol=1e-4, atol=1e-5)


@given(sparse_batches(), st.integers(1, 9))
def test_of_a_classifier_they_add_up_to_the_score_before_the_logistic_function(batch, num_factors):
    model = model_of(batch.feature_dim, num_factors, "binary_classifier")
    totals = np.array([explanation.total for explanation in explain(model, batch)])
    np.testing.assert_allclose(1 / (1 + np.exp(-totals)), model.predict(batch), rtol=1e-4)


@given(sparse_batches())
def test_each_share_is_its_formula_and_the_largest_come_first(batch):
    model = model_of(batch.feature_dim, 3)
    for row, explanation in enumerate(explain(model, batch)):
        entries = slice(batch.indptr[row], batch.indptr[row + 1])
        x = dict(zip(batch.indices[entries].tolist(), batch.values[entries].tolist(), strict=True))
        assert sorted(explanation.features.tolist()) == [i for i in x if x[i] != 0]
        for i, share in zip(explanation.features.tolist(), explanation.linear, strict=True):
            assert share == pytest.approx(model.w[i] * x[i], rel=1e-6)
        assert len(explanation.pairs) == len(x) * (len(x) - 1) // 2
        for (i, j), share in zip(explanation.pairs.tolist(), explanation.interactions, strict=True):
            assert i < j
            assert share == pytest.approx(float(model.V[i] @ model.V[j]) * x[i] * x[j], rel=1e-4, abs=1e-6)
        for shares in (explanation.linear, explanation.interactions):
            assert (np.diff(np.abs(shares)) <= 0).all()


def test_a_value_of_zero_is_no_feature_of_the_row():
    batch = Batch(3, np.array([0, 2], np.float32), np.array([0, 2], np.int64), np.array([0, 1], np.int32))
    (explanation,) = explain(model_of(3, 2), batch)
    assert explanation.features.tolist() == [1]
    assert len(explanation.pairs) == 0


def test_a_row_of_too_many_features_is_refused_by_number():
    rows = np.zeros((2, MAX_FEATURES + 1), np.float32)
    rows[1] = 1
    with pytest.raises(DataError, match=f"row 1 has {MAX_FEATURES + 1} features, which is .* at most {MAX_FEATURES}"):
        explain(model_of(MAX_FEATURES + 1, 1), Batch.from_dense(rows))


def test_rows_of_another_width_are_refused():
    with pytest.raises(DataError, match="feature_dim=3, expected the model's 4"):
        explain(model_of(4, 1), Batch.from_dense(np.zeros((1, 3), np.float32)))
