"""The Bayesian solver: memory, and the time of a sweep and of a fit compared with myFM and with a loop over memory.

    python benchmarks/bayes.py [--rounds 5] [--minutes 5]

The programs run in turn, round after round. Runs with one thread are measured in processor time, which other work on
the machine disturbs less; runs with two threads in wall-clock time. Next to myFM, a sweep includes all that the solver
does for one: draws, averages, and what it keeps of the sample.

- myFM 0.4 (`make .venvs/myfm/.installed` creates its environment): rank 8, one thread, the same rows, its own link
  (probit) for classes. Small data gets many sweeps per round, `ctr` (19.5 million entries) few.
- The touch loop (touch_rows.c) visits the rows of each feature in turn, and loads and stores their records once.
- Memory: what collecting all rows and sweeps add to the process, for data with few features.
- Compression: the model compared with the uncompressed mean of its samples, on test rows (../shared/data).

If myFM or the data of MovieLens is missing, the benchmark skips it and prints so.
"""

import argparse
import ctypes
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
from common import CTR_FIELDS, ROOT, SHARED, batches, ctr, describe, in_turn, ratios, table, times, use_cores

from fm_core.batch import Batch
from fm_core.model import Model
from fm_core.solvers.bayes.rows import Rows
from fm_core.solvers.bayes.solver import BayesSolver, collect, sample_model
from fm_core.spread import spread_to_unseen

Data = tuple[Any, np.ndarray]

MYFM = ROOT / ".venvs/myfm/bin/python"
RANK = 8
KINDS = ("regressor", "binary_classifier")
#: What the project wants at least, by kind, of a sweep and of the whole of a fit.
FASTER_THAN_MYFM = {"regressor": 8, "binary_classifier": 6}
FIT_FASTER, FIT_SWEEPS = 6, 100
SLOWER_THAN_TOUCH, TWO_THREADS = 2.2, 1.6
COMPRESSION = 0.001
PARTS = ("myfm", "touch", "fit", "memory", "compression", "spread")
#: Share of test labels within a central 90 % interval.
COVERED = (0.88, 0.92)


def ratings(part: str) -> Data | None:
    """MovieLens 100K, u1: 80,000 rows of a user and an item, ratings; None without ../shared/data."""
    path = SHARED / "data/ml100k_u1" / f"{part}.npz"
    if not path.exists():
        return None
    X = sp.load_npz(path).tocsr()
    return sp.csr_matrix((X.data, X.indices, X.indptr), (X.shape[0], 2625)), np.load(path)["y"]


def labels(y: np.ndarray, kind: str) -> np.ndarray:
    """Labels of a kind, from ratings or from classes."""
    if kind == "regressor":
        return y.astype(np.float32)
    return (y > (3.5 if y.max() > 1 else 0.5)).astype(np.float32)


def sweeping(
    rows: Rows, kind: str, n: int, threads: int = 1, whole: bool = True, clock: Callable[[], float] = time.process_time
) -> Callable[[], list[float]]:
    """The case that makes n sweeps, and gives the seconds of each: of the whole, or of the chain alone."""
    solver = BayesSolver(rows, kind, 16, 10_000, 1, threads)
    solver.sweep()

    def run() -> list[float]:
        seconds = []
        for _ in range(n):
            started = clock()
            if whole:
                solver.sweep()
            else:
                solver.sampler.sweep(True)
            seconds.append(clock() - started)
        return seconds

    return run


def myfm(X: Any, y: np.ndarray, kind: str, n: int, folder: Path) -> Callable[[], dict[str, Any]]:
    """The case that lets myFM make n sweeps, in a process of its own: seconds of its fit, and of each sweep."""
    path = folder / f"{X.shape[0]}_{kind}.npz"
    X = X.tocsr()
    np.savez(path, data=X.data, indices=X.indices, indptr=X.indptr, shape=X.shape, format=b"csr", y=y)
    command = [str(MYFM), str(Path(__file__).with_name("myfm_peer.py")), str(path), kind, str(RANK), str(n)]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}

    def run() -> dict[str, Any]:
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=settings)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    return run


def touching(rows: Rows) -> Callable[[], list[float]] | None:
    """The case of the touch loop; None without a C compiler."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "touch_rows.so"
        command = ["cc", "-O3", "-march=native", "-Wno-psabi", "-shared", "-fPIC", "-o", str(built)]
        try:
            subprocess.run([*command, str(Path(__file__).with_name("touch_rows.c"))], check=True)
        except OSError as error:
            print(f"no touch loop: {error}\n")
            return None
        touch = ctypes.CDLL(str(built)).touch_rows
    pointer, size = ctypes.c_void_p, ctypes.c_ssize_t
    touch.argtypes, touch.restype = [pointer, size, pointer, size, ctypes.c_float], None
    # the records of a chain, and where they lie
    records = BayesSolver(rows, "regressor", 16, 1, 1).sampler.arrays()["chain_records"]

    def run() -> list[float]:
        started = time.process_time()
        touch(rows.rows.ctypes.data, len(rows.rows), records.ctypes.data, records.shape[1], 0.0)
        return [time.process_time() - started]

    return run


def medians(cases: dict[str, Callable[[], list[float]]]) -> dict[str, Callable[[], float]]:
    """Make of cases that give the seconds of many sweeps such that give their median."""
    return {name: lambda case=case: statistics.median(case()) for name, case in cases.items()}  # type: ignore[misc]


def rows_of(X: Any, y: np.ndarray) -> Rows:
    return collect(batches(X, y), X.shape[1])


def show(
    title: str, a: str, b: str, seconds: dict[str, list[float]], entries: int, goal: float, at_most: bool = False
) -> bool:
    """Print seconds of both, and the ratio; give whether it reaches the goal."""
    ratio = ratios(seconds[a], seconds[b])
    is_met = ratio[0] <= goal if at_most else ratio[0] >= goal
    numbers = entries * (RANK + 1)
    table(
        ["seconds, median", a, b, f"{a} / {b}", "goal", "ns an entry and number"],
        [[title, *(f"{statistics.median(seconds[name]):.4f}" for name in (a, b)), times(ratio),
          f"{'at most' if at_most else 'at least'} {goal:g} x{'' if is_met else ', MISSED'}",
          ", ".join(f"{statistics.median(seconds[name]) / numbers * 1e9:.2f}" for name in (a, b))]],
    )  # fmt: skip
    return is_met


# ---------------------------------------------------------------- what is compared


def against_myfm(sets: dict[str, tuple[Data, int, int]], rounds: int, minutes: float, folder: Path) -> list[bool]:
    """Seconds of a sweep, one thread."""
    met = []
    for name, ((X, y), our_sweeps, their_sweeps) in sets.items():
        for kind in KINDS:
            of_kind = labels(y, kind)
            ours = sweeping(rows_of(X, of_kind), kind, our_sweeps)
            theirs = myfm(X, of_kind, kind, their_sweeps, folder)
            cases = {"ours": ours, "myFM": lambda theirs=theirs: theirs()["sweeps"]}
            found = in_turn(medians(cases), rounds, minutes)
            met.append(show(f"{name}, {kind}", "myFM", "ours", found, X.nnz, FASTER_THAN_MYFM[kind]))
    return met


def against_memory(data: Data, rounds: int, minutes: float) -> list[bool]:
    """A sweep of one thread against the touch loop, and against one of two threads."""
    X, y = data
    met = []
    for kind in KINDS:
        rows = rows_of(X, labels(y, kind))
        touch = touching(rows)
        if touch is not None and kind == "regressor":
            cases = {"a sweep": sweeping(rows, kind, 1, whole=False), "touch loop": touch}
            found = in_turn(medians(cases), rounds, minutes)
            met.append(show(f"ctr, {kind}", "a sweep", "touch loop", found, X.nnz, SLOWER_THAN_TOUCH, at_most=True))
        cases = {
            f"{n} thread{'s' * (n > 1)}": sweeping(rows, kind, 1, n, whole=False, clock=time.perf_counter)
            for n in (1, 2)
        }
        found = in_turn(medians(cases), rounds, minutes)
        met.append(show(f"ctr, {kind}", "1 thread", "2 threads", found, X.nnz, TWO_THREADS))
    return met


def whole_fit(data: Data, rounds: int, minutes: float, folder: Path) -> bool:
    """Rows in CSR to a model."""
    X, y = data

    def ours() -> float:
        started = time.process_time()
        sample_model(rows_of(X, y), "regressor", RANK, FIT_SWEEPS, 1, 1).model  # noqa: B018  it is made when asked for
        return time.process_time() - started

    theirs = myfm(X, y, "regressor", FIT_SWEEPS, folder)
    found = in_turn({"ours": ours, "myFM": lambda: theirs()["fit"]}, rounds, minutes)
    return show(f"u1, {FIT_SWEEPS} sweeps, start to end", "myFM", "ours", found, X.nnz * FIT_SWEEPS, FIT_FASTER)


def memory(n_rows: int) -> bool:
    """Peak memory of collecting and two sweeps, in a process of its own, beside what the goal allows."""
    command = [sys.executable, __file__, "--memory-of", str(n_rows)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    allowed = 12 * found["entries"] + 16 * (RANK + 4) * n_rows
    table(
        ["memory", "added, MiB", "goal, at most"],
        [[f"{n_rows} rows, {found['entries']} entries", f"{found['added'] / 2**20:.0f}", f"{allowed / 2**20:.0f}"]],
    )
    return bool(found["added"] <= allowed)


def measure_memory(n_rows: int) -> None:
    """Print as JSON how much a collection and two sweeps add to what the process has at most."""
    width = 500  # few features, so that hardly anything is the parameters'
    random = np.random.default_rng(1)

    def batch(n: int) -> Batch:
        keys = (random.random((n, CTR_FIELDS)) ** 2 * width).astype(np.int32) + width * np.arange(CTR_FIELDS)
        indptr = np.arange(0, keys.size + 1, CTR_FIELDS)
        X = sp.csr_matrix((np.ones(keys.size, np.float32), keys.ravel(), indptr), (n, width * CTR_FIELDS))
        return Batch.from_csr(X, random.random(n).astype(np.float32))

    sample_model(collect([batch(1000)], width * CTR_FIELDS), "regressor", RANK, 2)
    before = peak()
    rows = collect((batch(1000) for _ in range(n_rows // 1000)), width * CTR_FIELDS)
    solver = sample_model(rows, "regressor", RANK, 2)
    print(json.dumps({"added": peak() - before, "entries": len(solver.rows.rows)}))


def peak() -> int:
    """The most memory this process had, in bytes. getrusage would give its parent's, if that had more."""
    with Path("/proc/self/status").open(encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def compression() -> list[bool]:
    """The model of 16 factors against the mean of the same samples, on test rows."""
    train, test = ratings("train"), ratings("test")
    if train is None or test is None:
        return []
    cells, met = [], []
    for kind in KINDS:
        solver = BayesSolver(rows_of(train[0], labels(train[1], kind)), kind, 16, 200, 1, 2)
        y = labels(test[1], kind)
        rows, total = Batch.from_csr(test[0], y), np.zeros(len(y))
        while not solver.is_done:
            solver.sweep()
            if solver.outlook.n_samples == 1:  # the average began anew
                total[:] = 0
            total += sample_of(solver, kind).predict(rows)
        n, loss = solver.outlook.n_samples, root_mean_square if kind == "regressor" else cross_entropy
        mean, compressed = loss(y, total / n), loss(y, solver.model.predict(rows))
        met.append(compressed - mean <= COMPRESSION)
        cells.append([f"u1, {kind}", n, f"{mean:.4f}", f"{compressed:.4f}", f"{compressed - mean:+.5f}",
                      f"at most {COMPRESSION:g}"])  # fmt: skip
    table(["test loss", "samples", "their mean", "the model, 16 factors", "difference", "goal"], cells)
    return met


def coverage() -> list[bool]:
    """Whether test labels are as far from their scores as standard deviations say, in each way to sample."""
    train, test = ratings("train"), ratings("test")
    if train is None or test is None:
        return []
    cells, met = [], []
    for method, seed in (("gibbs", 0), ("gibbs", 1), ("variational", 0)):
        solver = sample_model(rows_of(*train), "regressor", 16, None, seed, 2, method)
        model = solver.model
        model.spread = solver.spread
        scores, std = model.predict(Batch.from_csr(test[0]), 2, return_std=True)
        z = (test[1].astype(np.float64) - scores) / std
        shares = [float(np.mean(np.abs(z) < limit)) for limit in (0.6745, 1.6449)]
        met.append(COVERED[0] <= shares[1] <= COVERED[1])
        cells.append([f"u1, {method}, seed {seed}", solver.n_steps, f"{std.mean():.3f}", f"{shares[0]:.1%}",
                      f"{shares[1]:.1%}", "88 % to 92 %"])  # fmt: skip
    table(["test labels covered", "sweeps", "mean std", "by the central 50 %", "90 %", "goal of 90 %"], cells)
    return met


def sample_of(solver: BayesSolver, kind: str) -> Model:
    """The present sample as a model of all features, those that never occurred by their group's mean."""
    rows, sampler, units = solver.rows, solver.sampler, solver.sampler.units
    groups = spread_to_unseen(rows.features, rows.groups, np.arange(rows.feature_dim))
    params = (sampler.priors.mean[groups] / rows.typical[groups][:, np.newaxis]).astype(np.float32)
    params[rows.features] = sampler.params / rows.typical[rows.groups][:, np.newaxis]
    params[:, :-1] *= np.sqrt(units.scale)
    params[:, -1] *= units.scale
    return Model.of_params(kind, units.mean + units.scale * sampler.w0, params)


def root_mean_square(y: np.ndarray, z: np.ndarray) -> float:
    return float(np.sqrt(np.mean((y.astype(np.float64) - z) ** 2)))


def cross_entropy(y: np.ndarray, p: np.ndarray) -> float:
    p = np.clip(p.astype(np.float64), 1e-9, 1 - 1e-9)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p)))


# ---------------------------------------------------------------- the whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=1, help="minutes for the rounds of one comparison")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    if options.memory_of:
        measure_memory(options.memory_of)
        return
    use_cores(2)
    describe("The Bayesian solver")
    train, wide = ratings("train"), ctr() if {"myfm", "touch"} & set(options.only) else None
    has_myfm, met = MYFM.exists(), []
    if not has_myfm:
        print("no peer myFM: run `make .venvs/myfm/.installed` first\n")
    if train is None:
        print("no data of MovieLens: ../shared/data is absent\n")
    with tempfile.TemporaryDirectory() as name:
        folder, limits = Path(name), (options.rounds, options.minutes)
        if "myfm" in options.only and has_myfm and wide is not None:
            sets = {"ctr": (wide, 2, 4)} | ({} if train is None else {"u1": (train, 40, 60)})
            met += against_myfm(sets, *limits, folder)
        if "touch" in options.only and wide is not None:
            met += against_memory(wide, *limits)
        if "fit" in options.only and has_myfm and train is not None:
            met.append(whole_fit(train, *limits, folder))
    if "memory" in options.only:
        met.append(memory(500_000))
    if "compression" in options.only:
        met += compression()
    if "spread" in options.only:
        met += coverage()
    print("Every goal is met." if all(met) else f"{met.count(False)} of {len(met)} goals are missed.")
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
