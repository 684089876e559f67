"""A job of several hosts: a process and a tree for each, on the addresses of the loopback interface."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

from tests.contract.serving import free_port
from tests.contract.training import Job


class Hosts:
    """The trees of a job's hosts, to be changed before it is run. Files go to all of them, or to one."""

    def __init__(self, root, size, names=None, interface="lo", **hyperparameters):
        self.names = names or [f"127.0.0.{rank + 1}" for rank in range(size)]
        self.jobs = [Job(root / name) for name in self.names]
        port = free_port()
        for name, job in zip(self.names, self.jobs, strict=True):
            # in an order of its own, as no order is promised
            job.resources = {"current_host": name, "hosts": self.names[::-1], "network_interface_name": interface}
            job.hyperparameters |= {"num_threads": "1"} | hyperparameters
            # the model alone is compared: what lies beside it is of the rows that the first host has seen
            job.environment |= {
                "FM_CLUSTER_PORT": str(port), "FM_CLUSTER_WAIT_SECONDS": "30", "FM_BASELINE": "false",
            }  # fmt: skip

    def put(self, name, data, channel="train"):
        for job in self.jobs:
            job.put(name, data, channel)

    def configure(self, channel, **keys):
        for job in self.jobs:
            job.channels.setdefault(channel, {}).update(keys)

    @contextlib.contextmanager
    def started(self, ranks=None):
        """Start the hosts; at the end of the block those that are left are killed."""
        with contextlib.ExitStack() as stack:
            yield [
                stack.enter_context(job.started())
                for rank, job in enumerate(self.jobs)
                if ranks is None or rank in ranks
            ]

    def run(self, timeout=90):
        with self.started() as processes:
            return self.ended(processes, timeout)

    def ended(self, processes, timeout=90, ranks=None):
        """Wait for the processes of all hosts, or of some, and give what is left of each."""
        jobs = self.jobs if ranks is None else [self.jobs[rank] for rank in ranks]
        # all at once: a host whose output nobody reads would hold up the others
        with ThreadPoolExecutor(len(processes)) as pool:
            logs = list(pool.map(lambda process: process.communicate(timeout=timeout)[0], processes))
        return [job.finished(process.returncode, log) for job, process, log in zip(jobs, processes, logs, strict=False)]
