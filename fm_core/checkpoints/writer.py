"""Checkpointer: when a checkpoint is written, its contents, its place, and which checkpoints are kept.

Training pauses only for a copy of what changed since the last checkpoint (snapshot.py); a
thread then writes that copy. The copy needs as much memory as the solver's arrays. Without it,
training waits until the file is written.

A checkpoint is due every `interval` seconds and at the end of an epoch, but never while one is being
written. At the ends of short epochs it is written only as often as keeps its share of the time small.
`final` records the last position, and `close` writes it, from the solver's own arrays.
"""

import contextlib
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

from fm_core.atomic_file import check_writable
from fm_core.checkpoints import file as checkpoint
from fm_core.checkpoints.file import Abandoned
from fm_core.checkpoints.reshard import HOSTS, newest_of_others, resharded
from fm_core.checkpoints.snapshot import Snapshots
from fm_core.checkpoints.state import Checkpoint, Position
from fm_core.errors import CheckpointError, DamagedCheckpointError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.partition import WHOLE
from fm_core.solvers import registry
from fm_core.solvers.base import Algorithm, Learner

__all__ = ["Checkpointer", "Checkpoints", "due"]

Floats = NDArray[np.float32]

_KEPT = 2
#: Ends of epochs are checkpoints as long as writing takes no more than one second in so many.
_SECONDS_FOR_EACH = 30
#: What is assumed of the disk until a checkpoint was written.
_BYTES_A_SECOND = 200e6

_log = logging.getLogger(__name__)


def due(elapsed: float, *, interval: float, cost: float, has_copy: bool, epoch_end: bool) -> bool:
    """Whether a checkpoint is due; all times are in seconds.

    Parameters
    ----------
    elapsed : float
        Since the last one, or since training began.
    interval : float
        That the user wants between two.
    cost : float
        That the last one took, or the first one is expected to take.
    has_copy : bool
        Whether training goes on while it is written.
    epoch_end : bool
        Whether an epoch has just ended.

    Returns
    -------
    is_due : bool
    """
    share = _SECONDS_FOR_EACH * cost
    if not has_copy:  # training waits for the disk: rather lose some seconds more
        return elapsed >= (share if epoch_end else max(share, interval))
    return elapsed >= (min(share, interval) if epoch_end else interval)


class Checkpoints(Protocol):
    """What keeps a training's checkpoints: `Checkpointer`, or several hosts' together."""

    def latest(self, should_stop: Callable[[], bool]) -> Checkpoint | Model | None:
        """Read the newest checkpoint.

        Parameters
        ----------
        should_stop : callable
            Polled while it is read; if it returns true, only the model is read.

        Returns
        -------
        checkpoint : Checkpoint, Model or None
            None if there is no checkpoint.
        """

    def start(self, solver: Learner, resumed: Checkpoint | None) -> None:
        """Prepare, once the solver's arrays exist.

        Parameters
        ----------
        solver : Learner
        resumed : Checkpoint or None
            The checkpoint from which training resumes.
        """

    def mark(self, features: NDArray[np.int32] | None) -> None:
        """Note which rows a step has changed.

        Parameters
        ----------
        features : ndarray of int32, shape (n,), or None
            None: all rows.
        """

    def offer(self, position: Callable[[], Position], solver: Learner, best: Floats | None, *, epoch_end: bool) -> None:
        """Write a checkpoint if one is due.

        Parameters
        ----------
        position : callable
            Returns the `Position`.
        solver : Learner
        best : ndarray of float32, or None
            The parameters of the best epoch.
        epoch_end : bool
            Whether an epoch has just ended.
        """

    def write(self, position: Position, solver: Learner, best: Floats | None) -> None:
        """Write a checkpoint now.

        Parameters
        ----------
        position : Position
        solver : Learner
        best : ndarray of float32, or None
            The parameters of the best epoch.
        """

    def settle(self) -> None:
        """Wait until nothing is being written."""

    def final(self, position: Position, solver: Learner, best: Floats | None) -> None:
        """Keep the position at the end of training for `close`.

        Parameters
        ----------
        position : Position
        solver : Learner
        best : ndarray of float32, or None
            The parameters of the best epoch.
        """

    def close(self, give_up: Callable[[], bool]) -> None:
        """Write the final checkpoint.

        Parameters
        ----------
        give_up : callable
            Polled while it is written; if it returns true, writing stops.
        """

    def kept(self) -> str:
        """Say which one there is, as the end of a sentence."""


class Checkpointer:
    """The checkpoints of one job on one host.

    Parameters
    ----------
    folder : Path
        Made if it is not there. What others have put there is left alone.
    host : str
        Part of the files' names: hosts may share the folder.
    hyperparameters : Hyperparameters
    algorithm : Algorithm, optional
        Whose arrays are kept; by default the one that the hyperparameters ask for.
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
    folder : Path
    host : str
    algorithm : Algorithm
    fingerprint : dict of str to str
    has_copy : bool
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
        algorithm: Algorithm | None = None,
        fingerprint: Mapping[str, str] | None = None,
        interval: float = 60.0,
        has_copy: bool = True,
        temporary_suffix: str = ".tmp",
    ) -> None:
        self.folder = folder
        self.host = host
        self._hyperparameters = hyperparameters
        self.algorithm = algorithm or registry.algorithm(hyperparameters)
        self._layout = self.algorithm.layout(hyperparameters)
        self.fingerprint = dict(fingerprint or {})
        self._interval = interval
        self.has_copy = has_copy
        self._suffix = temporary_suffix
        self._name = re.compile(rf"checkpoint_{re.escape(host)}_(\d{{12,}})\.fm")
        self._snapshots: Snapshots | None = None
        self._thread: threading.Thread | None = None
        self._failure: DivergenceError | None = None
        self._final: Checkpoint | None = None
        self._gives_up: Callable[[], bool] = lambda: False
        self._last = time.monotonic()
        self._seconds = 0.0
        self.pauses: list[float] = []
        self._prepare_folder()

    def _prepare_folder(self) -> None:
        probe = self.folder / f".checkpoint_{self.host}{self._suffix}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.iterdir():  # what a killed process left unfinished
                if path.name.endswith(self._suffix) and self._name.fullmatch(path.name[1 : -len(self._suffix)]):
                    path.unlink()
            check_writable(probe)
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
        own = self.own_steps()
        others = newest_of_others(self.folder, 1, -1)
        if others is not None and others.n_steps >= max(own, default=-1):
            return resharded(others, self.algorithm, self._hyperparameters, self.fingerprint, WHOLE)
        for path in own.values():
            try:
                found = self.read(path, should_stop)
            except DamagedCheckpointError as error:
                _log.warning("%s; using the checkpoint before it", error)
                damaged.append((path, str(error)))  # the error itself would keep the arrays that were read
                continue
            for old, _ in damaged:  # kept to be looked at, and out of the way of those to come
                old.replace(old.with_name(f"{old.name}.damaged"))
            if isinstance(found, Model):
                _log.info("Stop requested: loaded only the model of checkpoint %s.", path)
                return found
            _log.info(
                "Resuming from checkpoint %s: epoch %d, after %d of its batches.",
                path, found.position.epoch, found.position.n_batches,
            )  # fmt: skip
            return found
        if damaged:
            raise CheckpointError(
                f"all checkpoints are damaged: {damaged[0][1]}; use another checkpoint folder to train from the start"
            )
        return None

    def read(self, path: Path, should_stop: Callable[[], bool] = lambda: False) -> Checkpoint | Model:
        """Read one of this job's checkpoints; see `checkpoint.read`."""
        return checkpoint.read(path, self.algorithm, self._hyperparameters, self.fingerprint, should_stop)

    def steps(self) -> dict[int, Path]:
        """The checkpoints of this host by the number of their step, newest first."""
        found = {int(match[1]): path for path in self.folder.iterdir() if (match := self._name.fullmatch(path.name))}
        return dict(sorted(found.items(), reverse=True))

    def own_steps(self) -> dict[int, Path]:
        """Those of them that were written with as many hosts as now: under one name, others may have written too."""
        own = {}
        for step, path in self.steps().items():
            hosts = self.fingerprint.get(HOSTS)
            with contextlib.suppress(CheckpointError):  # a damaged one is this host's until it is read
                hosts = checkpoint.read_header(path)["fingerprint"].get(HOSTS)
            if hosts == self.fingerprint.get(HOSTS):
                own[step] = path
        return own

    def paths(self) -> list[Path]:
        """The checkpoints of this host, newest first."""
        return list(self.steps().values())

    # --- while training ---

    def start(self, solver: Learner, resumed: Checkpoint | None) -> None:
        """Prepare, once the solver's arrays exist; see `Checkpoints.start`."""
        arrays = solver.arrays()
        self._seconds = sum(array.nbytes for array in arrays.values()) / _BYTES_A_SECOND
        started = time.monotonic()
        changed = None if resumed is None else resumed.changed
        self._snapshots = Snapshots(self._layout, arrays, changed, is_new=resumed is None, has_copy=self.has_copy)
        self._last = time.monotonic()
        self.pauses.append(self._last - started)

    def mark(self, features: NDArray[np.int32] | None) -> None:
        """Note which rows a step has changed; see `Checkpoints.mark`."""
        assert self._snapshots is not None
        self._snapshots.mark(features)

    def offer(
        self, position: Callable[[], Position], solver: Learner, best: Floats | None, *, epoch_end: bool = False
    ) -> None:
        """Write a checkpoint if one is due, at a safe point; see `Checkpoints.offer`.

        Raises
        ------
        DivergenceError
            The last checkpoint had a parameter that is not finite, and was not kept.
        """
        self._raise_failure()
        if self.is_due(epoch_end=epoch_end):
            self.write(position(), solver, best)

    def is_due(self, *, epoch_end: bool = False) -> bool:
        """Return whether training has started, nothing is being written, and a checkpoint is due.

        Parameters
        ----------
        epoch_end : bool
            Whether an epoch has just ended.

        Returns
        -------
        is_due : bool
        """
        if self._snapshots is None or (self._thread is not None and self._thread.is_alive()):
            return False
        return due(
            time.monotonic() - self._last, interval=self._interval, cost=self._seconds, has_copy=self.has_copy,
            epoch_end=epoch_end,
        )  # fmt: skip

    def write(self, position: Position, solver: Learner, best: Floats | None) -> None:
        """Write a checkpoint, in the background if there is a copy; see `Checkpoints.write`.

        Raises
        ------
        DivergenceError
            As `offer`.
        """
        self.settle()
        self._raise_failure()
        started = time.monotonic()
        taken = self._snapshot(position, solver, best)
        self._last = time.monotonic()
        self._seconds = self._last - started
        if self.has_copy:
            self._thread = threading.Thread(target=self._write, args=(taken,), name="checkpoint", daemon=True)
            self._thread.start()
        else:
            self._write(taken)
            self._raise_failure()
        self.pauses.append(time.monotonic() - started)

    def _snapshot(self, position: Position, solver: Learner, best: Floats | None) -> Checkpoint:
        assert self._snapshots is not None
        arrays = self._snapshots.take(solver.arrays())
        return Checkpoint(position, arrays, self._snapshots.changed(), best)

    def settle(self) -> None:
        """Wait until nothing is being written, because what it is written from is about to change."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def final(self, position: Position, solver: Learner, best: Floats | None) -> None:
        """Keep the position at the end of training for `close`; see `Checkpoints.final`."""
        assert self._snapshots is not None
        self._final = Checkpoint(position, solver.arrays(), self._snapshots.changed(), best)

    @property
    def has_final(self) -> bool:
        """Whether `close` will write where training ended."""
        return self._final is not None

    def forget_final(self) -> None:
        """Leave where training ended unwritten."""
        self._final = None

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

    def _write(self, taken: Checkpoint) -> None:
        started = time.monotonic()
        path = self.folder / f"checkpoint_{self.host}_{taken.position.n_steps:012d}.fm"
        try:
            checkpoint.write(
                path, taken, self.algorithm, self._hyperparameters, self.fingerprint,
                temporary_suffix=self._suffix, give_up=lambda: self._gives_up(),
            )  # fmt: skip
            self._let_go()
        except Abandoned:
            _log.warning("There is no time to write checkpoint %s; the one before it is kept.", path)
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            _log.warning(
                "Checkpoint %s could not be written: %s; it takes %d bytes%s. Training continues; earlier checkpoints "
                "are kept.",
                path, error.strerror or error, checkpoint.size_on_disk(taken, self._layout),
                f", and {_KEPT + 1} of them need space" if is_full else "",
            )  # fmt: skip
        except DivergenceError as error:
            self._failure = error
        except Exception:  # a bug, or no memory: no reason to lose what is being learned
            _log.exception(
                "Checkpoint %s could not be written. Training continues; earlier checkpoints are kept.", path
            )
        self._seconds += time.monotonic() - started
        self._last = time.monotonic()

    def _let_go(self) -> None:
        """Delete what is older than the checkpoints that are kept."""
        oldest = [*self.own_steps(), -1][:_KEPT][-1]
        for step, path in self.steps().items():
            if step < oldest:
                path.unlink()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def kept(self) -> str:
        """The name of the last checkpoint, as the end of a sentence; empty if there is none."""
        with contextlib.suppress(OSError):
            for path in self.paths():
                return f"; the last finite checkpoint is {path}"
        return ""
