"""Drawing the initial values of a million features: each register width, and NumPy's generator.

    python benchmarks/draw.py [--k 16] [--rounds 9]

One thread. The pages of the arrays are allocated before the measurement; a new model also waits for that.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from common import describe, in_turn, ratios, table, times

from fm_core.kernels import _draw

FEATURE_DIM = 1_000_000
NUMPY = "NumPy: SFC64, standard_normal, not scaled"


def by_us(params: np.ndarray, build: str) -> Callable[[], float]:
    def run() -> float:
        _draw.use(build)
        started = time.perf_counter()
        _draw.draw(params, np.zeros(4, np.uint32), ("normal", 0.001), ("normal", 0.01))
        return time.perf_counter() - started

    return run


def by_numpy(params: np.ndarray) -> Callable[[], float]:
    random = np.random.Generator(np.random.SFC64(0))

    def run() -> float:
        started = time.perf_counter()
        random.standard_normal(out=params, dtype=np.float32)
        return time.perf_counter() - started

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    describe("Initial values")
    params = np.ones((FEATURE_DIM, options.k + 1), np.float32)
    cases = {build: by_us(params, build) for build in _draw.builds()} | {NUMPY: by_numpy(params)}
    found = in_turn(cases, options.rounds)
    print(f"{FEATURE_DIM:,} features, k {options.k}, one thread; medians of {options.rounds} rounds in turn\n")
    table(
        ["", "ms", "ns a number", "NumPy's time / its"],
        [
            [name, f"{1e3 * (median := statistics.median(v)):.1f}", f"{1e9 * median / params.size:.2f}",
             times(ratios(found[NUMPY], v))]
            for name, v in found.items()
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
