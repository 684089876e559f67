"""What checkpoints cost: training the `ctr` set without them, with them, and with all of their work except the writing.

    python benchmarks/checkpoint.py [--k 64] [--epochs 8] [--rounds 5] [--interval 10]

Each round trains from the start in each way, in turn. The benchmark reports wall-clock seconds and processor seconds;
other work on the machine disturbs the latter less. Both are of the epochs after the first. They exclude drawing the
initial parameters, the first copy of them, which is reported separately, and the allocation of pages by the system.
`--interval` is short so that a short training has several checkpoints; the last table converts the cost to the default
of 60 seconds.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import batches, ctr, describe, in_turn, ratios, table, times, use_cores

from fm_core.batch import Batch
from fm_core.checkpoints.file import size_on_disk
from fm_core.checkpoints.state import Checkpoint, Position
from fm_core.checkpoints.writer import Checkpointer
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers import registry
from fm_core.training.callbacks import EpochReport, Silent
from fm_core.training.fit import fit, threads_of
from fm_core.training.memory import memory_needed


class Epochs(Silent):
    """The callback that takes the time from the end of the first epoch to the end of the last."""

    def __init__(self) -> None:
        self._begun: tuple[float, float] | None = None

    def epoch(self, report: EpochReport) -> None:
        """Begin, or take the time."""
        now = time.perf_counter(), time.process_time()
        self._begun = self._begun or now
        self.seconds = now[0] - self._begun[0], now[1] - self._begun[1]


class Case:
    """One way of training, and what it took in each round."""

    def __init__(self, rows: list[Batch], hp: Hyperparameters, folder: Path, interval: float | None) -> None:
        self.rows, self.hp, self.folder, self.interval = rows, hp, folder, interval
        self.processor: list[float] = []
        self.copying: list[float] = []
        self.pauses: list[float] = []
        self.n: list[int] = []
        self.size = 0

    def __call__(self) -> float:
        """Train once, and give the seconds."""
        told = Epochs()
        checkpointer = None
        if self.interval is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            checkpointer = Checkpointer(self.folder, "algo-1", self.hp, interval=self.interval)
        fit(lambda epoch: self.rows, self.hp, num_threads=threads_of(2), callback=told, checkpointer=checkpointer)
        if checkpointer is not None:
            checkpointer.close()
            self.copying.append(checkpointer.pauses[0])
            self.pauses += checkpointer.pauses[1:]
            self.n.append(len(checkpointer.pauses) - 1)
            self.size = checkpointer.paths()[0].stat().st_size
        self.processor.append(told.seconds[1])
        return told.seconds[0]


def sizes() -> None:
    """Print what a checkpoint of 50 million features takes on disk, of which some have occurred."""
    hp = Hyperparameters(feature_dim=50_000_000, num_factors=8, predictor_type="regressor")
    d, width = hp.feature_dim, hp.num_factors + 1
    at = Position(0, 0, 0, False, {}, 0, [], {}, {}, 0.0, 0, 0.0)
    nothing = np.zeros(1, np.float32)
    params = np.broadcast_to(nothing, (d, width))
    state = np.broadcast_to(nothing, (d, 2 * width))

    def row(share: float) -> list[Any]:
        changed = np.zeros(d, bool)
        changed[: int(share * d)] = True
        arrays = {"bias": np.zeros(3, np.float32), "params": params, "state": state}
        size = size_on_disk(Checkpoint(at, arrays, changed), registry.algorithm(hp).layout(hp))
        return [f"{share:.0%} of the features have occurred", f"{size / 2**30:.2f} GiB"]

    print(f"## A checkpoint of 50 million features, k 8, Adam ({memory_needed(hp) / 2**30:.2f} GiB of arrays)\n")
    table(["", "on disk"], [row(share) for share in (0.01, 0.1, 0.5, 1.0)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--minutes", type=float, default=6, help="start no round that would end after this many minutes"
    )
    parser.add_argument("--interval", type=float, default=10.0)
    options = parser.parse_args()
    use_cores(2)
    describe("Checkpoints")
    rows = batches(*ctr())
    hp = Hyperparameters(
        feature_dim=rows[0].feature_dim, num_factors=options.k, predictor_type="binary_classifier",
        epochs=options.epochs, batch_metrics_publish_interval=10**6,
    )  # fmt: skip
    if options.epochs < 2:
        parser.error("--epochs: expected at least 2, as the first is not timed")
    with tempfile.TemporaryDirectory() as folder:
        without = Case(rows, hp, Path(folder), None)
        noting = Case(rows, hp, Path(folder) / "noting", 1e9)
        writing = Case(rows, hp, Path(folder) / "writing", options.interval)
        cases = {"without": without, "changes are noted": noting, "and written": writing}
        found = in_turn(cases, options.rounds, options.minutes)
    print(f"## ctr, k {options.k}, {options.epochs} epochs, two cores, {len(found['without'])} rounds in turn\n")
    table(
        ["", "seconds, median", "/ without", "processor s, median", "/ without"],
        [
            [
                name,
                f"{statistics.median(found[name]):.2f}",
                times(ratios(found[name], found["without"])),
                f"{statistics.median(case.processor):.2f}",
                times(ratios(case.processor, without.processor)),
            ]
            for name, case in cases.items()
        ],
    )
    n = statistics.mean(writing.n)
    each = (statistics.median(writing.processor) - statistics.median(noting.processor)) / max(n, 1)
    held_up = (statistics.median(found["and written"]) - statistics.median(found["changes are noted"])) / max(n, 1)
    longer = ratios(found["changes are noted"], found["without"])[0] - 1 + held_up / 60
    share = ratios(noting.processor, without.processor)[0] - 1 + each / (60 * 2)
    table(
        ["", ""],
        [
            ["checkpoints while training, mean", f"{n:.1f}"],
            ["training held up by one, median (most)",
             f"{statistics.median(writing.pauses or [0]):.3f} s ({max(writing.pauses or [0]):.3f} s)"],
            ["processor time of one, its pause included", f"{each:.2f} s"],
            ["size of one", f"{writing.size / 2**20:.0f} MiB"],
            ["the first copy, before training, median", f"{statistics.median(writing.copying):.2f} s"],
            ["noting changes, and one checkpoint in 60 s", f"{longer:.1%} of the seconds (goal 5 %)"],
            ["the same, of two cores", f"{share:.1%} of processor time"],
        ],
    )  # fmt: skip
    sizes()


if __name__ == "__main__":
    main()
