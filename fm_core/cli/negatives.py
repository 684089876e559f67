"""Rows of positives with rows of negatives behind each: of pointwise training, what a loss of rankings draws by itself.

Two passes: the first finds the items, and which of them each user has; none of those is a negative of that user.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import ConfigError
from fm_core.formats.registry.inputs import RowInput
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers.positives import Positives

__all__ = ["rows_with_negatives"]

#: Rows whose negatives are drawn at once.
_BLOCK = 8192


def rows_with_negatives(arguments: argparse.Namespace) -> Callable[[RowInput], Iterator[Batch]]:
    """Give what makes the rows of the arguments of ``fm convert``.

    Raises
    ------
    ConfigError
        Nothing says who users are, or what items; or rows are to be split.
    """
    for name, what in (("user", "the users"), ("items", "the items")):
        if getattr(arguments, name) is None:
            raise ConfigError(f"--negatives needs --{name}: name {what}")
    if arguments.split is not None:
        raise ConfigError(
            "--negatives and --split exclude each other: split first, then draw negatives for the training part, so "
            "that the test part has no influence on it"
        )

    def rows_of(opened: RowInput) -> Iterator[Batch]:
        positives = Positives(_settings(arguments, opened), opened.batches())
        n_rows = 0
        for whole in opened.batches():
            for batch in whole.split(_BLOCK):
                yield _with_negatives(positives, batch, arguments.negatives, arguments.seed % 2**64, n_rows)
                n_rows += batch.n_rows

    return rows_of


def _settings(arguments: argparse.Namespace, opened: RowInput) -> Hyperparameters:
    features: dict[str, Any] = {}
    for name, text in (("user_features", arguments.user), ("item_features", arguments.items)):
        option = "--user" if name == "user_features" else "--items"
        if ":" not in text and opened.schema is None:
            raise ConfigError(f"{option} is {text[:40]!r}, expected features such as 0:943, as there are no columns")
        schema = opened.schema
        features[name] = text if ":" in text or schema is None else schema.features_of(text.split(","), option)
    return Hyperparameters(
        feature_dim=opened.feature_dim,
        num_factors=1,
        predictor_type="binary_classifier",
        loss="pairwise",
        negative_sampling=arguments.negative_sampling,
        **features,
    )


def _with_negatives(positives: Positives, batch: Batch, n_negatives: int, seed: int, first_row: int) -> Batch:
    rows, negatives = positives.negatives(batch, n_negatives, seed, first_row)
    labels = np.ones(batch.n_rows, np.float32) if batch.labels is None else batch.labels
    found = Batch.concatenate([_labelled(batch, labels), _labelled(negatives, np.zeros(len(rows), np.float32))])
    order = np.argsort(np.concatenate([np.arange(batch.n_rows), rows]), kind="stable")
    return found.take(order)


def _labelled(batch: Batch, labels: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> Batch:
    return Batch.trusted(batch.feature_dim, batch.values, batch.indptr, batch.indices, labels)
