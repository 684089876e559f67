"""A training job as a real process against a temporary tree."""

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
import unittest.mock

import numpy as np
import scipy.sparse

from container import train
from container.training import hyperparameters as translation
from fm_core.analysis.baseline import BASELINE_FILE
from fm_core.artifact.model_file import load_model
from fm_core.formats import write_records
from fm_core.model import Model
from tests.conftest import ROOT

FEATURE_DIM = 40


class Job:
    """The tree of one job, to be changed before it is run.

    `hyperparameters` and `channels` are written as JSON just before the process starts; None
    leaves the file out.
    """

    def __init__(self, root):
        self.root = root
        self.hyperparameters = {
            "feature_dim": str(FEATURE_DIM),
            "num_factors": "3",
            "predictor_type": "binary_classifier",
            "epochs": "3",
            "mini_batch_size": "50",
        }
        self.channels = {"train": {}}
        self.resources = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
        self.environment = {}
        self.under = []  # a command in front of the process's own
        for folder in ("input/config", "input/data", "model", "output/data"):
            (root / folder).mkdir(parents=True)

    def put(self, name, data, channel="train"):
        """Put a file into a channel, which gets a folder."""
        path = self.root / "input/data" / channel / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.channels.setdefault(channel, {})
        return path

    def write(self):
        """Write the JSON files."""
        for name, content in (
            ("hyperparameters", self.hyperparameters),
            ("inputdataconfig", self.channels),
            ("resourceconfig", self.resources),
        ):
            if content is not None:
                text = content if isinstance(content, str) else json.dumps(content)
                (self.root / "input/config" / f"{name}.json").write_text(text)

    @contextlib.contextmanager
    def started(self, *command, stdout=subprocess.PIPE):
        """Start `train`; at the end of the block it is killed if it is still there."""
        self.write()
        environment = {**os.environ, "FM_OPT_ML": str(self.root), "PYTHONPATH": str(ROOT), **self.environment}
        process = subprocess.Popen(
            [*self.under, sys.executable, *(command or ("-m", "container.train"))],
            stdout=stdout, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def run(self, *command, timeout=60):
        """Run it to its end."""
        with self.started(*command) as process:
            log, _ = process.communicate(timeout=timeout)
            return self.finished(process.returncode, log)

    def run_here(self):
        """Run it in this process, for tests of many jobs; signals and logging are put back."""
        self.write()
        kept = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
        root, log = logging.getLogger(), io.StringIO()
        handlers, level = root.handlers[:], root.level
        environment = unittest.mock.patch.dict(os.environ, FM_OPT_ML=str(self.root), **self.environment)
        try:
            with environment, contextlib.redirect_stdout(log):
                return self.finished(train.main([]), log.getvalue())
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
            for number, handler in kept:
                signal.signal(number, handler)

    def finished(self, code, log):
        failure = self.root / "output/failure"
        return Finished(
            code,
            log,
            failure.read_text() if failure.exists() else None,
            {file.name: file.read_bytes() for file in (self.root / "model").iterdir() if file.name != BASELINE_FILE},
        )


class Finished:
    """What is left of a job: exit code, log, failure (None: there is none), files of the model folder.

    baseline.json, which every job leaves, is not among the files: test_drift.py looks at it.
    """

    def __init__(self, code, log, failure, model):
        self.code = code
        self.log = log
        self.lines = log.splitlines()
        self.failure = failure
        self.model = model

    @property
    def succeeded(self):
        return self.code == 0 and self.failure is None and self.model.keys() - {"spread.npz"} == {"model_algo-1"}


def is_untrained(job):
    """Whether the model that a job left is the one that its training would have begun with."""
    expected = Model.initialise(translation.parse(job.hyperparameters))
    found = load_model(job.root / "model/model_algo-1")
    return np.array_equal(found.V, expected.V) and np.array_equal(found.w, expected.w) and found.w0 == expected.w0


def records(n_rows=230, seed=0, dense=False, real_labels=False, by_chance=False):
    """Framed records whose labels can be learned, unless they are `by_chance`; as bytes."""
    random = np.random.default_rng(seed)
    if dense:
        rows = random.normal(size=(n_rows, FEATURE_DIM)).astype(np.float32)
    else:
        rows = scipy.sparse.random(n_rows, FEATURE_DIM, 0.1, "csr", np.float32, random_state=random)
    labels = np.asarray(rows @ random.normal(size=FEATURE_DIM)).ravel()
    labels = random.normal(size=n_rows) if by_chance else labels
    file = io.BytesIO()
    write_records(file, rows, labels if real_labels else (labels > 0).astype(np.float32))
    return file.getvalue()


def read_until(process, text):
    """Read the log until a line has the text, and give what was read."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return "".join(seen)
    raise AssertionError(f"the log ended without {text!r}:\n{''.join(seen)}")


def stop(process, seconds=10):
    """Send SIGTERM, and give how long the process took, and the rest of its log."""
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    log, _ = process.communicate(timeout=seconds)
    return time.monotonic() - started, log
