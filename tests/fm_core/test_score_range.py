"""Scores that are kept within a range: the same range and the same scores, whoever gives them."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from fm_core.analysis.packed_items import PackedItems
from fm_core.analysis.ranking import contexts_of, rank
from fm_core.analysis.shrinkage import shrunk
from fm_core.artifact.model_file import load_model, read_meta, save_model
from fm_core.artifact.onnx_export import save_onnx
from fm_core.batch import Batch
from fm_core.errors import ArtifactError
from fm_core.model import Model
from fm_core.report.history import Sample, SampledModel
from fm_core.score_range import ScoreRange, bounded
from tests import artifacts
from tests.fm_core.strategies import model_of

LARGEST = float(np.finfo(np.float32).max)
RANGE = ScoreRange(-0.5, 0.75)


def bounded_model(d=12, k=3):
    rng = np.random.default_rng(0)
    params = rng.standard_normal((d, k + 1)).astype(np.float32)
    return Model.of_params("regressor", 0.25, params, RANGE)


def free(model):
    return Model(model.predictor_type, model.w0, model.w, model.V)


ROWS = Batch.from_csr(
    csr_array(np.random.default_rng(1).standard_normal((60, 12)).astype(np.float32)), np.zeros(60, np.float32)
)


def expected():
    found = free(bounded_model()).predict(ROWS)
    assert (found < RANGE.least).any()
    assert (found > RANGE.greatest).any()
    assert ((found > RANGE.least) & (found < RANGE.greatest)).any()
    return np.clip(found, *RANGE)


@given(st.lists(st.floats(-LARGEST, LARGEST, width=32), min_size=1), st.floats(0, 1e39))
def test_a_range_has_all_labels_and_ends_where_several_share_one(labels, deviation):
    y = np.array(labels, np.float32)
    found = ScoreRange.of_labels(y, deviation)
    assert np.isfinite(found).all()
    assert found.least <= y.min() <= y.max() <= found.greatest
    for end, label, sign in ((found.least, y.min(), -1), (found.greatest, y.max(), 1)):
        if np.count_nonzero(y == label) > 1:
            assert end == label
        else:
            assert end == np.float32(np.clip(float(label) + sign * deviation, -LARGEST, LARGEST))
    assert ScoreRange.of_json(json.loads(json.dumps(list(found)))) == found


@given(st.lists(st.floats(width=32), max_size=20))
def test_what_is_bounded_lies_within_and_not_a_number_stays(scores):
    found = bounded(np.array(scores, np.float32), RANGE)
    np.testing.assert_array_equal(found, np.clip(np.array(scores, np.float32), *RANGE))


def test_everyone_who_scores_rows_keeps_to_it(tmp_path):
    model = bounded_model()
    save_model(tmp_path / "model_algo-1", model, {})
    again = load_model(tmp_path)
    assert again.score_range == RANGE
    assert read_meta(tmp_path)["score_range"] == list(RANGE)
    sample = Sample(100)
    for each in (model, again, pickle.loads(pickle.dumps(model)), SampledModel(model, sample)):
        np.testing.assert_array_equal(each.predict(ROWS), expected())
    dense = Batch.from_dense(ROWS.to_matrix().toarray())
    np.testing.assert_allclose(model.predict(dense), expected(), atol=1e-5)
    assert shrunk(model, 0.0, 0.5).score_range == RANGE


def test_rankings_have_bounded_scores_in_the_order_of_unbounded_ones():
    model = bounded_model()
    context = Batch.from_csr(csr_array(([1.0], ([0], [0])), shape=(1, 12)).astype(np.float32))
    items = Batch.from_csr(csr_array(np.eye(12, dtype=np.float32)[1:] * 3))
    wanted = rank(free(model), context, items)
    found = rank(model, context, items)
    assert (wanted.scores > RANGE.greatest).sum() > 1
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_array_equal(found.scores, np.clip(wanted.scores, *RANGE))
    (packed,) = PackedItems(model, items, 1).best(list(contexts_of(model, context)), 5)
    np.testing.assert_array_equal(packed.scores, found.scores[:5])


def test_an_onnx_file_keeps_to_it(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    save_onnx(tmp_path / "model.onnx", bounded_model())
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    values = ROWS.to_matrix().toarray().astype(np.float32)
    (scores,) = session.run(None, {"indices": np.tile(np.arange(12), (60, 1)), "values": values})
    np.testing.assert_allclose(scores, expected(), rtol=1e-5, atol=1e-5)


def test_the_commands_keep_to_it_and_tell_of_it(tmp_path):
    save_model(tmp_path / "model_algo-1", bounded_model(), {})
    rows = "".join(
        f"0 {' '.join(f'{i}:{x!r}' for i, x in enumerate(row))}\n" for row in ROWS.to_matrix().toarray().tolist()
    )
    (tmp_path / "rows.libsvm").write_text(rows)

    def said(*arguments):
        command = [sys.executable, "-m", "fm_core.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    scores = np.array(said("predict", tmp_path, tmp_path / "rows.libsvm").split(), np.float32)
    np.testing.assert_allclose(scores, expected(), atol=1e-5)
    assert "bounded, from -0.5 to 0.75" in said("inspect", tmp_path)
    assert json.loads(said("inspect", tmp_path, "--json"))["score_range"] == [-0.5, 0.75]


@pytest.mark.parametrize(
    "value",
    [[], [1], [1, 2, 3], [2, 1], ["1", "2"], [1, None], [True, 2], {"least": 1}, "1,2", 5, [0, 1e39], [-(10**400), 1]],
    ids=str,
)
def test_a_strangers_range_is_refused_in_a_sentence(tmp_path, value):
    model = model_of(4, 2, "regressor")
    meta = json.dumps(json.loads(artifacts.meta(model)) | {"score_range": value})
    parts = {"meta.json": meta.encode(), "params": artifacts.params(artifacts.sparse_network(model))}
    (tmp_path / "model_algo-1").write_bytes(artifacts.zipped(parts))
    with pytest.raises(ArtifactError, match=r"score_range is .*, expected the least and the greatest score") as caught:
        load_model(tmp_path)
    assert len(str(caught.value)) < 300


def test_a_classifier_has_none(tmp_path):
    model = model_of(4, 2, "binary_classifier")
    with pytest.raises(ValueError, match="score_range is given to a binary_classifier"):
        Model(model.predictor_type, model.w0, model.w, model.V, RANGE)
    meta = json.dumps(json.loads(artifacts.meta(model)) | {"score_range": [0, 1]})
    parts = {"meta.json": meta.encode(), "params": artifacts.params(artifacts.sparse_network(model))}
    (tmp_path / "model_algo-1").write_bytes(artifacts.zipped(parts))
    with pytest.raises(ArtifactError, match="predictor_type is binary_classifier and score_range is there"):
        load_model(tmp_path)
