"""Choose the demo's hyperparameters, and write them to a9a/hyperparameters.json.

Every candidate is trained on four fifths of the training rows, drawn with a fixed seed, and scored after each epoch on
the other fifth. The candidate and the number of epochs with the lowest cross entropy win. The test rows are not used.
This takes a few minutes; `make demo` only reads the result.
"""

import itertools
import json
from typing import Any

import numpy as np

from a9a_data import HYPERPARAMETERS, load
from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.callbacks import Silent
from fm_core.training.fit import fit

METRIC = "binary_classification_cross_entropy"
MAX_EPOCHS = 30
GRID: dict[str, list[Any]] = {
    "num_factors": [8, 16, 32],
    "mini_batch_size": [500, 1000],
    "linear_lr": [0.002, 0.005, 0.01],
    "factors_lr": [0.002, 0.003, 0.005],
    "factors_wd": [0.0003, 0.001, 0.003],
}
FIXED: dict[str, Any] = {
    "predictor_type": "binary_classifier",
    "bias_lr": 0.01,
    "bias_wd": 0.0,
    "factors_init_sigma": 0.01,
}


class Scores(Silent):
    """The callback of fit(): remembers the validation score of each epoch."""

    def __init__(self) -> None:
        self.of_epoch: list[float] = []

    def validated(self, report: Any) -> None:
        """Remember the score."""
        self.of_epoch.append(report.metrics[METRIC])


class EveryEpoch:
    """What fit() asks for data: the same batches in each epoch."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __call__(self, epoch: int) -> list[Batch]:
        """Give the batches of an epoch."""
        return self.batches


def batches(rows: Any, labels: Any, size: int) -> list[Batch]:
    """Cut rows into batches, in their order."""
    return [
        Batch.from_csr(rows[start : start + size], labels[start : start + size])
        for start in range(0, rows.shape[0], size)
    ]


def main() -> None:
    """Try every candidate of the grid, and write down the best."""
    rows, labels = load("train")
    drawn = np.random.default_rng(0).permutation(len(labels))
    held_out, kept = np.sort(drawn[: len(drawn) // 5]), np.sort(drawn[len(drawn) // 5 :])
    best, chosen = np.inf, dict[str, Any]()
    for values in itertools.product(*GRID.values()):
        candidate = {**FIXED, **dict(zip(GRID, values, strict=True)), "feature_dim": rows.shape[1]}
        training = batches(rows[kept], labels[kept], candidate["mini_batch_size"])
        validation = batches(rows[held_out], labels[held_out], 10_000)
        scores = Scores()
        fit(
            EveryEpoch(training),
            Hyperparameters(**candidate, epochs=MAX_EPOCHS),
            num_threads=2,
            validation=EveryEpoch(validation),
            callback=scores,
        )
        epochs = int(np.argmin(scores.of_epoch)) + 1
        score = scores.of_epoch[epochs - 1]
        print(f"{score:.4f} after {epochs:2d} epochs: {dict(zip(GRID, values, strict=True))}", flush=True)
        if score < best:
            best, chosen = score, {**candidate, "epochs": epochs}
    HYPERPARAMETERS.write_text(json.dumps({name: str(value) for name, value in chosen.items()}, indent=2) + "\n")
    print(f"chosen, with validation cross entropy {best:.4f}: {HYPERPARAMETERS}")


if __name__ == "__main__":
    main()
