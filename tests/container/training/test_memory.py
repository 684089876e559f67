"""Memory is looked at before it is taken: arrays by the hyperparameters, batches by the first of them."""

import dataclasses
import re
import shutil

import numpy as np
import pytest
import scipy.sparse

from container.training.memory import OTHER_BYTES, Memory
from fm_core.batch import Batch
from fm_core.errors import ResourceError
from fm_core.formats import write_records
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers.minibatch import MiniBatchSolver
from fm_core.training.memory import memory_needed
from tests.contract.training import Job

HP = Hyperparameters(feature_dim=2**20, num_factors=63, predictor_type="regressor")
ARRAY = 2**28  # bytes of one array of these
OTHER = OTHER_BYTES


@pytest.mark.parametrize(
    ("changes", "arrays"),
    [
        ({}, 3),
        ({"_optimizer": "sgd"}, 1),
        ({"_optimizer": "adagrad"}, 2),
        ({"_optimizer": "ftrl"}, 3),
        ({"early_stopping_patience": 1}, 4),
    ],
)
def test_what_is_needed_is_refused_if_it_is_not_there(changes, arrays):
    hp = dataclasses.replace(HP, **changes)
    Memory(hp, available=arrays * ARRAY + OTHER).check_arrays()
    with pytest.raises(ResourceError) as caught:
        Memory(hp, available=arrays * ARRAY + OTHER - 1).check_arrays()
    assert str(caught.value) == (
        f"training takes {arrays * 256 + 128} MiB of memory with feature_dim=1048576, num_factors=63 and _optimizer="
        f"{hp._optimizer}, and {arrays * 256 + 127} MiB are available: lower num_factors or feature_dim, or use an "
        "instance with more memory"
    )


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad", "ftrl"])
def test_what_is_needed_is_what_the_solver_takes(optimizer):
    hp = dataclasses.replace(HP, feature_dim=100, _optimizer=optimizer)
    at = MiniBatchSolver(hp).parameters
    assert memory_needed(hp) == at.params.nbytes + at.state.nbytes


def rows(n, n_values, feature_dim=2**20):
    keys = np.arange(n * n_values, dtype=np.int32).reshape(n, n_values) % feature_dim
    return scipy.sparse.csr_array(
        (np.ones(n * n_values, np.float32), np.sort(keys, axis=1).ravel(), np.arange(0, n * n_values + 1, n_values)),
        shape=(n, feature_dim),
    )


def refusal(hp, first, available, **given):
    with pytest.raises(ResourceError) as caught:
        Memory(hp, available=available, **given).check_batches(first)
    return str(caught.value)


def test_what_batches_take_is_said_and_what_to_lower_first():
    hp = dataclasses.replace(HP, feature_dim=1000, mini_batch_size=20_000)
    first = Batch.from_csr(rows(20_000, 39, 1000), np.zeros(20_000))
    said = refusal(hp, first, 200 << 20)
    needed, batches = map(int, re.findall(r"(\d+) MiB", said)[:2])
    assert said.startswith(f"training takes {needed} MiB of memory ({batches} MiB for batches of mini_batch_size=")
    assert "mini_batch_size=20000 records of 39 values each" in said
    assert said.endswith("and 200 MiB are available: lower mini_batch_size, or use an instance with more memory")
    Memory(hp, available=(needed + 1) << 20).check_batches(first)
    # the arrays are the larger part here
    said = refusal(dataclasses.replace(hp, feature_dim=2**20), Batch.from_csr(rows(20_000, 39), np.zeros(20_000)), 1)
    assert "lower num_factors or feature_dim or mini_batch_size, or use an instance" in said
    shuffled = dataclasses.replace(hp, shuffle=True, shuffle_buffer_size=2_000_000)
    said = refusal(shuffled, first, 200 << 20, n_hosts=2)
    assert "MiB for shuffle_buffer_size=2000000 records" in said
    assert said.endswith("lower shuffle_buffer_size or mini_batch_size, or use more hosts, or some with more memory")


def test_data_that_is_less_than_one_batch_takes_no_more_than_it_is():
    hp = dataclasses.replace(HP, feature_dim=1000, mini_batch_size=2**31 - 1, shuffle=True, shuffle_buffer_size=10**9)
    first = Batch.from_csr(rows(1000, 39, 1000), np.zeros(1000))
    Memory(hp, available=140 << 20).check_batches(first)


#: A job in a process of its own, told how much memory there is; it prints the most that it had.
PEAK = """
import re, sys
from container.training import memory, run
memory.available_memory = lambda: int(sys.argv[1])
from container.train import main
status = main([])
print("PEAK", re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1], status)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one thread", "two threads", "shuffled", "dense"])
def test_what_is_told_beforehand_bounds_what_is_taken(tmp_path, kind):
    """And is of its size: a job that would have done is not refused for nothing."""
    changes = {"one thread": {}, "two threads": {"num_threads": "2"}, "dense": {"mini_batch_size": "8000"},
               "shuffled": {"shuffle": "true", "shuffle_buffer_size": "200000"}}[kind]  # fmt: skip
    job = Job(tmp_path)
    random = np.random.default_rng(0)
    if kind == "dense":
        X = random.random((48_000, 500), dtype=np.float32)
    else:
        X = rows(300_000, 30, 30_000)
    path = job.put("data", b"")
    with path.open("wb") as file:
        write_records(file, X, random.integers(0, 2, len(X.indptr) - 1 if kind != "dense" else len(X)))
    job.environment["FM_REPORT"] = "false"
    job.hyperparameters |= {
        "feature_dim": str(X.shape[1]), "num_factors": "32", "epochs": "1", "mini_batch_size": "40000",
        "num_threads": "1",
    } | changes  # fmt: skip
    refused = job.run("-c", PEAK, str(OTHER_BYTES + (30 << 20)))
    said = re.search(r"training takes (\d+) MiB of memory \(\d+ MiB for (batches|shuffle)", refused.failure)
    told = int(said[1]) - (OTHER_BYTES >> 20)
    assert "#quality_metric" not in refused.log
    shutil.rmtree(tmp_path / "output")
    (tmp_path / "output").mkdir()
    done = job.run("-c", PEAK, str((told << 20) + OTHER_BYTES + (1 << 20)))
    assert done.code == 0, done.log
    peak = int(re.search(r"PEAK (\d+) 0", done.log)[1]) >> 10
    # 60: the interpreter, its libraries; 68: the rest of what is told. Dense rows are learned as soon as they are read.
    assert (0 if kind == "dense" else told / 3) < peak - 60 < told + 68
