"""The checkpoints of several members: each writes its own rows, all after the same steps."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_core.checkpoints.file import read_header
from fm_core.checkpoints.reshard import HOSTS, newest_of_others, resharded
from fm_core.checkpoints.state import Checkpoint, Position
from fm_core.checkpoints.writer import Checkpointer
from fm_core.cluster.members import Floats, Members, partition_of
from fm_core.errors import CheckpointError, DamagedCheckpointError, ProcessGroupError
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers.base import Learner

__all__ = ["SharedCheckpointer"]

#: Checkpoints that a member may have: the two that `Checkpointer` keeps, and one more where it was killed before it had
#: removed the oldest.
_SEEN = 3

_log = logging.getLogger(__name__)


class SharedCheckpointer:
    """The checkpoints of one member: see `checkpoints.writer.Checkpoints`.

    The first member decides when one is due. Before any is written, all have the one before it on disk, so that
    there is always one that all have.

    Parameters
    ----------
    members : Members
    folder, host, hyperparameters, fingerprint, **further
        As for `Checkpointer`, with the hyperparameters that `local_hyperparameters` gives.
    whole : Hyperparameters
        Those of the whole model.
    is_replicated : bool
        Whether all members read the same data.
    """

    def __init__(
        self,
        members: Members,
        folder: Path,
        host: str,
        hyperparameters: Hyperparameters,
        *,
        whole: Hyperparameters,
        is_replicated: bool,
        fingerprint: Mapping[str, str] | None = None,
        **further: Any,
    ) -> None:
        mine = {**(fingerprint or {}), HOSTS: f"{members.rank + 1} of {members.size}"}
        self._own = Checkpointer(folder, host, hyperparameters, fingerprint=mine, **further)
        self._members = members
        self._is_asked_for = False
        # the mini batch of local_hyperparameters is that of all members together, which is what `resharded` asks for
        self._whole = dataclasses.replace(whole, mini_batch_size=hyperparameters.mini_batch_size)
        self._shared_fingerprint = fingerprint if is_replicated else None

    # --- before training ---

    def latest(self, should_stop: Callable[[], bool] = lambda: False) -> Checkpoint | None:
        """Read the newest checkpoint that all members have complete; see `Checkpoints.latest`.

        Raises
        ------
        CheckpointError
            It belongs to another job or a newer version, or there are checkpoints but none that all have.
        """
        members, folder = self._members, self._own.folder
        steps = self._whole_steps()
        table = members.rows.all_gather(np.array([*steps, *[-1] * _SEEN][:_SEEN], np.int64))
        common = set(table[0].tolist()).intersection(*map(set, table[1:].tolist())) - {-1}
        other = newest_of_others(folder, members.size, max(common, default=-1))
        seen = np.array([-1, -1] if other is None else [other.n_steps, other.n_hosts], np.int64)
        others = members.rows.all_gather(seen)
        if other is not None and (others == seen).all():
            return resharded(other, self._own.algorithm, self._whole, self._shared_fingerprint, partition_of(members))
        if common or (others < 0).all():
            return None if (table < 0).all() else self._newest_of_all(steps, common)
        raise CheckpointError(
            f"a host has checkpoints of {others[:, -1].max()} hosts in {folder}, but not all hosts have the same ones: "
            "to continue with another number of hosts, copy the files of all hosts to each host"
        )

    def _whole_steps(self) -> dict[int, Path]:
        """The newest checkpoints that this member of so many wrote; one whose header is damaged is passed over."""
        mine = {}
        for step, path in self._own.own_steps().items():
            with contextlib.suppress(CheckpointError):
                read_header(path)
                mine[step] = path
        return dict(list(mine.items())[:_SEEN])

    def _newest_of_all(self, steps: Mapping[int, Path], common: set[int]) -> Checkpoint:
        reasons = []
        for step in sorted(common, reverse=True):
            checkpoint = None
            try:
                checkpoint = self._own.read(steps[step])
            except DamagedCheckpointError as error:
                _log.warning("%s; using the checkpoint before it", error)
                reasons.append(str(error))
            if self._members.rows.all_gather(np.array([isinstance(checkpoint, Checkpoint)], np.int64)).all():
                assert isinstance(checkpoint, Checkpoint)
                _log.info(
                    "Resuming from checkpoint %s: epoch %d, after %d of its batches.",
                    steps[step], checkpoint.position.epoch, checkpoint.position.n_batches,
                )  # fmt: skip
                return checkpoint
        why = f" ({reasons[0]})" if reasons else ""
        raise CheckpointError(
            f"there is no checkpoint in {self._own.folder} that all {self._members.size} hosts have complete{why}; "
            "use another checkpoint folder to train from the start"
        )

    # --- while training ---

    def start(self, solver: Learner, resumed: Checkpoint | None) -> None:
        """See `Checkpointer.start`."""
        self._own.start(solver, resumed)

    def mark(self, features: NDArray[np.int32] | None) -> None:
        """See `Checkpointer.mark`; the features are this member's rows."""
        self._own.mark(features)

    def asks(self) -> bool:
        """Whether this member would write one now; called in the reading thread, some steps ahead.

        One that was asked for is not asked for again until it is written.
        """
        if self._is_asked_for:
            return False
        self._is_asked_for = self._own.is_due()
        return self._is_asked_for

    def offer(
        self,
        position: Callable[[], Position],
        solver: Learner,
        best: Floats | None,
        *,
        epoch_end: bool = False,
    ) -> None:
        """Write a checkpoint if the first member finds one due; all call it at one step; see `Checkpoints.offer`."""
        self._is_asked_for = False  # nor will be one that was asked for with a step that never came
        due = self._members.rows.all_gather(np.array([self._own.is_due(epoch_end=epoch_end)], np.int64))
        if due[0, 0]:
            self.write(position(), solver, best)

    def write(self, position: Position, solver: Learner, best: Floats | None) -> None:
        """Write a checkpoint together with all other members; see `Checkpoints.write`."""
        self._own.settle()
        self._members.rows.all_gather(np.zeros(1, np.int64))
        self._own.write(position, solver, best)
        self._is_asked_for = False

    def settle(self) -> None:
        """See `Checkpointer.settle`."""
        self._own.settle()

    def final(self, position: Position, solver: Learner, best: Floats | None) -> None:
        """See `Checkpointer.final`."""
        self._own.final(position, solver, best)

    def kept(self) -> str:
        """See `Checkpointer.kept`."""
        return self._own.kept()

    def close(self, give_up: Callable[[], bool] = lambda: False) -> None:
        """Write the final checkpoint if all members have reached the end; see `Checkpoints.close`."""
        self._own.settle()
        if self._own.has_final:
            try:
                self._members.rows.all_gather(np.zeros(1, np.int64))
            except ProcessGroupError as error:
                _log.warning("The final checkpoint was not written: %s", error)
                self._own.forget_final()
        self._own.close(give_up)
