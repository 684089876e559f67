"""The checkpoints of a job: the folder, the data's fingerprint, and whether a copy of the arrays fits."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from container.training.channel_batches import ChannelBatches
from container.training.channels import data_files, fingerprint
from container.training.job import TrainingJob
from container.training.memory import OTHER_BYTES, mebibytes
from fm_core.checkpoints.file import read_header
from fm_core.checkpoints.writer import Checkpointer, Checkpoints
from fm_core.errors import CheckpointError
from fm_core.hyperparameters import Hyperparameters
from fm_core.resources import available_memory
from fm_core.training.memory import memory_needed

__all__ = ["open_checkpoints", "solver_of_newest"]

#: SageMaker does not upload what ends so.
NOT_UPLOADED = ".sagemaker-ignore"

_log = logging.getLogger(__name__)


def solver_of_newest(job: TrainingJob) -> str | None:
    """The solver that the job's newest checkpoint was written by, if there is one that can be read."""
    folder = job.checkpoint_folder
    if folder is None or not folder.is_dir():
        return None
    for path in sorted(folder.glob(f"checkpoint_{job.current_host}_*.fm"), reverse=True):
        with contextlib.suppress(CheckpointError):
            return str(read_header(path).get("solver", "minibatch"))
    return None


def open_checkpoints(
    job: TrainingJob,
    hyperparameters: Hyperparameters,
    channels: Mapping[str, ChannelBatches],
    model_folder: Path | None,
    available: int | None = None,
    make: Callable[..., Checkpoints | None] = Checkpointer,
) -> Checkpoints | None:
    """Open the job's checkpoint folder, if it has one.

    Parameters
    ----------
    job : TrainingJob
    hyperparameters : fm_core.Hyperparameters
    channels : mapping of str to ChannelBatches
        Those whose data decides the model: of other data, a checkpoint is refused.
    model_folder : Path or None
        Where the model that training starts from lies; part of what decides.
    available : int, optional
        Bytes; by default those that this process may still use.
    make : callable
        Makes the checkpointer.

    Raises
    ------
    CheckpointError
        The folder cannot be written to.
    """
    folder = job.checkpoint_folder
    if folder is None:
        return None
    needed = 2 * memory_needed(hyperparameters) + OTHER_BYTES
    available = available_memory() if available is None else available
    if needed > available:
        _log.warning(
            "Training pauses while a checkpoint is written: writing one in the background takes %s of memory in all, "
            "and %s are available.", mebibytes(needed), mebibytes(available),
        )  # fmt: skip
    data = {name: batches.fingerprint for name, batches in channels.items()}
    if model_folder is not None:
        data["model"] = fingerprint(model_folder, data_files(model_folder)[0])
    return make(
        folder,
        job.current_host,
        hyperparameters,
        fingerprint=data,
        interval=hyperparameters.checkpoint_interval_s,
        has_copy=needed <= available,
        temporary_suffix=NOT_UPLOADED,
    )
