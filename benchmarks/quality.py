"""What is learned, compared with what the built-in printed for the same data and hyperparameters.

    python benchmarks/quality.py [--seeds 3] [--threads 2]

Data: ../shared/data, which may not be redistributed; without it, the benchmark does nothing. Each job is trained with
several seeds. The built-in's runs are single draws, so the question is whether its figure lies within this project's
range. Hyperparameters that are not named have their defaults.

Then it trains on the same sets, with shuffled rows and only `num_factors` 16 given: solver auto; bayes and its
variational variant; and online, in one pass. `ctr` (from ../shared/peers) is trained with online only, as if it did not
fit in memory. `lazy_update` false exists in this project only. a9a has no published run of the built-in; it is compared
with the best known linear model.
"""

import argparse
import csv
import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from common import DATA, PEERS, SHARED, batches, ctr, describe, table

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.callbacks import EpochReport, Silent
from fm_core.training.evaluation import evaluate
from fm_core.training.fit import fit

Data = tuple[list[Batch], list[Batch], list[Batch]]
ACCURACY, ENTROPY, F1 = "binary_classification_accuracy", "binary_classification_cross_entropy", "binary_f_1.000"
CURVE = (0, 1, 10, 29, 49)


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number to compare: where it is found, the built-in's, and what is asked of ours."""

    name: str
    found: Callable[["Run"], float]
    built_in: str
    goal: str = ""
    holds: Callable[[float], bool] = lambda value: True


@dataclasses.dataclass(frozen=True)
class Run:
    """What one training job gave."""

    curve: list[dict[str, float]]
    test: dict[str, float]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Task:
    """A data set, hyperparameters, and the figures to print."""

    title: str
    data: Callable[[], Any]
    hyperparameters: Mapping[str, Any]
    figures: tuple[Figure, ...]
    variants: Mapping[str, Mapping[str, Any]]
    shuffled: bool = False
    #: Seeds at most: what needs no tuning hardly depends on them.
    seeds: int | None = None


def near(target: float, by: float) -> Callable[[float], bool]:
    return lambda value: abs(value - target) <= by


def _csr(name: str, label: str) -> Callable[[], Any]:
    def load() -> Any:
        found = []
        for part in ("train", "test"):
            path = SHARED / "data" / name / f"{part}.npz"
            found += [sp.load_npz(path).tocsr(), np.load(path)[label]]
        return found

    return load


def _mnist() -> Any:
    data = np.load(SHARED / "data/mnist/mnist_u8.npz")

    def rows(part: str, n: int) -> list[Any]:
        return [np.float32(data[f"{part}_x"][:n]) / 255, np.float32(data[f"{part}_y"][:n] == 0)]

    return rows("train", 50_000) + rows("test", 10_000)


def _ctr() -> Any:
    X, y = ctr()
    return [X, y, sp.load_npz(DATA / "ctr/test.npz").tocsr(), np.load(DATA / "ctr/test_y.npy")]


def _built_in_curve() -> dict[int, float]:
    """Training rmse by epoch, from the log of the built-in's own run."""
    return {row["epoch"]: row["rmse"] for row in _log() if row["batch"] == -1 and row["epoch"] in CURVE}


def _built_in_bias() -> float:
    """The bias that the built-in's run drew, from the error of its first batch, scored before any update.

    Every score is then the bias, but for weights drawn around zero: mse = var(y) + (mean(y) - w0)^2.
    """
    mse = next(row["mse"] for row in _log() if row["batch"] == 0)
    y = np.load(SHARED / "data/ml100k_u1/train.npz")["y"][:1000].astype(np.float64)
    return float(y.mean() - np.sqrt(mse - y.var()))


def _log() -> list[dict[str, Any]]:
    with (SHARED / "reference_runs/ml100k_reg_k64_e50_b1000.curve.csv").open() as lines:
        return [
            {"epoch": int(row["epoch"]), "batch": int(row["batch(-1=epoch average)"])}
            | {name: float(row[name]) for name in ("rmse", "mse")}
            for row in csv.DictReader(lines)
        ]


def _of_epoch(epoch: int) -> Callable[[Run], float]:
    return lambda run: run.curve[epoch]["rmse"]


def _last(name: str) -> Callable[[Run], float]:
    return lambda run: run.curve[-1][name]


def _test(name: str) -> Callable[[Run], float]:
    return lambda run: run.test[name]


def tasks() -> list[Task]:
    """The jobs, with the figures of the built-in's published runs."""
    curve = _built_in_curve()
    eager = {"as the built-in": {}, "lazy_update false": {"lazy_update": False}}
    binary = {"predictor_type": "binary_classifier"}
    return [
        Task(
            "MovieLens 100K u1, ratings, k 64, 50 epochs, file order",
            _csr("ml100k_u1", "y"),
            {"predictor_type": "regressor", "num_factors": 64, "epochs": 50,
             "bias_init_method": "constant", "bias_init_value": _built_in_bias()},
            (
                *(
                    Figure(f"train rmse, epoch {e}", _of_epoch(e), f"{rmse:.4f}", "within .002", near(rmse, 0.002))
                    for e, rmse in curve.items()
                ),
                Figure("test rmse", _test("rmse"), "1.00026", "within .003", near(1.00026, 0.003)),
                Figure("test absolute loss", _test("absolute_loss"), ".79525"),
            ),
            eager,
        ),
        Task(
            "MovieLens 100K ua, rating >= 4, k 64, 100 epochs, shuffled once",
            _csr("ml100k_ua", "y_bin"),
            binary | {"num_factors": 64, "epochs": 100},
            (
                Figure("train cross entropy, last epoch", _last(ENTROPY), ".5116, .5146"),
                Figure("test cross entropy", _test(ENTROPY), ".5785, .5776", "within .004 of .578", near(0.578, 0.004)),
                Figure("test accuracy", _test(ACCURACY), ".6931, .6964", "within .006 of .695", near(0.695, 0.006)),
                Figure("test F1", _test(F1), ".7336, .7406"),
            ),
            eager,
            shuffled=True,
        ),
        Task(
            "MNIST, digit 0 or not, dense, k 10, batches of 200, 1 epoch",
            _mnist,
            binary | {"num_factors": 10, "mini_batch_size": 200},
            (
                Figure("train accuracy", _last(ACCURACY), ".8530, .8537"),
                Figure("train cross entropy", _last(ENTROPY), "2.637, 2.631"),
                Figure("test accuracy", _test(ACCURACY), ".9806, .9849", ">= .985", lambda v: v >= 0.985),
                Figure("test F1", _test(F1), ".9074, .9285", ">= .925", lambda v: v >= 0.925),
            ),
            {"as the built-in": {}},
        ),
        Task(
            "a9a, k 8, 10 epochs, linear_lr and factors_lr .002",
            _csr("a9a", "y"),
            binary | {"num_factors": 8, "epochs": 10, "linear_lr": 0.002, "factors_lr": 0.002, "bias_lr": 0.01,
                      "bias_wd": 0.0, "factors_init_sigma": 0.01},
            (
                Figure("test cross entropy", _test(ENTROPY), "(linear model .3242)"),
                Figure("test accuracy", _test(ACCURACY), ""),
                Figure("test AUC", _test("auc"), "(linear model .9021)"),
            ),
            eager,
        ),
        *_without_tuning(),
    ]  # fmt: skip


#: What each solver is asked for where nothing is tuned.
SOLVERS: dict[str, dict[str, Any]] = {
    "auto": {"solver": "auto"},
    "bayes": {"solver": "bayes"},
    "variational": {"solver": "bayes", "_bayes_method": "variational"},
    "online": {"solver": "online"},
}


def _without_tuning() -> list[Task]:
    """The sets with nothing given but num_factors: the loss on test rows, and what is asked of it."""
    k16: dict[str, Any] = {"num_factors": 16, "epochs": None}
    regressor, binary = k16 | {"predictor_type": "regressor"}, k16 | {"predictor_type": "binary_classifier"}
    dense = {name: SOLVERS[name] for name in ("auto", "online")}

    def task(title: str, data: Callable[[], Any], hp: dict[str, Any], goal: float, others: str, variants: Any) -> Task:
        metric = "rmse" if hp is regressor else ENTROPY
        asked = Figure(f"test {metric}", _test(metric), others, f"<= {goal:g}", lambda value: value <= goal)
        return Task(f"{title}, nothing given, k 16", data, hp, (asked,), variants, shuffled=True, seeds=2)

    found = [
        task("MovieLens 100K u1, ratings", _csr("ml100k_u1", "y"), regressor, 0.910, "1.00026", SOLVERS),
        task("MovieLens 100K ua, ratings", _csr("ml100k_ua", "y"), regressor, 0.917, "-", SOLVERS),
        task("MovieLens 100K ua, rating >= 4", _csr("ml100k_ua", "y_bin"), binary, 0.553, ".5785, .5776", SOLVERS),
        task("a9a", _csr("a9a", "y"), binary, 0.322, "(linear model .3242)", SOLVERS),
        task("MNIST, digit 0 or not, dense", _mnist, binary, 0.018, "-", dense),
    ]
    if PEERS.is_dir():
        alone = {"online": SOLVERS["online"]}
        found.append(task("ctr, one pass", _ctr, binary, 0.488, "(its rates, here: .514)", alone))
    return found


class Curve(Silent):
    """The callback that keeps each epoch's training metrics."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []

    def epoch(self, report: EpochReport) -> None:
        """Keep them."""
        self.metrics.append(report.metrics)


def train(task: Task, data: Any, options: Mapping[str, Any], seed: int, threads: int) -> Run:
    """Train one job, and score its test rows."""
    X, y, test_X, test_y = data
    size = task.hyperparameters.get("mini_batch_size", 1000)
    if task.shuffled:
        order = np.random.default_rng(seed).permutation(X.shape[0])
        X, y = X[order], y[order]
    rows, test_rows = batches(X, y, size), batches(test_X, test_y, size)
    hp = Hyperparameters(feature_dim=X.shape[1], seed=seed, **{**task.hyperparameters, **options})
    curve = Curve()
    started = time.perf_counter()
    model = fit(lambda epoch: rows, hp, num_threads=threads, callback=curve).model
    seconds = time.perf_counter() - started
    metrics, _ = evaluate(model, test_rows, threads)
    if model.is_classifier:
        scores = np.concatenate([model.predict(batch, threads) for batch in test_rows])
        metrics["auc"] = _auc(scores, test_y)
    return Run(curve.metrics, metrics, seconds)


def _auc(scores: np.ndarray, labels: np.ndarray) -> float:
    _, ranks, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    positive = labels > 0.5
    n = np.count_nonzero(positive)
    return float((middle[ranks][positive].sum() - n * (n + 1) / 2) / (n * (len(labels) - n)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="", help="only tasks whose title contains this text")
    options = parser.parse_args()
    describe("What is learned")
    if not (SHARED / "data").is_dir():
        print("nothing to do: ../shared/data, which has the data, is absent")
        return
    missed = []
    for task in (task for task in tasks() if options.only in task.title):
        data, seeds = task.data(), min(options.seeds, task.seeds or options.seeds)
        runs = {
            variant: [train(task, data, changes, seed, options.threads) for seed in range(seeds)]
            for variant, changes in task.variants.items()
        }
        first, *others = runs
        rows = []
        for figure in task.figures:
            cells = {}
            for variant, of in runs.items():
                values = [figure.found(run) for run in of]
                cells[variant] = f"{statistics.median(values):.4f} ({min(values):.4f} - {max(values):.4f})"
                if variant == first and not figure.holds(statistics.median(values)):
                    missed.append(f"{task.title}: {figure.name} is {cells[variant]}, goal {figure.goal}")
            rows.append([figure.name, figure.built_in, cells[first], figure.goal, *(cells[v] for v in others)])
        print(f"## {task.title}\n")
        table(
            ["", "built-in", f"ours, {seeds} seeds: median (range)", "goal", *(f"ours, {v}" for v in others)],
            rows,
        )
        print(
            ", ".join(f"{v}: {statistics.median(r.seconds for r in of):.1f} s a run" for v, of in runs.items()) + "\n"
        )
    print("\n".join(missed) if missed else "Every goal is met.")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
