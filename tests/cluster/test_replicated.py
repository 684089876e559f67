"""Dense data on hosts with devices, here the CPU as one: the whole model on each, and still that of one host."""

import dataclasses
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from fm_core.artifact.model_file import load_model
from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.solvers.minibatch import MiniBatchSolver
from tests.cluster.hosts import free_port
from tests.cluster.test_checkpoints import killed, with_checkpoints
from tests.cluster.test_training import (
    assert_only_the_first_wrote,
    assert_same_metrics,
    assert_same_model,
    one_host,
)
from tests.contract.training import records

RATES = {"factors_lr": "0.01", "linear_lr": "0.01"}


def on_devices(job, *devices):
    """Name the devices of each host, or of all."""
    for rank, one in enumerate(job.jobs):
        one.environment["FM_TORCH_DEVICES"] = devices[rank % len(devices)]
    return job


def put(job, data):
    for channel, content in data.items():
        job.put("part", content, channel)


@pytest.mark.parametrize(
    ("size", "changes"),
    [
        (2, {}),
        (2, {"_optimizer": "ftrl", "shuffle": "true", "shuffle_buffer_size": "90", "early_stopping_patience": "2"}),
        (3, {"mini_batch_size": "100"}),  # the last host never has a row
    ],
)
def test_the_model_and_every_metric_are_those_of_one_host(hosts, tmp_path, size, changes):
    changes = {"mini_batch_size": "50"} | RATES | changes
    data = {
        channel: records(n, seed=seed, dense=True)
        for seed, (channel, n) in enumerate({"train": 190, "test": 130, "validation": 70}.items())
    }
    job = on_devices(hosts(size, **changes), "cpu", "cpu,cpu")
    put(job, data)
    finished = job.run()
    assert_only_the_first_wrote(finished)
    for host, devices in zip(finished, ["cpu", "cpu, cpu", "cpu"], strict=False):
        assert f"Dense batches train on {devices} by PyTorch 2." in host.log
        assert "Number of GPUs being used: 0" in host.log  # a processor is none
    m = int(changes.pop("mini_batch_size"))
    data = {channel: [content] for channel, content in data.items()}
    alone, expected = one_host(tmp_path / "one", data, size * m, **changes)
    assert_same_model(load_model(job.jobs[0].root / "model"), expected)
    assert_same_metrics(finished, alone, "epoch=0, train", "epoch=2, validation", "train", "test")


def test_half_the_bytes_give_nearly_the_same_model(hosts, tmp_path):
    job = on_devices(hosts(2, mini_batch_size="50", _wire_dtype="bfloat16", **RATES), "cpu")
    put(job, {"train": records(190, dense=True)})
    finished = job.run()
    assert_only_the_first_wrote(finished)
    _, expected = one_host(tmp_path / "one", {"train": [records(190, dense=True)]}, 100, **RATES)
    lost = np.abs(load_model(job.jobs[0].root / "model").V - expected.V).max()
    assert 1e-5 < lost < 0.01


def test_killed_hosts_go_on_to_the_same_bytes(hosts):
    changes = {"epochs": "30", "checkpoint_interval_s": "0", "mini_batch_size": "20"} | RATES
    whole = on_devices(hosts(2, **changes), "cpu")
    put(whole, {"train": records(300, dense=True)})
    assert_only_the_first_wrote(expected := whole.run())
    job = on_devices(hosts(2, **changes), "cpu")
    put(job, {"train": records(300, dense=True)})
    with_checkpoints(job)
    killed(job, "epoch=9, train")
    finished = job.run()
    assert_only_the_first_wrote(finished)
    for host in finished:
        assert "Resuming from checkpoint" in host.log
        assert "Dense batches train on cpu" in host.log
    assert finished[0].model == expected[0].model


@pytest.mark.parametrize(("before", "after", "devices"), [(1, 2, "cpu"), (2, 1, "cpu"), (2, 3, "")])
def test_another_number_of_hosts_goes_on_also_without_devices(hosts, tmp_path, before, after, devices):
    changes = {"rescale_grad": "0.02", "epochs": "1"} | RATES
    data = {"train": records(240, dense=True)}
    folder = tmp_path / "checkpoints"
    first = on_devices(hosts(before, mini_batch_size=str(60 // before), **changes), "cpu")
    second = on_devices(hosts(after, mini_batch_size=str(60 // after), **(changes | {"epochs": "2"})), devices)
    for job in (first, second):
        put(job, data)
        with_checkpoints(job, folder)
        assert_only_the_first_wrote(finished := job.run())
    assert "Resuming from the checkpoint" in finished[0].log
    expected = one_host(tmp_path / "one", {"train": [data["train"]]}, 60, **(changes | {"epochs": "2"}))[1]
    assert_same_model(load_model(second.jobs[0].root / "model"), expected)


def test_a_host_without_a_device_takes_all_to_their_cpus(hosts, tmp_path):
    job = on_devices(hosts(2, **RATES), "cpu", "")
    put(job, {"train": records(230, dense=True)})
    finished = job.run()
    assert_only_the_first_wrote(finished)
    assert "Not every host has a usable GPU (hosts without one, counted from 0: 1)" in finished[0].log
    expected = one_host(tmp_path / "one", {"train": [records(230, dense=True)]}, 100, **RATES)[1]
    assert_same_model(load_model(job.jobs[0].root / "model"), expected)


def test_all_hosts_say_that_it_diverges(hosts):
    job = on_devices(hosts(2, factors_lr="1e30", epochs="30", mini_batch_size="20"), "cpu")
    put(job, {"train": records(210, dense=True)})
    finished = job.run()
    assert [host.code for host in finished] == [1, 1]
    for host in finished:
        assert re.match(r"ClientError: epoch \d+, batch \d+: scores are no longer finite at update", host.failure)
        assert host.model == {}


def test_sparse_data_asks_for_no_device(hosts):
    job = on_devices(hosts(2, **RATES), "cpu")
    put(job, {"train": records(100)})
    finished = job.run()
    assert_only_the_first_wrote(finished)
    assert "Dense batches" not in finished[0].log


SIZE, M, D = 3, 20, 7
LENGTHS = (1, 4, 1001, 200_003)  # the last one goes both ways at once
NAMES = [f"127.0.0.{rank + 1}" for rank in range(SIZE)]
HP = Hyperparameters(
    feature_dim=D, num_factors=4, predictor_type="binary_classifier", mini_batch_size=M,
    factors_lr=0.1, linear_lr=0.1, bias_lr=0.1, eps=1e-3,
)  # fmt: skip


def steps():
    """Two steps' rows of each member; in the second one the last has none."""
    random = np.random.default_rng(0)
    return [
        [Batch.from_dense(random.normal(size=(n, D)), random.random(n).round()) if n else None for n in counts]
        for counts in ([M, M, M], [M, 5, 0])
    ]


def start():
    return Model("binary_classifier", 0.5, np.ones(D - 1, np.float32), np.full((D - 1, 4), 0.2, np.float32))


def parts(n):
    """A member's numbers each. Of large ones that cancel, the order of the sum decides what is left."""
    random = np.random.default_rng(0)
    return [random.normal(scale=scale, size=n).astype(np.float32) for scale in (1e8, 1, 1e8)]


def member(rank, port):
    """What one member has summed up, sent and learned; in a process of its own."""
    from fm_core.cluster.collectives import all_reduce
    from fm_core.cluster.presence import Presence
    from fm_core.cluster.process_group import ProcessGroup
    from fm_core.cluster.replicated import Replicas
    from fm_core.solvers.minibatch_torch import DenseDevice

    presence = Presence(NAMES, rank, port=port, facts={})
    assert presence.meet()
    members = presence.begin(lambda: ProcessGroup(presence))
    sums = {}
    for n in LENGTHS:
        before, mine = members.rows.n_bytes, parts(n)[rank]
        all_reduce(mine, members)
        sums[n] = mine, members.rows.n_bytes - before
    replicas = Replicas(lambda reduce: DenseDevice(["cpu"], reduce), members)
    assert replicas.are_used(True if rank < 2 else None)
    solver, found = replicas.solver(HP, 1, start(), None), []
    for batches in steps():
        solver.step(replicas.step(batches[rank], D, False))
        whole = solver.whole.parameters
        found.append((whole.params.copy(), whole.state.copy(), whole.bias.copy()))
        np.testing.assert_array_equal(solver.arrays()["params"], whole.params[rank::SIZE])
    members.leave()
    return sums, found


def test_every_member_has_the_same_bytes_after_each_step():
    """From a model to start from; a member without rows too; sums are made in the members' order."""
    pytest.importorskip("torch")
    port = free_port()
    with ProcessPoolExecutor(SIZE, get_context("spawn")) as pool:
        members = list(pool.map(member, range(SIZE), [port] * SIZE))
    for n in LENGTHS:
        first, second, third = parts(n)
        for sums, _ in members:
            assert sums[n][0].tobytes() == ((first + second) + third).tobytes()
        assert sum(sums[n][1] for sums, _ in members) == 2 * 4 * n * (SIZE - 1)
    for _, found in members[1:]:
        for arrays, others in zip(found, members[0][1], strict=True):
            assert [a.tobytes() for a in arrays] == [b.tobytes() for b in others]
    alone = MiniBatchSolver(dataclasses.replace(HP, mini_batch_size=SIZE * M), 1, start())
    for batches in steps():
        here = [batch for batch in batches if batch]
        joined = [np.concatenate([getattr(batch, name) for batch in here]) for name in ("values", "labels")]
        alone.step(Batch.from_dense(*joined))
    params, state, bias = members[0][1][-1]
    np.testing.assert_allclose(params, alone.parameters.params, atol=1e-5)
    np.testing.assert_allclose(state, alone.parameters.state, atol=1e-5)
    np.testing.assert_allclose(bias, alone.parameters.bias, atol=1e-5)
