"""The rows that each member trains on, and the hyperparameters of one member."""

import dataclasses
import itertools
import json
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from fm_core.batch import Batch
from fm_core.cluster.members import Members, partition_of
from fm_core.errors import DataError
from fm_core.given import MOST_FEATURES
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.callbacks import Batches
from fm_core.training.class_weights import class_weighted
from fm_core.training.shuffle import shuffled

__all__ = ["DistributedData", "check_columns", "local_batches", "local_hyperparameters"]


@dataclasses.dataclass(frozen=True)
class DistributedData:
    """The data of a member.

    Attributes
    ----------
    batches : callable
        As `fit` takes it.
    is_replicated : bool
        Whether all members read the same, and each learns from its share of the mini batches: of every n in a
        row the one of its rank. Otherwise the data is this member's own.
    """

    batches: Batches
    is_replicated: bool

    def class_weighted(self, hyperparameters: Hyperparameters) -> "DistributedData":
        """Multiply the weight of each row by that of its class; see `training.class_weights`."""
        return dataclasses.replace(self, batches=class_weighted(self.batches, hyperparameters))


def local_batches(
    data: DistributedData, epoch: int, members: Members, hyperparameters: Hyperparameters, *, is_trained: bool
) -> Iterator[Batch]:
    """Give the batches of this member in one pass.

    Parameters
    ----------
    data : DistributedData
    epoch : int
        From 0; it decides the order of shuffled rows.
    members : Members
    hyperparameters : Hyperparameters
        With the `mini_batch_size` of one member.
    is_trained : bool
        Whether the rows are shuffled if `shuffle` is set; what is only scored keeps its order.

    Yields
    ------
    batch : Batch
        Of at most `mini_batch_size` rows.
    """
    hp, m = hyperparameters, hyperparameters.mini_batch_size
    rank, size = members.rank, members.size
    stream = iter(data.batches(epoch))
    if hp.shuffle and is_trained:
        if not data.is_replicated:
            yield from shuffled(stream, hp.shuffle_buffer_size, m, (hp.seed, epoch, rank))
            return
        # as one host with the larger mini batch would, whose buffer is filled by those
        larger = iter(lambda: list(itertools.islice(stream, size)), [])
        for batch in shuffled(map(Batch.concatenate, larger), hp.shuffle_buffer_size, m * size, (hp.seed, epoch)):
            if batch.n_rows > rank * m:
                yield batch.slice(rank * m, min((rank + 1) * m, batch.n_rows))
        return
    yield from itertools.islice(stream, rank, None, size) if data.is_replicated else stream


def local_hyperparameters(hyperparameters: Hyperparameters, members: Members) -> Hyperparameters:
    """Return the hyperparameters for the part of the model that a member has, and for the steps of all.

    A step is one mini batch of each member, and its gradient is divided by the rows of all of them.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Those of the job.
    members : Members

    Returns
    -------
    hyperparameters : Hyperparameters
    """
    return dataclasses.replace(
        hyperparameters,
        feature_dim=partition_of(members).n_rows(hyperparameters.feature_dim),
        mini_batch_size=min(hyperparameters.mini_batch_size * members.size, MOST_FEATURES),
    )


def check_columns(names: Sequence[str] | None, members: Members) -> None:
    """Hold the columns of this member's training data against those of the others.

    A column is a feature by its place, and each member's first file decides the order of its own.

    Parameters
    ----------
    names : sequence of str, optional
        In their order; None: this member has no data, or data without names.
    members : Members
        All of which call this.

    Raises
    ------
    DataError
        On all of them: some have other columns, or another order.
    """
    mine = -1 if names is None else zlib.crc32(json.dumps(list(names)).encode())
    told = members.rows.all_gather(np.array([mine], np.int64))[:, 0].tolist()
    known = [(rank, each) for rank, each in enumerate(told) if each >= 0]
    others = [rank for rank, each in known if each != known[0][1]]
    if others:
        raise DataError(
            f"the columns of the training data are not the same, in the same order, on hosts {known[0][0]} and "
            f"{', '.join(map(str, others))} (counted from 0): write all files with the same columns in the same order"
        )
