"""The hosts of a job: one alone, or `cluster.Cluster`, which does the same steps with several."""

import contextlib
import logging
from typing import TYPE_CHECKING, TypeAlias, Union

from container.stopping import StopRequest
from container.training.failure import described
from container.training.job import TrainingJob
from container.training.settings import TrainingSettings
from fm_core.artifact.model_file import save_model
from fm_core.checkpoints.writer import Checkpointer
from fm_core.errors import ConfigError
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.evaluation import evaluate
from fm_core.training.fit import fit

if TYPE_CHECKING:
    from container.training.cluster import Cluster

__all__ = ["Hosts", "OneHost", "open_hosts"]

Hosts: TypeAlias = Union["OneHost", "Cluster"]

_log = logging.getLogger(__name__)


class OneHost:
    """What is done by one host without any other; `cluster.Cluster` is the same with several."""

    is_leading = True
    store = "local"
    checkpointer = Checkpointer
    fit = staticmethod(fit)
    save = staticmethod(save_model)
    evaluate = staticmethod(evaluate)

    @staticmethod
    def told() -> contextlib.AbstractContextManager[None]:
        """Tell the other hosts if the block fails: there are none."""
        return contextlib.nullcontext()

    @staticmethod
    def wait_for_all() -> None:
        """Wait until every host has come so far: there is none to wait for."""

    @staticmethod
    def local_hyperparameters(hyperparameters: Hyperparameters) -> Hyperparameters:
        """The hyperparameters as they are for the rows of the model that this host keeps: all of them."""
        return hyperparameters


def open_hosts(
    job: TrainingJob, hyperparameters: Hyperparameters, settings: TrainingSettings, stop: StopRequest
) -> contextlib.AbstractContextManager[Hosts]:
    """Give what trains, saves and scores with the hosts of the job, as a context.

    Raises
    ------
    ConfigError
        There are several, and PyTorch is missing; or they differ.
    ProcessGroupError
        Another host did not come.
    """
    if len(job.hosts) == 1:
        return contextlib.nullcontext(OneHost())
    if settings.report:
        _log.info("No training report is written of a job of several hosts.")
    try:
        from container.training.cluster import Cluster  # brings PyTorch along, which one host does not need
    except ImportError as error:
        raise ConfigError(
            f"{job.paths.resource_config} names {len(job.hosts)} hosts, which needs PyTorch, and it cannot be imported "
            f"({error}): use an image that has it, or set the instance count to 1"
        ) from error
    return Cluster(job, hyperparameters, settings, stop, described)
