"""The hosts of a job: a single one, or `cluster.Cluster`, which does the same steps with several."""

import contextlib
import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeAlias, Union

from container.stopping import StopRequest
from container.training.failure import described
from container.training.job import TrainingJob
from container.training.meeting import STOPPED_BY_ANOTHER, attend, interface_of, told_to_hosts
from container.training.settings import TrainingSettings
from fm_core.artifact.model_file import save_model
from fm_core.checkpoints.writer import Checkpointer, Checkpoints
from fm_core.errors import ConfigError
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.evaluation import evaluate
from fm_core.training.fit import fit

if TYPE_CHECKING:
    from container.training.cluster import Cluster
    from fm_core.cluster.presence import Presence

__all__ = ["Hosts", "OneHost", "open_hosts"]

Hosts: TypeAlias = Union["OneHost", "Cluster"]

_log = logging.getLogger(__name__)


class OneHost:
    """What is done by one host without any other; `cluster.Cluster` is the same with several."""

    is_leading = True
    store = "local"
    checkpointer: ClassVar[Callable[..., Checkpoints | None]] = staticmethod(Checkpointer)
    fit = staticmethod(fit)
    save = staticmethod(save_model)
    evaluate = staticmethod(evaluate)

    @staticmethod
    def told() -> contextlib.AbstractContextManager[None]:
        """Do nothing: there are no other hosts that need to hear about a failure."""
        return contextlib.nullcontext()

    @staticmethod
    def wait_for_all() -> None:
        """Do nothing: there are no other hosts to wait for."""

    @staticmethod
    def check_columns(names: Sequence[str] | None) -> None:
        """Do nothing: there are no other hosts whose columns could differ."""

    @staticmethod
    def local_hyperparameters(hyperparameters: Hyperparameters) -> Hyperparameters:
        """The hyperparameters for the part of the model that this host keeps: the whole model."""
        return hyperparameters


class StoppedHost(OneHost):
    """The first host of several that were asked to stop before they had met: it leaves the initial model."""

    @staticmethod
    def checkpointer(*given: object, **further: object) -> None:
        """Write none: those that there are, are of all hosts."""


@contextlib.contextmanager
def open_hosts(
    job: TrainingJob, hyperparameters: Hyperparameters, settings: TrainingSettings, stop: StopRequest
) -> Iterator[Hosts | None]:
    """Give what trains, saves and scores with the hosts of the job, as a context.

    If the block ends by an exception, the other hosts are told.

    Parameters
    ----------
    job : TrainingJob
    hyperparameters : Hyperparameters
    settings : TrainingSettings
    stop : StopRequest

    Yields
    ------
    hosts : Hosts or None
        None: the hosts were asked to stop before they had met, and this one has nothing to do.

    Raises
    ------
    ConfigError
        There are several hosts, and PyTorch is missing; or their settings differ.
    ProcessGroupError
        Another host did not join in time.
    """
    if len(job.hosts) == 1:
        yield OneHost()
        return
    if settings.report:
        _log.info("No training report is written for a job on several hosts.")
    with told_to_hosts(job.paths, settings):
        if importlib.util.find_spec("torch") is None:
            raise _no_pytorch(job, "No module named 'torch'")
        presence = attend(job, hyperparameters, settings, stop)
    try:
        cluster = None
        if presence.meet():
            cluster = presence.begin(lambda: _cluster(job, hyperparameters, settings, stop, presence))
        if cluster is not None:
            yield cluster
        else:
            stop.request(STOPPED_BY_ANOTHER)
            yield _stopped(presence)
    except BaseException as error:
        blame, sentence = described(error)
        presence.leave(f"{blame}: {sentence}", blame)
        raise
    presence.leave()


def _cluster(
    job: TrainingJob,
    hyperparameters: Hyperparameters,
    settings: TrainingSettings,
    stop: StopRequest,
    presence: "Presence",
) -> "Cluster":
    try:
        from container.training.cluster import Cluster  # brings PyTorch along, which one host does not need
    except ImportError as error:
        raise _no_pytorch(job, error) from error
    return Cluster(job, hyperparameters, settings, stop, presence, interface_of(job), described)


def _stopped(presence: "Presence") -> StoppedHost | None:
    _log.warning("Stop requested before all hosts were ready: the first host saves the initial model.")
    return StoppedHost() if presence.rank == 0 else None


def _no_pytorch(job: TrainingJob, why: object) -> ConfigError:
    return ConfigError(
        f"{job.paths.resource_config} names {len(job.hosts)} hosts, which needs PyTorch, and it cannot be imported "
        f"({why}): use an image that has it, or set the instance count to 1"
    )
