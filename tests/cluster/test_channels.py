"""Channels of several hosts in Pipe mode, and what else a job may bring: validation, a model to start from."""

import os
import threading

import numpy as np

from fm_core.artifact.model_file import load_model
from tests.cluster.test_training import (
    assert_only_the_first_wrote,
    assert_same_metrics,
    assert_same_model,
    one_host,
)
from tests.contract.training import Job, records


def feed(job, channel, data, n_passes):
    """Be SageMaker's side of a channel in Pipe mode: a FIFO for each pass, in a thread."""
    folder = job.root / "input/data"
    fifos = [folder / f"{channel}_{n}" for n in range(n_passes)]
    os.mkfifo(fifos[0])

    def write():
        for n, fifo in enumerate(fifos):
            if n:
                os.mkfifo(fifo)
            with fifo.open("wb") as file:
                file.write(data)

    threading.Thread(target=write, daemon=True).start()


def test_pipe_mode(hosts, tmp_path):
    job = hosts(2, factors_lr="0.01", epochs="2")
    train, test = records(330), records(90, seed=1)
    job.configure("train", TrainingInputMode="Pipe")
    job.configure("test", TrainingInputMode="Pipe")
    for one in job.jobs:
        feed(one, "train", train, 2)
        feed(one, "test", test, 1)
    finished = job.run()
    assert_only_the_first_wrote(finished)
    data = {"train": [train], "test": [test]}
    alone, expected = one_host(tmp_path / "one", data, 100, factors_lr="0.01", epochs="2")
    assert_same_model(load_model(job.jobs[0].root / "model"), expected)
    assert_same_metrics(finished, alone, "train", "test")


def test_pipe_mode_with_a_shard_that_is_empty(hosts, tmp_path):
    job = hosts(2, factors_lr="0.01", epochs="2", mini_batch_size="40", rescale_grad="0.025")
    job.configure("train", TrainingInputMode="Pipe", S3DistributionType="ShardedByS3Key")
    feed(job.jobs[0], "train", records(330), 2)
    feed(job.jobs[1], "train", b"", 2)
    finished = job.run()
    assert_only_the_first_wrote(finished)
    _, expected = one_host(
        tmp_path / "one", {"train": [records(330)]}, 40, factors_lr="0.01", epochs="2", rescale_grad="0.025"
    )
    assert_same_model(load_model(job.jobs[0].root / "model"), expected)


def test_a_channel_that_is_empty_everywhere_is_refused(hosts):
    job = hosts(2)
    job.configure("train", S3DistributionType="ShardedByS3Key")
    for one in job.jobs:
        (one.root / "input/data/train").mkdir()
    for host in job.run():
        assert host.code == 1
        assert "the training data has no records on any host" in host.failure


def test_validation_and_early_stopping(hosts, tmp_path):
    changes = {"factors_lr": "0.05", "linear_lr": "0.05", "epochs": "30", "early_stopping_patience": "2"}
    data = {"train": [records(230)], "validation": [records(150, seed=1)]}
    job = hosts(3, mini_batch_size="20", **changes)
    for channel, [content] in data.items():
        job.put("part", content, channel)
    finished = job.run()
    assert_only_the_first_wrote(finished)
    alone, expected = one_host(tmp_path / "one", data, 60, **changes)
    assert_same_model(load_model(job.jobs[0].root / "model"), expected)
    assert_same_metrics(finished, alone, "epoch=0, validation", "epoch=1, validation")
    epochs = [log.count("#progress_metric") for log in (alone.log, *(host.log for host in finished))]
    assert len(set(epochs)) == 1
    assert epochs[0] < 30


def test_training_starts_from_a_model(hosts, tmp_path):
    data = {"train": [records(230)]}
    _, first = one_host(tmp_path / "first", data, 50, factors_lr="0.01")
    job = hosts(2, factors_lr="0.01")
    job.put("part", data["train"][0])
    job.put("model_algo-1", (tmp_path / "first/model/model_algo-1").read_bytes(), "model")
    finished = job.run()
    assert_only_the_first_wrote(finished)
    both = {"train": data["train"], "model": [(tmp_path / "first/model/model_algo-1").read_bytes()]}
    alone = Job(tmp_path / "alone")
    alone.hyperparameters |= {"mini_batch_size": "100", "factors_lr": "0.01"}
    alone.put("part", both["train"][0])
    alone.put("model_algo-1", both["model"][0], "model")
    assert alone.run_here().code == 0
    found = load_model(job.jobs[0].root / "model")
    assert_same_model(found, load_model(alone.root / "model"))
    assert np.abs(found.V - first.V).max() > 1e-3


def test_a_missing_channel_on_one_host_is_told_by_all(hosts):
    job = hosts(2)
    job.jobs[0].put("part", records())
    first, second = job.run()
    assert (first.code, second.code) == (1, 1)
    assert "there is no folder" in second.failure
    assert "host 127.0.0.2 failed: ClientError:" in first.failure


def test_columns_in_another_order_on_another_host_are_refused_on_all(hosts):
    """Each host has files of its own, and the first of them decides which column is which feature."""
    found = {}
    for second in ("day=3/hour=7", "hour=7/day=3"):
        job = hosts(2, feature_dim="2", epochs="1")
        job.configure("train", S3DistributionType="ShardedByS3Key", ContentType="text/csv")
        for one, place in zip(job.jobs, ("day=3/hour=7", second), strict=True):
            one.put(f"{place}/part", "".join(f"{i % 2}\n" for i in range(60)).encode())
        found[second] = job.run()
    assert [host.code for host in found["day=3/hour=7"]] == [0, 0]
    for host in found["hour=7/day=3"]:
        assert host.code == 1
        assert (
            "ClientError: the columns of the training data are not the same, in the same order, on hosts"
            in host.failure
        )
