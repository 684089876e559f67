"""The SageMaker SDK's own serializers and deserializers as clients.

The SDK is large and pins other packages, so it has a Python of its own: FM_SDK_PYTHON
names one that has `sagemaker<3`.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fm_core.artifact.model_file import save_model
from fm_core.batch import Batch
from tests.container.serving.conftest import FEATURE_DIM, make_model
from tests.contract.serving import serving


def test_version_2_reads_every_answer_to_what_it_writes(tmp_path):
    python = os.environ.get("FM_SDK_PYTHON")
    if not python:
        pytest.skip("FM_SDK_PYTHON names no Python with sagemaker<3")
    (tmp_path / "model").mkdir()
    model = make_model("binary_classifier")
    save_model(tmp_path / "model/model_algo-1", model, {})
    client = Path(__file__).with_name("sdk_client.py")
    with serving(tmp_path, tmp_path) as server:
        done = subprocess.run(
            [python, "-W", "ignore", client, str(server.port), str(FEATURE_DIM)],
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    expected = model.predict(Batch.from_dense(np.array(found.pop("rows"))))
    assert found.keys() == {"record", "json", "jsonlines", "csv", "writer"}
    for way, scores in found.items():
        assert scores == pytest.approx(expected, rel=1e-6), way
