from pathlib import Path

import pytest

from container.environment import opt_ml
from container.training.settings import TrainingSettings
from fm_core.errors import ConfigError


def test_everything_has_a_default():
    assert TrainingSettings.from_environment({}) == TrainingSettings()
    assert opt_ml({}) == opt_ml({"FM_OPT_ML": ""}) == Path("/opt/ml")
    assert opt_ml({"FM_OPT_ML": "/x"}) == Path("/x")


def test_everything_is_read():
    environ = {"FM_PIPE_WAIT_SECONDS": "1.5", "OMP_NUM_THREADS": "3", "FM_REPORT": "true"}
    environ["FM_TORCH_DEVICES"] = "cuda:0, cuda:1"
    environ |= {"FM_CLUSTER_PORT": "1234", "FM_CLUSTER_WAIT_SECONDS": "30"}
    assert TrainingSettings.from_environment(environ) == TrainingSettings(
        pipe_wait_seconds=1.5,
        omp_num_threads=3,
        report=True,
        torch_devices=("cuda:0", "cuda:1"),
        port=1234,
        hosts_wait_seconds=30.0,
    )


@pytest.mark.parametrize("text", ["gpu", "0", "cuda", "cuda:", "cuda:0,", "cuda:0;cuda:1", "cpu:0"])
def test_a_device_that_is_none_is_refused_by_name(text):
    with pytest.raises(ConfigError, match=r"environment variable FM_TORCH_DEVICES is .*, expected devices of PyTorch"):
        TrainingSettings.from_environment({"FM_TORCH_DEVICES": text})


@pytest.mark.parametrize("text", ["soon", "0", "0.0", "-1", "nan", "1e3", " 5", "5\n"])
def test_a_time_that_is_none_is_refused_by_name(text):
    with pytest.raises(
        ConfigError, match=r"environment variable FM_PIPE_WAIT_SECONDS is .*, expected a number of seconds"
    ):
        TrainingSettings.from_environment({"FM_PIPE_WAIT_SECONDS": text})


@pytest.mark.parametrize(("text", "number"), [("4,2", 4), (" 2 ", 2), ("", None), (" ", None)])
def test_a_list_of_threads_counts_by_its_first(text, number):
    assert TrainingSettings.from_environment({"OMP_NUM_THREADS": text}).omp_num_threads == number


@pytest.mark.parametrize("text", ["two", "0", "-1", "4,x", "4,", "1.5"])
def test_threads_that_are_no_number_are_refused_by_name(text):
    with pytest.raises(ConfigError, match=r"environment variable OMP_NUM_THREADS is .*, expected a number of threads"):
        TrainingSettings.from_environment({"OMP_NUM_THREADS": text})
