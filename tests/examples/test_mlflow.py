"""The example of MLflow, where it is installed: a model is logged and loaded without a special step."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# By its specification: importing it here would cost seconds, and warn.
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mlflow", "pandas", "sklearn")),
    reason="mlflow is absent: `make test-mlflow` installs it",
)


def test_a_model_is_logged_and_loaded_again(tmp_path):
    where = {"MLFLOW_TRACKING_URI": (tmp_path / "runs").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
    here = {"PYTHONPATH": str(ROOT)}
    quiet = {"GIT_PYTHON_REFRESH": "quiet", "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/mlflow_model.py")], cwd=tmp_path, env=os.environ | where | here | quiet,
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    accuracy, larger = map(float, re.search(r"accuracy ([\d.]+), of the larger class ([\d.]+)", done.stdout).groups())
    assert accuracy > larger + 0.1
