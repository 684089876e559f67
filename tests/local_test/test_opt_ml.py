"""SageMaker's side, as the demo plays it, notices when the contract is broken and leaves no process behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from fm_core.formats import write_records
from local_test import opt_ml
from tests.conftest import ROOT

HYPERPARAMETERS = {"feature_dim": "5", "num_factors": "2", "predictor_type": "regressor", "mini_batch_size": "2"}

LINGER = """
def linger():
    print("serving now", flush=True)
    signal.sigtimedwait([], 60)
"""


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "data.pbr"
    with file.open("wb") as out:
        write_records(out, scipy.sparse.identity(5, np.float32, "csr"), np.arange(5, dtype=np.float32))
    return file


def processes_with(text):
    """The processes whose environment or command line has `text` in it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            pass
    return [pid for pid in found if pid != os.getpid()]


def none_left(text):
    """Whether all are gone soon: a killed process needs a moment."""
    deadline = time.monotonic() + 5
    while processes_with(text) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not processes_with(text)


def test_a_job_is_trained_packed_unpacked_and_served(data, tmp_path):
    job, endpoint = tmp_path / "job", tmp_path / "endpoint"
    opt_ml.lay_out(job, HYPERPARAMETERS, {"train": data, "test": data})
    assert "test rmse <loss>=" in opt_ml.train(job)
    opt_ml.unpack_model(opt_ml.pack_model(job), endpoint)
    with opt_ml.serving(endpoint) as address:
        assert address.startswith("http://127.0.0.1:")
        assert processes_with(f"FM_OPT_ML={endpoint}")
    assert none_left(f"FM_OPT_ML={endpoint}")


def test_a_failing_job_is_noticed_with_its_reason(data, tmp_path):
    opt_ml.lay_out(tmp_path / "job", {**HYPERPARAMETERS, "epochs": "0"}, {"train": data})
    with pytest.raises(opt_ml.ContractError, match=r"exit code 1: ClientError: .*epochs"):
        opt_ml.train(tmp_path / "job")


def test_a_server_that_does_not_start_is_noticed(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(opt_ml.ContractError, match=r"exit code 1 before it answered /ping"), opt_ml.serving(tmp_path):
        pass


def test_a_failure_while_serving_leaves_no_process(data, tmp_path):
    opt_ml.lay_out(tmp_path / "job", HYPERPARAMETERS, {"train": data})
    opt_ml.train(tmp_path / "job")
    with pytest.raises(KeyError), opt_ml.serving(tmp_path / "job"):
        raise KeyError
    assert none_left(f"FM_OPT_ML={tmp_path / 'job'}")


def test_a_demo_that_is_stopped_stops_its_server(tmp_path):
    # A slow client in place of the demo's own: it is asked to stop while the server runs.
    script = tmp_path / "demo.py"
    changes = {
        "        from_json = ask_json(": "        linger()\n        from_json = ask_json(",
        "def main() -> None:": f"{LINGER}\n\ndef main() -> None:",
        'Path(__file__).parent / "work" / "demo"': f"Path({str(tmp_path)!r}) / 'work' / 'demo'",
    }
    text = (ROOT / "local_test/demo.py").read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    script.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "local_test")}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as demo:
        assert any("serving now" in line for line in demo.stdout)
        demo.send_signal(signal.SIGTERM)
        demo.stdout.read()
        assert demo.wait(30) == 1
    assert none_left(f"FM_OPT_ML={tmp_path}")


def test_the_small_tree_of_local_test_is_a_job(tmp_path):
    config = ROOT / "local_test/test_dir/input/config"
    assert {file.name for file in config.iterdir()} == {
        "hyperparameters.json",
        "inputdataconfig.json",
        "resourceconfig.json",
    }
    assert all(isinstance(v, str) for v in json.loads((config / "hyperparameters.json").read_text()).values())
