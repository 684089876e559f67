"""The log of `train` beside the logs of the built-in: the same lines in the same order."""

import ast
import contextlib
import fcntl
import io
import json
import os
import pty
import re
import struct
import termios

import numpy as np
import pytest
import scipy.sparse

import fm_core
from fm_core.artifact.model_file import load_model
from fm_core.formats import decode_rows, read_records, write_records
from tests.conftest import ROOT
from tests.contract.training import FEATURE_DIM, Job, records

DEFINITIONS = json.loads((ROOT / "docs/metric_definitions.json").read_text())

# Lines of the built-in that ours leaves out, as docs/reference/contract.md says.
LEFT_OUT = [
    r"Running default environment configuration script",
    r".*Loggers have already been setup\.",
    r".*nvidia-smi(:| identified) .*",
    r".*wait_for_all_workers will not sync workers .*",
    r".*Pulling entire model from kvstore to finalize",
    r".*TensorIO is already initialized.*",
    r'.*epoch_stats=.*"num_examples": 1,.*',  # the batch it reads to learn whether data is sparse
    r"\[\d\d:\d\d:\d\d\] /opt/brazil.*",  # warnings of its engine, and of its Python
    r"/opt/amazon/.*: (Syntax|Runtime)Warning: .*",
    r"  (if num_device|self\.stdout) .*",
]

#: The line that ours has and the built-in's has not.
VERSION = rf"\[.*\] factorization-machines {re.escape(fm_core.__version__)} \(revision \w+\)"


def lines_of_the_built_in(path):
    """Give the container's own lines of a notebook's copy of a job's log."""
    lines = []
    for line in path.read_text().splitlines()[1:]:
        # the platform's lines, which may stand before the container's on the same line
        line = re.sub(
            r"^\.*(\d\d)?\d\d-\d\d-\d\d \d\d:\d\d:\d\d [A-Z][a-z]+ - .*?(?=Docker entry|\[20\d\d-|$)", "", line
        )
        line = re.sub(r"^\.+(?=Docker)", "", line)
        if line and not re.match(r"(Training|Billable) seconds: ", line):
            lines.append(line)
    return lines


def shape(line):
    """What is left of a line when numbers, moments, paths and configurations are taken out."""
    if line.startswith("#metrics "):
        return "#metrics " + json.dumps(json.loads(line[9:], object_hook=numbers_to_types))
    line = re.sub(r"configuration( from \S+)?: \{.*\}$", "configuration: CONFIGURATION", line)
    line = re.sub(r"^\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d ([A-Z]+) \d+\]", r"[MOMENT \1 THREAD]", line)
    line = re.sub(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\]", "[MOMENT]", line)
    line = re.sub(r'"/[^"]*/(train|test)"|"/[^"]*\.params"|"/[^"]*/model/model_algo-1"', "PATH", line)
    line = re.sub(r"(?<![\w-])-?\d+\.\d+(e[+-]\d+)?(?![\w])", "FLOAT", line)
    return re.sub(r"(?<![\w.-])\d+(?![\w.])", "INTEGER", line)


def numbers_to_types(value):
    return {key: type(item).__name__ if isinstance(item, int | float) else item for key, item in value.items()}


def assert_same_shapes(ours, path):
    theirs = [line for line in lines_of_the_built_in(path) if not any(re.fullmatch(p, line) for p in LEFT_OUT)]
    assert re.fullmatch(VERSION, ours[1]), ours[1]
    ours = [ours[0], *ours[2:]]
    for number, (line, expected) in enumerate(zip(ours, theirs, strict=False)):
        assert shape(line) == shape(expected), f"line {number}: {line!r} beside {expected!r}"
    assert len(ours) == len(theirs)


def configurations(lines):
    return [
        ast.literal_eval(line[line.index(": {") + 2 :]) for line in lines if "configuration" in line and "{" in line
    ]


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


def as_records(rows, labels):
    file = io.BytesIO()
    write_records(file, rows, labels.astype(np.float32))
    return file.getvalue()


def test_a_sparse_regressor_with_a_test_channel_says_what_the_built_in_said(job, shared):
    for channel in ("train", "test"):
        path = shared / f"data/ml100k_u1/{channel}.npz"
        job.put("0.pbr", as_records(scipy.sparse.load_npz(path).astype(np.float32), np.load(path)["y"]), channel)
    job.hyperparameters = {"epochs": "50", "feature_dim": "2625", "mini_batch_size": "1000", "num_factors": "64",
                           "predictor_type": "regressor"}  # fmt: skip
    done = job.run()
    assert done.succeeded, done.log
    log = shared / "reference_runs/ml100k_reg_k64_e50_b1000.log"
    assert_same_shapes(done.lines, log)
    ours, theirs = configurations(done.lines), configurations(lines_of_the_built_in(log))
    assert ours[1] == theirs[1]
    for mine, its in zip(ours[::2], theirs[::2], strict=True):
        assert {name: mine[name] for name in its} == {name: str(value) for name, value in its.items()}
    # the numbers too: docs/explanation/quality.md has the whole curve
    assert float(re.findall(r"host=algo-1, train rmse <loss>=(\S+)", done.log)[0]) == pytest.approx(0.9417, abs=0.003)
    assert float(re.findall(r"host=algo-1, test rmse <loss>=(\S+)", done.log)[0]) == pytest.approx(1.0003, abs=0.003)


def test_a_dense_classifier_without_a_test_channel_says_what_the_built_in_said(job, shared):
    images = np.load(shared / "data/mnist/mnist_u8.npz")
    name = next(name for name in images.files if images[name].ndim > 1)
    rows = images[name].reshape(len(images[name]), -1)[:1000].astype(np.float32) / 255
    job.put("0.pbr", as_records(rows, np.arange(1000) % 3 == 0))
    job.hyperparameters = {"feature_dim": "784", "mini_batch_size": "200", "num_factors": "10",
                           "predictor_type": "binary_classifier"}  # fmt: skip
    done = job.run()
    assert done.succeeded, done.log
    assert_same_shapes(done.lines, shared / "reference_runs/mnist_bin_k10_e1_b200_b.log")


@pytest.mark.parametrize("what", ["ml100k_bin_k64_e100_b1000_a", "amazonreviews_reg_k256_e2_b1000_4hosts"])
def test_our_metric_definitions_read_the_logs_of_the_built_in(shared, what):
    log = (shared / f"reference_runs/{what}.log").read_text()
    kind = "binary" if "_bin_" in what else "regressor"
    for name, values in found(log).items():
        if is_of(kind, name) and not name.startswith("validation:"):
            assert values, name
        if not is_of(kind, name):
            assert not values, name


@pytest.mark.parametrize("kind", ["regressor", "binary"])
def test_every_metric_definition_matches_a_job_of_ours(job, kind):
    for seed, channel in enumerate(("train", "validation", "test")):
        job.put("0.pbr", records(seed=seed, real_labels=kind == "regressor"), channel)
    job.hyperparameters |= {"predictor_type": {"regressor": "regressor", "binary": "binary_classifier"}[kind],
                            "batch_metrics_publish_interval": "2"}  # fmt: skip
    done = job.run()
    assert done.succeeded, done.log
    epochs, batches = 3, 3  # of five batches, numbers 0, 2 and 4 are told
    times = {"batch": epochs * batches, "epoch": epochs, "progress": epochs, "throughput": epochs}
    for name, values in found(done.log).items():
        expected = times.get(name.split(":")[-1], 1) if is_of(kind, name) else 0
        assert len([float(value) for value in values]) == expected, name
    speeds = re.findall(r"^\[.*\] Iter\[(\d+)\] Batch \[(\d+)\]\tSpeed: \d+\.\d\d samples/sec$", done.log, re.MULTILINE)
    assert speeds == [(str(epoch), str(batch)) for epoch in range(3) for batch in (2, 4)]


def test_on_a_terminal_a_progress_bar_takes_the_place_of_the_batch_lines(job):
    job.put("0.pbr", records(2000))
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with job.started(stdout=terminal) as process:
        os.close(terminal)
        log = b""
        with contextlib.suppress(OSError), os.fdopen(reader, "rb", buffering=0) as screen:  # EIO: it was closed
            while piece := screen.read(1 << 16):
                log += piece
        assert process.wait(30) == 0
    assert log.count(b"epoch=2, train binary_f_1.000") == 1
    assert b"batch=0" not in log
    assert b"epoch 2:" in log
    assert b" records/s" in log


def found(log):
    return {each["Name"]: re.findall(each["Regex"], log) for each in DEFINITIONS}


def is_of(kind, name):
    metric = name.split(":")[1]
    return metric in ("progress", "throughput") or metric.startswith("binary_") == (kind == "binary")


def test_metric_definitions_are_within_sagemakers_bounds():
    assert len(DEFINITIONS) <= 40
    assert len({each["Name"] for each in DEFINITIONS}) == len(DEFINITIONS)
    for each in DEFINITIONS:
        assert set(each) == {"Name", "Regex"}
        assert len(each["Name"]) <= 255
        assert len(each["Regex"]) <= 500


def test_metrics_lines_are_json_and_count_the_records(job):
    job.put("0.pbr", records(230))
    done = job.run()
    entries = [json.loads(line[9:]) for line in done.lines if line.startswith("#metrics ")]
    passes = [each["Metrics"] for each in entries if each["Dimensions"].get("Meta") == "training_data_iter"]
    assert [each["Total Records Seen"] for each in passes] == [
        {"sum": float(n), "count": 1, "min": n, "max": n} for n in (230, 460, 690)
    ]
    assert [each["Reset Count"]["max"] for each in passes] == [1, 2, 3]
    assert {each["Number of Batches Since Last Reset"]["max"] for each in passes} == {5}
    assert all(each["StartTime"] <= each["EndTime"] for each in entries)
    assert [name for each in entries for name in each["Metrics"] if name.islower()] == [
        "initialize.time", "epochs", *["update.time"] * 3, "finalize.time", "setuptime", "totaltime",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "solver", [{}, {"solver": "bayes", "epochs": "8"}, {"solver": "online", "epochs": "1"}, {"num_threads": "2"}]
)
def test_every_classifier_says_the_areas_under_its_curves(tmp_path, solver):
    metrics = pytest.importorskip("sklearn.metrics")
    job = Job(tmp_path)
    job.hyperparameters |= solver
    job.put("0.pbr", records(600))
    held_out = records(90, seed=1)
    for channel in ("test", "validation"):
        job.put("0.pbr", held_out, channel)
    done = job.run()
    assert done.code == 0, done.log
    batch, _, _ = decode_rows(held_out, feature_dim=FEATURE_DIM)
    scores = load_model(job.root / "model").predict(batch)
    _, labels = read_records(held_out)
    expected = {
        "roc_auc": metrics.roc_auc_score(labels, scores),
        "pr_auc": metrics.average_precision_score(labels, scores),
    }
    for name, value in expected.items():
        for where in ("test", "validation"):
            (found,) = re.findall(rf"#quality_metric: host=algo-1, {where} {name} <score>=(\S+)$", done.log, re.M)
            assert float(found) == pytest.approx(value)
        (found,) = re.findall(rf"#test_score \(algo-1\) : \('{name}', (\S+)\)$", done.log, re.M)
        assert float(found) == pytest.approx(value)
        assert re.search(rf"epoch=0, validation {name} <score>=\S+$", done.log, re.M)
