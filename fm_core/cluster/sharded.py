"""fit, with the model's rows spread over the members of a team: exactly the model of one host.

Feature f is the row ``f // n`` of member ``f % n``, who keeps its optimizer's state too: memory falls as
members are added. A step learns from one mini batch of each member at once:

1. keys    each member asks the owners for the rows that its batch touches. That depends on data only and is
           done in the reading thread, some steps ahead, while earlier steps are computed.
2. rows    the owners send them; each member scores its batch and has the gradient of each of those rows.
3. update  gradients go back to the owners, who add them in the members' order and update each row once.

So n members with mini batches of m are one host with mini batches of n * m, made of the members' in their
order; sums differ in the last bits, and are the same from run to run. w0 is on every member, and updated from
the same sum. A member without more data goes on serving rows until all are done. Whether to stop, and when to
write a checkpoint, travels with the keys, so that all do it after the same step.

What passes between members is `team.Team`'s business; only it knows PyTorch.
"""

import contextlib
import dataclasses
import functools
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

import fm_core.kernels._sharded as _shards
from fm_core.artifact.model_file import model_arrays
from fm_core.artifact.mxnet_params import encode
from fm_core.batch import Batch
from fm_core.checkpoints.file import Checkpoint, Position, read, read_header
from fm_core.checkpoints.reshard import HOSTS, newest_of_others, resharded
from fm_core.checkpoints.writer import Checkpointer
from fm_core.errors import (
    CheckpointError,
    ConfigError,
    DamagedCheckpointError,
    DataError,
    DivergenceError,
    TeamError,
)
from fm_core.hyperparameters import MAX_FEATURE_DIM, Hyperparameters
from fm_core.kernels import group
from fm_core.links import link_for
from fm_core.metrics import Metrics, metrics_for
from fm_core.model import Model
from fm_core.partition import Partition
from fm_core.training.loop import (
    Batches,
    Callback,
    FitResult,
    Silent,
    Solver,
    _cause,
    _check_validation,
    _compare_labels,
    _labels_crc,
    _passed_over,
    _Training,
)
from fm_core.training.prefetch import read_ahead
from fm_core.training.shuffle import shuffled

__all__ = [
    "SharedCheckpointer",
    "Members",
    "Rows",
    "ShardedModel",
    "TrainingOfSeveral",
    "evaluate_shares",
    "evaluate_together",
    "fit_together",
    "given_to_all",
    "part_of",
    "reduced",
    "send_model",
    "share_of",
]

Floats = NDArray[np.float32]

#: Steps whose keys are exchanged ahead.
_AHEAD = 4
#: Checkpoints that a member keeps, as many as `Checkpointer` does.
_SEEN = 2
#: What each member says of a step, before how many keys it asks of each.
_ROWS, _DENSE, _STOPS, _CHECKPOINT, _FACTS = range(5)

_log = logging.getLogger(__name__)


class Way(Protocol):
    """See `team.Lane`."""

    def gather(self, row: NDArray[Any]) -> NDArray[Any]:
        """Give the rows of all members."""

    def exchange(self, sent: NDArray[Any], to: Any, by: Any) -> NDArray[Any]:
        """Send each member its rows, and give those that came from each."""


class Members(Protocol):
    """What is asked of a team; see `team.Team`."""

    rank: int
    size: int
    keys: Any
    rows: Any


class Whole(Protocol):
    """Where every member has the whole model, if the data is dense; see `replicated.Replicas`."""

    def are_used(self, is_dense: bool | None) -> bool:
        """Agree on whether."""

    def turn(self, batch: Batch | None, feature_dim: int, writes_checkpoint: bool) -> Any:
        """Prepare this member's rows of a step."""

    def solver(self, hp: Hyperparameters, num_threads: int, model: Model | None, checkpoint: Checkpoint | None) -> Any:
        """Make what stands in for a `ShardedSolver`."""

    def evaluate(
        self, solver: Any, data: "Rows", hp: Hyperparameters, epoch: int, should_stop: Callable[[], bool]
    ) -> tuple[dict[str, float], int] | None:
        """Do what `evaluate_together` does."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """The data of a member.

    Attributes
    ----------
    batches : callable
        As that of `solver.fit`.
    is_replicated : bool
        Whether all members read the same, and each learns from its share of the mini batches: of every n in a
        row the one of its rank. Otherwise the data is this member's own.
    """

    batches: Batches
    is_replicated: bool


@dataclasses.dataclass(frozen=True)
class _Turn:
    """A step, as far as it depends on the data.

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
    is_dense: bool
    writes_checkpoint: bool


def part_of(hyperparameters: Hyperparameters, team: Members) -> Hyperparameters:
    """The hyperparameters as they are for the rows of the model that a member has, and for the steps of all.

    A step is one mini batch of each member, and its gradient is divided by the rows of all of them.
    """
    return dataclasses.replace(
        hyperparameters,
        feature_dim=Partition(team.rank, team.size).n_rows(hyperparameters.feature_dim),
        mini_batch_size=min(hyperparameters.mini_batch_size * team.size, MAX_FEATURE_DIM),
    )


# ---------------------------------------------------------------- keys


class _Turns:
    """The steps of one pass, agreed on with the other members.

    Attributes
    ----------
    stopped : bool
        Whether the pass ended early, because a member was asked to stop.
    """

    def __init__(
        self,
        team: Members,
        hp: Hyperparameters,
        should_stop: Callable[[], bool],
        wants_checkpoint: Callable[[], bool] = lambda: False,
        replicas: Whole | None = None,
    ) -> None:
        self.stopped = False
        self._replicas = replicas
        self._team = team
        self._hp = hp
        self._n_local = Partition(team.rank, team.size).n_rows_at_most(hp.feature_dim)
        self._should_stop = should_stop
        self._wants_checkpoint = wants_checkpoint
        if self._n_local * team.size > MAX_FEATURE_DIM:
            raise ConfigError(f"feature_dim is {hp.feature_dim}, expected at most {MAX_FEATURE_DIM - team.size} here")

    def __call__(self, stream: Iterable[Batch]) -> Iterator[_Turn]:
        """Give the steps of a pass, whose batches here are `stream`; until no member has any left."""
        rows = iter(stream)
        while True:
            batch = None if self._should_stop() else next(rows, None)
            stops = self._should_stop()  # the stream may have ended because of that
            turn = self._agree(batch, stops)
            if turn is None:
                return
            yield turn

    def _agree(self, batch: Batch | None, stops: bool) -> _Turn | None:
        team, hp = self._team, self._hp
        original = batch or Batch.empty(hp.feature_dim)
        if original.feature_dim != hp.feature_dim:
            raise DataError(f"a batch has feature_dim={original.feature_dim}, expected {hp.feature_dim}")
        if self._replicas is not None and self._replicas.are_used(None if batch is None else batch.is_dense):
            told = self._told(batch, stops, 0)
            return None if told is None else self._replicas.turn(batch, hp.feature_dim, bool(told[0, _CHECKPOINT]))
        rows = _as_sparse(original) if original.is_dense else original
        assert rows.indptr is not None
        assert rows.indices is not None
        ordered = np.empty_like(rows.indices)
        _shards.order(rows.indices, team.size, self._n_local, ordered)
        features, starts, row_of, row_values = group(rows.indptr, ordered, rows.values, self._n_local * team.size)
        bounds = np.searchsorted(features, np.arange(team.size + 1, dtype=np.int64) * self._n_local)
        wanted = np.diff(bounds)
        table = self._told(batch, stops, wanted)
        if table is None:
            return None
        asked = table[:, _FACTS + team.rank]
        local = features % np.int32(self._n_local)
        keys = team.keys.exchange(local, wanted, asked)
        begins = np.zeros(team.size + 1, np.int64)
        np.cumsum(asked, out=begins[1:])
        touched, touched_starts, ranks, _ = group(begins, keys, np.zeros(len(keys), np.float32), self._n_local)
        places = np.empty(len(keys), np.int64)
        _shards.places(ranks, begins[:-1].copy(), places)
        return _Turn(
            batch=self._renumbered(rows, starts, row_of, row_values),
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
            is_dense=bool((table[:, _DENSE] == 1).any()),
            writes_checkpoint=bool(table[0, _CHECKPOINT]),
        )

    def _told(self, batch: Batch | None, stops: bool, wanted: Any) -> NDArray[np.int64] | None:
        """What the members say of a step, a row of each; None: there is no further one."""
        team = self._team
        facts = np.zeros(_FACTS + team.size, np.int64)
        facts[_ROWS] = -1 if batch is None else batch.n_rows
        facts[_DENSE] = -1 if batch is None else batch.is_dense
        facts[_STOPS] = stops
        facts[_CHECKPOINT] = self._wants_checkpoint()
        facts[_FACTS:] = wanted
        table: NDArray[np.int64] = team.keys.gather(facts)
        if table[:, _STOPS].any():
            self.stopped = True
            return None
        if (table[:, _ROWS] < 0).all():
            return None
        if len(set(table[:, _DENSE].tolist()) - {-1}) > 1:
            dense = ", ".join(str(rank) for rank in np.flatnonzero(table[:, _DENSE] == 1))
            raise DataError(f"some hosts read dense rows (of all, counted from 0: {dense}) and others sparse ones")
        return table

    @staticmethod
    def _renumbered(rows: Batch, starts: Any, row_of: Any, row_values: Any) -> Batch:
        assert rows.indptr is not None
        indices, values = np.empty(len(row_of), np.int32), np.empty(len(row_of), np.float32)
        _shards.columns(starts, row_of, row_values, rows.indptr[:-1].copy(), indices, values)
        return Batch.trusted(len(starts) - 1, values, rows.indptr, indices, rows.known_labels)


def _as_sparse(batch: Batch) -> Batch:
    """Dense rows with every feature stored: of those, a lazy update is that of every feature."""
    n, d = batch.values.shape
    indices = np.tile(np.arange(d, dtype=np.int32), n)
    return Batch.trusted(d, batch.values.reshape(-1), np.arange(n + 1, dtype=np.int64) * d, indices, batch.labels)


def share_of(data: Rows, epoch: int, team: Members, hp: Hyperparameters, is_trained: bool) -> Iterator[Batch]:
    """The batches of this member."""
    stream = iter(data.batches(epoch))
    m = hp.mini_batch_size
    if hp.shuffle and is_trained:
        if not data.is_replicated:
            yield from shuffled(stream, hp.shuffle_buffer_size, m, (hp.seed, epoch, team.rank))
            return
        # as one host with the larger mini batch would, whose buffer is filled by those
        larger = iter(lambda: list(itertools.islice(stream, team.size)), [])
        for batch in shuffled(map(Batch.concatenate, larger), hp.shuffle_buffer_size, m * team.size, (hp.seed, epoch)):
            if batch.n_rows > team.rank * m:
                yield batch.slice(team.rank * m, min((team.rank + 1) * m, batch.n_rows))
        return
    yield from itertools.islice(stream, team.rank, None, team.size) if data.is_replicated else stream


# ---------------------------------------------------------------- rows and updates


class ShardedSolver(Solver):
    """The rows of this member, and their update from one step of all.

    As `Solver`, whose arrays have the member's rows only.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        team: Members,
        num_threads: int = 1,
        model: Model | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._whole = hyperparameters
        self._team = team
        super().__init__(part_of(hyperparameters, team), num_threads, model, checkpoint)

    def _initial(self) -> Model:
        return Model.initialise(self._whole, self.num_threads, Partition(self._team.rank, self._team.size))

    def _start_from(self, model: Model) -> None:
        if model.feature_dim <= self._whole.feature_dim:  # a larger one is refused, with its whole dimension
            mine = Partition(self._team.rank, self._team.size).rows
            model = Model(model.predictor_type, model.w0, model.w[mine], model.V[mine])
        super()._start_from(model)

    def step(self, turn: _Turn, prepared: Any = None) -> Floats:  # type: ignore[override]
        """Score this member's rows of a step, then update its parameters from everybody's.

        Raises
        ------
        DivergenceError
            A score, on any member, is not finite.
        """
        hp, team, threads = self.hyperparameters, self._team, self.num_threads
        self.n_steps += 1
        params, sums, residuals, scores = _scored(turn, self.params, float(self.bias[0]), hp, team, threads)
        total = team.rows.gather(np.array([residuals.sum(dtype=np.float64)]))
        gradients = np.empty_like(params)
        _shards.gradients(turn.starts, turn.rows, turn.row_values, params, sums, residuals, gradients, threads)
        received = team.rows.exchange(gradients, turn.wanted, turn.asked)
        bias_gradient = functools.reduce(lambda a, b: a + b, total[:, 0].tolist())  # in the members' order
        if not math.isfinite(bias_gradient):
            raise DivergenceError(f"scores are no longer finite at update {self.n_steps}{_cause(hp)}")
        step = self._step()
        _shards.update(
            turn.touched, turn.touched_starts, turn.places, received,
            np.empty((len(turn.touched) + 1, params.shape[1]), np.float32), self.params, self.state, step,
            hp.lazy_update or turn.is_dense, threads,
        )  # fmt: skip
        _shards.update_bias(self.bias, bias_gradient, step)
        return scores


def _scored(
    turn: _Turn, params: Floats, w0: float, hp: Hyperparameters, team: Members, num_threads: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Fetch the rows that a step touches; give them, and the sums, residuals and scores of this member's batch."""
    batch = turn.batch
    wanted = np.empty((len(turn.keys), params.shape[1]), np.float32)
    _shards.gather(params, turn.keys, wanted, num_threads)
    fetched = team.rows.exchange(wanted, turn.asked, turn.wanted)
    n = batch.n_rows
    sums = np.empty((n, params.shape[1] - 1), np.float32)
    residuals, scores = np.empty(n, np.float32), np.empty(n, np.float32)
    _shards.score(
        batch.indptr, batch.indices, batch.values, batch.labels, fetched, w0, sums, residuals, scores,
        link_for(hp.predictor_type).is_classifier, num_threads,
    )  # fmt: skip
    return fetched, sums, residuals, scores


def evaluate_together(
    model: Model,
    data: Rows,
    hyperparameters: Hyperparameters,
    team: Members,
    *,
    epoch: int = 0,
    num_threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, float], int] | None:
    """Score data once over all members.

    Parameters
    ----------
    model : Model
        This member's rows.
    data : Rows
    hyperparameters : Hyperparameters
        Those of the whole model.
    team : Team
    epoch : int
    num_threads : int
    should_stop : callable

    Returns
    -------
    metrics : dict of float
    n_records : int
        Of all members. None in place of both if a member was asked to stop.
    """
    assert model.V.base is not None
    totals = metrics_for(model.predictor_type)
    turns = _Turns(team, hyperparameters, should_stop)
    stream = functools.partial(share_of, data, epoch, team, hyperparameters, False)
    with read_ahead(lambda: turns(stream()), _AHEAD) as ready:
        for turn in ready:
            scores = _scored(turn, model.V.base, model.w0, hyperparameters, team, num_threads)[-1]
            totals.update(scores, turn.original.known_labels)
    if turns.stopped:
        return None
    totals = reduced(totals, team, model.predictor_type)
    return totals.values(), totals.n


def evaluate_shares(
    predict: Callable[[Batch], Floats],
    data: Rows,
    hyperparameters: Hyperparameters,
    team: Members,
    *,
    epoch: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, float], int] | None:
    """Do what `evaluate_together` does where each member can `predict` on its own, from the whole model."""
    totals = metrics_for(hyperparameters.predictor_type)
    rows = share_of(data, epoch, team, hyperparameters, is_trained=False)
    for batch in itertools.takewhile(lambda _: not should_stop(), rows):
        totals.update(predict(batch), batch.known_labels)
    if team.rows.gather(np.array([should_stop()], np.int64)).any():
        return None
    totals = reduced(totals, team, hyperparameters.predictor_type)
    return totals.values(), totals.n


def given_to_all(mine: NDArray[Any], sizes: Sequence[int], team: Members) -> Iterator[tuple[int, NDArray[Any]]]:
    """Give all members this one's rows, and get theirs: of one after the other, so that there is no copy for each.

    Parameters
    ----------
    mine : ndarray, shape (sizes[team.rank], ...)
    sizes : sequence of int, length n_members
        How many rows each member gives.

    Yields
    ------
    rank : int
    rows : ndarray, shape (sizes[rank], ...)
    """
    for shift in range(team.size):
        receiver, sender = (team.rank + shift) % team.size, (team.rank - shift) % team.size
        give = [len(mine) if rank == receiver else 0 for rank in range(team.size)]
        take = [sizes[rank] if rank == sender else 0 for rank in range(team.size)]
        yield sender, team.rows.exchange(mine, give, take)


def reduced(totals: Metrics, team: Members, predictor_type: str) -> Metrics:
    """Add up the metrics' sums of all members, in their order."""
    sums = totals.sums()
    table = team.rows.gather(np.array(list(sums.values()), np.float64)).tolist()
    added = [functools.reduce(lambda a, b: a + b, column) for column in zip(*table, strict=True)]
    reduced = metrics_for(predictor_type)
    reduced.go_on_from({name: type(was)(value) for (name, was), value in zip(sums.items(), added, strict=True)})
    return reduced


# ---------------------------------------------------------------- checkpoints


class SharedCheckpointer(Checkpointer):
    """The checkpoints of one member: of its rows, after the same steps as everybody's.

    The first member decides when one is due. Before any is written, all have the one before it on disk, so that
    there is always one that all have.

    Parameters
    ----------
    team : Team
    folder, host, hyperparameters, fingerprint, **further
        As for `Checkpointer`, with the hyperparameters that `part_of` gives.
    whole : Hyperparameters
        Those of the whole model.
    is_replicated : bool
        Whether all members read the same data.
    """

    def __init__(
        self,
        team: Members,
        folder: Path,
        host: str,
        hyperparameters: Hyperparameters,
        *,
        whole: Hyperparameters,
        is_replicated: bool,
        fingerprint: Mapping[str, str] | None = None,
        **further: Any,
    ) -> None:
        mine = {**(fingerprint or {}), HOSTS: f"{team.rank + 1} of {team.size}"}
        super().__init__(folder, host, hyperparameters, fingerprint=mine, **further)
        self._team = team
        self._agreed = False
        # part_of's mini batch is that of all members together, which is what `resharded` asks for
        self._whole = dataclasses.replace(whole, mini_batch_size=hyperparameters.mini_batch_size)
        self._shared_fingerprint = fingerprint if is_replicated else None

    def _own_steps(self) -> dict[int, Path]:
        """The checkpoints that this member of so many wrote, newest first."""
        steps = {}
        for path in self.paths():
            match = self._name.fullmatch(path.name)
            with contextlib.suppress(CheckpointError):  # a header that is damaged is passed over
                if match and read_header(path)["fingerprint"].get(HOSTS) == self._fingerprint[HOSTS]:
                    steps[int(match[1])] = path
        return dict(list(steps.items())[:_SEEN])

    def latest(self, should_stop: Callable[[], bool] = lambda: False) -> Checkpoint | None:
        """Read the newest checkpoint that every member has whole.

        Raises
        ------
        CheckpointError
            It belongs to another job or a newer version, or there are checkpoints but none that all have.
        """
        found = np.full(_SEEN + 2, -1, np.int64)
        steps = self._own_steps()
        other = newest_of_others(self.folder, self._team.size, max(steps, default=-1))
        found[: len(steps)] = list(steps)
        if other is not None:
            found[_SEEN:] = other.n_steps, other.n_hosts
        table = self._team.rows.gather(found)
        if (table < 0).all():
            return None
        if (table[:, _SEEN] >= 0).any():
            if other is None or (table[:, _SEEN:] != found[_SEEN:]).any():
                raise CheckpointError(
                    f"a host has checkpoints of {table[:, -1].max()} hosts in {self.folder}, and not all have the "
                    "same: to go on with another number of hosts, each needs the files of all"
                )
            return resharded(other, self._whole, self._shared_fingerprint, self._team.rank, self._team.size)
        table = table[:, :_SEEN]
        common = set(table[0].tolist()).intersection(*map(set, table[1:].tolist())) - {-1}
        reasons = []
        for step in sorted(common, reverse=True):
            checkpoint = None
            try:
                checkpoint = read(steps[step], self._hyperparameters, self._fingerprint)
            except DamagedCheckpointError as error:
                _log.warning("%s; the checkpoint before it is used", error)
                reasons.append(str(error))
            if self._team.rows.gather(np.array([isinstance(checkpoint, Checkpoint)], np.int64)).all():
                assert isinstance(checkpoint, Checkpoint)
                _log.info(
                    "Going on from checkpoint %s: epoch %d, after %d of its batches.",
                    steps[step], checkpoint.position.epoch, checkpoint.position.n_batches,
                )  # fmt: skip
                return checkpoint
        why = f" ({reasons[0]})" if reasons else ""
        raise CheckpointError(
            f"there is no checkpoint in {self.folder} that all {self._team.size} hosts have whole{why}; "
            "use another checkpoint folder to train from the start"
        )

    def is_due(self, epoch_end: bool = False) -> bool:
        """Whether this member would write one now; the first member's answer counts."""
        return super()._is_due(epoch_end)

    def offer_agreed(self, position: Callable[[], Position], solver: Any, best: Floats | None) -> None:
        """Write a checkpoint, as all members do now."""
        self.settle()
        self._team.rows.gather(np.zeros(1, np.int64))
        self._agreed = True
        self.offer(position, solver, best, False)
        self._agreed = False

    def _is_due(self, epoch_end: bool) -> bool:
        return self._agreed

    def close(self, give_up: Callable[[], bool] = lambda: False) -> None:
        """As `Checkpointer.close`; where training ended is written if all members have come so far."""
        self.settle()
        if self._final is not None:
            try:
                self._team.rows.gather(np.zeros(1, np.int64))
            except TeamError as error:
                _log.warning("Where training ended is not kept as a checkpoint: %s", error)
                self._final = None
        super().close(give_up)


# ---------------------------------------------------------------- training


def fit_together(
    data: Rows,
    hyperparameters: Hyperparameters,
    team: Members,
    *,
    num_threads: int = 1,
    model: Model | None = None,
    validation: Rows | None = None,
    callback: Callback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    resume: Checkpoint | None = None,
    checkpointer: SharedCheckpointer | None = None,
    replicas: Whole | None = None,
) -> FitResult:
    """Train a model with the other members of a team, each of which calls this.

    Parameters
    ----------
    data : Rows
    hyperparameters : Hyperparameters
        The same on every member. `mini_batch_size` is each member's.
    team : Team
    num_threads, model, callback, should_stop
        As for `solver.fit`; one member that has to stop stops all.
    validation : Rows, optional
    resume : Checkpoint, optional
        Of this member's rows.
    checkpointer : SharedCheckpointer, optional
    replicas : replicated.Replicas, optional
        Where dense data is learned from, with the whole model on every member.

    Returns
    -------
    result : FitResult
        Its model has this member's rows only; `ShardedModel` makes one of all of them. Metrics are those of all.

    Raises
    ------
    TeamError
        A member was lost, or gave up.
    """
    training = _TrainingTogether(
        hyperparameters, team, num_threads, model, callback or Silent(), should_stop, checkpointer, replicas
    )
    del model
    return training.run(data, validation, resume)


class TrainingOfSeveral(_Training):
    """What is different of `_Training` among several members: whether to stop is decided by all.

    Parameters
    ----------
    team : Team
    should_stop : callable
        Whether this member was asked to.
    hyperparameters, num_threads, model, callback, checkpointer
        As for `_Training`.

    Attributes
    ----------
    stopped : bool
        Whether all have agreed to stop.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        team: Members,
        num_threads: int,
        model: Model | None,
        callback: Callback,
        should_stop: Callable[[], bool],
        checkpointer: Checkpointer | None = None,
    ) -> None:
        super().__init__(hyperparameters, num_threads, model, callback, lambda: self.stopped, checkpointer, None)
        self.stopped = False
        self._team = team
        self._asked_to_stop = should_stop

    def run(self, data: Rows, validation: Rows | None, resume: Checkpoint | None = None) -> FitResult:
        """Train to the end. A TeamError is raised with the moment."""
        _check_validation(self._hp, validation)
        try:
            if resume is not None:
                self.go_on_from(resume)
            while not self.is_over:
                if not (self.learn(data) and self.score(validation)):
                    break
                self.begin_next_epoch()
            return self.result(stopped=self.stopped)
        except TeamError as error:
            raise TeamError(f"{error}; this host was at {self.moment}", error.blame) from error

    @property
    def moment(self) -> str:
        """Where training is, in words."""
        return f"epoch {self._epoch}, batch {self._n_batches}"

    def learn(self, data: Rows) -> bool:
        """Learn from those batches of the epoch that are not done; False: training has to stop."""
        raise NotImplementedError

    def score(self, validation: Rows | None) -> bool:
        """Score the validation data, if there is some; False: training has to stop, and it was not scored."""
        if validation is None:
            return True
        found = self._evaluate(validation)
        if found is None:
            self.stopped = True
            return False
        self._end_validation(*found)
        return True

    def _evaluate(self, validation: Rows) -> tuple[dict[str, float], int] | None:
        """Give the metrics and the number of rows of all members; None: one was asked to stop."""
        raise NotImplementedError

    def _check_records(self) -> None:
        if self._solver is None:
            raise DataError("the training data has no records on any host, expected at least one")


class _TrainingTogether(TrainingOfSeveral):
    """What is different of `_Training` among several: every decision is everybody's."""

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        team: Members,
        num_threads: int,
        model: Model | None,
        callback: Callback,
        should_stop: Callable[[], bool],
        checkpointer: SharedCheckpointer | None,
        replicas: Whole | None,
    ) -> None:
        super().__init__(hyperparameters, team, num_threads, model, callback, should_stop, checkpointer)
        self._checkpoints = checkpointer
        self._replicas = replicas
        self._has_whole = False
        self._is_asked_for = False
        self._local_totals = self._totals

    def learn(self, data: Rows) -> bool:
        """Learn from those steps of the epoch that are not done; False: training has to stop."""
        started, n_before = time.time(), self._totals.n
        turns = _Turns(self._team, self._hp, self._asked_to_stop, self._asks_for_checkpoint, self._replicas)

        def prepared() -> Iterator[_Turn]:
            stream = share_of(data, self._epoch, self._team, self._hp, True)
            self._leave_out(stream, self._n_batches, self._labels_crc)
            return turns(stream)

        with read_ahead(prepared, _AHEAD) as ready:
            for turn in ready:
                if self._solver is None:
                    self._start(turn.is_dense)
                    started = time.time()
                self._learn_turn(turn)
                self._end_batch(started, n_before)
                if turn.writes_checkpoint:
                    self._write_checkpoint()
                    self._is_asked_for = False
        if turns.stopped:
            self.stopped = True
            return False
        self._check_records()
        self._local_totals, self._totals = self._totals, reduced(self._totals, self._team, self._hp.predictor_type)
        self._end_epoch(started)
        return True

    def _metrics_so_far(self) -> dict[str, float]:
        return reduced(self._totals, self._team, self._hp.predictor_type).values()

    def _evaluate(self, validation: Rows) -> tuple[dict[str, float], int] | None:
        assert self._solver is not None
        if self._replicas is not None and self._has_whole:
            found = self._replicas.evaluate(self._solver, validation, self._hp, self._epoch, self._asked_to_stop)
        else:
            found = evaluate_together(
                self._solver.model, validation, self._hp, self._team,
                epoch=self._epoch, num_threads=self._num_threads, should_stop=self._asked_to_stop,
            )  # fmt: skip
        if found is None:
            self._totals = self._local_totals  # where training goes on from
        return found

    def _asks_for_checkpoint(self) -> bool:
        # in the reading thread, some steps ahead: one that was asked for is not asked for again until it is written
        if self._checkpoints is None or self._solver is None or self._is_asked_for:
            return False
        self._is_asked_for = self._checkpoints.is_due()
        return self._is_asked_for

    def _offer_checkpoint(self, epoch_end: bool = False) -> None:
        if self._checkpoints is not None:
            due = self._team.rows.gather(np.array([self._checkpoints.is_due(epoch_end)], np.int64))
            if due[0, 0]:
                self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        if self._checkpoints is not None:
            try:
                self._checkpoints.offer_agreed(self._position, self._solver, self._keeper.params)
            except DivergenceError as error:
                raise self._diverged(f"{error}{_cause(self._hp)}") from None

    def _leave_out(self, stream: Iterator[Batch], n_done: int, labels_crc: int) -> None:
        _, crc = _passed_over(stream, n_done)  # a member that had run out has fewer
        if not self._asked_to_stop():
            _compare_labels(crc, labels_crc, self._epoch)

    def _start(self, is_dense: bool, checkpoint: Checkpoint | None = None) -> None:
        self._is_dense = is_dense
        if self._replicas is not None:
            self._has_whole = self._replicas.are_used(is_dense)
        self._callback.started(is_dense)
        if self._replicas is not None and self._has_whole:
            self._solver = self._replicas.solver(self._hp, self._num_threads, self._model, checkpoint)
        else:
            self._solver = ShardedSolver(self._hp, self._team, self._num_threads, self._model, checkpoint)
        self._model = None
        if self._checkpointer is not None:
            self._checkpointer.start(self._solver, checkpoint)

    def _learn_turn(self, turn: _Turn) -> None:
        assert self._solver is not None
        try:
            scores = cast("ShardedSolver", self._solver).step(turn)
        except DivergenceError as error:
            raise self._diverged(f"{self.moment}: {error}") from None
        if turn.original.n_rows:
            self._totals.update(scores, turn.original.known_labels)
        if self._checkpointer is not None:
            if turn.original.n_rows:
                self._labels_crc = _labels_crc(turn.original, self._labels_crc)
            self._checkpointer.mark(turn.touched if self._hp.lazy_update and not turn.is_dense else None)

    def result(self, stopped: bool) -> FitResult:
        """End training where it is."""
        if self._solver is None:
            solver = ShardedSolver(self._hp, self._team, self._num_threads, self._model)
            return FitResult(solver.model, {}, 0, stopped)
        return super().result(stopped)


# ---------------------------------------------------------------- the whole model


class _Column:
    """An array of the whole model, whose blocks are fetched from the members when they are asked for.

    Every member has to ask for the same blocks in the same order; the first one gets them, the others get zeros.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, local: Floats, feature_dim: int, team: Members) -> None:
        self._local = local
        self._team = team
        self.shape = (feature_dim, *local.shape[1:])
        self.ndim = local.ndim
        self.nbytes = 4 * math.prod(self.shape)

    def __len__(self) -> int:
        return len(range(self.shape[0]))

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, tuple):  # w as a column, which is how it is saved
            return _Column(self._local[rows], self.shape[0], self._team)
        team = self._team
        partition = Partition(team.rank, team.size)
        start, stop, _ = rows.indices(self.shape[0])
        sent = np.ascontiguousarray(self._local[partition.local_slice(start, stop)])
        to = [len(sent), *[0] * (team.size - 1)]
        slices = (partition.of(rank).local_slice(start, stop) for rank in range(team.size))
        counts = [part.stop - part.start for part in slices]
        received = team.rows.exchange(sent, to, counts if team.rank == 0 else [0] * team.size)
        out = np.zeros((stop - start, *self.shape[1:]), np.float32)
        if team.rank == 0:
            at = 0
            for rank, n in enumerate(counts):
                out[partition.of(rank).places_in(start)] = received[at : at + n]
                at += n
        return out


class ShardedModel:
    """A whole model, the rows of which are with the members: to be saved, and for nothing else.

    Its `w` and `V` are read in blocks, by all members alike.
    """

    def __init__(self, local: Model, feature_dim: int, team: Members) -> None:
        self.predictor_type = local.predictor_type
        self.w0 = local.w0
        self.feature_dim = feature_dim
        self.num_factors = local.num_factors
        self.w = _Column(local.w, feature_dim, team)
        self.V = _Column(local.V, feature_dim, team)


def send_model(model: ShardedModel) -> None:
    """Send the first member what it asks for while it saves the model."""
    for _ in encode(model_arrays(cast("Model", model))):
        pass
