"""Several hosts: what they send each other, what memory each needs, and what that means for 2 to 64 of them.

    .venvs/torch/bin/python benchmarks/cluster.py [--rows 12000] [--k 16 64] [--rounds 3]

Measured: distinct features of a batch; bytes and messages that processes on the loopback interface send, compared with
the formulas of traffic.py; their memory; computing time of a group of one, compared with plain `fit`; and what one host
loads of all this (nothing). Computed from that: the time of a step on networks of 10, 25 and 100 Gb/s, the number of
hosts that pays off, and the largest model. Each heading says whether its figures are measured or computed.
"""

import argparse
import functools
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import members
import numpy as np
import simulation
from common import ROOT, batches, ctr, describe, in_turn, ratios, table, times
from network import Network, is_possible
from traffic import TURNS, Sent, by_averages, data_of, expected, of_a_pass, seconds_of_a_step

import opt_ml
from container.stopping import end
from fm_core.batch import Batch
from fm_core.formats import write_records
from fm_core.hyperparameters import Hyperparameters
from fm_core.metrics import metrics_for
from fm_core.training.callbacks import Silent
from fm_core.training.fit import fit

try:
    from fm_core.cluster.data import DistributedData
    from fm_core.cluster.presence import Presence
    from fm_core.cluster.process_group import ProcessGroup
    from fm_core.cluster.sharded import fit_together
except ImportError:
    sys.exit("no PyTorch here: run `make .venvs/torch/.installed`, and use .venvs/torch/bin/python")

#: Rows of a mini batch where nothing else is said.
M = 1000
HOSTS = [1, 2, 4, 8, 16, 32, 64]
#: Rows of all mini batches of a step together, where they are kept the same.
TOGETHER = 16_000
GIGABITS = [10, 25, 100]
#: Batches between two meetings of dist_async.
INTERVALS = [5, 20, 50, 100, 250]
GIB = 2**30
#: Microseconds that a frame takes on each of the two wires between hosts, by what comes of it.
WIRES = {"no wire": 0, "a wire, 0 ms": 1, "0.5 ms": 250, "1 ms": 500}
#: Seconds of computing of a step, by k, rows of a mini batch, and whether in a group.
Seconds = dict[tuple[int, int, bool], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12_000, help="number of rows to train on")
    parser.add_argument("--k", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=50, help="latency of the computed tables, in microseconds")
    parser.add_argument(
        "--links", action="store_true", help="only measure steps over slow links, and keep them for simulation.py"
    )
    parser.add_argument("--long-links", action="store_true", help="only measure steps over links with latency")
    options = parser.parse_args()
    describe("Several hosts")
    if not (options.links or options.long_links):
        of_a_batch(options.k)
    with tempfile.TemporaryDirectory(prefix="fm_cluster_") as name:
        folder = Path(name)
        X, y = ctr()
        rows = members.keep(folder, X[: options.rows], y[: options.rows])
        if options.links:
            over_links(rows, options.k, options.rounds)
        if options.long_links:
            over_long_links(rows, options.k, options.rounds)
        if options.links or options.long_links:
            return
        of_processes(rows, options.k)
        one_host(folder)
    compute = of_one(options.k, options.rounds)
    latency = options.latency * 1e-6
    print(
        f"Computed below: a step is computing, then rows / bandwidth + {TURNS} x {options.latency:g} us, at least all "
        "bytes / bandwidth (traffic.py). The latency is assumed, one thread a host computes.\n"
    )
    same_batch_on_each(options.k, compute, latency)
    same_batch_together(options.k, compute, latency)
    averages(options.k)
    largest_model(options.k)


# ---------------------------------------------------------------- measured


@functools.cache
def distinct(m: int) -> float:
    """Distinct features of a batch of m rows of ctr: the mean of at most 50 batches."""
    X, _ = ctr()
    starts = range(0, X.shape[0] - m + 1, m)[:50]
    return statistics.mean(len(np.unique(X.indices[X.indptr[i] : X.indptr[i + m]])) for i in starts)


def sent_by(m: int, k: int, size: int) -> Sent:
    """What a member with mini batches of m rows of ctr sends in a step, by the simple formula."""
    X, _ = ctr()
    return expected(distinct(m), k, size, m, m * X.nnz / X.shape[0])


def of_a_batch(ks: Sequence[int]) -> None:
    X, _ = ctr()
    width = X.nnz / X.shape[0]
    print("## Measured: distinct features of a batch of ctr, and the bytes that follow\n")
    table(
        ["rows", "non-zeros", "distinct", "of the non-zeros", *(f"MB, 2 hosts, k {k}" for k in ks),
         *(f"MB, 64 hosts, k {k}" for k in ks)],
        [
            [f"{m:,}", f"{m * width:,.0f}", f"{distinct(m):,.0f}", f"{distinct(m) / m / width:.0%}",
             *(f"{sent_by(m, k, size).total / 1e6:.2f}" for size in (2, 64) for k in ks)]
            for m in (10, 100, 250, 1000, 4000, 16_000, 64_000)
        ],
    )  # fmt: skip


def of_processes(rows: Path, ks: Sequence[int]) -> None:
    """Run groups of 2, 3 and 4, and one host alone."""
    X, _ = ctr()
    common = {"feature_dim": X.shape[1], "predictor_type": "binary_classifier", "mini_batch_size": M, "epochs": 1}
    n_sums = len(metrics_for("binary_classifier").sums())
    n = len(np.load(rows.with_suffix(".npy")))
    sizes = [0, 2, 3, 4]
    sent, memory = [], []
    for k in ks:
        for size in sizes:
            found = members.run(rows, size, **common, num_factors=k)
            peak, state = max(each.peak for each in found), max(each.state for each in found)
            before = max(each.before for each in found)
            name = f"k {k}, {'one host alone' if size == 0 else f'{size} hosts'}"
            memory.append([name, *(f"{b / 1e6:.0f}" for b in (state, before, peak, peak - state))])
            if size == 0:
                continue
            steps = [
                data_of(
                    [X[i : min(i + M, n)].indices for i in range(at, at + size * M, M)],
                    [max(0, min(M, n - i)) for i in range(at, at + size * M, M)],
                    size,
                )
                for at in range(0, n, size * M)
            ]
            formula = of_a_pass(steps, k, n_sums, 500)
            is_equal = all(
                (each.bytes, each.messages)
                == ([by.keys, by.rows], [by.key_messages, by.row_messages])
                for each, by in zip(found, formula, strict=True)
            )  # fmt: skip
            mean = statistics.mean(sum(each.bytes) for each in found) / len(steps)
            simple = sent_by(M, k, size)
            sent.append([
                name,
                f"{statistics.mean(each.bytes[0] for each in found) / len(steps) / 1e3:.1f}",
                f"{statistics.mean(each.bytes[1] for each in found) / len(steps) / 1e3:.1f}",
                f"{statistics.mean(sum(each.messages) for each in found) / len(steps):.1f}",
                "equal" if is_equal else "DIFFERS",
                f"{simple.total / 1e3:.1f}", f"{simple.total / mean - 1:+.1%}",
            ])  # fmt: skip
    print(f"## Measured: what a member sends a step; {n:,} rows, {M:,} a member, real processes\n")
    header = ["", "kB of keys", "kB of rows", "messages", "formula, with each step's features",
              "kB by the simple formula", "of what is counted"]  # fmt: skip
    table(header, sent)
    print("## Measured: memory of a host, the same processes; MB, the largest of the members\n")
    table(["", "its rows and their state", "before training", "peak", "peak without those rows"], memory)


def over_links(rows: Path, ks: Sequence[int], rounds: int) -> None:
    """Run groups of 2, 3 and 4 whose links carry so much; keep what simulation.py is compared with, and starts from."""
    if not is_possible():
        print("Left out: a step over slow links takes root, and network namespaces.\n")
        return
    links = simulation.LINKS
    cases = [(k, size, link) for k in ks for size in (0, 1, 2, 3, 4) for link in links if size > 1 or link == "none"]
    rounds_of: dict[tuple[int, int, str], list[dict[str, float]]] = {}
    for _ in range(rounds):
        for k, size, link in cases:
            rounds_of.setdefault((k, size, link), []).append(in_network(rows, k, size, rate=link))
    best = {
        case: {name: statistics.median(told[name] for told in each) for name in each[0]}
        for case, each in rounds_of.items()
    }
    lines = [
        json.dumps({"k": k, "size": size, "link": link, **told, "steps": int(told["steps"])})
        for (k, size, link), told in best.items()
    ]
    simulation.RECORD.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print("## Measured: a step over links that carry so much each way; ms, the median of the rounds\n")
    table(
        ["", *links],
        [
            [f"k {k}, {hosts(size)}", *(f"{best[k, size, link]['step'] * 1e3:.1f}" for link in links)]
            for k, size in itertools.product(ks, (2, 3, 4))
        ],
    )
    print("All hosts are on this machine and share its processors. `benchmarks/simulation.py` compares, and goes on.\n")


def over_long_links(rows: Path, ks: Sequence[int], rounds: int) -> None:
    """Run groups of 2 and 4 whose messages take time; a wire that takes none shows what the wire's program costs."""
    if not is_possible():
        print("Left out: a step over long links takes root, and network namespaces.\n")
        return
    cases = list(itertools.product(ks, (2, 4), WIRES))
    steps: dict[tuple[int, int, str], list[float]] = {}
    for _ in range(rounds):
        for k, size, name in cases:
            told = in_network(rows, k, size, microseconds=WIRES[name])
            steps.setdefault((k, size, name), []).append(told["step"] * 1e3)
    print("## Measured: a step where a message takes time from host to host; ms, median (least - largest) of rounds\n")
    table(
        ["", *WIRES],
        [[f"k {k}, {hosts(size)}", *(in_words(steps[k, size, name]) for name in WIRES)]
         for k, size in itertools.product(ks, (2, 4))],
    )  # fmt: skip
    print("The wire (delay.c) takes processor time, of the two processors that all hosts here share.\n")


def in_words(found: Sequence[float]) -> str:
    """The median, and between which numbers."""
    return f"{statistics.median(found):.1f} ({min(found):.1f} - {max(found):.1f})"


def in_network(rows: Path, k: int, size: int, *, rate: str = "none", microseconds: int = 0) -> dict[str, float]:
    """Run a group of hosts in a network of its own; 0: plain `fit`."""
    X, _ = ctr()
    n, repeat = len(np.load(rows.with_suffix(".npy"))), 4
    steps = -(-n // (M * max(1, size))) * repeat
    with Network(max(1, size), microseconds) as network:
        if rate != "none":
            network.shape(rate)
        found = members.run(
            rows, size, under=[network.within(rank) for rank in range(max(1, size))], addresses=network.addresses,
            interface="eth0", repeat=repeat, feature_dim=X.shape[1], predictor_type="binary_classifier",
            mini_batch_size=M, epochs=8, num_factors=k,
        )  # fmt: skip
    return of_links(found, steps)


def of_links(found: Sequence[members.Found], steps: int) -> dict[str, float]:
    """Seconds and bytes of a step, of what the members of a group say; the first epoch is left out."""

    def each(ends: Sequence[float]) -> float:
        return min(b - a for a, b in itertools.pairwise(ends)) / steps

    n_epochs = len(found[0].epochs)
    return {
        "steps": steps,
        "step": each(found[0].epochs),
        "learn": statistics.mean(each(member.learned) for member in found),
        "plan": statistics.mean(min(member.read[1:]) / steps for member in found),
        "work": statistics.mean(each(member.worked) for member in found),
        "keys": max(member.bytes[0] for member in found) / steps / n_epochs,
        "rows": max(member.bytes[1] for member in found) / steps / n_epochs,
    }


def one_host(folder: Path) -> None:
    """Show what of all this a job of one host loads: run it here."""
    X, y = ctr()
    root, rows = folder / "opt_ml", folder / "rows.rec"
    with rows.open("wb") as file:
        write_records(file, X[:100], y[:100])
    words = {"predictor_type": "binary_classifier", "feature_dim": str(X.shape[1]), "num_factors": "2"}
    opt_ml.lay_out(root, words | {"mini_batch_size": "100"}, {"train": rows})
    script = (
        "import sys; from container.train import main; code = main(); "
        "print(len(sys.modules), *(m for m in sys.modules if m.split('.')[0] == 'torch' or m in "
        "('fm_core.cluster.process_group', 'fm_core.cluster.sharded', 'container.training.cluster')), sep=' ', "
        "file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={"FM_OPT_ML": str(root)}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"train failed: {done.stderr[-2000:]}")
    n, *loaded = done.stderr.split("\n")[-2].split()
    print("## Measured: what a job of one host loads of it\n")
    print(f"Of the {n} modules that `train` loads: {', '.join(loaded) or 'none of PyTorch, fm_core.cluster'}\n")


class Clock(Silent):
    """Seconds of the epochs but the first, in which memory is touched for the first time.

    Attributes
    ----------
    solver, everything, wall : float
        Seconds an epoch: of CPU of the thread that learns, of CPU of all threads, and of time.
    """

    def __init__(self) -> None:
        self._read: list[tuple[float, float, float]] = []

    def epoch(self, report: Any) -> None:
        """Note the clocks."""
        self._read.append((time.thread_time(), time.process_time(), time.perf_counter()))

    @property
    def seconds(self) -> tuple[float, float, float]:
        """What is said above."""
        first, last = self._read[0], self._read[-1]
        solver, everything, wall = ((b - a) / (len(self._read) - 1) for a, b in zip(first, last, strict=True))
        return solver, everything, wall


def of_one(ks: Sequence[int], rounds: int) -> Seconds:
    """Measure a group of one beside plain `fit`; give seconds of computing of a step, by k, m and which."""
    X, y = ctr()
    port = members.free_port()
    presence = Presence(["127.0.0.1"], 0, port=port, facts={}, interface="lo")
    presence.meet()
    group = presence.begin(lambda: ProcessGroup(presence, interface="lo"))

    def clocked(k: int, rows: list[Batch], m: int, is_group: bool) -> Callable[[], tuple[float, float, float]]:
        hp = Hyperparameters(feature_dim=X.shape[1], num_factors=k, predictor_type="binary_classifier", epochs=3,
                             mini_batch_size=m)  # fmt: skip

        def measure() -> tuple[float, float, float]:
            clock = Clock()
            if is_group:
                fit_together(DistributedData(lambda epoch: rows, False), hp, group, callback=clock)
            else:
                fit(lambda epoch: rows, hp, callback=clock)
            return clock.seconds

        return measure

    n = 2 * TOGETHER
    shares = [TOGETHER // size for size in HOSTS]
    cut = {m: batches(X[:n], y[:n], m) for m in shares}
    ways = list(itertools.product(ks, shares, (False, True)))
    cases = {(k, m, is_group): clocked(k, cut[m], m, is_group) for k, m, is_group in ways}
    found = in_turn(cases, rounds)
    print(f"## Measured: a group of one, beside plain `fit`; {n:,} rows in batches of {M:,}, one thread\n")
    print("CPU time: this machine may have other work. Ratios are the median (least - largest) of the rounds.\n")
    rows_of = []
    for k in ks:
        ours, plain = found[k, M, True], found[k, M, False]
        for i, what in enumerate(("the thread that learns", "all threads")):
            a, b = [each[i] for each in ours], [each[i] for each in plain]
            rows_of.append([f"k {k}, {what}", f"{statistics.median(b) * M / n * 1e3:.2f}",
                            f"{statistics.median(a) * M / n * 1e3:.2f}", times(ratios(a, b)), "<= 1.05 x"])  # fmt: skip
    table(["ms of CPU a step", "fit", "a group of one", "ratio", "goal"], rows_of)
    group.leave()
    # the reading thread works beside the one that learns: the busier of the two counts
    compute = {
        (k, m, is_group): min(max(solver, everything - solver) for solver, everything, _ in found[k, m, is_group])
        * m
        / n
        for k, m, is_group in ways
    }
    print("## Measured: ms of computing a step, by mini_batch_size; the busier thread, the least of the rounds\n")
    print("The tables below use them: of plain `fit` for one host, of a group of one for each host of several.\n")
    table(
        ["", *(f"{m:,}" for m in shares)],
        [
            [f"k {k}, {what}", *(f"{compute[k, m, is_group] * 1e3:.2f}" for m in shares)]
            for k in ks
            for is_group, what in enumerate(("plain fit", "a group of one"))
        ],
    )
    return compute


# ---------------------------------------------------------------- computed


def seconds(k: int, m: int, size: int, gigabits: float, compute: Seconds, latency: float) -> float:
    """Of a step of members with m rows each."""
    sent = sent_by(m, k, size)
    return seconds_of_a_step(compute[k, m, size > 1], sent, size, gigabits / 8 * 1e9, latency)


def same_batch_on_each(ks: Sequence[int], compute: Seconds, latency: float) -> None:
    print(f"## Computed: mini_batch_size {M:,} on each host; ms a step, and rows a second against one host\n")
    rows = []
    for k, size in itertools.product(ks, HOSTS):
        row = [f"k {k}, {hosts(size)}", f"{size * M:,}", f"{sent_by(M, k, size).total / 1e6:.2f}"]
        for gigabits in GIGABITS:
            took = seconds(k, M, size, gigabits, compute, latency)
            row.append(f"{took * 1e3:.2f} ms, {size * compute[k, M, False] / took:.1f} x")
        rows.append(row)
    table(["", "rows a step", "MB a host", *(f"{gigabits} Gb/s" for gigabits in GIGABITS)], rows)


def same_batch_together(ks: Sequence[int], compute: Seconds, latency: float) -> None:
    print(f"## Computed: the same step of {TOGETHER:,} rows, cut among hosts; ms a step, and speed against one host\n")
    rows, best = [], []
    for k in ks:
        speeds: dict[int, list[tuple[float, int]]] = {gigabits: [] for gigabits in GIGABITS}
        for size in HOSTS:
            m = TOGETHER // size
            row = [f"k {k}, {hosts(size)}", f"{m:,}", f"{sent_by(m, k, size).total / 1e6:.2f}"]
            for gigabits in GIGABITS:
                took = seconds(k, m, size, gigabits, compute, latency)
                speed = compute[k, TOGETHER, False] / took
                speeds[gigabits].append((speed, size))
                row.append(f"{took * 1e3:.2f} ms, {speed:.1f} x")
            rows.append(row)
        best += [[f"k {k}, {gigabits} Gb/s", *last_that_pays(found)] for gigabits, found in speeds.items()]
    table(["", "mini_batch_size", "MB a host", *(f"{gigabits} Gb/s" for gigabits in GIGABITS)], rows)
    print("Hosts pay from the first number that beats one host, as long as doubling them makes a step 1.2 x as fast:\n")
    table(["", "first to beat one host", "last doubling that pays"], best)


def hosts(size: int) -> str:
    return "1 host" if size == 1 else f"{size} hosts"


def last_that_pays(speeds: list[tuple[float, int]]) -> list[str]:
    """The first number of hosts that is faster than one, and the last worth twice the half of it."""
    first = next((size for speed, size in speeds if speed > 1), None)
    if first is None:
        return ["none to 64", "1"]
    last = first
    for (before, _), (speed, size) in itertools.pairwise(speeds):
        if size > first:
            if speed < 1.2 * before:
                break
            last = size
    return [str(first), str(last)]


def averages(ks: Sequence[int]) -> None:
    X, _ = ctr()
    print(
        f"## Computed: MB a batch and host by _kvstore, mini_batch_size {M:,}; what dist_async sends by its interval\n"
    )
    rows = []
    for k, size in itertools.product(ks, (2, 4, 8)):
        row = [f"k {k}, {size} hosts", f"{sent_by(M, k, size).total / 1e6:.2f}"]
        for interval in INTERVALS:
            if size * interval * M > X.shape[0]:
                row.append("")  # not as many rows in ctr
                continue
            of_one, of_all = distinct(interval * M), distinct(size * interval * M)
            row.append(f"{by_averages(of_one, of_all, k, size, interval) / 1e6:.2f}")
        rows.append(row)
    table(["", "dist_sync", *(f"dist_async, {interval}" for interval in INTERVALS)], rows)


def largest_model(ks: Sequence[int]) -> None:
    reserve = 2
    print(f"## Computed: the largest model; millions of features, Adam, {reserve} GiB of each host left to the rest\n")
    rows = []
    for memory in (16, 64, 256):
        for k in ks:
            most = [size * (memory - reserve) * GIB / (3 * 4 * (k + 1)) for size in HOSTS]
            rows.append([f"hosts of {memory} GiB, k {k}", *(f"{min(d, 2**31 - 65) / 1e6:,.0f}" for d in most)])
    table(["", *map(hosts, HOSTS)], rows)


if __name__ == "__main__":
    main()
    end(0)  # as `train` does: ProcessGroup.leave says why
