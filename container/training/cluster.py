"""Hosts that have met (meeting.py) -> their process group, and the steps of a job with it.

`Cluster` does what `train` does on a single host: fit, save, evaluate. Only the first host writes the model, and every
host prints the metrics of all.

This module imports PyTorch; a job on one host never imports it.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from container.stopping import StopRequest
from container.training.channel_batches import ChannelBatches
from container.training.job import TrainingJob
from container.training.meeting import STOPPED_BY_ANOTHER
from container.training.settings import TrainingSettings
from fm_core.analysis.evaluation import Evaluation
from fm_core.artifact.model_file import save_model
from fm_core.batch import Batch
from fm_core.checkpoints.state import Checkpoint
from fm_core.checkpoints.writer import Checkpoints
from fm_core.cluster.averaged import fit_local_sgd
from fm_core.cluster.checkpoints import SharedCheckpointer
from fm_core.cluster.data import DistributedData, check_columns, local_hyperparameters
from fm_core.cluster.evaluation import evaluate_shared, evaluate_together
from fm_core.cluster.gathered_model import GatheredModel, send_model
from fm_core.cluster.presence import Presence
from fm_core.cluster.process_group import ProcessGroup
from fm_core.cluster.replicated import Replicas
from fm_core.cluster.sharded import fit_together
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.solvers import registry
from fm_core.training.callbacks import FitResult

__all__ = ["Cluster"]

_log = logging.getLogger(__name__)


class Cluster:
    """The hosts of a job; this process is one of them.

    Parameters
    ----------
    job : TrainingJob
        With several hosts.
    hyperparameters : fm_core.Hyperparameters
    settings : TrainingSettings
    stop : StopRequest
        Asked for here as soon as one host was asked to stop.
    presence : Presence
        Which has met the others.
    interface : str or None
        Network interface for the connections between hosts.
    described : callable
        Gives who has to act on an error, and its sentence.

    Attributes
    ----------
    is_leading : bool
        Whether this host is the one that writes the model.
    store : str
        The built-in's name for the way hosts work together; dist_async: by averages (`fm_core.cluster.averaged`).

    Raises
    ------
    ProcessGroupError
        A host was lost.
    """

    def __init__(
        self,
        job: TrainingJob,
        hyperparameters: Hyperparameters,
        settings: TrainingSettings,
        stop: StopRequest,
        presence: Presence,
        interface: str | None,
        described: Callable[[BaseException], tuple[str, str]],
    ) -> None:
        self._combination = registry.combination(hyperparameters, presence.size)
        self.store = "dist_async" if self._combination.hosts == "averaged" else "dist_sync"
        self._job = job
        self._hyperparameters = hyperparameters
        self._stop = stop
        self._described = described
        self.is_leading = presence.rank == 0
        # a host may wait so long for its data, and others for it
        self._members = ProcessGroup(presence, interface=interface, patience=2 * settings.pipe_wait_seconds + 600)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Tell the other hosts if the block fails: they wait for this one in it, and fail there with its sentence."""
        try:
            yield
        except Exception as error:
            blame, sentence = self._described(error)
            self._members.leave(f"{blame}: {sentence}", blame)
            raise

    def wait_for_all(self) -> None:
        """Wait until every host has come so far.

        Raises
        ------
        ProcessGroupError
            One of them never will.
        """
        self._members.rows.all_gather(np.zeros(1, np.int64))

    def check_columns(self, names: Sequence[str] | None) -> None:
        """See `fm_core.cluster.data.check_columns`."""
        check_columns(names, self._members)

    def local_hyperparameters(self, hyperparameters: Hyperparameters) -> Hyperparameters:
        """The hyperparameters for the part of the model that this host keeps."""
        if self._combination.keeps_whole_model:
            return hyperparameters
        return local_hyperparameters(hyperparameters, self._members)

    def checkpointer(
        self, folder: Path, host: str, hyperparameters: Hyperparameters, **further: Any
    ) -> SharedCheckpointer | None:
        """Make what writes this host's checkpoints; see `cluster.checkpoints.SharedCheckpointer`."""
        if not self._combination.writes_checkpoints:
            _log.warning("No checkpoints are written with _kvstore dist_async.")
            return None
        return SharedCheckpointer(
            self._members, folder, host, hyperparameters, whole=self._hyperparameters,
            is_replicated=all(channel.distribution == "FullyReplicated" for channel in self._job.channels.values()),
            **further,
        )  # fmt: skip

    def fit(
        self,
        batches: ChannelBatches,
        hyperparameters: Hyperparameters,
        *,
        validation: ChannelBatches | None,
        should_stop: StopRequest,
        device: Any,
        resume: Checkpoint | None,
        checkpointer: Checkpoints | None,
        **further: Any,
    ) -> FitResult:
        """Train with the other hosts; see `cluster.sharded.fit_together`. The result's model has this host's rows."""
        rows = self._rows("train", batches)
        further["validation"] = None if validation is None else self._rows("validation", validation)
        further["should_stop"] = should_stop
        if self._combination.hosts == "averaged":
            result = fit_local_sgd(rows, hyperparameters, self._members, **further)
        else:
            assert checkpointer is None or isinstance(checkpointer, SharedCheckpointer)
            result = fit_together(
                rows, hyperparameters, self._members, resume=resume, checkpointer=checkpointer,
                replicas=Replicas(device, self._members), **further,
            )  # fmt: skip
        if result.stopped:
            self._stop_too()
        return result

    def save(self, path: Path, model: Model, settings: Mapping[str, str]) -> None:
        """Write the whole model on the leading host; the others send it their rows, a few megabytes at a time."""
        if self._combination.keeps_whole_model:
            if self.is_leading:
                save_model(path, model, settings)
            return
        whole = GatheredModel(model, self._hyperparameters.feature_dim, self._members)
        if self.is_leading:
            save_model(path, whole, settings)
        else:
            send_model(whole)

    def evaluate(
        self,
        model: Model,
        batches: Iterable[Batch],
        num_threads: int,
        hyperparameters: Hyperparameters | None = None,
        evaluation: Evaluation | None = None,
    ) -> tuple[dict[str, float], int]:
        """Score the test channel once over all hosts; the hyperparameters are those of the training."""
        scored = evaluate_shared if self._combination.keeps_whole_model else evaluate_together
        found = scored(
            model, self._rows("test", lambda epoch: batches), self._hyperparameters, self._members,
            num_threads=num_threads, should_stop=self._stop,
        )  # fmt: skip
        if found is None:
            self._stop_too()
            return {}, 0
        return found

    def _rows(self, channel: str, batches: Callable[[int], Iterable[Batch]]) -> DistributedData:
        return DistributedData(batches, self._job.channels[channel].distribution == "FullyReplicated")

    def _stop_too(self) -> None:
        self._stop.request(STOPPED_BY_ANOTHER)
