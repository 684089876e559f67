"""What checkpoints cost: training the `ctr` set with and without them, and how long training is held up.

    python benchmarks/checkpoint.py [--k 16 64] [--epochs 6] [--rounds 5] [--interval 60]

Each round trains afresh, once without and once with a checkpoint folder, in turn; the epochs' seconds are
added up, so that neither pays for drawing the initial parameters, and those of the first copy. Epochs take
seconds here, so checkpoints are those at their ends, as often as the checkpointer thinks fit, and those of
`--interval`. What `close` writes when training is over is told apart: only the job's end waits for it.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import batches, ctr, describe, in_turn, ratios, table, use_cores

from fm_core.batch import Batch
from fm_core.checkpoint import Checkpoint, Position, size_on_disk
from fm_core.checkpointing import Checkpointer
from fm_core.hyperparameters import Hyperparameters
from fm_core.solver import EpochReport, Silent, fit, memory_needed


class Sum(Silent):
    """The callback that adds up the seconds of the epochs, what lies between them included."""

    def epoch(self, report: EpochReport) -> None:
        """Remember when the first began and the last ended."""
        self.started = min(getattr(self, "started", report.started), report.started)
        self.seconds = time.time() - self.started


class Written:
    """What the checkpointers of all rounds did."""

    def __init__(self) -> None:
        self.copying: list[float] = []
        self.pauses: list[float] = []
        self.closing: list[float] = []
        self.size = 0


def training(rows: list[Batch], hp: Hyperparameters, folder: Path | None, interval: float, into: Written) -> float:
    """Train once, and give the seconds."""
    told = Sum()
    checkpointer = None
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
        checkpointer = Checkpointer(folder, "algo-1", hp, interval=interval)
    fit(lambda epoch: rows, hp, num_threads=2, callback=told, checkpointer=checkpointer)
    seconds = told.seconds
    if checkpointer is not None:
        seconds += checkpointer.pauses[0]
        started = time.perf_counter()
        checkpointer.close()
        into.closing.append(time.perf_counter() - started)
        into.pauses += checkpointer.pauses[1:]
        into.copying.append(checkpointer.pauses[0])
        into.size = checkpointer.paths()[0].stat().st_size
    return seconds


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
        size = size_on_disk(Checkpoint(at, np.zeros(3, np.float32), params, state, changed, None))
        return [f"{share:.0%} of the features have occurred", f"{size / 2**30:.2f} GiB"]

    print(f"## A checkpoint of 50 million features, k 8, Adam ({memory_needed(hp) / 2**30:.2f} GiB of arrays)\n")
    table(["", "on disk"], [row(share) for share in (0.01, 0.1, 0.5, 1.0)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=6, help="no round starts that would end later")
    parser.add_argument("--interval", type=float, default=60.0)
    options = parser.parse_args()
    use_cores(2)
    describe("Checkpoints")
    rows = batches(*ctr())
    for k in options.k:
        hp = Hyperparameters(
            feature_dim=rows[0].feature_dim, num_factors=k, predictor_type="binary_classifier", epochs=options.epochs
        )
        written = Written()
        with tempfile.TemporaryDirectory() as folder:
            found = in_turn(
                {
                    "without": lambda hp=hp, to=written: training(rows, hp, None, 0, to),  # type: ignore[misc]
                    "with": lambda hp=hp, to=written, at=Path(folder) / "c": training(  # type: ignore[misc]
                        rows, hp, at, options.interval, to
                    ),
                },
                options.rounds,
                options.minutes / len(options.k),
            )
        ratio, least, most = ratios(found["with"], found["without"])
        print(f"## ctr, k {k}, {options.epochs} epochs, two threads, {len(found['with'])} rounds in turn\n")
        table(
            ["", ""],
            [
                ["seconds without, median", f"{statistics.median(found['without']):.2f}"],
                ["seconds with, median", f"{statistics.median(found['with']):.2f}"],
                ["with / without, median (least - most)", f"{ratio:.3f} ({least:.3f} - {most:.3f})"],
                ["checkpoints in a training, besides the last", f"{len(written.pauses) / len(found['with']):.1f}"],
                ["training held up by one, median (most)",
                 f"{statistics.median(written.pauses or [0]):.3f} s ({max(written.pauses or [0]):.3f} s)"],
                ["the first copy, before training, median", f"{statistics.median(written.copying):.3f} s"],
                ["writing the last one, median", f"{statistics.median(written.closing):.2f} s"],
                ["size of a checkpoint", f"{written.size / 2**20:.0f} MiB"],
            ],
        )  # fmt: skip
    sizes()


if __name__ == "__main__":
    main()
