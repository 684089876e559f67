"""The passes of a channel as the solver needs them: epoch number -> batches.

Records are counted for the log. A pass that SIGTERM interrupts ends early, and a pass without a record is refused.
A damaged record that may be skipped is logged in the first pass, and counted in every pass.
"""

import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from container.stopping import Interrupted
from container.training.channels import ChannelReader
from container.training.log import Progress
from container.training.log_lines import PassStatistics
from container.training.memory import Memory
from fm_core.batch import Batch
from fm_core.formats import Source
from fm_core.hyperparameters import Hyperparameters
from fm_core.links import link_for

__all__ = ["ChannelBatches"]

_log = logging.getLogger(__name__)


class ChannelBatches:
    """The batches of a channel, one iterator for each epoch.

    Parameters
    ----------
    reader : ChannelReader
    hyperparameters : fm_core.Hyperparameters
    progress : Progress, optional
        Watches the passes.
    memory : Memory, optional
        Asked once, of the first batch, or of all where they are kept.
    is_learned : bool
        Whether it is the training data.
    observers : sequence of callable
        Called with each batch of a pass, and with None at its end.
    """

    def __init__(
        self,
        reader: ChannelReader,
        hyperparameters: Hyperparameters,
        progress: Progress | None = None,
        memory: Memory | None = None,
        is_learned: bool = True,
        observers: Sequence[Callable[[Batch | None], None]] = (),
    ) -> None:
        self._observers = observers
        self._reader = reader
        self._hyperparameters = hyperparameters
        self._progress = progress
        self._memory = memory
        self._is_dense: bool | None = None
        self._started = time.time()
        self._n_batches = self._n_passes = 0
        self._is_learned = is_learned
        self._n_rows = self._n_entries = self._n_kept = 0
        self._begun: Iterator[Batch] | None = None
        self._first: Batch | None = None
        self._n_gone = 0

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of one pass.

        Raises
        ------
        DataError
            A record is damaged, or there is none at all.
        """
        batches, self._begun = self._begun or self._batches(epoch), None
        return batches if self._progress is None else self._progress.watch(batches, epoch)

    def first_batch(self) -> Batch | None:
        """Start the first pass, and return its first batch, if it has one; training continues that pass.

        Raises
        ------
        DataError
            As the pass would.
        """
        passed = self._batches(self._reader.first_epoch)
        first = next(passed, None)
        self._begun = itertools.chain([] if first is None else [first], passed)
        self._first = first
        return first

    def begin_anew(self) -> None:
        """Begin with the next pass, as if it were the first: of a pipe, what was read is gone."""
        self._begun = None
        if self._reader.is_stream and self._n_passes:
            self._n_gone += 1

    def guarded_by(self, memory: Memory) -> None:
        """Ask of memory from now on, and of what was read already."""
        self._memory = memory
        if self._n_batches and self._first is not None:
            self._check_memory(self._first)
        self._first = None

    def once_more(self, epoch: int) -> Iterator[Batch]:
        """A pass over the data before that of an epoch; in Pipe mode it takes a FIFO of its own."""
        begun, self._begun = self._begun, None
        yield from begun or self._batches(epoch)
        self._reader.first_epoch -= 1

    @property
    def fingerprint(self) -> str:
        """What is known of the data without reading it."""
        return self._reader.fingerprint

    def begin_with(self, epoch: int) -> None:
        """Say which epoch this process begins with, where it is not the first."""
        self._reader.first_epoch = epoch - self._n_gone

    def look_at_first_record(self) -> None:
        """Decode the first record, where reading it takes nothing from the pass that follows: not of a pipe.

        Raises
        ------
        DataError
            As the pass would that begins with this record.
        """
        if self._reader.is_stream:
            return
        with contextlib.closing(self._read(0, 1, lambda sentence: None)) as batches:
            if next(batches, None) is None and not self._reader.may_be_empty:
                self._reader.refuse_empty(0)

    @property
    def statistics(self) -> PassStatistics:
        """The latest pass, so far."""
        return PassStatistics(self._n_batches, self._reader.n_bytes, time.time() - self._started)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        self._started = time.time()
        self._n_batches = 0
        self._n_rows = self._n_entries = self._n_kept = 0
        self._n_passes += 1
        n_skipped = 0

        def skipped(sentence: str) -> None:
            nonlocal n_skipped
            n_skipped += 1
            if self._n_passes == 1:
                _log.warning("Skipped a damaged record, %d of at most %d: %s", n_skipped, limit, sentence)

        limit = self._hyperparameters.max_bad_records
        try:
            for batch in self._read(epoch, self._hyperparameters.mini_batch_size, skipped):
                self._is_dense = batch.is_dense
                self._check_memory(batch)
                self._n_batches += 1
                for observe in self._observers:
                    observe(batch)
                yield batch
        except Interrupted:
            return  # the solver asks should_stop next
        for observe in self._observers:
            observe(None)
        if n_skipped:
            _log.warning("Channel %s, pass %d: skipped %d damaged records of at most %d.",
                         self._reader.name, self._n_passes, n_skipped, limit)  # fmt: skip
        if self._n_batches == 0:
            self._reader.refuse_empty(epoch)

    def _check_memory(self, batch: Batch) -> None:
        """Ask of the first batch; where all rows are kept, of those so far."""
        if self._memory is None:
            return
        if not self._memory.keeps_rows:
            self._memory.check_batches(batch)
            self._memory = None
            return
        self._n_rows += batch.n_rows
        self._n_entries += int(batch.values.size)
        self._n_kept += batch.nbytes
        if self._is_learned:
            self._memory.check_rows(self._n_rows, self._n_entries, self._reader.share_read)
        else:
            self._memory.check_kept(self._n_kept)

    def _sources(self, epoch: int) -> Iterator[Source]:
        """The streams of one pass; for a first batch, no more is read than fits in memory."""
        for source in self._reader.sources(epoch):
            yield source if self._memory is None else source._replace(chunks=self._within_memory(source.chunks))

    def _within_memory(self, chunks: Iterable[Any]) -> Iterator[Any]:
        for chunk in chunks:
            if self._memory is not None and not self._memory.keeps_rows:
                self._memory.check_unfinished(self._reader.n_bytes)
            yield chunk

    def _read(self, epoch: int, batch_size: int, skipped: Callable[[str], None]) -> Generator[Batch]:
        yield from self._reader.read_batches(
            self._sources(epoch),
            feature_dim=self._hyperparameters.feature_dim,
            batch_size=batch_size,
            labels=link_for(self._hyperparameters.predictor_type).labels,
            is_dense=self._is_dense,
            max_bad_records=self._hyperparameters.max_bad_records,
            on_bad_record=skipped,
        )
