"""Training in memory: examples per second, compared with other solvers and with what memory allows.

    python benchmarks/train.py [--k 16 64] [--threads 1 2] [--rounds 5] [--peer-rows 50000]

Data: the `ctr` set (39 non-zeros a row, a million features, batches of 1000) and the `dense` set (20,000 x 784, k 10,
five epochs). This project's figure is `MiniBatchSolver.step` on one batch after the other, with grouping by feature in
the step; "by `fit`" adds what `fit` does around it: a reading thread, which groups if there is one solver thread, and
metrics.

Each solver trains two epochs, and the second one counts. In the first, the system allocates the pages of the
optimizer's state, which on a virtual machine may take as long as the training. This project trains on all 500,000
rows, peers on `--peer-rows` of them, which is enough for a rate.

The touch loop only loads and stores the rows that a step needs, with one thread. The rows of each batch, and the
distinct ones among them, are prepared before.
"""

import argparse
import ctypes
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import peers
from common import batches, ctr, dense, describe, in_turn, ratios, table, times, use_cores

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import available, group, in_use
from fm_core.solvers.minibatch import MiniBatchSolver
from fm_core.training.callbacks import EpochReport, Silent
from fm_core.training.fit import fit

OURS, FRESH, BY_FIT, TOUCH = "ours", "ours, first epoch", "ours, by `fit`", "touch loop"
DENSE_K = 10

#: k, threads, and the name of what is trained.
Case = tuple[int, int, str]

#: Examples a second of each epoch: ours, and those of a peer.
Pair = tuple[list[float], list[float]]

#: What the project wants at least: training beside each peer, by k.
GOALS: dict[str, dict[int, float]] = {
    "MXNet 1.9.1, as its example": {16: 25, 64: 15},
    "MXNet 1.9.1, row ids given": {16: 15},
    "PyTorch 2.13, embedding": {16: 15, 64: 12},
    "PyTorch 2.13, bag": {16: 15, 64: 12},
    "MXNet 1.9.1": {10: 4},
    "PyTorch 2.13, dense": {10: 1.5},
}


class Seconds(Silent):
    """The callback that keeps the seconds of each epoch."""

    def __init__(self) -> None:
        self.of_epoch: list[float] = []

    def epoch(self, report: EpochReport) -> None:
        """Keep them."""
        self.of_epoch.append(report.ended - report.started)


def training(
    rows: list[Batch],
    k: int,
    threads: int,
    *,
    epochs: int = 1,
    fresh: bool = False,
    by_fit: bool = False,
    build: str | None = None,
) -> Callable[[], list[float]]:
    """Make the case that trains a new model and gives the examples a second of each epoch.

    The optimizer's state comes as untouched pages. Unless `fresh`, they are touched before the clock
    starts (by `fit`: an epoch goes before), as they are in every epoch but the first.
    """
    n_rows = sum(batch.n_rows for batch in rows)
    untimed = 1 if by_fit and not fresh else 0
    hp = Hyperparameters(
        feature_dim=rows[0].feature_dim, num_factors=k, predictor_type="binary_classifier", epochs=epochs + untimed
    )

    def by_steps() -> list[float]:
        solver = MiniBatchSolver(hp, threads, kernels=available()[build] if build else None)
        if not fresh:
            solver.parameters.state.fill(0)
        rates = []
        for _ in range(epochs):
            started = time.perf_counter()
            for batch in rows:
                solver.step(batch)
            rates.append(n_rows / (time.perf_counter() - started))
        return rates

    def together() -> list[float]:
        seconds = Seconds()
        fit(lambda epoch: rows, hp, num_threads=threads, callback=seconds)
        return [n_rows / each for each in seconds.of_epoch[untimed:]]

    return together if by_fit else by_steps


def overall(case: Callable[[], list[float]]) -> Callable[[], float]:
    """Make of a case that gives the rate of each epoch one that gives that of all of them."""
    return lambda: statistics.harmonic_mean(case())


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
        arrays = MiniBatchSolver(hp, 1).parameters  # the same arrays
        arrays.state.fill(0)
        params, state = arrays.params.ctypes.data, arrays.state.ctypes.data
        started = time.perf_counter()
        for batch, features in zip(rows, distinct, strict=True):
            touch(
                batch.indices.ctypes.data, len(batch.indices), features.ctypes.data, len(features),
                params, state, k + 1, 2, 1.0,
            )  # fmt: skip
        return n_rows / (time.perf_counter() - started)

    return run


def beside(ours: Callable[[], list[float]], peer: Callable[[], list[float]]) -> Callable[[], Pair]:
    """Make the case that trains ours and, right after it, a peer."""
    return lambda: (ours(), peer())


def show_ours(found: dict[Case, list[float]]) -> None:
    """Print examples a second, and what there is to compare within ours."""

    def against(case: Case) -> tuple[str, str]:
        k, threads, name = case
        one = found.get((k, 1, OURS))
        if one is None or (threads == 1 and name == OURS):
            return "", ""
        if name == TOUCH:
            return times(ratios(found[case], one)) + " of its time", "<= 1.7 x"
        if name == OURS:
            return times(ratios(found[case], one)) + " one thread", ">= 1.7 x" if k == 64 else ""
        if name == BY_FIT and threads > 1:
            return times(ratios(found[case], found[k, 1, BY_FIT])) + " one thread, by `fit`", ""
        if name == BY_FIT:
            return times(ratios(found[case], one)) + " by steps", ""
        if name == FRESH:
            return times(ratios(found[case], found[k, threads, OURS])) + " later epochs", ""
        return times(ratios(found[case], one)) + f" the {in_use()[0]} build", ""

    table(
        ["", "examples/s, median", "most", "ratio", "goal"],
        [
            [label(*case), f"{statistics.median(rates):,.0f}", f"{max(rates):,.0f}", *against(case)]
            for case, rates in found.items()
        ],
    )


def show_peers(found: dict[Case, list[Pair]]) -> None:
    """Print examples a second of ours and of each peer, and how many times more ours are."""
    rows = []
    for (k, threads, name), pairs in found.items():
        first = [(ours[0], theirs[0]) for ours, theirs in pairs]
        later = [(statistics.median(ours[1:]), statistics.median(theirs[1:])) for ours, theirs in pairs]
        our_rates, their_rates = zip(*later, strict=True)
        goal = GOALS.get(name, {}).get(k)
        rows.append(
            [label(k, threads, name), f"{statistics.median(their_rates):,.0f}", f"{statistics.median(our_rates):,.0f}",
             times(ratios(our_rates, their_rates)), times(ratios(*zip(*first, strict=True))),
             f">= {goal} x" if goal else ""]
        )  # fmt: skip
    table(["later epochs, examples/s, median", "peer", "ours", "ours / peer", "in the first epoch", "goal"], rows)


def label(k: int, threads: int, name: str) -> str:
    return f"{'dense' if k == DENSE_K else 'ctr'}, k {k}, {threads} thread{'s' * (threads > 1)}: {name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--k", type=int, nargs="*", default=[16, 64], help="numbers of factors; none: only the dense set"
    )
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument(
        "--rounds", type=int, default=7, help="rounds of this project; peers get as many as the minutes allow"
    )
    parser.add_argument("--minutes", type=float, default=5, help="start no case after this many minutes")
    parser.add_argument("--peer-rows", type=int, default=50_000, help="rows that peers train on; 0: all")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--no-dense", action="store_true")
    parser.add_argument("--loop", type=int, default=0, help="only train this project N times, for a profiler")
    options = parser.parse_args()
    started = time.perf_counter()
    use_cores(max(2, *options.threads))
    if options.loop:
        case = training(batches(*ctr()), options.k[0], options.threads[0])
        in_turn({OURS: case}, options.loop)
        return
    describe("Training in memory")
    ours: dict[Case, Callable[[], float]] = {}
    others: dict[Case, Callable[[], Pair]] = {}

    def compare(k: int, data: list[Batch], peers_of: peers.Peers, epochs: int, **changes: int) -> None:
        for threads in options.threads:
            ours[k, threads, OURS] = overall(training(data, k, threads, epochs=epochs))
            if data[0].indptr is not None:
                ours[k, threads, FRESH] = overall(training(data, k, threads, epochs=epochs, fresh=True))
                ours[k, threads, BY_FIT] = overall(training(data, k, threads, epochs=epochs, by_fit=True))
            for name, peer in peers_of.items():
                n = max(2, epochs)
                theirs = peers.training(peer, k=k, threads=threads, epochs=n, **changes)
                others[k, threads, name] = beside(training(data, k, threads, epochs=n, fresh=True), theirs)

    if options.k:
        sparse = batches(*ctr())
        peers_of = {} if options.no_peers else peers.available(peers.SPARSE)
        for k in options.k:
            compare(k, sparse, peers_of, 1, rows=options.peer_rows)
            if 1 in options.threads:
                loop = touching(sparse, k)
                if loop:
                    ours[k, 1, TOUCH] = loop
                for build in sorted(available().keys() - {in_use()[0]}):
                    ours[k, 1, f"ours, {build} build"] = overall(training(sparse, k, 1, build=build))
    if not options.no_dense:
        # an epoch is soon over: five
        compare(DENSE_K, batches(*dense()), {} if options.no_peers else peers.available(peers.DENSE), 5)

    found = in_turn(ours, options.rounds, options.minutes / 3)
    print(f"## Ours: {_rounds(found)} rounds in turn\n")
    print("Ratios are the median (least - largest) of those round by round.\n")
    show_ours(found)
    if others:
        left = options.minutes - (time.perf_counter() - started) / 60
        beside_peers = in_turn(others, options.rounds, left)
        print(f"## Beside other solvers: {_rounds(beside_peers)} rounds in turn, ours right before each\n")
        show_peers(beside_peers)


def _rounds(found: Mapping[Case, Sequence[object]]) -> int:
    return max(map(len, found.values()), default=0)


if __name__ == "__main__":
    main()
