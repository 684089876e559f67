"""What a job says and does about GPUs, on machines that seem to have some."""

import importlib.util

import pytest

from container.training.gpus import Gpus
from fm_core.errors import ConfigError
from fm_core.resources import visible_gpus

HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level("INFO")
    return caplog


@pytest.fixture
def two_gpus(tmp_path):
    """A folder of devices as containers with two GPUs have it."""
    for name in ("null", "nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
        (tmp_path / name).touch()
    return tmp_path


def test_gpus_are_counted_by_their_devices(two_gpus, tmp_path):
    assert visible_gpus(two_gpus) == 2
    (two_gpus / "nvidia10").touch()
    assert visible_gpus(two_gpus) == 3
    assert visible_gpus(tmp_path / "absent") == 0


def test_wsl_has_a_device_for_all(tmp_path):
    (tmp_path / "dxg").touch()
    assert visible_gpus(tmp_path) == 1


@pytest.mark.parametrize("wanted", ["auto", 0])
def test_a_machine_without_gpus_is_nothing_to_talk_about(wanted, tmp_path, log):
    gpus = Gpus(wanted, devices=tmp_path)
    gpus.remark()
    assert gpus.open() is None
    assert gpus.used(True) == gpus.used(False) == 0
    assert not log.messages


def test_gpus_that_are_wanted_and_not_there_are_told(tmp_path, log):
    gpus = Gpus(2, devices=tmp_path)
    gpus.remark()
    assert gpus.open() is None
    assert log.messages == ["_num_gpus is 2, and this machine has no GPU: training runs on the CPU."]


@pytest.mark.parametrize("wanted", ["auto", 1, 2])
def test_why_sparse_data_trains_on_the_cpu_is_told(wanted, two_gpus, log):
    assert Gpus(wanted, devices=two_gpus).used(is_dense=False) == 0
    assert log.messages == [
        "The data is sparse and trains on the CPU: GPUs help with dense data only. This machine has 2."
    ]


def test_why_hosts_that_average_train_on_their_cpus_is_told(two_gpus, log):
    assert Gpus("auto", are_usable=False, devices=two_gpus).used(is_dense=True) == 0
    assert log.messages == [
        "With _kvstore dist_async hosts train on their CPUs, and GPUs are not used. This one has 2."
    ]


def test_gpus_that_are_not_wanted_are_left_alone(two_gpus, log):
    gpus = Gpus(0, devices=two_gpus)
    gpus.remark()
    assert gpus.open() is None
    assert gpus.used(True) == gpus.used(False) == 0
    assert not log.messages


def test_gpus_that_pytorch_cannot_use_are_told(two_gpus, log):
    gpus = Gpus("auto", devices=two_gpus)
    gpus.remark()
    if HAS_TORCH and __import__("torch").cuda.is_available():
        pytest.skip("this machine has GPUs, and PyTorch can use them")
    assert gpus.open() is None
    assert gpus.used(True) == 0
    (said,) = log.messages
    assert ("the installed PyTorch cannot use it" if HAS_TORCH else "no PyTorch is installed") in said
    assert "training runs on the CPU" in said
    assert "Dockerfile.gpu" in said


def test_a_named_device_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"^the devices cuda:77 cannot be used: .+; name others in FM_TORCH_DEVICES"):
        Gpus("auto", ["cuda:77"], devices=tmp_path).open()
