"""Training in memory: examples a second, beside other solvers and beside what memory allows.

    python benchmarks/train.py [--k 16 64] [--threads 1 2] [--rounds 5] [--peer-rows 100000]

Data: the `ctr` set (39 non-zeros a row, a million features, batches of 1000) and the `dense` set
(20,000 x 784, k 10). Ours is timed on all 500,000 rows from a fresh solver, so it pays for the
first touch of its memory; the peers on `--peer-rows` of the same rows (a rate needs no more). One
thread means one thread of work: grouping by feature is done inline. With two, `fit` groups in its
reading thread, on the same two cores. The touch loop only loads and stores the rows that a step
needs, one thread; where rows repeat and what is distinct was prepared for it.
"""

import argparse
import ctypes
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peers
from common import batches, ctr, dense, describe, in_turn, ratios, table, times, use_cores

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import available, group, in_use
from fm_core.solver import EpochReport, Silent, Solver, fit

OURS, TOUCH = "ours", "touch loop"

#: What the project wants at least: training beside each peer, by k.
GOALS = {
    "MXNet 1.9.1, as its example": {16: 25, 64: 15},
    "MXNet 1.9.1, row ids given": {16: 15},
    "PyTorch 2.13, embedding": {16: 15, 64: 12},
    "PyTorch 2.13, bag": {16: 15, 64: 12},
    "MXNet 1.9.1": {10: 4},
    "PyTorch 2.13, dense": {10: 1.5},
}


class LastEpoch(Silent):
    """The callback that keeps the seconds of the last epoch."""

    def epoch(self, report: EpochReport) -> None:
        """Remember them."""
        self.seconds = report.ended - report.started


def training(rows: list[Batch], k: int, threads: int, build: str | None = None) -> Callable[[], float]:
    """Make the case that trains one epoch and gives its examples a second."""
    hp = Hyperparameters(feature_dim=rows[0].feature_dim, num_factors=k, predictor_type="binary_classifier")
    n_rows = sum(batch.n_rows for batch in rows)

    def alone() -> float:
        solver = Solver(hp, 1)
        if build:
            solver._kernels = available()[build]
        started = time.perf_counter()
        for batch in rows:
            solver.step(batch)
        return n_rows / (time.perf_counter() - started)

    def together() -> float:
        last = LastEpoch()
        fit(lambda epoch: rows, hp, num_threads=threads, callback=last)
        return n_rows / last.seconds

    return alone if threads == 1 else together


def touching(rows: list[Batch], k: int) -> Callable[[], float] | None:
    """Make the case of the touch loop; None without a C compiler."""
    source = Path(__file__).with_name("touch.c")
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "touch.so"
        command = ["cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", str(built), str(source)]
        try:
            subprocess.run(command, check=True)
        except OSError as error:
            print(f"no touch loop: {error}\n")
            return None
        touch = ctypes.CDLL(str(built)).touch
    pointer, size = ctypes.c_void_p, ctypes.c_ssize_t
    touch.argtypes = [pointer, size, pointer, size, pointer, pointer, size, size, ctypes.c_float]
    touch.restype = ctypes.c_float
    distinct = [group(b.indptr, b.indices, b.values, b.feature_dim)[0].copy() for b in rows]
    hp = Hyperparameters(feature_dim=rows[0].feature_dim, num_factors=k, predictor_type="binary_classifier")
    n_rows = sum(batch.n_rows for batch in rows)

    def run() -> float:
        solver = Solver(hp, 1)  # the same arrays, as fresh as the solver's
        params, state = solver.params.ctypes.data, solver.state.ctypes.data
        started = time.perf_counter()
        for batch, features in zip(rows, distinct, strict=True):
            touch(
                batch.indices.ctypes.data, len(batch.indices), features.ctypes.data, len(features),
                params, state, k + 1, 2, 1.0,
            )  # fmt: skip
        return n_rows / (time.perf_counter() - started)

    return run


def show(found: dict[str, list[float]], k: int) -> None:
    """Print examples a second, and how many times those of each other case ours are."""

    def row(name: str) -> list[Any]:
        rate, best = statistics.median(found[name]), max(found[name])
        goal = GOALS.get(name, {}).get(k)
        if name == OURS:
            told = ["", ""]
        elif name == TOUCH:  # a time, and so the other way round
            told = [times(ratios(found[name], found[OURS])) + " its time", "<= 1.7 x"]
        else:
            told = [times(ratios(found[OURS], found[name])), f">= {goal} x" if goal else ""]
        return [name, f"{rate:,.0f}", f"{best:,.0f}", *told]

    table(["", "examples/s, median", "best", "ours / this", "goal"], [row(name) for name in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k", type=int, nargs="*", default=[16, 64], help="none: the dense set alone")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=5.5, help="no round starts that would end later")
    parser.add_argument("--peer-rows", type=int, default=100_000, help="rows the peers train on; 0: all")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--no-dense", action="store_true")
    options = parser.parse_args()
    use_cores(max(2, *options.threads))
    describe("Training in memory")
    cases: dict[tuple[int, int, str], Callable[[], float]] = {}
    if options.k:
        sparse = batches(*ctr())
        others = {} if options.no_peers else peers.available(peers.SPARSE)
        for k in options.k:
            for threads in options.threads:
                cases[k, threads, OURS] = training(sparse, k, threads)
                if threads == 1:
                    loop = touching(sparse, k)
                    if loop:
                        cases[k, threads, TOUCH] = loop
                    for build in available().keys() - {in_use()[0]}:
                        cases[k, threads, f"ours, {build} build"] = training(sparse, k, 1, build)
                for name, peer in others.items():
                    cases[k, threads, name] = peers.training(peer, k=k, threads=threads, rows=options.peer_rows)
    if not options.no_dense:
        rows = batches(*dense())
        others = {} if options.no_peers else peers.available(peers.DENSE)
        for threads in options.threads:
            cases[10, threads, OURS] = training(rows, 10, threads)
            for name, peer in others.items():
                # an epoch is soon over: the rate of several
                cases[10, threads, name] = peers.training(peer, k=10, threads=threads, epochs=5)
    found = in_turn(
        {f"k {k}, {threads} threads, {name}": case for (k, threads, name), case in cases.items()},
        options.rounds, options.minutes,
    )  # fmt: skip
    of = dict(zip(cases, found.values(), strict=True))
    print(f"{len(next(iter(of.values())))} rounds in turn; ratios are medians (least - largest) round by round\n")
    for k, threads in dict.fromkeys((k, threads) for k, threads, _ in cases):
        print(f"## {'dense 20,000 x 784' if k == 10 else 'ctr'}, k {k}, {threads} thread{'s' * (threads > 1)}\n")
        show({name: values for (*place, name), values in of.items() if tuple(place) == (k, threads)}, k)
    pairs = [
        [f"{'dense' if k == 10 else 'ctr'}, k {k}", times(ratios(of[k, 2, OURS], of[k, 1, OURS])), goal]
        for k, goal in ((16, ""), (64, ">= 1.7 x"), (10, ""))
        if (k, 1, OURS) in of and (k, 2, OURS) in of
    ]
    if pairs:
        table(["two threads against one", "examples/s", "goal"], pairs)


if __name__ == "__main__":
    main()
