"""Our serializer in the SDK's own Predictor (`make test-sdk`): its request has the rows, under its content type."""

import os
import subprocess

import numpy as np
import pytest

from fm_core.formats import read_records
from tests.conftest import ROOT

PYTHON = ROOT / ".venvs/sdk/bin/python"
pytestmark = pytest.mark.skipif(
    not (ROOT / ".venvs/sdk/.installed").exists(), reason="the SDK's environment is absent: `make test-sdk` makes it"
)

SCRIPT = """
import sys
from unittest import mock
import scipy.sparse as sp
from sagemaker.predictor import Predictor
sys.path.insert(0, sys.argv[2])
from fm_core.formats.recordio.serializer import RecordSerializer

session = mock.Mock()
session.sagemaker_runtime_client.invoke_endpoint.return_value = {"Body": mock.MagicMock(), "ContentType": "x"}
predictor = Predictor("e", session, RecordSerializer(), mock.Mock(ACCEPT=("application/json",)))
predictor.predict(sp.csr_matrix(([1.5, 2.0], ([0, 1], [3, 0])), (2, 5)))
sent = session.sagemaker_runtime_client.invoke_endpoint.call_args.kwargs
assert sent["ContentType"] == "application/x-recordio-protobuf", sent
open(sys.argv[1], "wb").write(sent["Body"])
"""


def test_a_predictor_sends_sparse_rows(tmp_path):
    environment = {**os.environ, "SAGEMAKER_SUPPRESS_V2_WARNING": "1"}
    command = [PYTHON, "-c", SCRIPT, tmp_path / "body", ROOT]
    done = subprocess.run(command, env=environment, check=False, timeout=100, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows, labels = read_records(tmp_path / "body")
    assert labels is None
    assert np.array_equal(rows.toarray(), [[0, 0, 0, 1.5, 0], [2, 0, 0, 0, 0]])
