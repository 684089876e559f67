"""Solver `bayes` as a job: `train` as a process, in every mode, stopped, killed, resumed, and told no."""

import io
import json
import re
import signal
import zipfile

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from fm_core.artifact.model_file import load_model, read_meta
from fm_core.batch import Batch
from tests.contract.serving import serving
from tests.contract.test_pipe import fed, pipe_job
from tests.contract.training import FEATURE_DIM, Job, read_until, records, stop

DATA = records(400, real_labels=True)
HELD_OUT = records(100, seed=1, real_labels=True)

#: A sweep of so little data takes a millisecond: `{}` seconds more, so that a signal comes in one.
SLOWED = (
    "import sys, time; from fm_core.solvers.bayes.sampler import Sampler; from container.train import main\n"
    "sweep = Sampler.sweep\n"
    "Sampler.sweep = lambda *a, **b: (sweep(*a, **b), time.sleep({}))[0]\n"
    "sys.exit(main([]))"
)


def bayes_job(root, pipe=False, **hyperparameters):
    job = pipe_job(root) if pipe else Job(root)
    if not pipe:
        job.put("0.pbr", DATA)
    job.hyperparameters |= {"predictor_type": "regressor", "solver": "bayes", "epochs": "12", "num_factors": "4"}
    job.hyperparameters |= hyperparameters
    return job


@pytest.fixture
def job(tmp_path):
    return bayes_job(tmp_path / "job")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The job that nothing happens to."""
    done = bayes_job(tmp_path_factory.mktemp("whole") / "job").run()
    assert done.succeeded, done.log
    return done


def params(done):
    """The parameters of an artifact, without its hyperparameters."""
    return zipfile.ZipFile(io.BytesIO(done.model["model_algo-1"])).read("params")


def curve(log, what="train", name="rmse"):
    found = re.findall(rf"#quality_metric: host=algo-1, epoch=(\d+), {what} {name} <loss>=(\S+)", log)
    return [float(value) for _, value in found]


def test_a_sweep_is_an_epoch_with_metrics_of_the_mean_so_far(expected):
    found = curve(expected.log)
    assert len(found) == 12
    assert found[-1] < 0.8 * found[0]
    assert "completed 100.0 % of epochs" in expected.log
    assert re.search(r"host=algo-1, train rmse <loss>=" + re.escape(str(found[-1])), expected.log)


def test_without_epochs_there_are_as_many_sweeps_as_the_data_needs(job):
    del job.hyperparameters["epochs"]
    done = job.run()
    assert done.succeeded, done.log
    assert 20 < len(curve(done.log)) <= 700
    assert "completed 100.0 % of epochs" in done.log
    assert "epochs" not in read_meta(job.root / "model/model_algo-1")["training_parameters"]


@pytest.mark.parametrize("kind", ["regressor", "binary_classifier"])
def test_validation_and_test_channels_are_scored_and_early_stopping_keeps_the_best_sweep(tmp_path, kind):
    is_regressor = kind == "regressor"
    job = bayes_job(tmp_path / "job", predictor_type=kind, epochs="60", early_stopping_patience="5")
    for channel, seed in (("train", 0), ("validation", 1), ("test", 1)):
        job.put("0.pbr", records(200, seed, real_labels=is_regressor), channel)
    done = job.run()
    assert done.succeeded, done.log
    name = "mse" if is_regressor else "binary_classification_cross_entropy"
    found = curve(done.log, "validation", name)
    assert len(found) > 5
    assert len(found) < 60 or min(found[-5:]) == min(found)
    tested = float(re.search(rf"#quality_metric: host=algo-1, test {name} <loss>=(\S+)", done.log)[1])
    assert tested == pytest.approx(min(found), rel=1e-5)  # the test channel has the same rows


@pytest.mark.parametrize("mode", ["File", "FastFile"])
@pytest.mark.parametrize("n_threads", ["1", "3"])
def test_modes_and_threads_do_not_change_a_byte(tmp_path, expected, mode, n_threads):
    job = bayes_job(tmp_path / "job", num_threads=n_threads)
    job.channels["train"]["TrainingInputMode"] = mode
    assert job.run_here().model == expected.model


def test_a_pipe_is_read_once(tmp_path, expected):
    file = tmp_path / "0.pbr"
    file.write_bytes(DATA)
    job = bayes_job(tmp_path / "job", pipe=True)
    with fed(job, "train", file, epochs=1) as feeder:
        done = job.run()  # would wait for a second pass
        assert feeder.wait(10) == 0
    assert done.succeeded, done.log
    assert done.model == expected.model


def test_the_range_of_labels_is_kept_by_checkpoints_early_stopping_and_the_endpoint(tmp_path):
    """Stopped before the first sweep of a second job, whose model is that of the checkpoint."""
    job = bayes_job(tmp_path / "job", early_stopping_patience="12")
    job.put("0.pbr", HELD_OUT, "validation")
    (job.root / "checkpoints").mkdir()
    assert job.run_here().succeeded
    model = load_model(job.root / "model/model_algo-1")
    assert model.score_range is not None
    again = job.run_here()  # nothing is left to do: it is the checkpoint's
    assert "epoch=" not in again.log
    assert load_model(job.root / "model/model_algo-1").score_range == model.score_range
    assert read_meta(job.root / "model/model_algo-1")["score_range"] == list(model.score_range)
    root = tmp_path / "opt"
    (root / "model").mkdir(parents=True)
    (root / "model/model_algo-1").write_bytes(again.model["model_algo-1"])
    far = csr_matrix(1e6 * np.eye(FEATURE_DIM, dtype=np.float32)[:6])
    scores = model.predict(Batch.from_csr(far))
    assert set(scores) <= set(np.float32(model.score_range))
    rows = [{"keys": [i], "values": [1e6]} for i in range(6)]
    with serving(root, tmp_path) as server:
        _, _, answer = server.invoke(json.dumps({"instances": rows}))
        _, _, of_csv = server.invoke(
            "\n".join(",".join(map(str, row)) for row in far.toarray().tolist()), "text/csv", "text/csv"
        )
    np.testing.assert_array_equal([np.float32(item["score"]) for item in json.loads(answer)["predictions"]], scores)
    np.testing.assert_array_equal(np.float32(of_csv.decode().replace(",", "\n").split()), scores)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_job_whose_model_was_shrunk_goes_on_to_the_same_bytes(tmp_path, number):
    def shrunk_job(name):
        job = bayes_job(tmp_path / name, predictor_type="binary_classifier", checkpoint_interval_s="0")
        job.put("0.pbr", records(120, by_chance=True))
        (job.root / "checkpoints").mkdir()
        return job

    whole = shrunk_job("whole").run_here()
    assert re.search(r"Chains that left rows out were too sure of these: \S+ of what", whole.log), whole.log
    job = shrunk_job("job")
    with job.started("-c", SLOWED.format(0.02)) as process:
        said = read_until(process, "epoch=5, train")
        process.send_signal(number)
        process.communicate(timeout=30)
    assert "Chains that left rows out" in said
    again = job.run_here()
    assert number == signal.SIGKILL or "Resuming from checkpoint" in again.log
    assert again.model == whole.model
    assert job.run_here().model == whole.model  # nothing is left to do: the spread is that of the checkpoint
    assert (
        curve(again.log, name="binary_classification_cross_entropy")[-1:]
        == curve(whole.log, name="binary_classification_cross_entropy")[-1:]
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("after", ["epoch=0, train", "epoch=9, train"])
def test_a_job_that_was_interrupted_goes_on_to_the_same_bytes(job, expected, number, after):
    job.hyperparameters["checkpoint_interval_s"] = "0"
    (job.root / "checkpoints").mkdir()
    with job.started("-c", SLOWED.format(0.02)) as process:
        said = read_until(process, after)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=30)
    first = job.finished(process.returncode, said + rest)
    if number == signal.SIGTERM:
        assert first.succeeded, first.log
        assert "of 12 epochs are done" in first.log
        assert np.isfinite(load_model(job.root / "model/model_algo-1").V).all()
    again = job.run()
    assert again.succeeded, again.log
    assert number == signal.SIGKILL or "Resuming from checkpoint" in again.log
    assert again.model == expected.model
    assert curve(again.log)[-1] == curve(expected.log)[-1]
    once_more = job.run()  # nothing is left to do
    assert once_more.model == expected.model
    assert "epoch=" not in once_more.log


def test_an_interrupted_pipe_is_read_again_and_goes_on_to_the_same_bytes(tmp_path, expected):
    file = tmp_path / "0.pbr"
    file.write_bytes(DATA)
    job = bayes_job(tmp_path / "job", pipe=True, checkpoint_interval_s="0")
    (job.root / "checkpoints").mkdir()
    with fed(job, "train", file, epochs=1), job.started("-c", SLOWED.format(0.02)) as process:
        read_until(process, "epoch=5, train")
        stop(process)
    for fifo in (job.root / "input/data").iterdir():
        fifo.unlink()
    with fed(job, "train", file, epochs=1):
        again = job.run()
    assert "Resuming from checkpoint" in again.log
    assert again.model == expected.model


@pytest.mark.parametrize("moment", ["load", "rows", "sweep", "make"])
def test_a_stop_at_any_moment_leaves_a_valid_model(job, moment):
    place = {
        "load": ("fm_core.solvers.bayes.algorithm", "Bayes.load"),
        "rows": ("fm_core.solvers.bayes.rows", "Collector.rows"),
        "sweep": ("fm_core.solvers.bayes.solver", "BayesSolver.sweep"),
        "make": ("fm_core.solvers.bayes.algorithm", "Bayes.make"),
    }[moment]
    kind, name = place[1].split(".")
    code = (
        f"import os, signal, sys; from {place[0]} import {kind}; from container.train import main\n"
        f"whole = {kind}.{name}\n"
        f"{kind}.{name} = lambda *a, **b: (os.kill(os.getpid(), signal.SIGTERM), whole(*a, **b))[1]\n"
        "sys.exit(main([]))"
    )
    done = job.run("-c", code)
    assert done.succeeded, done.log
    model = load_model(job.root / "model/model_algo-1")
    assert model.V.shape == (FEATURE_DIM, 4)
    assert np.isfinite(model.V).all()
    assert "of 12 epochs are done" in done.log or "before the first batch" in done.log


def test_training_starts_from_a_model_of_any_number_of_factors(tmp_path, job, expected):
    large = bayes_job(tmp_path / "large", num_factors="12").run()
    for i, artifact in enumerate((expected, large)):
        again = bayes_job(tmp_path / f"again{i}", epochs="1")
        again.put("model_algo-1", artifact.model["model_algo-1"], "model")
        again.channels["model"] = {"ContentType": "application/x-sagemaker-model"}
        done = again.run_here()
        assert done.succeeded, done.log
        assert curve(done.log)[0] < 0.7 * curve(expected.log)[0]


def test_a_model_of_another_kind_is_refused(tmp_path, expected):
    job = bayes_job(tmp_path / "again", predictor_type="binary_classifier")
    job.put("0.pbr", records(50))
    job.put("model_algo-1", expected.model["model_algo-1"], "model")
    job.channels["model"] = {"ContentType": "application/x-sagemaker-model"}
    assert "the model to start from is a regressor, expected a binary_classifier" in job.run_here().failure


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"_num_gpus": "2"},
            "solver bayes computes on the CPU, and _num_gpus is 2: set it to auto, or use solver minibatch",
        ),
        (
            {"use_linear": "false"},
            "use_linear is false, and solver bayes always learns that part: use solver minibatch",
        ),
        (
            {"feature_groups": "30,11"},
            "feature_groups names groups of 30 + 11 = 41 features, expected at most feature_dim=40",
        ),
        (
            {"feature_groups": "30,"},
            "feature_groups is '30,', expected auto, none, or how many features each group has, such as 943,1682",
        ),
        (
            {"feature_dim": str(2**31 - 1), "num_factors": "65536"},
            "MiB of memory with feature_dim=2147483647, num_factors=65536, solver=bayes, and",
        ),
        ({"solver": "gibbs"}, "hyperparameter solver is 'gibbs', expected one of minibatch, bayes, online"),
    ],
)
def test_what_cannot_be_is_refused_before_any_row_is_read(job, changes, sentence):
    job.hyperparameters |= changes
    done = job.run_here()
    assert done.code == 1
    assert sentence in done.failure
    assert done.failure.startswith("ClientError: ")
    assert done.failure.count("\n") == 0
    assert not done.model


def test_several_hosts_are_refused_in_one_sentence(job):
    job.resources |= {"hosts": ["algo-1", "algo-2"]}
    done = job.run_here()
    assert done.failure == (
        "ClientError: solver bayes trains on one host, but there are 2: use one host, or solver minibatch"
    )


def test_rows_that_do_not_fit_are_told_before_they_are_read(tmp_path):
    job = bayes_job(tmp_path / "job", mini_batch_size="100")
    job.put("0.pbr", b"".join(records(2000, seed) for seed in range(40)))
    code = (
        "import sys, container.training.memory as m; from container.train import main\n"
        "m.available_memory = lambda: m.OTHER_BYTES + (3 << 20)\n"
        "sys.exit(main([]))"
    )
    done = job.run("-c", code)
    assert re.search(
        r"^ClientError: solver bayes keeps all rows in memory, which takes 1\d\d MiB with feature_dim=40, .* were "
        r"read, about \d+ in all\), and 131 MiB are available: use solver minibatch, or an instance with more memory$",
        done.failure,
    )
    assert not done.model
    n_read = int(re.search(r"\((\d+) records", done.failure)[1])
    assert n_read < 60_000


def test_what_is_told_of_memory_bounds_what_is_taken(tmp_path):
    code = (
        "import resource, sys; from container.train import main\n"
        "import fm_core.solvers.bayes.solver, fm_core.training.memory as m\n"
        "told = m.rows_needed\n"
        "m.rows_needed = None\n"
        "import container.training.memory as c\n"
        "c.rows_needed = lambda *a: (print('TOLD', told(*a)), told(*a))[1]\n"
        "main([]); print('PEAK', 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks, told = [], []
    for n in (1, 30):
        job = bayes_job(tmp_path / f"job{n}", epochs="2")
        job.put("0.pbr", b"".join(records(4000, seed) for seed in range(n)))
        log = job.run("-c", code).log
        peaks.append(int(re.search(r"PEAK (\d+)", log)[1]))
        told.append(int(re.findall(r"TOLD (\d+)", log)[-1]))
    grown = peaks[1] - peaks[0]
    assert grown < 1.1 * (told[1] - told[0]) + (8 << 20)


def test_rates_are_said_to_be_without_effect(job, expected):
    job.hyperparameters |= {"linear_lr": "0.5", "_optimizer": "sgd"}
    done = job.run_here()
    assert "Hyperparameter linear_lr is '0.5'; with solver bayes it has no effect" in done.log
    assert "Hyperparameter _optimizer is 'sgd'; with solver bayes it has no effect" in done.log
    assert params(done) == params(expected)


def test_groups_are_the_columns_of_the_channels_schema(tmp_path, expected):
    from fm_core.formats.tables.schema import Column, TableSchema

    columns = (Column("a", "categorical", tuple(f"a{i}" for i in range(10))), Column("b", "numeric"),
               Column("c", "numeric"), Column("d", "hashed", buckets=28))  # fmt: skip
    job, other = bayes_job(tmp_path / "job"), bayes_job(tmp_path / "other", feature_groups="10,2,28")
    TableSchema(columns).save(job.root / "input/data/train/schema.json")
    done = job.run_here()
    assert "Features are grouped by the columns of the channel's schema.json." in done.log
    assert params(done) == params(other.run_here())
    assert params(done) != params(expected)


def test_the_spread_lies_beside_the_model_and_an_endpoint_tells_it(tmp_path, expected):
    root = tmp_path / "opt"
    (root / "model").mkdir(parents=True)
    for name, content in expected.model.items():
        (root / "model" / name).write_bytes(content)
    assert sorted(expected.model) == ["model_algo-1", "spread.npz"]
    assert "spread.npz was written next to the model" in expected.log
    model = load_model(root / "model")
    rows = [{"keys": [i, i + 1], "values": [1, 0.5]} for i in range(6)]
    matrix = np.zeros((6, FEATURE_DIM), np.float32)
    for i in range(6):
        matrix[i, [i, i + 1]] = 1, 0.5
    scores, std = model.predict(Batch.from_csr(csr_matrix(matrix)), return_std=True)
    with serving(root, tmp_path) as server:
        body = json.dumps({"instances": rows, "configuration": {"spread": True}})
        _, _, answer = server.invoke(body)
        found = json.loads(answer)["predictions"]
        lines = "\n".join(json.dumps(row | {"configuration": {"spread": True}}) for row in rows)
        _, _, of_lines = server.invoke(lines, "application/jsonlines", "application/jsonlines")
    np.testing.assert_array_equal(np.float32([item["score"] for item in found]), scores)
    np.testing.assert_array_equal(np.float32([item["std"] for item in found]), std)
    assert [json.loads(line) for line in of_lines.splitlines()] == found
