"""The part of the members' steps that depends on data only: who has rows, and which features they touch.

The reading thread plans them some steps ahead, while earlier ones are computed. The members also agree there whether to
stop, and when to write a checkpoint, so that all do it after the same step.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import fm_core.kernels._sharded as numbers
from fm_core.batch import Batch
from fm_core.cluster.members import LARGE, Floats, Members, partition_of
from fm_core.cluster.summed import SummedStep, is_shorter, plan
from fm_core.cluster.wire import ITEMSIZE
from fm_core.errors import ConfigError, DataError, ProcessGroupError
from fm_core.given import MOST_FEATURES
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import group
from fm_core.kernels.bounds import check_fits
from fm_core.solvers.base import SafePoint

__all__ = ["PlannedStep", "Step", "StepPlanner", "safe_point"]

#: What each member says of a step; behind it, how many features it asks of each, and how many entries those have.
_ROWS, _DENSE, _STOPS, _CHECKPOINT, _FACTS = range(5)


class PlannedStep(Protocol):
    """What every kind of step has."""

    @property
    def original(self) -> Batch:
        """The rows of this member as they were read, perhaps none."""

    @property
    def is_dense(self) -> bool:
        """Whether rows are dense, on all members."""

    @property
    def writes_checkpoint(self) -> bool:
        """Whether all members write a checkpoint after it."""


def safe_point(step: PlannedStep, scores: Floats, changed: NDArray[np.int32] | None) -> SafePoint:
    """Make the safe point after a step: where training may be checked, stopped or saved.

    Parameters
    ----------
    step : PlannedStep
    scores : ndarray of float32, shape (n_rows,)
        Of this member's rows in the step.
    changed : ndarray of int32 or None
        The features whose parameters the step changed; None: all of them.

    Returns
    -------
    point : SafePoint
    """
    rows = step.original if step.original.n_rows else None
    labels, weights = (rows.labels, rows.weights) if rows else (None, None)
    return SafePoint(scores, labels, rows, changed, checkpoint=step.writes_checkpoint, weights=weights)


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of members who own a part of the model's rows each.

    Attributes
    ----------
    batch : Batch
        This member's rows, perhaps none. Its columns are numbered as the rows that come from the owners.
    original : Batch
        The same rows as they were read.
    starts, rows, row_values
        As `kernels.group` gives them, feature by feature.
    wanted, asked : list of int
        How many rows this member wants of each, and is asked for by each.
    keys : ndarray of int32
        The rows that it is asked for, by one member after the other.
    touched, touched_starts, places
        The distinct rows among them, and where in `keys` each of them stands.
    is_large : bool
        Whether the rows that pass between two members are many; the same on all of them.
    is_dense : bool
    writes_checkpoint : bool
    """

    batch: Batch
    original: Batch
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    row_values: Floats
    wanted: list[int]
    asked: list[int]
    keys: NDArray[np.int32]
    touched: NDArray[np.int32]
    touched_starts: NDArray[np.int64]
    places: NDArray[np.int64]
    is_large: bool
    is_dense: bool
    writes_checkpoint: bool


class WholeModels(Protocol):
    """Where every member has the whole model, if the data is dense; see `replicated.Replicas`."""

    def are_used(self, is_dense: bool | None) -> bool:
        """Agree on whether."""

    def step(self, batch: Batch | None, feature_dim: int, writes_checkpoint: bool) -> PlannedStep:
        """Prepare this member's rows of a step."""


class StepPlanner:
    """Plans the steps of one pass, with the other members.

    Parameters
    ----------
    members : Members
    hyperparameters : Hyperparameters
        Those of the whole model.
    should_stop : callable
        Whether this member was asked to.
    wants_checkpoint : callable
        Whether this member would write one; the first member's answer counts.
    replicas : WholeModels, optional
    sums : bool
        Whether a step may go by sums (summed.py), where that sends less.

    Attributes
    ----------
    stopped : bool
        Whether the pass ended early, because a member was asked to stop.

    Raises
    ------
    ConfigError
        There are more features than ids, those of members without a feature included.
    """

    def __init__(
        self,
        members: Members,
        hyperparameters: Hyperparameters,
        should_stop: Callable[[], bool],
        wants_checkpoint: Callable[[], bool] = lambda: False,
        replicas: WholeModels | None = None,
        *,
        sums: bool = False,
    ) -> None:
        self._sums = sums and members.size > 1
        self.stopped = False
        self._replicas = replicas
        self._members = members
        self._hp = hyperparameters
        self._n_local = partition_of(members).n_rows_at_most(hyperparameters.feature_dim)
        self._width = ITEMSIZE[hyperparameters._wire_dtype] * (hyperparameters.num_factors + 1)
        self._should_stop = should_stop
        self._wants_checkpoint = wants_checkpoint
        self._marks = np.zeros(-(-self._n_local * members.size // 64) if self._sums else 0, np.uint64)
        if self._n_local * members.size > MOST_FEATURES:
            raise ConfigError(
                f"feature_dim is {hyperparameters.feature_dim}, expected at most {MOST_FEATURES - members.size} here"
            )

    def __call__(self, stream: Iterable[Batch]) -> Iterator[PlannedStep]:
        """Give the steps of a pass, whose batches here are `stream`; until no member has any left."""
        rows = iter(stream)
        while True:
            batch = None if self._should_stop() else next(rows, None)
            stops = self._should_stop()  # the stream may have ended because of that
            step = self._agree(batch, stops)
            if step is None:
                return
            yield step

    def _agree(self, batch: Batch | None, stops: bool) -> PlannedStep | None:
        hp = self._hp
        if batch is not None:
            check_fits(batch, hp.feature_dim)
        if self._replicas is not None and self._replicas.are_used(None if batch is None else batch.is_dense):
            table = self._told(batch, stops, 0)
            return None if table is None else self._replicas.step(batch, hp.feature_dim, bool(table[0, _CHECKPOINT]))
        return self._shared_out(batch, stops)

    def _shared_out(self, batch: Batch | None, stops: bool) -> "Step | SummedStep | None":
        """Ask the owners for the rows that a batch touches, or send them its entries."""
        members = self._members
        original = batch or Batch.empty(self._hp.feature_dim)
        rows = _as_sparse(original) if original.is_dense else original
        indptr, indices, values = rows.csr
        ordered = np.empty_like(indices)
        numbers.order(indices, members.size, self._n_local, ordered)
        size, n_local = members.size, self._n_local
        wanted, entries = np.zeros((2, size), np.int64)
        groups = None
        if self._sums:
            numbers.count(ordered, n_local, self._marks, wanted, entries)
        else:
            groups, wanted = self._grouped(indptr, ordered, values)
        table = self._told(batch, stops, wanted, entries)
        if table is None:
            return None
        is_dense, writes_checkpoint = bool((table[:, _DENSE] == 1).any()), bool(table[0, _CHECKPOINT])
        n_rows = self._checked(table[:, _ROWS].clip(0), 0, MOST_FEATURES)
        of_all, entries_of_all = table[:, _FACTS : _FACTS + size], table[:, _FACTS + size :]
        if self._sums and is_shorter(of_all, n_rows, entries_of_all, self._width):
            return plan(
                original, (indptr, ordered, values), n_rows, entries_of_all, n_local, members,
                width=self._width, is_dense=is_dense, writes_checkpoint=writes_checkpoint,
            )  # fmt: skip
        features, starts, row_of, row_values = groups or self._grouped(indptr, ordered, values)[0]
        asked = self._checked(of_all[:, members.rank], 0, self._n_local)
        local = features % np.int32(self._n_local)
        keys = self._checked(members.keys.all_to_all(local, wanted, asked), 0, self._n_local - 1)
        begins = np.zeros(members.size + 1, np.int64)
        np.cumsum(asked, out=begins[1:])
        touched, touched_starts, ranks, _ = group(begins, keys, np.zeros(len(keys), np.float32), self._n_local)
        places = np.empty(len(keys), np.int64)
        numbers.places(ranks, begins[:-1].copy(), places)
        return Step(
            batch=_renumbered(rows, starts, row_of, row_values),
            original=original,
            starts=starts,
            rows=row_of,
            row_values=row_values,
            wanted=wanted.tolist(),
            asked=asked.tolist(),
            keys=keys,
            touched=touched,
            touched_starts=touched_starts,
            places=places,
            is_large=bool(of_all.max() * self._width >= LARGE),
            is_dense=is_dense,
            writes_checkpoint=writes_checkpoint,
        )

    def _grouped(self, indptr: NDArray[np.int64], ordered: NDArray[np.int32], values: Floats) -> Any:
        """Group entries by feature; return the groups, and the number of features that each member owns."""
        size, n_local = self._members.size, self._n_local
        groups = group(indptr, ordered, values, n_local * size)
        return groups, np.diff(np.searchsorted(groups[0], np.arange(size + 1, dtype=np.int64) * n_local))

    def _checked(self, numbers: NDArray[Any], least: int, most: int) -> NDArray[Any]:
        """Hold numbers of other members, by which rows are found, against the rows that there are."""
        if len(numbers) and not (least <= numbers.min() and numbers.max() <= most):
            raise ProcessGroupError(
                f"another host requested features out of range: found {numbers.min()} to {numbers.max()}, expected "
                f"{least} to {most}: it runs another program"
            )
        return numbers

    def _told(self, batch: Batch | None, stops: bool, wanted: Any, entries: Any = 0) -> NDArray[np.int64] | None:
        """The members' messages about a step, one row each; None: there are no more steps."""
        size = self._members.size
        facts = np.zeros(_FACTS + 2 * size, np.int64)
        facts[_ROWS] = -1 if batch is None else batch.n_rows
        facts[_DENSE] = -1 if batch is None else batch.is_dense
        facts[_STOPS] = stops
        facts[_CHECKPOINT] = self._wants_checkpoint()
        facts[_FACTS : _FACTS + size] = wanted
        facts[_FACTS + size :] = entries
        table: NDArray[np.int64] = self._members.keys.all_gather(facts)
        if table[:, _STOPS].any():
            self.stopped = True
            return None
        if (table[:, _ROWS] < 0).all():
            return None
        if len(set(table[:, _DENSE].tolist()) - {-1}) > 1:
            dense = ", ".join(str(rank) for rank in np.flatnonzero(table[:, _DENSE] == 1))
            raise DataError(f"some hosts read dense rows (counted from 0: {dense}) and others sparse ones")
        return table


def _renumbered(rows: Batch, starts: Any, row_of: Any, row_values: Any) -> Batch:
    indptr, _, _ = rows.csr
    indices, values = np.empty(len(row_of), np.int32), np.empty(len(row_of), np.float32)
    numbers.columns(starts, row_of, row_values, indptr[:-1].copy(), indices, values)
    return Batch.trusted(len(starts) - 1, values, indptr, indices, rows.known_labels, rows.weights)


def _as_sparse(batch: Batch) -> Batch:
    """Dense rows with every feature stored: of those, a lazy update is that of every feature."""
    n, d = batch.values.shape
    indices = np.tile(np.arange(d, dtype=np.int32), n)
    indptr = np.arange(n + 1, dtype=np.int64) * d
    return Batch.trusted(d, batch.values.reshape(-1), indptr, indices, batch.labels, batch.weights)
