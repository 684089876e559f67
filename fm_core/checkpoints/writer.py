"""Checkpointer: when a checkpoint is written, of what, where, and which ones are kept.

Training is held up for one thing, the copy of the rows that changed since the last checkpoint
(kernels/_dirty_rows.pyx); a thread then writes from that copy. The copy takes as much memory as the
solver's arrays; without it, training waits until the file is written.

A checkpoint is due every `interval` seconds, and at the end of an epoch; never while one is being
written, and at the ends of short epochs only so often that it takes a small share of the time.
`final` leaves the last position to be written by `close`, from the solver's own arrays.
"""

import contextlib
import dataclasses
import errno
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fm_core.checkpoints import file as checkpoint
from fm_core.checkpoints.file import Abandoned, Checkpoint, Position
from fm_core.checkpoints.reshard import newest_of_others, resharded
from fm_core.errors import CheckpointError, DamagedCheckpointError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels._dirty_rows import collect, mark, refresh
from fm_core.model import Model

__all__ = ["Checkpointer"]

Floats = NDArray[np.float32]

_KEPT = 2
#: Ends of epochs are checkpoints as long as writing takes no more than one second in so many.
_SECONDS_FOR_EACH = 30
#: Batches whose changes are noted together: between two of them training has the caches, and the bits come from memory.
_BATCHES_AT_ONCE = 16
#: A batch with more features than that has none of the caches left: its changes are noted at once.
_MANY_FEATURES = 65_536
#: What is assumed of the disk until a checkpoint was written.
_BYTES_A_SECOND = 200e6

_log = logging.getLogger(__name__)


class Trained(Protocol):
    """The arrays of a solver; see `solver.Solver`."""

    params: Floats
    state: Floats
    bias: Floats


@dataclasses.dataclass(frozen=True)
class _Copy:
    params: Floats
    state: Floats


class Checkpointer:
    """The checkpoints of one job on one host.

    Parameters
    ----------
    folder : Path
        Made if it is not there. What others have put there is left alone.
    host : str
        Part of the files' names: hosts may share the folder.
    hyperparameters : Hyperparameters
    fingerprint : mapping of str to str, optional
        What is known of the data; see `checkpoint.read`.
    interval : float
        Seconds between two checkpoints.
    has_copy : bool
        Whether a copy of the solver's arrays is kept, so that training goes on while a file is
        written.
    temporary_suffix : str
        What the name of an unfinished file ends with.

    Attributes
    ----------
    pauses : list of float
        Seconds that training was held up: by the first copy, then by each checkpoint.

    Raises
    ------
    CheckpointError
        The folder cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        host: str,
        hyperparameters: Hyperparameters,
        *,
        fingerprint: Mapping[str, str] | None = None,
        interval: float = 60.0,
        has_copy: bool = True,
        temporary_suffix: str = ".tmp",
    ) -> None:
        self.folder = folder
        self._host = host
        self._hyperparameters = hyperparameters
        self._fingerprint = dict(fingerprint or {})
        self._interval = interval
        self._has_copy = has_copy
        self._suffix = temporary_suffix
        self._name = re.compile(rf"checkpoint_{re.escape(host)}_(\d{{12,}})\.fm")
        self._copy: _Copy | None = None
        self._changed = np.zeros(0, np.uint64)
        self._unmarked: list[NDArray[np.int32]] = []
        self._changed_ever = np.zeros(0, np.uint8)
        self._all_changed = self._all_changed_ever = False
        self._thread: threading.Thread | None = None
        self._failure: DivergenceError | None = None
        self._final: Checkpoint | None = None
        self._gives_up: Callable[[], bool] = lambda: False
        self._last = time.monotonic()
        self._seconds = 0.0
        self.pauses: list[float] = []
        self._prepare_folder()

    def _prepare_folder(self) -> None:
        probe = self.folder / f".checkpoint_{self._host}{self._suffix}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.iterdir():  # what a killed process left unfinished
                if path.name.endswith(self._suffix) and self._name.fullmatch(path.name[1 : -len(self._suffix)]):
                    path.unlink()
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise CheckpointError(
                f"the checkpoint folder {self.folder} cannot be written to: {error.strerror or error}; make it "
                "writable, or run the job without checkpoints"
            ) from error

    # --- before training ---

    def latest(self, should_stop: Callable[[], bool] = lambda: False) -> Checkpoint | Model | None:
        """Read the newest checkpoint that is whole.

        Parameters
        ----------
        should_stop : callable
            See `checkpoint.read`.

        Returns
        -------
        found : Checkpoint, Model or None
            Its model alone if `should_stop` became true. None: there is no checkpoint of this host.

        Raises
        ------
        CheckpointError
            The newest one belongs to another job or a newer version, or none is whole.
        """
        damaged = []
        newest = max((int(match[1]) for path in self.paths() if (match := self._name.fullmatch(path.name))), default=-1)
        others = newest_of_others(self.folder, 1, -1)
        if others is not None and others.n_steps >= newest:
            return resharded(others, self._hyperparameters, self._fingerprint, 0, 1)
        for path in self.paths():
            try:
                found = checkpoint.read(path, self._hyperparameters, self._fingerprint, should_stop)
            except DamagedCheckpointError as error:
                _log.warning("%s; the checkpoint before it is used", error)
                damaged.append((path, str(error)))  # the error itself would keep the arrays that were read
                continue
            for old, _ in damaged:  # kept to be looked at, and out of the way of those to come
                old.replace(old.with_name(f"{old.name}.damaged"))
            if isinstance(found, Model):
                _log.info("Of checkpoint %s only the model was read, as there is no time to go on from it.", path)
                return found
            _log.info(
                "Going on from checkpoint %s: epoch %d, after %d of its batches.",
                path, found.position.epoch, found.position.n_batches,
            )  # fmt: skip
            return found
        if damaged:
            raise CheckpointError(
                f"no checkpoint is whole: {damaged[0][1]}; use another checkpoint folder to train from the start"
            )
        return None

    def paths(self) -> list[Path]:
        """The checkpoints of this host, newest first."""
        found = {path: self._name.fullmatch(path.name) for path in self.folder.iterdir()}
        return sorted((path for path, match in found.items() if match), key=lambda path: -int(found[path][1]))  # type: ignore[index]

    # --- while training ---

    def start(self, solver: Trained, resumed: Checkpoint | None) -> None:
        """Get ready, once the solver's arrays are there."""
        self._changed = np.zeros(-(-len(solver.params) // 64), np.uint64)
        self._changed_ever = np.zeros(len(solver.params), np.uint8)
        if resumed is not None:  # the copy's state does not have these rows yet
            rows = resumed.changed
            self.mark(None if rows is None else np.flatnonzero(rows).astype(np.int32))
        self._seconds = (solver.params.nbytes + solver.state.nbytes) / _BYTES_A_SECOND
        started = time.monotonic()
        if self._has_copy:
            # Zeros as untouched pages, as the solver has them: `zeros_like` would write gigabytes of them.
            self._copy = _Copy(solver.params.copy(), np.zeros(solver.state.shape, np.float32))
        self._last = time.monotonic()
        self.pauses.append(self._last - started)

    def mark(self, features: NDArray[np.int32] | None) -> None:
        """Note which rows a batch has changed; None: all of them."""
        if features is None:
            self._all_changed = self._all_changed_ever = True
        else:
            self._unmarked.append(features.copy())  # it may be the begin of an array as long as the batch
            if len(self._unmarked) >= _BATCHES_AT_ONCE or features.size > _MANY_FEATURES:
                self._mark_all()

    def _mark_all(self) -> None:
        for features in self._unmarked:
            mark(features, self._changed)
        self._unmarked.clear()

    def offer(self, position: Callable[[], Position], solver: Trained, best: Floats | None, epoch_end: bool) -> None:
        """Write a checkpoint if one is due. To be called between two batches.

        Raises
        ------
        DivergenceError
            The last checkpoint had a parameter that is not finite, and was not kept.
        """
        self._raise_failure()
        if not self._is_due(epoch_end):
            return
        started = time.monotonic()
        taken = self._snapshot(position(), solver, best)
        self._last = time.monotonic()
        self._seconds = self._last - started
        if self._copy is None:
            self._write(taken)
            self._raise_failure()
        else:
            self._thread = threading.Thread(target=self._write, args=(taken,), name="checkpoint", daemon=True)
            self._thread.start()
        self.pauses.append(time.monotonic() - started)

    def settle(self) -> None:
        """Wait until nothing is being written, because what it is written from is about to change."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def final(self, position: Position, solver: Trained, best: Floats | None) -> None:
        """Note where training ended; the solver's arrays do not change any more. `close` writes it."""
        self._final = Checkpoint(position, solver.bias, solver.params, solver.state, self._take_changes(), best)

    def close(self, give_up: Callable[[], bool] = lambda: False) -> None:
        """Finish what is being written, then write where training ended.

        Parameters
        ----------
        give_up : callable
            Polled; once true, what is not finished is left: the checkpoint before it stays.
        """
        self._gives_up = give_up
        self.settle()
        if self._final is not None and not give_up():
            self._write(self._final)
        self._final = None

    def _is_due(self, epoch_end: bool) -> bool:
        if self._thread is not None and self._thread.is_alive():
            return False
        elapsed = time.monotonic() - self._last
        share = _SECONDS_FOR_EACH * self._seconds
        if self._copy is None:  # training waits for the disk: rather lose some seconds more
            return elapsed >= (share if epoch_end else max(share, self._interval))
        return elapsed >= (min(share, self._interval) if epoch_end else self._interval)

    def _snapshot(self, position: Position, solver: Trained, best: Floats | None) -> Checkpoint:
        params, state = solver.params, solver.state
        self._mark_all()
        if self._copy is not None:
            if self._all_changed:
                self._changed.fill(~np.uint64(0))
                self._all_changed = False
            params, state = self._copy.params, self._copy.state
            refresh(solver.params, params, solver.state, state, self._changed)
        return Checkpoint(position, solver.bias.copy(), params, state, self._take_changes(), best)

    def _take_changes(self) -> NDArray[np.bool_] | None:
        """Give the rows that changed ever, and forget which of them are new."""
        self._mark_all()  # at the end no snapshot went before
        collect(self._changed, self._changed_ever)
        return None if self._all_changed_ever else self._changed_ever.astype(bool)

    def _write(self, taken: Checkpoint) -> None:
        started = time.monotonic()
        path = self.folder / f"checkpoint_{self._host}_{taken.position.n_steps:012d}.fm"
        try:
            checkpoint.write(
                path, taken, self._hyperparameters, self._fingerprint,
                temporary_suffix=self._suffix, give_up=lambda: self._gives_up(),
            )  # fmt: skip
            for old in self.paths()[_KEPT:]:
                old.unlink()
        except Abandoned:
            _log.warning("There is no time to write checkpoint %s; the one before it stays.", path)
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            _log.warning(
                "Checkpoint %s could not be written: %s; it takes %d bytes%s. Training goes on, and those before stay.",
                path, error.strerror or error, checkpoint.size_on_disk(taken),
                f", and {_KEPT + 1} of them have to fit" if is_full else "",
            )  # fmt: skip
        except DivergenceError as error:
            self._failure = error
        except Exception:  # a bug, or no memory: no reason to lose what is being learned
            _log.exception("Checkpoint %s could not be written. Training goes on, and those before stay.", path)
        self._seconds += time.monotonic() - started
        self._last = time.monotonic()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def kept(self) -> str:
        """Which checkpoint there is, as the end of a sentence; empty if there is none."""
        with contextlib.suppress(OSError):
            for path in self.paths():
                return f"; the last finite checkpoint is {path}"
        return ""
