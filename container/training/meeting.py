"""resourceconfig.json -> this host among the others of the job, before any code for several hosts is loaded.

Hosts are ranked by their sorted names. They meet at the first one, whose name may take a while to resolve. Before
training, all must have the same version, hyperparameters and files. A host that fails before the hosts have met tells
the others, so that none of them waits for it.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from container.stopping import StopRequest
from container.training.channels import channel_files, fingerprint
from container.training.failure import described
from container.training.job import Channel, Paths, TrainingJob, read_hosts
from container.training.program import program_checksum
from container.training.settings import TrainingSettings
from fm_core.errors import ConfigError
from fm_core.hyperparameters import Hyperparameters, parameters

if TYPE_CHECKING:
    from fm_core.cluster.presence import Presence

__all__ = ["STOPPED_BY_ANOTHER", "attend", "interface_of", "told_to_hosts"]

#: In place of a signal's name, where another host got it.
STOPPED_BY_ANOTHER = "another host was"

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def told_to_hosts(paths: Paths, settings: TrainingSettings) -> Iterator[None]:
    """Tell the other hosts of the job, if there are any, if the block fails: it comes before they have met."""
    try:
        yield
    except Exception as error:
        blame, sentence = described(error)
        with contextlib.suppress(Exception):  # what is wrong may be the list of hosts, or the port
            current, hosts, interface = read_hosts(paths)
            names = sorted(set(hosts))
            if len(names) > 1:
                from fm_core.cluster.presence import Presence

                known = interface if interface in _interfaces() else None
                Presence(names, names.index(current), port=settings.port, facts=None, interface=known).leave(
                    f"{blame}: {sentence}", blame
                )
        raise


def attend(
    job: TrainingJob, hyperparameters: Hyperparameters, settings: TrainingSettings, stop: StopRequest
) -> "Presence":
    """Join the other hosts, from now on.

    Parameters
    ----------
    job : TrainingJob
        With several hosts.
    hyperparameters : fm_core.Hyperparameters
    settings : TrainingSettings
    stop : StopRequest
        Told to all; asked for here as soon as another host was asked to stop.

    Raises
    ------
    ConfigError
        A host is named twice, a channel has no folder, or the port is taken.
    """
    from fm_core.cluster.presence import Presence  # of which one host needs nothing

    names = sorted(set(job.hosts))
    if len(names) < len(job.hosts):
        raise ConfigError(f"{job.paths.resource_config} names a host twice: {', '.join(job.hosts)}")
    rank = names.index(job.current_host)
    _log.info("This is host %d of %d; all connect to %s, port %d.", rank + 1, len(names), names[0], settings.port)
    return Presence(
        names,
        rank,
        port=settings.port,
        facts=_facts(job, hyperparameters),
        interface=interface_of(job),
        wait=settings.hosts_wait_seconds,
        should_stop=stop,
        on_stop=lambda: stop.request(STOPPED_BY_ANOTHER),
        tell=_log.info,
    )


def interface_of(job: TrainingJob) -> str | None:
    """The network interface that resourceconfig.json names, if this machine has it."""
    known = _interfaces()
    if job.network_interface in known:
        return job.network_interface
    _log.warning(
        "network_interface_name is %s, and this machine has %s: using the interface that routes to the first host.",
        job.network_interface, ", ".join(known),
    )  # fmt: skip
    return None


def _interfaces() -> list[str]:
    import socket  # a single host needs none

    return [name for _, name in socket.if_nameindex()]


def _facts(job: TrainingJob, hyperparameters: Hyperparameters) -> dict[str, Any]:
    """What has to be the same on every host."""
    return {
        "the program": program_checksum(),
        "hosts": sorted(job.hosts),
        "channels": {name: [channel.distribution, channel.mode] for name, channel in sorted(job.channels.items())},
        **{name: getattr(hyperparameters, name) for name, p in parameters().items() if p.decides != "host"},
        **{f"channel {name}": _files_of(channel) for name, channel in job.channels.items() if _is_on_all(channel)},
    }


def _is_on_all(channel: Channel) -> bool:
    """Whether every host has the same files of it, and can list them."""
    return channel.distribution == "FullyReplicated" and channel.mode != "Pipe"


def _files_of(channel: Channel) -> str:
    return fingerprint(channel.folder, channel_files(channel)[0])
