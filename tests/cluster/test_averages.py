"""_kvstore dist_async: steps of each host, and averages of what they touched."""

import signal

import numpy as np
import pytest
import scipy.sparse

from fm_core.artifact.model_file import load_model
from tests.cluster.test_training import assert_only_the_first_wrote, framed, metrics_of, one_host
from tests.contract.training import FEATURE_DIM, read_until, records


def noisy(n_rows):
    """Rows whose labels are drawn with planted odds: there is something to learn, and an end to it."""
    random = np.random.default_rng(0)
    rows = scipy.sparse.random(n_rows, FEATURE_DIM, 0.1, "csr", np.float32, random_state=random)
    odds = np.asarray(rows @ random.normal(size=FEATURE_DIM, scale=2)).ravel()
    return rows, (random.random(n_rows) < 1 / (1 + np.exp(-odds))).astype(np.float32)


def test_it_learns_as_well_as_one_host(hosts, tmp_path):
    changes = {"linear_lr": "0.02", "epochs": "15"}
    rows, labels = noisy(9000)
    data = {"train": [framed(rows[:6000], labels[:6000])], "test": [framed(rows[6000:], labels[6000:])]}
    job = hosts(3, _kvstore="dist_async", _sync_interval="10", **changes)
    for channel, [content] in data.items():
        job.put("part", content, channel)
    finished = job.run()
    assert_only_the_first_wrote(finished)
    assert "Create Store: dist_async" in finished[2].log
    alone, expected = one_host(tmp_path / "one", data, 50, **changes)
    name = "test binary_classification_cross_entropy <loss>"
    learned, theirs = (metrics_of(each, "test")[name] for each in (finished[0], alone))
    assert learned == pytest.approx(theirs, rel=0.01)
    assert theirs < 0.6  # of .69 in the beginning
    for host in finished[1:]:
        assert metrics_of(host, "test") == metrics_of(finished[0], "test")
        assert metrics_of(host, "epoch=14, train") == metrics_of(finished[0], "epoch=14, train")
    assert load_model(job.jobs[0].root / "model").feature_dim == expected.feature_dim


def test_shards_of_unequal_size_give_the_same_bytes_from_run_to_run(hosts):
    models = []
    for _ in range(2):
        job = hosts(3, _kvstore="dist_async", _sync_interval="3", factors_lr="0.01")
        job.configure("train", S3DistributionType="ShardedByS3Key")
        for rank, one in enumerate(job.jobs[:2]):
            one.put("part", records(1000 + 700 * rank, seed=rank))
        (job.jobs[2].root / "input/data/train").mkdir()
        finished = job.run()
        assert_only_the_first_wrote(finished)
        assert "#quality_metric: host=127.0.0.3, epoch=2, train" in finished[2].log
        models.append(finished[0].model)
    assert models[0] == models[1]


def test_dense_rows(hosts, tmp_path):
    data = {"train": [records(3000, dense=True)], "test": [records(3000, dense=True)]}
    changes = {"factors_lr": "0.005", "linear_lr": "0.005", "epochs": "6"}
    job = hosts(2, _kvstore="dist_async", _sync_interval="5", **changes)
    for channel, [content] in data.items():
        job.put("part", content, channel)
    finished = job.run()
    assert_only_the_first_wrote(finished)
    alone, _ = one_host(tmp_path / "one", data, 100, **changes)
    name = "test binary_classification_accuracy <score>"
    assert metrics_of(finished[0], "test")[name] == pytest.approx(metrics_of(alone, "test")[name], abs=0.03)


def test_sigterm_stops_all_with_one_model(hosts):
    job = hosts(2, _kvstore="dist_async", epochs="1000000")
    job.put("part", records(2000))
    with job.started() as processes:
        for process in processes:
            read_until(process, "epoch=1, train")
        processes[1].send_signal(signal.SIGTERM)
        finished = job.ended(processes)
    assert_only_the_first_wrote(finished)
