"""Scoring with `Model.predict`: one row at a time, and large batches on all threads.

    python benchmarks/predict.py [--k 16 64] [--rounds 5]

The formula in NumPy and SciPy is measured for comparison. Rows are of the `ctr` set, and the model of a million
features is random. A single row of a model that is far larger than the caches costs cache misses.
"""

import argparse
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from common import batches, ctr, describe, in_turn, ratios, table, times

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model


def formula(model: Model, X: Any) -> np.ndarray:
    """The score as NumPy and SciPy users write it."""
    sums = X @ model.V
    squares = X.copy()
    squares.data **= 2
    z = model.w0 + X @ model.w + 0.5 * ((sums**2).sum(1) - squares @ (model.V**2).sum(1))
    return 1 / (1 + np.exp(-z))


def apart(model: Model) -> Model:
    """The same model as it lies after loading: w and V in arrays of their own."""
    return Model(model.predictor_type, model.w0, model.w.copy(), model.V.copy())


def one_by_one(rows: list[Batch], model: Model) -> Callable[[], float]:
    """Make the case that scores rows one at a time; microseconds a row."""

    def run() -> float:
        started = time.perf_counter()
        for row in rows:
            model.predict(row)
        return 1e6 * (time.perf_counter() - started) / len(rows)

    return run


def formula_one_by_one(rows: list[Any], model: Model, squares: np.ndarray) -> Callable[[], float]:
    """The same with NumPy alone, the squares of the factors known in advance."""

    def run() -> float:
        started = time.perf_counter()
        for row in rows:
            V, x = model.V[row.indices], row.values
            s = x @ V
            z = model.w0 + model.w[row.indices] @ x + 0.5 * (s @ s - squares[row.indices] @ (x * x))
            1 / (1 + np.exp(-z))
        return 1e6 * (time.perf_counter() - started) / len(rows)

    return run


def seconds(call: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    return run


def allocated(row: Batch, model: Model) -> tuple[int, int]:
    """Bytes that stay and bytes at most of one call, the answer included."""
    for _ in range(3):
        model.predict(row)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    answer = model.predict(row)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del answer
    return after - before, peak - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    describe("Prediction")
    X, _ = ctr()
    X = X[: options.rows]
    n = X.shape[0]
    all_rows = Batch.from_csr(X)
    single = batches(X[:5000], np.zeros(5000, np.float32), 1)
    cases: dict[str, Callable[[], float]] = {}
    memory = {}
    for k in options.k:
        hp = Hyperparameters(
            feature_dim=X.shape[1], num_factors=k, predictor_type="binary_classifier", factors_init_sigma=0.05
        )
        model = apart(Model.initialise(hp, cores))
        squares = (model.V**2).sum(1)
        difference = np.abs(model.predict(all_rows, cores) - formula(model, X)).max()
        if not difference < 1e-5:
            raise RuntimeError(f"ours and the formula differ by {difference}")
        memory[k] = allocated(single[0], model)
        cases[f"k {k}: one row"] = one_by_one(single, model)
        cases[f"k {k}: one row, NumPy"] = formula_one_by_one(single, model, squares)
        cases[f"k {k}: batch, 1 thread"] = seconds(lambda model=model: model.predict(all_rows, 1))
        cases[f"k {k}: batch, {cores} threads"] = seconds(lambda model=model: model.predict(all_rows, cores))
        cases[f"k {k}: batch, SciPy"] = seconds(lambda model=model: formula(model, X))
    found = in_turn(cases, options.rounds)
    one, many = [], []
    for k in options.k:
        ours, other = found[f"k {k}: one row"], found[f"k {k}: one row, NumPy"]
        one.append([f"k {k}", f"{statistics.median(ours):.1f}", f"{statistics.median(other):.1f}",
                    times(ratios(other, ours)), *memory[k]])  # fmt: skip
        first, scipy = found[f"k {k}: batch, 1 thread"], found[f"k {k}: batch, SciPy"]
        for name in (f"k {k}: batch, 1 thread", f"k {k}: batch, {cores} threads", f"k {k}: batch, SciPy"):
            v = found[name]
            many.append([name, f"{n / statistics.median(v):,.0f}",
                         "" if v is first else times(ratios(first, v)),
                         "" if v is scipy else times(ratios(scipy, v))])  # fmt: skip
    print("## One sparse row of 39 keys, microseconds a call\n")
    table(["", "ours", "NumPy", "NumPy / ours", "bytes kept (the answer)", "bytes at most"], one)
    print(f"## {n:,} sparse rows, rows a second\n")
    table(["", "rows/s, median", "against 1 thread", "against SciPy"], many)


if __name__ == "__main__":
    main()
