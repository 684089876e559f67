"""How long a job of a large model takes to end after SIGTERM, with a valid model, whatever it is doing.

    python -m tests.crash.large [--feature-dim 8000000] [--num-factors 64]

The goal is 30 seconds for a model of 2 GB; with it, this needs 12 GB of memory and 15 GB of disk. What is
printed includes the machine's load, because drawing parameters takes processors and saving them a disk.
"""

import argparse
import io
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.sparse

from fm_core.artifact.model_file import load_model
from fm_core.formats import write_records
from fm_core.resources import available_memory
from tests.contract.training import Job, read_until

GOAL_SECONDS = 30
N_ROWS, N_FEATURES = 20_000, 39


def said(text):
    """Wait until the log has a text."""
    return lambda process: read_until(process, text)


def has_read(n_bytes):
    """Wait until a process has read so much."""

    def wait(process):
        while process.poll() is None:
            counts = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
            if int(counts["rchar"]) > n_bytes:
                return
            time.sleep(0.01)

    return wait


def rows(feature_dim):
    """Records with features from all over, as bytes."""
    keys = np.sort(np.random.default_rng(0).integers(0, feature_dim // N_FEATURES, (N_ROWS, N_FEATURES)), axis=1)
    keys = keys * N_FEATURES + np.arange(N_FEATURES)  # no key twice
    parts = (np.ones(keys.size, np.float32), keys.ravel(), np.arange(0, keys.size + 1, N_FEATURES))
    file = io.BytesIO()
    write_records(file, scipy.sparse.csr_matrix(parts, (N_ROWS, feature_dim)), np.arange(N_ROWS) % 2)
    return file.getvalue()


def stopped(job, wait):
    """Run a job, stop it at a moment, and give the seconds until it had ended, and whether its model is valid."""
    shutil.rmtree(job.root / "model")
    (job.root / "model").mkdir()
    with job.started() as process:
        wait(process)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        log, _ = process.communicate(timeout=600)
        seconds = time.monotonic() - started
    names = sorted(path.name for path in (job.root / "model").iterdir() if path.name != "baseline.json")
    if process.returncode or names != ["model_algo-1"]:
        print(log[-2000:])
        return seconds, False
    load_model(job.root / "model/model_algo-1")
    return seconds, True


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feature-dim", type=int, default=8_000_000)
    parser.add_argument("--num-factors", type=int, default=64)
    options = parser.parse_args(arguments)
    size = 4 * options.feature_dim * (options.num_factors + 1)
    needed = 6 * size
    with tempfile.TemporaryDirectory(prefix="fm-crash-") as folder:
        if available_memory() < needed or shutil.disk_usage(folder).free < 7 * size:
            print(f"a model of {size / 1e9:.1f} GB is left out: it takes {needed / 1e9:.0f} GB of memory and more disk")
            return 0
        job = Job(Path(folder) / "job")
        job.put("0.pbr", rows(options.feature_dim))
        job.hyperparameters |= {
            "feature_dim": str(options.feature_dim), "num_factors": str(options.num_factors), "epochs": "1000",
            "mini_batch_size": "1000",
        }  # fmt: skip
        (job.root / "checkpoints").mkdir()
        moments = {
            "before the first batch": said("Checkpoint loading"),
            "while initial parameters are drawn": said("initialize.time"),
            "while it trains": said("epoch=1, train"),
            "while a checkpoint is read": has_read(size // 2),
        }
        right = True
        print(f"model of {size / 1e9:.1f} GB, stopped      seconds  (load)")
        for moment, wait in moments.items():
            seconds, is_valid = stopped(job, wait)
            verdict = "" if is_valid else "  NO VALID MODEL"
            print(f"{moment:35} {seconds:8.1f}  ({os.getloadavg()[0]:.1f}){verdict}", flush=True)
            right &= is_valid and seconds < GOAL_SECONDS
            if moment == "while it trains" and not any((job.root / "checkpoints").iterdir()):
                print("no checkpoint was written in time")  # the next row tells of a start without one
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
