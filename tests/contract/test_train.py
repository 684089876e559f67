"""`train` as a process: what SageMaker and its user see of it."""

import gzip
import io
import json
import os
import re
import struct
import zipfile

import hypothesis
import numpy as np
import pytest
import scipy.sparse
from hypothesis import strategies as st

from fm_core.artifact.model_file import load_model
from fm_core.formats import write_records
from fm_core.hyperparameters import parameters
from tests.container.bad_values import bad_texts
from tests.contract.training import FEATURE_DIM, Job, read_until, records, stop
from tests.fm_core.formats.recordio import wire


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


@pytest.fixture
def good_job(job):
    job.put("part-0.pbr", records())
    return job


def framed(payload):
    return struct.pack("<II", 0xCED7230A, len(payload)) + payload + bytes(-len(payload) % 4)


# --- jobs that succeed ---------------------------------------------------------------------------


def test_a_job_leaves_one_model_and_no_failure(good_job):
    done = good_job.run()
    assert done.succeeded, done.log
    model = load_model(good_job.root / "model/model_algo-1")
    assert (model.feature_dim, model.num_factors, model.predictor_type) == (FEATURE_DIM, 3, "binary_classifier")
    assert done.lines[0] == "Docker entrypoint called with argument(s): train"
    assert "Test data is not provided." in done.lines[-2]


def test_the_final_configuration_is_in_the_model(good_job):
    good_job.hyperparameters |= {"linear_lr": "0.002", "sagemaker_program": "x.py"}
    assert good_job.run().succeeded
    with zipfile.ZipFile(good_job.root / "model/model_algo-1") as archive:
        written = json.loads(archive.read("meta.json"))["training_parameters"]
    assert (written["linear_lr"], written["bias_lr"], written["epochs"]) == ("0.002", "0.1", "3")


@pytest.mark.parametrize("command", [["-m", "container.train", "train"], ["-m", "container.entrypoint"],
                                     ["-m", "container.entrypoint", "train"]])  # fmt: skip
def test_no_argument_means_train(good_job, command):
    assert good_job.run(*command).succeeded


def test_an_unknown_verb_is_refused(good_job):
    done = good_job.run("-m", "container.entrypoint", "tarin")
    assert done.code == 2
    assert "unknown argument 'tarin', expected train or serve" in done.log


def test_help_lists_every_hyperparameter(job):
    done = job.run("-m", "container.train", "--help")
    assert done.code == 0
    assert [name for name in parameters() if not re.search(rf"^  {name}$", done.log, re.MULTILINE)] == []


def test_the_model_bears_the_hosts_name(good_job):
    good_job.resources = {"current_host": "algo-1-x7f2q", "hosts": ["algo-1-x7f2q"]}
    done = good_job.run()
    assert list(done.model) == ["model_algo-1-x7f2q"]
    assert "host=algo-1-x7f2q, train binary_f_1.000 <score>=" in done.log


def test_files_that_need_not_be_there_are_not_missed(good_job):
    good_job.resources = None
    assert good_job.run().succeeded


def test_the_test_channel_is_scored(good_job):
    good_job.put("part-0.pbr", records(seed=1), "test")
    done = good_job.run()
    assert done.succeeded
    assert len(re.findall(r"#test_score \(algo-1\) : \('\w", done.log)) == 5
    assert "Test data is not provided." not in done.log


def test_the_validation_channel_is_scored_after_each_epoch_and_stops_a_job_that_learns_no_more(good_job):
    good_job.put("part-0.pbr", records(seed=1), "validation")
    good_job.hyperparameters |= {
        "epochs": "60",
        "early_stopping_patience": "1",
        "factors_lr": "0.5",
        "linear_lr": "0.5",
    }
    done = good_job.run()
    assert done.succeeded
    name = "binary_classification_cross_entropy <loss>"
    scores = [float(x) for x in re.findall(rf"epoch=\d+, validation {name}=(\S+)", done.log)]
    kept = [float(x) for x in re.findall(rf"host=algo-1, validation {name}=(\S+)", done.log)]
    trained = re.findall(rf"epoch=\d+, train {name}=(\S+)", done.log)
    final = re.findall(rf"host=algo-1, train {name}=(\S+)", done.log)
    assert 2 <= len(scores) < 60
    assert kept == [min(scores)] == [scores[-2]]
    assert final == [trained[-1]]


def test_a_batch_larger_than_the_data_is_trained_as_one_and_said_so(good_job):
    good_job.hyperparameters["mini_batch_size"] = "1000"
    done = good_job.run()
    assert done.succeeded
    assert "mini_batch_size is 1000 and the train channel has only 230 records" in done.log


def test_what_is_tolerated_is_said(good_job):
    good_job.hyperparameters |= {"sagemaker_program": "x.py", "_use_full_symbolic": "false", "_num_gpus": "2"}
    good_job.put("x", b"x", "extra")
    done = good_job.run()
    assert done.succeeded
    assert "Hyperparameters of the SDK's script mode are ignored: sagemaker_program" in done.log
    assert "Hyperparameter _use_full_symbolic is 'false'; it is accepted and has no effect here" in done.log
    assert "_num_gpus is 2, and this machine has no GPU: training runs on the CPU." in done.log
    assert "Channel extra is not used" in done.log


def test_the_log_level_leaves_metrics_json_only(good_job):
    good_job.hyperparameters["_log_level"] = "error"
    done = good_job.run()
    assert done.succeeded
    assert "#quality_metric" not in done.log
    assert "#metrics {" in done.log


def test_damaged_records_are_skipped_when_asked_for_and_counted(good_job):
    good_job.put("part-1.pbr", framed(b"\xff\xff") + records(10, seed=2))
    good_job.hyperparameters |= {"epochs": "1", "max_bad_records": "2"}
    done = good_job.run()
    assert done.succeeded, done.log
    assert "Skipped a damaged record, 1 of at most 2: train/part-1.pbr: record 0" in done.log
    assert "Channel train, pass 1: skipped 1 damaged records of at most 2." in done.log
    assert '"Total Records Seen": {"sum": 240.0' in done.log


# --- the same data is the same model -------------------------------------------------------------


@pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])
def test_the_model_is_the_same_bytes_for_any_mode_threads_and_cutting_into_files(tmp_path, dense):
    data = records(500, dense=dense)
    boundary = len(records(200, dense=dense)) if dense else data.index(struct.pack("<I", 0xCED7230A), len(data) // 3)
    models = []
    for number, (mode, threads, files) in enumerate(
        [
            ("File", "1", {"a.pbr": data}),
            ("File", "2", {"a.pbr": data}),
            (
                "FastFile",
                "auto",
                {"deep/er/0.pbr": data[:boundary], "deep/er/1.pbr": data[boundary:], "x.manifest": b"["},
            ),
        ]
    ):
        job = Job(tmp_path / str(number))
        job.channels["train"] = {"TrainingInputMode": mode}
        job.hyperparameters["num_threads"] = threads
        for name, content in files.items():
            job.put(name, content)
        done = job.run()
        assert done.succeeded, done.log
        models.append(done.model["model_algo-1"])
    assert models[1:] == models[:1] * 2


# --- bad input -----------------------------------------------------------------------------------

GOOD = records()


def change(**changes):
    """Make a function that changes hyperparameters; None takes one away."""

    def apply(job):
        for name, value in changes.items():
            if value is None:
                del job.hyperparameters[name]
            else:
                job.hyperparameters[name] = value

    return apply


def rows_with(matrix, labels):
    """Make a function that puts records of these rows after good ones, also of what our own writer refuses."""

    def apply(job):
        framed_rows = []
        for row, label in zip(matrix, labels, strict=True):
            keys = [key for key, value in enumerate(row) if value != 0]
            features = wire.features([row[key] for key in keys], keys, [len(row)])
            framed_rows.append(wire.frame(features + wire.label(label)))
        job.put("part-1.pbr", b"".join(framed_rows))

    return apply


def wide_row(value):
    return [[0.0] * 7 + [value] + [0.0] * (FEATURE_DIM - 8)]


def too_large(job):
    """Ask for a model of 512 TiB, with a record that fits it."""
    width = 2**31 - 1
    job.hyperparameters |= {"feature_dim": str(width), "num_factors": "65536"}
    file = io.BytesIO()
    write_records(file, scipy.sparse.csr_matrix(([1.0], [7], [0, 1]), (1, width), np.float32), np.ones(1, np.float32))
    job.put("part-0.pbr", file.getvalue())


BAD_INPUT = {
    "missing hyperparameter": (change(feature_dim=None), r"no value was given for feature_dim"),
    "malformed hyperparameter": (change(epochs="10.0"), r"hyperparameter epochs is '10\.0', expected an integer"),
    "unknown hyperparameter": (change(mini_batch_siz="10"), r"'mini_batch_siz' is unknown.* mini_batch_size"),
    "init method without its parameter": (change(linear_init_method="uniform"), r"linear_init_scale"),
    "patience without validation": (change(early_stopping_patience="1"), r"early_stopping_patience.*validation"),
    "hyperparameters of another kind": (
        lambda job: setattr(job, "hyperparameters", []), r"hyperparameters\.json: it is not a JSON object"),
    "broken hyperparameters": (
        lambda job: setattr(job, "hyperparameters", "{"), r"hyperparameters\.json: it is not JSON"),
    "no hyperparameters": (
        lambda job: setattr(job, "hyperparameters", None), r"hyperparameters\.json does not exist"),
    "unknown content type": (
        lambda job: job.channels.update(train={"ContentType": "text/tsv"}),
        r"inputdataconfig\.json: channel train: ContentType is 'text/tsv', expected application/x-recordio-protobuf"),
    "unknown mode": (
        lambda job: job.channels.update(train={"TrainingInputMode": "Tape"}),
        r"channel train: TrainingInputMode is 'Tape', expected File or FastFile or Pipe"),
    "missing train channel": (
        lambda job: job.channels.update(test=job.channels.pop("train")),
        r"inputdataconfig\.json has only test, expected a channel named train"),
    "no inputdataconfig": (lambda job: setattr(job, "channels", None), r"inputdataconfig\.json does not exist"),
    "missing folder": (lambda job: job.channels.update(test={}), r"channel test: .*no folder .*/input/data/test"),
    "empty train channel": (
        lambda job: (job.root / "input/data/train/part-0.pbr").write_bytes(b""),
        r"channel train is empty: no file below .*/input/data/train holds a record"),
    "empty test channel": (lambda job: job.put("_SUCCESS", b"x", "test"), r"channel test is empty"),
    "several hosts without PyTorch": (
        lambda job: (job.resources.update(hosts=["algo-1", "algo-2"]),
                     job.environment.update(FM_CLUSTER_WAIT_SECONDS="1")),
        r"names 2 hosts, which needs PyTorch|host algo-2 did not join within"),
    "a host that is not one of the hosts": (
        lambda job: job.resources.update(current_host="algo-9"),
        r"current_host is 'algo-9', expected one of hosts: algo-1"),
    "truncated record": (
        lambda job: job.put("part-1.pbr", GOOD[:-6]), r"train/part-1\.pbr: record 229 \(byte \d+\)"),
    "corrupt frame": (
        lambda job: job.put("part-1.pbr", b"corrupt!" * 5), r"train/part-1\.pbr: record 0 \(byte 0\).*magic"),
    "corrupt record": (
        lambda job: job.put("part-1.pbr", framed(b"\xff\xff")), r"train/part-1\.pbr: record 0 \(byte 0\)"),
    "truncated gzip": (
        lambda job: job.put("part-1.gz", gzip.compress(GOOD)[:-20]), r"part-1\.gz.*gzip"),
    "key out of range": (change(feature_dim="20"), r"train/part-0\.pbr: record \d+ \(byte \d+\).*feature_dim=20"),
    "label of another class": (rows_with(wide_row(1.0), [2.0]), r"part-1\.pbr: record 0 \(byte 0\).*label"),
    "value that is not finite": (rows_with(wide_row(float("nan")), [1.0]), r"part-1\.pbr: record 0 \(byte 0\).*finite"),
    "dense among sparse": (
        lambda job: job.put("part-1.pbr", records(3, dense=True)), r"part-1\.pbr: record 0 \(byte 0\).*dense"),
    "bad first record of the test channel": (
        lambda job: job.put("0.pbr", b"no frame" + GOOD, "test"), r"test/0\.pbr: record 0"),
    "more memory than there is": (
        too_large, r"training takes \d+ MiB of memory with feature_dim=\d+, .* and \d+ MiB are available: lower"),
    "a file's name that is no text": (
        lambda job: job.put(os.fsdecode(b"z\xff.pbr"), b"corrupt!"), r"train/z\\udcff\.pbr: record 0 \(byte 0\)"),
    "diverging": (
        change(predictor_type="regressor", linear_lr="1e30", factors_lr="1e30"), r"lower the learning rates"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input_is_said_in_one_sentence_and_leaves_no_model(good_job, what):
    spoil, sentence = BAD_INPUT[what]
    spoil(good_job)
    done = good_job.run()
    assert done.code == 1
    assert done.failure.startswith("ClientError: ")
    assert re.search(sentence, done.failure), done.failure
    assert "\n" not in done.failure
    assert len(done.failure) <= 1024
    assert done.model == {}
    assert re.search(r"^\[../../.... ..:..:.. ERROR \d+ train\.py:\d+\] ClientError: ", done.log, re.MULTILINE)
    assert "Traceback" not in done.log


NAMES = [name for name, parameter in parameters().items() if parameter.kind != "text"]


@hypothesis.given(st.data())
def test_every_bad_value_of_every_hyperparameter_fails_the_job_by_name(tmp_path_factory, data):
    name = data.draw(st.sampled_from(NAMES))
    job = Job(tmp_path_factory.mktemp("job"))
    job.put("part-0.pbr", GOOD)
    job.hyperparameters[name] = data.draw(bad_texts(name))
    done = job.run_here()
    assert (done.code, done.model) == (1, {})
    assert done.failure.startswith(f"ClientError: hyperparameter {name} is ")
    assert len(done.failure) <= 1024


def test_every_problem_is_said_at_once_before_data_is_looked_at(job):
    job.channels = None
    job.hyperparameters = {"feature_dim": "0", "epochs": "1.5", "bias_lr": "nan", "x": "1"}
    failure = job.run().failure
    for name in ("num_factors", "predictor_type", "feature_dim", "epochs", "bias_lr", "'x'"):
        assert name in failure


def test_a_setting_that_cannot_be_read_is_said(good_job):
    good_job.environment["FM_PIPE_WAIT_SECONDS"] = "soon"
    done = good_job.run()
    assert (done.code, done.model) == (1, {})
    assert done.failure.startswith("ClientError: environment variable FM_PIPE_WAIT_SECONDS is 'soon'")


def test_a_bug_is_an_algorithm_error_with_its_traceback_in_the_log(good_job):
    code = (
        "from container import train; from container.training import run; run.read_job = lambda paths: 1 / 0; "
        "raise SystemExit(train.main([]))"
    )
    done = good_job.run("-c", code)
    assert (done.code, done.model) == (1, {})
    assert done.failure.startswith("AlgorithmError: ZeroDivisionError: division by zero")
    assert "Traceback (most recent call last)" in done.log


def test_a_failure_that_cannot_be_written_is_said_in_the_log(job):
    job.hyperparameters = {}
    (job.root / "output/failure").mkdir()
    (job.root / "output/failure/x").touch()
    with job.started() as process:
        log, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ClientError: no value was given for feature_dim" in log
    assert "The reason could not be written to" in log


# --- being stopped -------------------------------------------------------------------------------


def test_a_job_that_is_stopped_saves_its_model_and_succeeds(good_job):
    good_job.put("0.pbr", records(seed=1), "test")
    good_job.hyperparameters["epochs"] = "100000000"
    with good_job.started() as process:
        read_until(process, "#progress_metric")
        seconds, log = stop(process)
        done = good_job.finished(process.returncode, log)
    assert done.succeeded
    assert seconds < 2
    load_model(good_job.root / "model/model_algo-1")
    assert re.search(r"Stop requested \(SIGTERM\): \d+ of 100000000 epochs are done", log)
    assert "host=algo-1, train binary_classification_accuracy <score>=" in log
    assert "the test channel is not scored" in log


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_model_folder_that_cannot_be_written_is_said(good_job):
    (good_job.root / "model").chmod(0o500)
    done = good_job.run()
    assert done.code == 1
    assert re.search(
        r"^AlgorithmError: the model folder .*/model cannot be written to: .*nothing was trained", done.failure
    )
