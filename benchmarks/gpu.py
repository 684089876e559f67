"""Dense training on a GPU: examples per second, memory bandwidth and FLOP/s, compared with the limits of the card.

    .venvs/torch/bin/python benchmarks/gpu.py [--shapes 784x10 ...] [--rounds 5] [--device cpu]

Needs a GPU and PyTorch; without a GPU it prints a sentence and ends with status 1. ``--device cpu`` runs the same code
on the CPU, to test that it runs: its heading says that its figures do not describe a GPU.

The limits of the card are measured in the same run: a copy within its memory, a copy of pinned memory to it, and a
product of large float32 matrices. Bytes and operations of a step are counted from the code of torch_dense.py.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice

import numpy as np
from common import describe, in_turn, table

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.fit import fit

try:
    import torch

    from fm_core.solvers.minibatch_torch import DenseDevice, usable_gpus
except ImportError:
    sys.exit("no PyTorch here: run `make .venvs/torch/.installed`, and use .venvs/torch/bin/python")

#: Features and factors.
SHAPES = ["784x10", "4096x64", "16384x256"]
ROWS = 1000
#: Different batches, used in turn.
BATCHES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="FEATURESxFACTORS")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200, help="number of batches per measurement")
    parser.add_argument("--device", help="PyTorch device (default: the first GPU)")
    options = parser.parse_args()
    device = options.device or next(iter(usable_gpus()), None)
    if device is None:
        sys.exit("no GPU here that PyTorch can compute on: nothing is measured")
    is_gpu = device.startswith("cuda")
    describe("Dense training on a GPU" if is_gpu else "Rehearsal on the CPU: none of this is a figure of a GPU")
    print(f"device   {DenseDevice([device]).description}\n")
    card = of_the_card(device, options.rounds)
    shapes = [tuple(map(int, shape.split("x"))) for shape in options.shapes]
    table(HEADER, [row for shape in shapes for row in of_a_shape(device, *shape, options, card)])


HEADER = ["features x factors", "case", "examples/s, median", "most", "GB/s", "of a copy", "TFLOP/s", "of a product"]


# ---------------------------------------------------------------- the card


def of_the_card(device: str, rounds: int) -> dict[str, float]:
    """Bytes and operations a second that are reached by nothing else than a copy or a product."""
    there = torch.device(device)
    n = 2**28 if there.type == "cuda" else 2**22  # a gigabyte
    side = 8192 if there.type == "cuda" else 512
    a, b = torch.zeros(n, device=there), torch.empty(n, device=there)
    host = torch.zeros(n // 4, pin_memory=there.type == "cuda")
    M, N = torch.randn(side, side, device=there), torch.randn(side, side, device=there)
    cases: dict[str, Callable[[], float]] = {
        "memory": lambda: 8 * n / timed(there, lambda: b.copy_(a)),
        "link": lambda: n / timed(there, lambda: b[: n // 4].copy_(host, non_blocking=True)),
        "product": lambda: 2 * side**3 / timed(there, lambda: torch.mm(M, N)),
    }
    best = {name: max(found) for name, found in in_turn(cases, rounds).items()}
    print(
        f"Its own: {best['memory'] / 1e9:,.0f} GB/s copying in its memory, {best['link'] / 1e9:,.1f} GB/s from pinned "
        f"memory, {best['product'] / 1e12:,.2f} TFLOP/s in a float32 product of {side} x {side}.\n"
    )
    return best


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of `work`, once it has been done before."""
    work()
    wait(device)
    started = time.perf_counter()
    for _ in range(5):
        work()
    wait(device)
    return (time.perf_counter() - started) / 5


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ---------------------------------------------------------------- a shape


def of_a_shape(
    device: str, features: int, factors: int, options: argparse.Namespace, card: dict[str, float]
) -> list[list[object]]:
    hp = Hyperparameters(
        feature_dim=features, num_factors=factors, predictor_type="binary_classifier", mini_batch_size=ROWS
    )
    random = np.random.default_rng(0)
    batches = [
        Batch.from_dense(random.random((ROWS, features), np.float32), (random.random(ROWS) < 0.5).astype(np.float32))
        for _ in range(BATCHES)
    ]
    n_cores = len(os.sched_getaffinity(0))
    cases = {
        "batches on the device": lambda: on_the_device(device, hp, batches, options.steps),
        "fit, from host memory": lambda: whole(hp, batches, options.steps, DenseDevice([device])),
        f"fit on {n_cores} cores": lambda: whole(hp, batches, max(8, options.steps // 10), None, n_cores),
    }
    rows: list[list[object]] = []
    for name, rates in in_turn(cases, options.rounds).items():
        rate = statistics.median(rates)
        row: list[object] = [f"{features} x {factors}", name, f"{rate:,.0f}", f"{max(rates):,.0f}"]
        if "cores" not in name:
            n_bytes, n_operations = rate / ROWS * bytes_of_a_step(hp), rate / ROWS * operations_of_a_step(hp)
            row += [f"{n_bytes / 1e9:,.0f}", f"{n_bytes / card['memory']:.0%}"]
            row += [f"{n_operations / 1e12:,.2f}", f"{n_operations / card['product']:.0%}"]
        rows.append(row + [""] * (len(HEADER) - len(row)))
    return rows


def on_the_device(device: str, hp: Hyperparameters, batches: list[Batch], n_steps: int) -> float:
    """Examples a second of updates from batches that are there already."""
    dense = DenseDevice([device])
    solver = dense.solver(hp)
    staged = [(batch, dense.stage(batch)) for batch in batches]
    for one in staged:
        solver.step(*one)
    wait(torch.device(device))
    started = time.perf_counter()
    for one in islice(cycle(staged), n_steps):
        solver.step(*one)
    wait(torch.device(device))
    return n_steps * ROWS / (time.perf_counter() - started)


def whole(
    hp: Hyperparameters, batches: list[Batch], n_steps: int, device: DenseDevice | None, threads: int = 1
) -> float:
    """Examples a second of `fit`: staging, copying and metrics are in it, setting up is not."""
    started = 0.0

    def epoch(_: int):
        nonlocal started
        yield from batches  # those before the clock runs
        started = time.perf_counter()
        yield from islice(cycle(batches), n_steps)

    fit(epoch, hp, num_threads=threads, device=lambda: device)
    return n_steps * ROWS / (time.perf_counter() - started)


def bytes_of_a_step(hp: Hyperparameters) -> int:
    """What the operations of a step read from a device's memory and write to it."""
    batch, parameters = ROWS * hp.feature_dim, hp.feature_dim * (hp.num_factors + 1)
    # X: read for P, X^2 and the gradient; X^2: written, and read twice. V: read for P, squared and summed;
    # the gradient: written, its second term taken off; then the fourteen operations of Adam
    return 4 * (6 * batch + (4 + 4 + 27) * parameters)


def operations_of_a_step(hp: Hyperparameters) -> int:
    """Additions and multiplications of a step: two products with [V|w], two of X^2 with a vector, X^2, Adam."""
    batch, parameters = ROWS * hp.feature_dim, hp.feature_dim * (hp.num_factors + 1)
    return 4 * batch * (hp.num_factors + 1) + 5 * batch + 18 * parameters


if __name__ == "__main__":
    main()
