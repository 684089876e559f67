"""The whole `train` process, from RecordIO on disk to the model file.

    python benchmarks/pipeline.py [--k 16 64] [--rounds 5] [--huge]

It compares, round by round: the process with `fit` on batches in memory, with the same threads; File mode with Pipe
mode; the CPU time of a job of 100 records; peak memory with the formula 3 (k + 1) 4 feature_dim bytes + a constant; and
time as the number of non-zeros and k grow. `--huge` only trains a model of 50 million features with k 8 (5.4 GB).
`--both` only runs jobs with one and with two solver threads; the result is why `train` leaves a core to reading.
"""

import argparse
import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from common import ROOT, batches, ctr, describe, have_backed, in_turn, ratios, table, times, use_cores

import opt_ml
from fm_core.formats import write_records
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.fit import fit, threads_of
from fm_core.training.memory import memory_needed

TRAIN = Path(sys.executable).with_name("train")

CORES = 2

#: Bytes of a process beside its parameters, and state, and artifact.
REST = 100 << 20

#: Runs a program and tells its wall and CPU seconds and peak KiB. A process of its own, because a
#: program's peak as the system counts it is at least that of the process that started it.
LAUNCHER = """
import os, sys, time
started = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, used = os.wait4(child, 0)
print(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Job:
    """A tree of one training job, run as often as wanted.

    Parameters
    ----------
    root : Path
        The tree.
    rows : Path
        Its training channel, one RecordIO file.
    hyperparameters
        Besides predictor_type.
    """

    def __init__(self, root: Path, rows: Path, **hyperparameters: object) -> None:
        self.root, self.rows = root, rows
        given: dict[str, Any] = {"predictor_type": "binary_classifier"} | hyperparameters
        needed = memory_needed(Hyperparameters(**given))
        self._bytes = needed + needed // 3 + REST  # a third again: the artifact in the page cache
        opt_ml.lay_out(root, {name: str(value) for name, value in given.items()}, {})
        self._offer("File")
        channel = root / "input/data/train"
        channel.mkdir()
        (channel / rows.name).symlink_to(rows)

    def _offer(self, mode: str) -> None:
        channel = {"TrainingInputMode": mode, "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
        (self.root / "input/config/inputdataconfig.json").write_text(json.dumps({"train": channel}))

    def run(self, mode: str = "File") -> tuple[float, float, float]:
        """Train; wall seconds from start to exit, CPU seconds, and peak memory in bytes."""
        self._offer(mode)
        for fifo in (self.root / "input/data").glob("train_*"):
            fifo.unlink()
        feeder = None
        if mode == "Pipe":
            script = ROOT / "local_test/feed_pipe.py"
            # Large writes: on two cores that others use too, waking up the platform's side is not ours to measure.
            feeder = subprocess.Popen([sys.executable, script, self.root / "input/data", "train", self.rows,
                                       "--chunk", str(1 << 20)], stdout=subprocess.DEVNULL)  # fmt: skip
        environment = os.environ | {"FM_OPT_ML": str(self.root)}
        have_backed(self._bytes)
        found = subprocess.run([sys.executable, "-S", "-c", LAUNCHER, TRAIN], env=environment, capture_output=True,
                               text=True)  # fmt: skip
        if found.returncode:
            raise RuntimeError(f"train failed: {found.stderr[-2000:]}")
        if feeder:
            feeder.wait()
        wall, cpu, peak = map(float, found.stdout.split())
        return wall, cpu, peak * 1024


def written(folder: Path, name: str, X: Any, y: np.ndarray) -> Path:
    """Write rows as one RecordIO file."""
    path = folder / name
    with path.open("wb") as file:
        write_records(file, X, y)
    return path


def start_up(folder: Path, rounds: int) -> None:
    X, y = ctr()
    file = written(folder, "small.rec", X[:100], y[:100])
    jobs = {k: Job(folder / f"small{k}", file, feature_dim=X.shape[1], num_factors=k) for k in (8, 16, 64)}
    tiny = X[:100]
    names, tiny.indices = np.unique(tiny.indices, return_inverse=True)
    tiny = sp.csr_matrix((tiny.data, tiny.indices.ravel(), tiny.indptr), (100, len(names)))
    least = Job(folder / "tiny", written(folder, "tiny.rec", tiny, y[:100]),
                feature_dim=len(names), num_factors=8)  # fmt: skip
    python = [sys.executable, "-c", "import numpy"]

    def import_alone() -> float:
        before = os.times()
        subprocess.run(python, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    found = in_turn(
        {
            f"`train`, 100 records of {len(names)} features, k 8": lambda: least.run()[1],
            **{
                f"`train`, 100 records of a million features, k {k}": lambda job=job: job.run()[1]
                for k, job in jobs.items()
            },
            "`python -c 'import numpy'`": import_alone,
        },
        rounds,
    )
    print("## Start to exit, CPU seconds (goal: 100 records in less than 0.6)\n")
    table(
        ["", "median", "least"], [[name, f"{statistics.median(v):.2f}", f"{min(v):.2f}"] for name, v in found.items()]
    )


def whole_process(folder: Path, ks: list[int], threads: int, rounds: int, minutes: float) -> None:
    X, y = ctr()
    rows = batches(X, y)
    recorded = written(folder, "ctr.rec", X, y)
    cases: dict[str, Callable[[], float]] = {}
    memory: dict[int, list[float]] = {k: [] for k in ks}
    processor: dict[tuple[int, str], list[float]] = {(k, mode): [] for k in ks for mode in ("File", "Pipe")}

    def process(job: Job, k: int, mode: str) -> float:
        wall, cpu, peak = job.run(mode)
        memory[k].append(peak)
        processor[k, mode].append(cpu)
        return wall

    def alone(hp: Hyperparameters) -> float:
        have_backed(memory_needed(hp) + REST)
        started = time.perf_counter()
        fit(lambda epoch: rows, hp, num_threads=threads)
        return time.perf_counter() - started

    for k in ks:
        hp = Hyperparameters(feature_dim=X.shape[1], num_factors=k, predictor_type="binary_classifier")
        job = Job(folder / f"k{k}", recorded, feature_dim=X.shape[1], num_factors=k, num_threads=threads)
        cases[f"k {k}, fit in memory"] = lambda hp=hp: alone(hp)
        cases[f"k {k}, `train`, File mode"] = lambda job=job, k=k: process(job, k, "File")
        cases[f"k {k}, `train`, Pipe mode"] = lambda job=job, k=k: process(job, k, "Pipe")
    found = in_turn(cases, rounds, minutes)
    size = recorded.stat().st_size
    print(f"## One epoch of ctr, {len(y):,} records, {size / 1e6:.0f} MB, solver threads: {threads}, wall seconds\n")

    ways = {  # what each is held against, and the goal
        "fit in memory": ("", ""),
        "`train`, File mode": ("fit in memory", "<= 1.4 x"),
        "`train`, Pipe mode": ("`train`, File mode", "<= 1.1 x"),
    }

    def of(k: int, what: str) -> list[Any]:
        v = found[f"k {k}, {what}"]
        other, goal = ways[what]
        against = f"{times(ratios(v, found[f'k {k}, {other}']))} {other}" if other else ""
        return [f"k {k}, {what}", f"{statistics.median(v):.2f}", f"{min(v):.2f}", against, goal]

    table(["", "median", "least", "against", "goal"], [of(k, what) for k in ks for what in ways])
    print(
        "## Processor time of these processes, seconds: the feeder of the FIFO, which takes cores here, is not in it\n"
    )
    rows_of = []
    for k in ks:
        file, pipe = processor[k, "File"], processor[k, "Pipe"]
        both = [f"{statistics.median(file):.2f}", f"{statistics.median(pipe):.2f}"]
        rows_of.append([f"k {k}", *both, times(ratios(pipe, file)), "<= 1.1 x"])
    table(["", "File mode", "Pipe mode", "Pipe mode / File mode", "goal"], rows_of)
    print("## Peak memory of these processes\n")
    rows_of = []
    for k in filter(memory.get, ks):
        formula = 3 * (k + 1) * 4 * X.shape[1]
        peak = max(memory[k])
        rows_of.append(
            [f"k {k}", f"{peak / 1e6:.0f}", f"{formula / 1e6:.0f}", f"{(peak - formula) / 1e6:.0f}", "< 250"]
        )
    table(["MB", "peak", "3 (k + 1) 4 feature_dim", "the rest", "goal"], rows_of)


def growth(rounds: int) -> None:
    """Print how time grows with k, and with non-zeros."""
    from train import overall, training  # one benchmark beside the other

    X, y = ctr()
    n, d = 100_000, X.shape[1]
    X, y = X[:n], y[:n]
    cases, of = {}, {}
    for k in (8, 16, 32, 64, 128):
        cases[f"39 non-zeros a row, k {k}"] = overall(training(batches(X, y), k, 1))
        of[f"39 non-zeros a row, k {k}"] = (39, k)
    for width in (10, 20):
        # the fields in the middle, so that small and large ones take part
        keys = X.indices.reshape(n, 39)[:, :: 39 // width][:, :width]
        part = sp.csr_matrix((np.ones(keys.size, np.float32), keys.ravel(), np.arange(0, keys.size + 1, width)), (n, d))
        cases[f"{width} non-zeros a row, k 32"] = overall(training(batches(part, y), 32, 1))
        of[f"{width} non-zeros a row, k 32"] = (width, 32)
    found = in_turn(cases, rounds)
    print("## Time as work grows: one epoch of 100,000 rows, one thread\n")
    table(
        ["", "seconds, median", "ns a non-zero", "ns a non-zero and factor"],
        [
            [name, f"{n / (rate := statistics.median(v)):.3f}", f"{1e9 / rate / of[name][0]:.1f}",
             f"{1e9 / rate / of[name][0] / (of[name][1] + 1):.2f}"]
            for name, v in found.items()
        ],
    )  # fmt: skip


def huge(folder: Path, threads: int) -> None:
    d, k, n = 50_000_000, 8, 200_000
    X, y = ctr()
    spread = X[:n].copy()  # the keys of ctr, spread over fifty times as many features
    scattered = (spread.indices.astype(np.int64) * 50 + np.repeat(np.arange(n), 39) % 50).astype(np.int32)
    spread = sp.csr_matrix((spread.data, scattered, spread.indptr), (n, d))
    job = Job(folder / "huge", written(folder, "huge.rec", spread, y[:n]), feature_dim=d, num_factors=k,
              num_threads=threads)  # fmt: skip
    wall, cpu, peak = job.run()
    formula = 3 * (k + 1) * 4 * d
    print(f"feature_dim {d:,}, k {k}, {n:,} records, {threads} threads: {wall:.1f} s, {cpu:.1f} s of CPU")
    print(f"peak memory {peak / 1e9:.2f} GB; 3 (k + 1) 4 feature_dim is {formula / 1e9:.2f} GB")
    model = job.root / "model/model_algo-1"
    print(f"model file {model.stat().st_size / 1e9:.2f} GB")


def both(folder: Path, rounds: int) -> None:
    """Print how long jobs take with one thread that learns, and with two, on two cores."""
    X, y = ctr()
    rng = np.random.default_rng(0)
    dense = rng.random((20_000, 784), np.float32), rng.integers(0, 2, 20_000).astype(np.float32)
    kinds = {
        "ctr, 3 epochs": (written(folder, "ctr.rec", X, y), X.shape[1], 3, (8, 16, 32, 64)),
        "20,000 x 784 dense, 30 epochs": (written(folder, "dense.rec", *dense), 784, 30, (10, 32, 64)),
    }
    jobs = {
        (f"{kind}, k {k}", n): Job(folder / f"{epochs}_{k}_{n}", file, feature_dim=d, num_factors=k, epochs=epochs,
                                   num_threads=n)
        for kind, (file, d, epochs, ks) in kinds.items()
        for k in ks
        for n in (1, 2)
    }  # fmt: skip
    found = in_turn({case: lambda job=job: job.run()[0] for case, job in jobs.items()}, rounds)
    print("## `train`, File mode, two cores, wall seconds\n")
    table(
        ["", "one thread learns", "two learn", "one / two"],
        [
            [name, f"{statistics.median(one):.2f}", f"{statistics.median(two := found[name, 2]):.2f}",
             times(ratios(one, two))]
            for (name, n), one in found.items()
            if n == 1
        ],
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--threads", type=int, default=threads_of(CORES), help=f"solver threads, on {CORES} cores")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=4, help="maximum minutes for the rounds of the whole process")
    parser.add_argument("--huge", action="store_true")
    parser.add_argument("--both", action="store_true")
    options = parser.parse_args()
    use_cores(max(CORES, options.threads))
    for package in ("fm_core", "container"):  # as pip does: an edited module would be compiled by every process
        compileall.compile_dir(ROOT / package, quiet=1)
    describe("The whole process")
    with tempfile.TemporaryDirectory(prefix="fm_pipeline_") as name:
        folder = Path(name)
        if options.huge:
            huge(folder, options.threads)
        elif options.both:
            both(folder, options.rounds)
        else:
            start_up(folder, options.rounds)
            whole_process(folder, options.k, options.threads, options.rounds, options.minutes)
            growth(options.rounds)


if __name__ == "__main__":
    main()
