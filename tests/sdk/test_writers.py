"""What the SageMaker SDK's writers (version 2) write is what ours write, and trains (`make test-sdk`).

The SDK has an environment of its own; it and this one exchange files.
"""

import io
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from fm_core.formats import Source, read_batches, write_records
from tests.conftest import ROOT
from tests.contract.training import Job

PYTHON = ROOT / ".venvs/sdk/bin/python"
pytestmark = pytest.mark.skipif(
    not (ROOT / ".venvs/sdk/.installed").exists(), reason="the SDK's environment is absent: `make test-sdk` makes it"
)

N_ROWS, FEATURE_DIM = 300, 200  # keys of one and of two bytes
TYPES = (np.float32, np.float64, np.int64)
#: (kind, type of the features, type of the labels): each type once for each, and the SDK's usual mixture.
CASES = [
    (kind, features, labels)
    for kind in ("sparse", "dense")
    for features, labels in [(each, each) for each in TYPES] + [(np.float32, np.float64), (np.int64, np.float32)]
]
NAMES = [f"{kind}-{features.__name__}-{labels.__name__}" for kind, features, labels in CASES]
EACH = pytest.mark.parametrize(("name", "case"), list(zip(NAMES, CASES, strict=True)), ids=NAMES)


def rows_of(kind, features, labels):
    random = np.random.default_rng(0)
    matrix = sp.random(N_ROWS, FEATURE_DIM, 0.05, "csr", np.float64, random_state=0)
    matrix.data = np.round(matrix.data * 8) - 3  # whole numbers, zero and negative ones too
    matrix = sp.csr_matrix((matrix.data.astype(features), matrix.indices, matrix.indptr), matrix.shape)
    said = (matrix @ random.normal(size=FEATURE_DIM) > 0).astype(labels)
    return (matrix.toarray() if kind == "dense" else matrix), said


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Each case as the SDK writes it."""
    folder = tmp_path_factory.mktemp("sdk")
    for name, case in zip(NAMES, CASES, strict=True):
        matrix, labels = rows_of(*case)
        if sp.issparse(matrix):
            parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": matrix.shape}
        else:
            parts = {"rows": matrix}
        np.savez(folder / f"{name}.npz", labels=labels, **parts)
    script = Path(__file__).with_name("write.py")
    environment = {**os.environ, "SAGEMAKER_SUPPRESS_V2_WARNING": "1"}
    subprocess.run([PYTHON, script, folder], check=True, timeout=100, env=environment, stderr=subprocess.DEVNULL)
    return {name: (folder / f"{name}.pbr").read_bytes() for name in NAMES}


def ours(case):
    file = io.BytesIO()
    write_records(file, *rows_of(*case))
    return file.getvalue()


@EACH
def test_both_write_the_same_bytes(written, name, case):
    assert written[name] == ours(case)


@EACH
def test_what_the_sdk_wrote_is_read_as_it_was(written, name, case):
    matrix, labels = rows_of(*case)
    (batch,) = read_batches(
        [Source("sdk", [written[name]])], feature_dim=FEATURE_DIM, batch_size=N_ROWS, labels="binary"
    )
    assert (batch.labels == labels).all()
    if batch.is_dense:
        assert (batch.values == matrix).all()
    else:
        assert (sp.csr_matrix((batch.values, batch.indices, batch.indptr), matrix.shape) != matrix).nnz == 0


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_what_the_sdk_wrote_trains_to_one_model_whatever_its_types(written, tmp_path, kind):
    models = []
    for name in (name for name in NAMES if name.startswith(kind)):
        job = Job(tmp_path / name)
        job.hyperparameters["feature_dim"] = str(FEATURE_DIM)
        job.put("0.pbr", written[name])
        job.put("0.pbr", written[name], "test")
        done = job.run()
        assert done.succeeded, done.log
        assert "#test_score (algo-1) : ('binary_classification_accuracy', " in done.log
        models.append(done.model)
    assert len(models) == 5
    assert models[1:] == models[:1] * 4
