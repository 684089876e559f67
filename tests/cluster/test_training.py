"""What several hosts learn is what one host learns with all their mini batches in one."""

import io
import re

import numpy as np
import pytest
import scipy.sparse

from fm_core.artifact.model_file import load_model
from fm_core.formats import write_records
from tests.contract.training import FEATURE_DIM, Job, records


def one_host(root, data, mini_batch_size, **hyperparameters):
    """What a single host makes of the same data; `data` is by channel, in order."""
    job = Job(root)
    job.hyperparameters |= {"num_threads": "1", "mini_batch_size": str(mini_batch_size)} | hyperparameters
    for channel, files in data.items():
        for i, content in enumerate(files):
            job.put(f"part{i}", content, channel)
    finished = job.run_here()
    assert finished.code == 0, finished.failure
    return finished, load_model(root / "model")


def assert_same_model(found, expected):
    assert found.feature_dim == expected.feature_dim
    np.testing.assert_allclose(found.V, expected.V, atol=1e-5)
    np.testing.assert_allclose(found.w, expected.w, atol=1e-5)
    assert found.w0 == pytest.approx(expected.w0, abs=1e-5)


def metrics_of(finished, where):
    """The quality metrics of a log, as {line without its host: value}."""
    found = re.findall(rf"#quality_metric: host=\S+, ({where} \S+ <\S+>)=(\S+)", finished.log)
    assert found
    return {name: float(value) for name, value in found}


def assert_same_metrics(finished, expected, *passes):
    for where in passes:
        theirs = metrics_of(expected, where)
        for host in finished:
            assert metrics_of(host, where) == pytest.approx(theirs, abs=1e-5)


def assert_only_the_first_wrote(finished):
    assert [host.code for host in finished] == [0] * len(finished), [host.failure for host in finished]
    assert [list(host.model) for host in finished] == [["model_127.0.0.1"]] + [[]] * (len(finished) - 1)


@pytest.mark.parametrize(
    ("size", "changes"),
    [
        (2, {}),
        (3, {"_optimizer": "ftrl", "factors_lr": "0.05", "linear_lr": "0.05", "lazy_update": "false"}),
        (4, {"_optimizer": "adagrad", "shuffle": "true", "shuffle_buffer_size": "90", "mini_batch_size": "7"}),
        (2, {"_optimizer": "sgd", "use_linear": "false", "clip_gradient": "0.01", "use_bias": "false"}),
        (3, {"num_factors": "20", "mini_batch_size": "100"}),  # the last host never has a row
    ],
)
def test_the_model_and_every_metric_are_those_of_one_host(hosts, tmp_path, size, changes):
    job = hosts(size, factors_lr="0.01", linear_lr="0.01", **{k: v for k, v in changes.items() if "_lr" not in k})
    for host in job.jobs:
        host.hyperparameters |= changes
    data = {"train": [records(120), records(110, seed=1)], "test": [records(130, seed=2)]}
    for channel, files in data.items():
        for i, content in enumerate(files):
            job.put(f"part{i}", content, channel)
    finished = job.run()
    assert_only_the_first_wrote(finished)
    changed = {"factors_lr": "0.01", "linear_lr": "0.01"} | changes
    m = int(changed.pop("mini_batch_size", 50))
    alone, expected = one_host(tmp_path / "one", data, size * m, **changed)
    assert_same_model(load_model(job.jobs[0].root / "model"), expected)
    assert_same_metrics(finished, alone, "epoch=0, train", "epoch=2, train", "train", "test")


def test_the_model_is_the_same_to_the_byte_from_run_to_run(hosts):
    models = []
    for _ in range(2):
        job = hosts(3, factors_lr="0.01", num_threads="2")
        job.put("part", records(500))
        finished = job.run()
        assert_only_the_first_wrote(finished)
        models.append(finished[0].model)
    assert models[0] == models[1]


def test_half_the_bytes_give_nearly_the_same_model_and_the_same_bytes_in_each_run(hosts, tmp_path):
    found = []
    for dtype in ("bfloat16", "bfloat16", "float32"):
        job = hosts(3, factors_lr="0.01", _wire_dtype=dtype, num_factors="20")
        job.put("part", records(500))
        finished = job.run()
        assert_only_the_first_wrote(finished)
        found.append((finished[0].model, load_model(job.jobs[0].root / "model")))
    (first, model), (again, _), (exact, expected) = found
    assert first == again != exact
    np.testing.assert_allclose(model.w, expected.w, atol=0.01)
    np.testing.assert_allclose(model.V, expected.V, atol=0.02)


def test_dense_rows(hosts, tmp_path):
    job = hosts(2, factors_lr="0.01")
    data = {"train": [records(230, dense=True)], "test": [records(70, dense=True)]}
    job.put("part", data["train"][0])
    job.put("part", data["test"][0], "test")
    finished = job.run()
    assert_only_the_first_wrote(finished)
    alone, expected = one_host(tmp_path / "one", data, 100, factors_lr="0.01")
    assert_same_model(load_model(job.jobs[0].root / "model"), expected)
    assert_same_metrics(finished, alone, "train", "test")
    assert "Building a fully symbolic network" in finished[1].log


def matrix(n_rows, seed):
    random = np.random.default_rng(seed)
    rows = scipy.sparse.random(n_rows, FEATURE_DIM, 0.1, "csr", np.float32, random_state=random)
    return rows, (random.random(n_rows) < 0.5).astype(np.float32)


def framed(rows, labels):
    file = io.BytesIO()
    write_records(file, rows, labels)
    return file.getvalue()


def interleaved(parts, m):
    """The rows of all hosts in the order in which they are learned from: a mini batch of each in turn."""
    pieces = []
    for start in range(0, max(rows.shape[0] for rows, _ in parts), m):
        pieces += [(rows[start : start + m], labels[start : start + m]) for rows, labels in parts]
    return [piece for piece in pieces if piece[0].shape[0]]


def test_shards_of_unequal_size_and_an_empty_one(hosts, tmp_path):
    m, parts = 40, [matrix(200, 0), matrix(80, 1), matrix(0, 2)]
    job = hosts(3, mini_batch_size=str(m), epochs="1", factors_lr="0.01")
    job.configure("train", S3DistributionType="ShardedByS3Key")
    job.configure("test", S3DistributionType="ShardedByS3Key")
    for host, (rows, labels) in zip(job.jobs, parts, strict=True):
        for channel in ("train", "test"):
            if rows.shape[0]:
                host.put("shard", framed(rows, labels), channel)
            else:
                (host.root / "input/data" / channel).mkdir()
    finished = job.run()
    assert_only_the_first_wrote(finished)
    # Steps of one host: as many rows as come together, so that its last batches are the smaller steps.
    steps = interleaved(parts, m)
    assert [rows.shape[0] for rows, _ in steps] == [40, 40, 40, 40, 40, 40, 40]
    expected = stepwise(job.jobs[0], [steps[0:2], steps[2:4], steps[4:5], steps[5:6], steps[6:7]], 3 * m)
    assert_same_model(load_model(job.jobs[0].root / "model"), expected)
    assert "This host's shard of channel train is empty." in finished[2].log
    everybody = metrics_of(finished[0], "test")
    for host in finished[1:]:
        assert metrics_of(host, "test") == everybody


def stepwise(job, steps, mini_batch_size):
    """Train here, one step from each list of pieces, and give the model."""
    from container.training.hyperparameters import parse
    from fm_core.batch import Batch
    from fm_core.solvers.minibatch import MiniBatchSolver

    solver = MiniBatchSolver(parse(job.hyperparameters | {"mini_batch_size": str(mini_batch_size)}))
    for pieces in steps:
        rows = scipy.sparse.vstack([rows for rows, _ in pieces]).tocsr()
        solver.step(Batch.from_csr(rows, np.concatenate([labels for _, labels in pieces])))
    return solver.model


def test_one_host_brings_no_pytorch_along(tmp_path):
    pytest.importorskip("torch")
    job = Job(tmp_path / "one")
    job.put("part", records())
    look = (
        "import sys; from container.train import main; main(); "
        "print('loaded:', {'torch', 'fm_core.cluster.process_group'} & set(sys.modules))"
    )
    finished = job.run("-c", look)
    assert finished.succeeded, finished.log
    assert "loaded: set()" in finished.log
