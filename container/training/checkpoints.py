"""What a job's checkpoints and memory come to: the folder, the data's fingerprint, whether a copy fits.

Memory is looked at before any is taken: what the solver's arrays need is known from the
hyperparameters, what there is from the machine and its control groups.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from container.resources import available_memory
from container.training.channel_batches import ChannelBatches
from container.training.channels import data_files, fingerprint
from container.training.job import TrainingJob
from fm_core.checkpoints.writer import Checkpointer, Checkpoints
from fm_core.errors import ResourceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.fit import memory_needed

__all__ = ["check_memory", "open_checkpoints"]

#: SageMaker does not upload what ends so.
NOT_UPLOADED = ".sagemaker-ignore"

#: Batches read ahead, chunks of the channels, the interpreter.
_OTHER_BYTES = 128 << 20

_log = logging.getLogger(__name__)


def check_memory(hyperparameters: Hyperparameters, available: int | None = None, n_hosts: int = 1) -> None:
    """Refuse a job whose arrays cannot fit, before they are made.

    Parameters
    ----------
    hyperparameters : fm_core.Hyperparameters
        Of several hosts, those for the rows that this one keeps.
    available : int, optional
        Bytes; by default those that this process may still use.
    n_hosts : int
        Over which the model is spread.

    Raises
    ------
    ResourceError
        It says what is needed, what is available, and what to lower.
    """
    hp = hyperparameters
    needed = memory_needed(hp) + _OTHER_BYTES
    available = available_memory() if available is None else available
    if needed > available:
        share = "" if n_hosts == 1 else f" (the share of one host of {n_hosts})"
        raise ResourceError(
            f"training takes {_mebibytes(needed)} of memory with feature_dim={hp.feature_dim}{share}, "
            f"num_factors={hp.num_factors} and _optimizer={hp._optimizer}, and {_mebibytes(available)} are available: "
            f"lower num_factors or feature_dim, or use {'an instance' if n_hosts == 1 else 'more hosts, or some'} "
            "with more memory"
        )


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
        As for `check_memory`.
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
    needed = 2 * memory_needed(hyperparameters) + _OTHER_BYTES
    available = available_memory() if available is None else available
    if needed > available:
        _log.warning(
            "Training pauses while a checkpoint is written: writing one in the background takes %s of memory in all, "
            "and %s are available.", _mebibytes(needed), _mebibytes(available),
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


def _mebibytes(n: int) -> str:
    return f"{n >> 20} MiB"
