"""A model as an ONNX graph: another program's scores are ours."""

import builtins
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.artifact import onnx_export
from fm_core.artifact.model_file import save_model
from fm_core.artifact.onnx_export import save_onnx
from fm_core.batch import Batch
from fm_core.errors import ConfigError
from fm_core.model import Model
from tests.fm_core.strategies import model_of


def padded(rows, width):
    indices, values = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.float32)
    for r, row in enumerate(rows):
        indices[r, : len(row)], values[r, : len(row)] = list(row), list(row.values())
    return indices, values


@given(
    rows=st.lists(
        st.dictionaries(st.integers(0, 19), st.floats(-100, 100, width=32), max_size=20), min_size=1, max_size=8
    ),
    kind=st.sampled_from(["regressor", "binary_classifier"]),
    seed=st.integers(0, 5),
)
def test_the_runtimes_scores_are_ours(tmp_path_factory, rows, kind, seed):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    random = np.random.default_rng(seed)
    model = Model(
        kind, random.standard_normal(), random.standard_normal(20).astype(np.float32),
        random.standard_normal((20, 3)).astype(np.float32),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    save_onnx(path, model)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    indices, values = padded(rows, 20)
    (scores,) = session.run(None, {"indices": indices, "values": values})
    ordered = [dict(sorted(row.items())) for row in rows]
    batch = Batch(
        20,
        np.array([x for row in ordered for x in row.values()], np.float32),
        np.cumsum([0, *map(len, ordered)]).astype(np.int64),
        np.array([key for row in ordered for key in row], np.int32),
    )
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, model.predict(batch), rtol=1e-5, atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map["predictor_type"] == kind


def test_the_command_writes_it(tmp_path):
    onnx = pytest.importorskip("onnx")
    save_model(tmp_path / "model_algo-1", model_of(20, 3, "regressor"), {})
    command = [sys.executable, "-m", "fm_core.cli", "export", tmp_path]
    done = subprocess.run([*command, tmp_path / "x.onnx"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    onnx.checker.check_model(onnx.load(tmp_path / "x.onnx"))
    done = subprocess.run([*command, tmp_path / "x.pmml"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "ends in '.pmml', expected one of .onnx" in done.stderr


def test_without_onnx_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    def absent(name, *rest, **more):
        if name.partition(".")[0] == "onnx":
            raise ImportError
        return real(name, *rest, **more)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match="pip install onnx"):
        save_onnx(tmp_path / "x.onnx", model_of(20, 3, "regressor"))
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_in_a_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "MOST_BYTES", 100)
    with pytest.raises(ConfigError, match="expected at most 100, the limit of an ONNX file"):
        save_onnx(tmp_path / "x.onnx", model_of(20, 3, "regressor"))
