"""Training jobs: all files before, all files after."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.compare.inputs import DENSE_DIM, FEATURE_DIM, WIDE_DIM
from tools.compare.sides import ROOT, Side, blanked, fresh

__all__ = ["CHECKPOINTS", "JOBS", "Job", "interrupted", "run"]


@dataclasses.dataclass(frozen=True)
class Job:
    """One training job.

    Attributes
    ----------
    name : str
    train : tuple of str
        Files of the inputs.
    settings : dict
        Hyperparameters besides those that every job has.
    channel : dict
        What inputdataconfig.json says of the channel.
    others : dict
        More channels: name to (files, settings).
    environment : dict
    checkpoints : bool
    files : dict
        What else lies in the tree: path to text, or to the name of an input.
    """

    name: str
    train: tuple[str, ...] = ("binary.train.rec",)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    channel: dict[str, Any] = dataclasses.field(default_factory=dict)
    others: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = dataclasses.field(default_factory=dict)
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    checkpoints: bool = False
    files: dict[str, str] = dataclasses.field(default_factory=dict)


BINARY = {
    "feature_dim": str(FEATURE_DIM), "num_factors": "5", "predictor_type": "binary_classifier", "epochs": "3",
    "mini_batch_size": "50", "factors_lr": "0.05", "linear_lr": "0.02", "batch_metrics_publish_interval": "4",
}  # fmt: skip
REAL = {"predictor_type": "regressor"}
DENSE = {"feature_dim": str(DENSE_DIM)}
TEST = {"test": (("binary.test.rec",), {})}
PIPE, FAST = {"TrainingInputMode": "Pipe"}, {"TrainingInputMode": "FastFile"}


def _jobs() -> Iterator[Job]:
    for kind, settings in (("binary", {}), ("real", REAL)):
        test = {"test": ((f"{kind}.test.rec",), {})}
        dense_test = {"test": ((f"{kind}.test.dense.rec",), {})}
        for optimizer in ("adam", "sgd", "adagrad", "ftrl"):
            chosen = settings | {"_optimizer": optimizer}
            if optimizer == "sgd":
                chosen |= {"factors_lr": "0.5", "linear_lr": "0.5"}
            yield Job(f"{kind} {optimizer}", (f"{kind}.train.rec",), chosen, others=test)
            yield Job(f"{kind} {optimizer} dense", (f"{kind}.train.dense.rec",), chosen | DENSE, others=dense_test)
        yield Job(f"{kind} csv", (f"{kind}.train.csv",), settings | DENSE, {"ContentType": "text/csv"}, dense_test)
        yield Job(
            f"{kind} libsvm", (f"{kind}.train.libsvm",), settings, {"ContentType": "text/libsvm; charset=utf-8"}, test
        )
        yield Job(
            f"{kind} parquet", (f"{kind}.train.parquet",), settings | DENSE, {"ContentType": "application/x-parquet"}
        )
        validation = {"validation": ((f"{kind}.test.rec",), {}), **test}
        stops = {"early_stopping_patience": "2", "epochs": "12", "factors_lr": "0.3"}
        yield Job(f"{kind} validation, early stopping", (f"{kind}.train.rec",), settings | stops, others=validation)
        yield Job(f"{kind} pipe", (f"{kind}.train.rec", f"{kind}.test.rec"), settings, PIPE, test)
        yield Job(
            f"{kind} pipe csv",
            (f"{kind}.train.csv",),
            settings | DENSE,
            {"ContentType": "text/csv", **PIPE},
            dense_test,
        )
    yield Job("fastfile, two files, an odd batch", ("binary.train.rec", "binary.test.rec"),
              {"mini_batch_size": "77"}, FAST, TEST)  # fmt: skip
    yield Job("gzip", ("binary.train.rec.gz",))
    yield Job("one thread", settings={"num_threads": "1"})
    yield Job("k 64", settings={"num_factors": "64", "mini_batch_size": "200"})
    yield Job("k 17, not lazy, a generic build", settings={"num_factors": "17", "lazy_update": "false"},
              environment={"FM_CORE_KERNELS": "generic"})  # fmt: skip
    yield Job("k 8, avx2", settings={"num_factors": "8"}, environment={"FM_CORE_KERNELS": "avx2"})
    yield Job("dense k 33, generic", ("binary.train.dense.rec",), DENSE | {"num_factors": "33"},
              environment={"FM_CORE_KERNELS": "generic"})  # fmt: skip
    wide = {"feature_dim": str(WIDE_DIM), "num_factors": "16", "epochs": "2", "mini_batch_size": "500"}
    yield Job("wide", ("wide.train.rec",), wide)
    yield Job("image", ("image.train.rec",), {"feature_dim": "784", "num_factors": "12"})
    yield Job("shuffle", settings={"shuffle": "true", "seed": "5"}, others=TEST)
    yield Job("shuffle, a small buffer", settings={"shuffle": "true", "shuffle_buffer_size": "120"})
    yield Job(
        "clip, eps, rescale, no bias, no linear",
        settings={
            "clip_gradient": "0.1",
            "eps": "1e-6",
            "rescale_grad": "0.05",
            "use_bias": "false",
            "use_linear": "false",
        },
    )
    yield Job(
        "initial values",
        settings={
            "bias_init_method": "constant",
            "bias_init_value": "0.3",
            "linear_init_method": "uniform",
            "linear_init_scale": "0.2",
            "factors_init_method": "normal",
            "factors_init_sigma": "0.1",
            "seed": "9",
        },
    )
    yield Job("quoted hyperparameters, unknown channel", settings={
        "predictor_type": '"binary_classifier"', "_log_level": "debug", "sagemaker_program": "x",
        "_num_gpus": "2"}, others={"extra": (("binary.test.rec",), {})})  # fmt: skip
    yield Job("without a resource configuration", files={"input/config/resourceconfig.json": ""})
    yield Job(
        "another host name",
        files={"input/config/resourceconfig.json": json.dumps({"current_host": "algo-7-x", "hosts": ["algo-7-x"]})},
    )
    yield Job("a report", others=TEST, environment={"FM_REPORT": "true"})
    yield Job("bad records, skipped", ("binary.damaged.rec",), {"max_bad_records": "2"}, others=TEST)
    yield Job("bad lines, skipped", ("bad.libsvm",), {"max_bad_records": "10"}, {"ContentType": "text/libsvm"})
    yield Job("a batch larger than the data", settings={"mini_batch_size": "5000"})
    yield Job(
        "a schema beside the data",
        files={
            "input/data/train/schema.json": json.dumps(
                {
                    "version": 1,
                    "feature_dim": FEATURE_DIM,
                    "label": None,
                    "dense": False,
                    "missing": "error",
                    "columns": [{"name": "a", "kind": "hashed", "buckets": FEATURE_DIM}],
                }
            )
        },
    )
    yield Job(
        "files that are left out",
        files={
            "input/data/train/.hidden": "x",
            "input/data/train/_SUCCESS": "",
            "input/data/train/deep/er/x.manifest": "{}",
            "input/data/train/empty.rec": "",
        },
    )

    # What fails.
    yield Job("fails: bad records", ("binary.damaged.rec",))
    yield Job("fails: one bad record too many", ("binary.damaged.rec",), {"max_bad_records": "1"})
    yield Job("fails: bad lines", ("bad.libsvm",), {"max_bad_records": "1"}, {"ContentType": "text/libsvm"})
    yield Job("fails: bad csv", ("bad.csv",), DENSE, {"ContentType": "text/csv"})
    yield Job("fails: cut", ("binary.cut.rec",))
    yield Job("fails: text", ("text.rec",))
    yield Job("fails: too narrow", settings={"feature_dim": "20"})
    yield Job("fails: dense width", ("binary.train.dense.rec",))
    yield Job("fails: labels", ("real.train.rec",))
    yield Job("fails: sparse, then dense", ("binary.test.dense.rec", "binary.test.rec"), DENSE)
    yield Job(
        "fails: hyperparameters",
        settings={"feature_dim": "x", "epochs": "0", "nonsense": "1", "factors_lr": "-1", "_optimizer": "rmsprop"},
    )
    yield Job("fails: no train channel", files={"input/config/inputdataconfig.json": '{"test": {}}'})
    yield Job("fails: content type", channel={"ContentType": "application/x-image"})
    yield Job("fails: label_size", channel={"ContentType": "text/csv;label_size=2"})
    yield Job("fails: mode", channel={"TrainingInputMode": "Pip"})
    yield Job("fails: pipe of Parquet", channel={"ContentType": "application/x-parquet", **PIPE})
    yield Job("fails: configuration", files={"input/config/hyperparameters.json": "{"})
    yield Job("fails: diverges", settings={"factors_lr": "1e30", "_optimizer": "sgd"})
    yield Job("fails: memory", settings={"feature_dim": "2147483647", "num_factors": "65536"})
    yield Job("fails: setting", environment={"FM_REPORT": "perhaps"})
    yield Job("fails: test channel", others={"test": (("binary.test.dense.rec",), {})})
    yield Job("fails: empty channel", ())
    yield Job("fails: early stopping without validation", settings={"early_stopping_patience": "2"})


JOBS = list(_jobs())

#: Jobs that the earlier commit begins, and stops in their second epoch; both sides go on from what it left.
CHECKPOINTS = [
    Job(f"goes on: {name}", files_, {"mini_batch_size": "10", "checkpoint_interval_s": "0", "epochs": "40", **settings},
        channel, others, checkpoints=True)
    for name, files_, settings, channel, others in (
        ("adam", ("binary.train.rec",), {}, {}, TEST),
        ("adagrad, regressor", ("real.train.rec",), REAL | {"_optimizer": "adagrad"}, {}, {}),
        ("ftrl, shuffled", ("binary.train.rec",), {"_optimizer": "ftrl", "shuffle": "true"}, {}, {}),
        ("sgd, dense", ("binary.train.dense.rec",), DENSE | {"_optimizer": "sgd"}, {}, {}),
        ("adam, dense, csv", ("binary.train.csv",), DENSE, {"ContentType": "text/csv"}, {}),
        ("early stopping", ("binary.train.rec",), {"early_stopping_patience": "60"}, {},
         {"validation": (("binary.test.rec",), {})}),
        ("two thirds of the features never seen", ("wide.train.rec",), {"feature_dim": str(WIDE_DIM)}, {}, {}),
    )
]  # fmt: skip


def lay_out(job: Job, root: Path, inputs: Path) -> None:
    """Make the tree of a job."""
    for folder in ("input/config", "input/data", "model", "output/data"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    channels = {"train": (job.train, job.channel), **job.others}
    for name, (files, channel) in channels.items():
        if channel.get("TrainingInputMode") == "Pipe":
            continue
        (root / "input/data" / name).mkdir(exist_ok=True)
        for number, file in enumerate(files):
            # The number keeps the order; a model is known by its name.
            shutil.copy(inputs / file, root / "input/data" / name / (file if name == "model" else f"{number}-{file}"))
    if job.checkpoints:
        (root / "checkpoints").mkdir(exist_ok=True)
    configuration = {
        "hyperparameters": BINARY | job.settings,
        "inputdataconfig": {name: channel for name, (_, channel) in channels.items()},
        "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"},
    }
    for name, content in configuration.items():
        (root / "input/config" / f"{name}.json").write_text(json.dumps(content))
    for name, text in job.files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def run(job: Job, side: Side, inputs: Path, begun: Path | None = None) -> dict[str, bytes]:
    """Run a job on one side.

    Parameters
    ----------
    job : Job
    side : Side
    inputs : Path
    begun : Path, optional
        A folder of checkpoints to go on from.

    Returns
    -------
    left : dict of str to bytes
        Everything that the job left, by the name of it.
    """
    root = fresh(side.folder / "job")
    lay_out(job, root, inputs)
    if begun is not None:
        shutil.copytree(begun, root / "checkpoints", dirs_exist_ok=True)
    feeders = []
    for name, (files, channel) in {"train": (job.train, job.channel), **job.others}.items():
        if channel.get("TrainingInputMode") == "Pipe" and files:
            paths = [str(inputs / file) for file in files]
            command = [sys.executable, "local_test/feed_pipe.py", str(root / "input/data"), name, *paths, "--epochs"]
            epochs = (BINARY | job.settings)["epochs"]
            feeders.append(subprocess.Popen([*command, epochs], cwd=ROOT, stdout=subprocess.DEVNULL))
    environment = {"FM_OPT_ML": str(root), "FM_PIPE_WAIT_SECONDS": "20", "FM_REPORT": "false"} | job.environment
    try:
        done = side.run("-m", "container.entrypoint", "train", folder=side.folder, **environment)
    finally:
        for feeder in feeders:
            feeder.kill()
            feeder.wait()
    # Records are read ahead: where among the batches' lines one is said to be skipped is chance.
    lines = done.stdout.splitlines(keepends=True)
    log = b"".join(sorted(lines, key=lambda line: b" Skipped a " in line))
    left = {"exit code": str(done.returncode).encode(), "stdout": log, "stderr": done.stderr}
    for folder in ("model", "output"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file():
                left[str(path.relative_to(root))] = path.read_bytes()
    return {name: data if name.startswith("model/model_") else blanked(data, side) for name, data in left.items()}


def interrupted(job: Job, side: Side, inputs: Path, folder: Path) -> Path:
    """Begin a job, stop it in its second epoch, and keep the checkpoints that it leaves."""
    root = fresh(folder)
    lay_out(job, root, inputs)
    process = subprocess.Popen(
        [sys.executable, "-m", "container.entrypoint", "train"], cwd=side.folder, stdout=subprocess.PIPE,
        env=side.environment(FM_OPT_ML=str(root), FM_REPORT="false"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if b"epoch=1, batch=" in line:
            os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 0, f"{job.name}: the earlier commit does not stop in order"
    return root / "checkpoints"
