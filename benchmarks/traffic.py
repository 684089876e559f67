"""What passes between the members of a process group, by formula: bytes and messages of a step, and its time.

A step is one mini batch of m rows on each of H members. A member owns about one H-th of a batch's D distinct features.
For each of the others it sends a key, receives the feature's row of k + 1 numbers, and sends back a gradient of the
same length. As an owner it does the opposite. All numbers have four bytes, except a few of eight by which the members
agree on the step:

    keys        4 D (H - 1) / H                 keys
                8 (2 H + 4) (H - 1)             agreement
    rows        2 * 4 (k + 1) D (H - 1) / H     rows, and gradients
                8 (H - 1)                       sums of residuals, for w0

If it is less, members exchange sums instead (fm_core/cluster/summed.py), with E entries in a batch:

    keys        4 m (H - 1) + 8 E (H - 1) / H   lengths of rows, entries
                8 (2 H + 4) (H - 1)             agreement
    rows        2 * 4 (k + 1) m (H - 1)         parts of sums, and sums

Each is what a member sends; it receives as much. tests/cluster compares the formulas with what
`process_group.Communicator` counts.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fm_core.cluster.summed import is_shorter

__all__ = ["Sent", "StepData", "by_averages", "data_of", "expected", "of_a_pass", "seconds_of_a_step"]

#: Numbers of eight bytes by which a member tells of its step, besides two for each member.
FACTS = 4
#: Exchanges in a row on the communicator of rows: rows, sums of residuals, gradients.
TURNS = 3


@dataclasses.dataclass(frozen=True)
class Sent:
    """What one member sends to others.

    Attributes
    ----------
    keys, rows : float
        Bytes on each communicator.
    key_messages, row_messages : int
    """

    keys: float = 0
    rows: float = 0
    key_messages: int = 0
    row_messages: int = 0

    def __add__(self, other: "Sent") -> "Sent":
        return Sent(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    @property
    def total(self) -> float:
        """Bytes on both communicators."""
        return self.keys + self.rows

    @property
    def messages(self) -> int:
        """Messages on both communicators."""
        return self.key_messages + self.row_messages


def expected(
    distinct: float, num_factors: int, size: int, rows: int | None = None, entries: float | None = None
) -> Sent:
    """What a member sends in a step, where features are spread evenly over the owners.

    Parameters
    ----------
    distinct : float
        Distinct features of a member's mini batch.
    num_factors : int
    size : int
        Members.
    rows, entries : int, float, optional
        Of a member's mini batch; without them it goes by rows of the model, as every step once did.
    """
    others = size - 1
    elsewhere = distinct * others / size
    by_rows = Sent(
        4 * elsewhere + 8 * (2 * size + FACTS) * others,
        2 * 4 * (num_factors + 1) * elsewhere + 8 * others,
        2 * others,
        TURNS * others,
    )
    if rows is None or entries is None:
        return by_rows
    by_sums = Sent(
        (4 * rows + 8 * (2 * size + FACTS)) * others + 8 * entries * others / size,
        2 * 4 * (num_factors + 1) * rows * others,
        2 * others,
        2 * others,
    )
    return by_sums if by_rows.total > by_sums.total else by_rows


def by_averages(of_one: float, of_all: float, num_factors: int, size: int, interval: int, n_states: int = 2) -> float:
    """Bytes that a member sends for a mini batch under `_kvstore` dist_async, where all meet every `interval` batches.

    For each feature that it has touched since the last meeting a member sends the owner its parameters and their state;
    for each that anybody has touched the owner sends the means to all others.

    Parameters
    ----------
    of_one, of_all : float
        Distinct features between two meetings: of a member's rows, and of all members'.
    num_factors, size, interval, n_states : int
    """
    return 4 * (1 + (1 + n_states) * (num_factors + 1)) * (of_one + of_all) * (size - 1) / size / interval


@dataclasses.dataclass(frozen=True)
class StepData:
    """What the members' batches of a step are, as far as bytes depend on it.

    Attributes
    ----------
    wanted, entries : ndarray of int64, shape (size, size)
        Distinct features, and entries, by who has them and who owns them.
    n_rows : ndarray of int64, shape (size,)
    """

    wanted: NDArray[np.int64]
    entries: NDArray[np.int64]
    n_rows: NDArray[np.int64]


def data_of(batches: Sequence[NDArray[np.int32]], n_rows: Sequence[int], size: int) -> StepData:
    """Count what is in the batches of a step.

    Parameters
    ----------
    batches : sequence of ndarray of int32
        The features of each member's batch, as often as they occur; empty where a member has no rows left.
    n_rows : sequence of int
    size : int
    """
    wanted, entries = (
        np.array([np.bincount(features % size, minlength=size) for features in each], np.int64)
        for each in ([np.unique(features) for features in batches], batches)
    )
    return StepData(wanted, entries, np.array(n_rows, np.int64))


def of_a_pass(steps: Sequence[StepData], num_factors: int, n_sums: int, interval: int, itemsize: int = 4) -> list[Sent]:
    """What each member sends in an epoch, exactly.

    Parameters
    ----------
    steps : sequence of StepData
    num_factors : int
    n_sums : int
        Numbers of which metrics are made; they are added up for each line of metrics.
    interval : int
        Batches between two of those.
    itemsize : int
        Bytes of a number of the model on its way: 2 with `_wire_dtype` bfloat16.
    """
    size = len(steps[0].n_rows)
    others, width = size - 1, itemsize * (num_factors + 1)
    lines = -(-len(steps) // interval) + 1  # the epoch's own is the last
    # and once more it is agreed that nobody has rows left
    once = Sent(8 * (2 * size + FACTS) * others, 8 * n_sums * others * lines, others, others * lines)
    sent = []
    for rank in range(size):
        total = once
        for step in steps:
            wanted = step.wanted
            if is_shorter(wanted, step.n_rows, step.entries, width):
                total += _by_sums(step, rank, width)
                continue
            asks, serves = np.delete(wanted[rank], rank), np.delete(wanted[:, rank], rank)
            total += Sent(
                int(4 * asks.sum()) + 8 * (2 * size + FACTS) * others,
                int(width * (asks.sum() + serves.sum())) + 8 * others,
                others + np.count_nonzero(asks),
                others + np.count_nonzero(asks) + np.count_nonzero(serves),
            )
        sent.append(total)
    return sent


def _by_sums(step: StepData, rank: int, width: int) -> Sent:
    size, m = len(step.n_rows), int(step.n_rows[rank])
    others, entries = size - 1, np.delete(step.entries[rank], rank)
    theirs = np.delete(step.n_rows, rank)
    return Sent(
        (4 * m + 8 * (2 * size + FACTS)) * others + int(8 * entries.sum()),
        width * (int(theirs.sum()) + m * others),
        others + others * (m > 0),
        np.count_nonzero(theirs) + others * (m > 0),
    )


def seconds_of_a_step(compute: float, sent: Sent, size: int, bandwidth: float, latency: float) -> float:
    """How long a step takes, by a simple model.

    Computing and the exchanges on the communicator of rows come one after the other; keys go beside them and share the
    link, which carries as much in the other direction at the same time.

    Parameters
    ----------
    compute : float
        Seconds that a member computes.
    sent : Sent
        By one member in a step.
    size : int
    bandwidth : float
        Bytes a second, in each direction.
    latency : float
        Seconds until a message of no length has arrived.
    """
    if size == 1:
        return compute
    one_by_one = compute + sent.rows / bandwidth + TURNS * latency
    return max(one_by_one, sent.total / bandwidth)
