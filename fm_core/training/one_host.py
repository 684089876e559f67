"""One host that trains alone: a reading thread provides the rows, and it decides itself when to stop.

In an epoch of mini-batches, the reading thread pulls batches (that iterator reads files and decodes records). It
prepares each one ahead of its turn (`Algorithm.prepare`: group it by feature, or start to copy it to a device), a few
batches ahead; the loop's thread takes one after the other. The result never depends on threads or timing. A solver that
needs all rows gets them in the same way, once.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.given import check_kind
from fm_core.hyperparameters import Hyperparameters
from fm_core.metrics import Metrics
from fm_core.model import Model
from fm_core.solvers.base import Algorithm, Moment, Solver, SolverState
from fm_core.training.callbacks import Batches, once_more
from fm_core.training.evaluation import evaluate_scores
from fm_core.training.loop import Feed
from fm_core.training.prefetch import DEPTH, prefetch
from fm_core.training.resume import compare_labels, labels_crc, skip
from fm_core.training.shuffle import shuffled

__all__ = ["OneHost"]


class OneHost:
    """See `loop.Hosts`; data is a `Batches`.

    Parameters
    ----------
    algorithm : Algorithm
    hyperparameters : Hyperparameters
    should_stop : callable
        Polled while waiting for rows and between steps.
    """

    where = ""

    def __init__(self, algorithm: Algorithm, hyperparameters: Hyperparameters, should_stop: Callable[[], bool]) -> None:
        self._algorithm = algorithm
        self._hp = hyperparameters
        self._should_stop = should_stop
        self._resident: Feed | None = None
        self._has_looked = False
        self._validation: list[Batch] | None = None
        self._solver: Solver | None = None

    def should_stop(self) -> bool:
        """Whether this host was asked to."""
        return self._should_stop()

    def make_solver(self, is_dense: bool | None, model: Model | None, state: SolverState | None) -> Solver:
        """Create the solver; see `Hosts.make_solver`."""
        self._solver = self._algorithm.make(self._hp, is_dense=bool(is_dense), model=model, state=state)
        return self._solver

    # --- rows ---

    @contextlib.contextmanager
    def feed(self, data: Batches, at: Moment, labels_crc: int) -> Iterator[Feed]:
        """Read batches ahead, or all rows once; see `Hosts.feed`."""
        if self._algorithm.needs == "stream":
            with prefetch(lambda: self._prepared(data, at, labels_crc), DEPTH, self._should_stop) as items:
                yield _peeked(items)
            return
        if self._resident is None:
            self._resident = self._loaded(data, at.epoch, labels_crc)
        yield self._resident

    def _prepared(self, batches: Batches, at: Moment, labels_crc: int) -> Iterator[tuple[Batch, Any]]:
        """In the reading thread: the batches that are not done."""
        hp = self._hp
        if self._algorithm.looks_first and not self._has_looked:
            whole = once_more(batches, at.epoch)
            try:
                self._algorithm.look(hp, itertools.takewhile(lambda _: not self._should_stop(), whole))
            except DataError:
                if not self._should_stop():  # else the data was cut short by that
                    raise
            if self._should_stop():
                return
            self._has_looked = True
        self._algorithm.begin_epoch(at)
        stream = _counting(batches(at.epoch))
        if hp.shuffle:
            stream = shuffled(stream, hp.shuffle_buffer_size, hp.mini_batch_size, (hp.seed, at.epoch))
        skip(stream, at.epoch, at.n_batches, labels_crc, self._should_stop)
        for batch in stream:
            check_kind("a batch", batch, Batch, "a Batch")
            yield batch, self._algorithm.prepare(batch)

    def _loaded(self, batches: Batches, epoch: int, expected_crc: int) -> Feed:
        """All rows, and the checksum of their labels; `expected_crc` is that of a checkpoint, or 0."""
        crc = 0

        def read() -> Iterator[tuple[Batch, Any]]:
            for batch in batches(epoch):
                yield batch, self._algorithm.prepare(batch)

        def summed(items: Iterator[tuple[Batch, Any]]) -> Iterator[tuple[Batch, Any]]:
            nonlocal crc
            for item in items:
                crc = labels_crc(item[0], crc)
                yield item

        with prefetch(read, DEPTH, self._should_stop) as items:
            first = _peeked(items)
            data = None if first.is_dense is None else self._algorithm.load(summed(first.data))
        if expected_crc and not self._should_stop():
            compare_labels(crc, expected_crc, epoch)
        return Feed(first.is_dense, data, crc)

    # --- metrics ---

    def total(self, metrics: Metrics) -> Metrics:
        """Return the metrics unchanged; see `Hosts.total`."""
        return metrics

    total_so_far = total

    def n_batches(self, n: int) -> int:
        """Return the number unchanged; see `Hosts.n_batches`."""
        return n

    def evaluate(self, data: Batches, epoch: int) -> tuple[dict[str, float], int] | None:
        """Score validation data, unless training has to stop; see `Hosts.evaluate`."""
        assert self._solver is not None
        scored = itertools.takewhile(lambda _: not self._should_stop(), self._kept(data, epoch))
        evaluation = self._algorithm.evaluation(self._hp, self._solver.model)
        found = evaluate_scores(evaluation, self._solver.predict, scored)
        return None if self._should_stop() else found

    def _kept(self, data: Batches, epoch: int) -> Iterable[Batch]:
        """Validation data: read in each epoch, or once by a solver that has all rows in memory."""
        if self._algorithm.needs == "stream":
            return data(epoch)
        if self._validation is None:
            read = list(itertools.takewhile(lambda _: not self._should_stop(), data(epoch)))
            if self._should_stop():
                return read
            self._validation = read
        return self._validation


def _counting(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Leave out rows of weight 0, as if they were not there."""
    for batch in batches:
        kept = batch.without_weightless() if isinstance(batch, Batch) else batch
        if kept is batch or kept.n_rows:
            yield kept


def _peeked(items: Iterator[tuple[Batch, Any]]) -> Feed:
    """The items themselves, and of what kind the first one is."""
    first = next(items, None)
    return Feed(None, items) if first is None else Feed(first[0].is_dense, itertools.chain([first], items))
