"""Odd data of every kind as a job of solver bayes or auto: a model whose scores are finite, or one sentence."""

import io

import numpy as np
import pytest

from fm_core.artifact.model_file import load_model
from fm_core.batch import Batch
from fm_core.formats import write_records
from tests.contract.training import Job
from tests.fm_core.solvers.test_bad_input import DATA, KINDS, large_values, long_rows, not_finite


@pytest.mark.parametrize("solver", ["bayes", "auto"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [make for make in DATA if make is not long_rows])
def test_odd_data_gives_a_model_or_one_sentence(tmp_path, make, kind, solver):
    X, y = make(np.random.default_rng(0), kind == "binary_classifier")
    file = io.BytesIO()
    job = Job(tmp_path / "job")
    finite = np.where(np.isfinite(y), y, np.float32(0.3))
    write_records(file, X, finite.astype(np.float32))
    records = file.getvalue()
    if make is not_finite:  # our own writer refuses it
        records = records.replace(np.float32(0.3).tobytes(), np.float32(np.nan).tobytes())
    job.put("0.pbr", records)
    job.hyperparameters = {
        "predictor_type": kind, "feature_dim": str(X.shape[1]), "num_factors": "4", "epochs": "6", "solver": solver,
    }  # fmt: skip
    done = job.run_here()
    if not done.succeeded:
        assert make in (not_finite, large_values), done.failure
        assert done.failure.count("\n") == 0
        assert done.failure.startswith("ClientError: ")
        assert not done.model
        return
    assert make is not not_finite
    scores = load_model(job.root / "model/model_algo-1").predict(Batch.from_csr(X.tocsr()))
    assert np.isfinite(scores).all()
