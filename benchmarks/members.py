"""The members of a process group as processes, on the loopback interface; run as a script, it is one of them.

Each member trains on its mini batches: of every H batches in a row, the one of its rank. It reports how many bytes it
sent to others, how much memory it used and how long it computed. Alone, it is one host that trains by itself.
"""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # not installed in the environment of PyTorch

import numpy as np
import scipy.sparse as sp

from container.stopping import end
from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.callbacks import Silent
from fm_core.training.fit import fit
from fm_core.training.memory import memory_needed

__all__ = ["Found", "free_port", "run"]


@dataclasses.dataclass(frozen=True)
class Found:
    """What a member says.

    Attributes
    ----------
    bytes, messages : list of int
        That it sent by the communicator of keys and by that of rows.
    cpu, wall : float
        Seconds of training.
    before, peak : int
        Bytes of memory when training began, and most of all.
    state : int
        Bytes of its rows of the model and of the optimizer's state.
    epochs : list of float
        When each epoch ended, by a clock that all members have.
    learned, read, worked : list of float
        Seconds of CPU by then: of the thread that learns, of the one that reads and plans (in the epoch alone, which
        begins a new one), and of all threads.
    """

    bytes: list[int]
    messages: list[int]
    cpu: float
    wall: float
    before: int
    peak: int
    state: int
    epochs: list[float] = dataclasses.field(default_factory=list)
    learned: list[float] = dataclasses.field(default_factory=list)
    read: list[float] = dataclasses.field(default_factory=list)
    worked: list[float] = dataclasses.field(default_factory=list)


def run(
    rows: Path,
    size: int,
    timeout: float = 300,
    under: Sequence[Sequence[str]] = (),
    addresses: Sequence[str] = (),
    interface: str = "lo",
    repeat: int = 1,
    **hyperparameters: Any,
) -> list[Found]:
    """Train with several members.

    Parameters
    ----------
    rows : Path
        What `keep` wrote.
    size : int
        Members; 0 is one host without any of the machinery.
    timeout : float
        Seconds.
    under : sequence of commands, optional
        In front of each member's own.
    addresses : sequence of str, optional
        Of the members; by default of the loopback interface.
    interface : str
        On which they are.
    repeat : int
        How often each epoch goes over the rows.
    **hyperparameters

    Returns
    -------
    found : list of Found
    """
    names = list(addresses) or [f"127.0.0.{rank + 1}" for rank in range(size)]
    task = {"rows": str(rows), "size": size, "port": free_port(), "names": names, "interface": interface,
            "repeat": repeat, "hyperparameters": hyperparameters}  # fmt: skip
    processes = []
    try:
        for rank in range(max(1, size)):
            before = list(under[rank]) if under else []
            command = [*before, sys.executable, __file__, json.dumps(task | {"rank": rank})]
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        deadline = time.monotonic() + timeout
        said = [process.communicate(timeout=max(1, deadline - time.monotonic()))[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    codes = [process.returncode for process in processes]
    if any(codes):
        raise RuntimeError(f"the members ended with status {codes}, expected 0 of each; what they say is above")
    return [Found(**json.loads(text)) for text in said]


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keep(folder: Path, X: Any, y: np.ndarray) -> Path:
    """Write rows where members find them."""
    path = folder / f"rows{len(y)}.npz"
    sp.save_npz(path, X, compressed=False)
    np.save(path.with_suffix(".npy"), y)
    return path


# ---------------------------------------------------------------- one of them


class Ends(Silent):
    """Notes when epochs end."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.learned: list[float] = []
        self.read: list[float] = []
        self.worked: list[float] = []

    def epoch(self, report: Any) -> None:
        """Note it."""
        self.at.append(time.monotonic())
        self.learned.append(time.thread_time())
        self.worked.append(time.process_time())

    def passing(self, batches: list[Batch]) -> Iterator[Batch]:
        """Give the batches of an epoch; the thread that takes them is the one that reads."""
        yield from batches
        self.read.append(time.thread_time())


def main() -> None:
    task = json.loads(sys.argv[1])
    hp = Hyperparameters(**task["hyperparameters"])
    X, y = sp.load_npz(task["rows"]), np.load(Path(task["rows"]).with_suffix(".npy"))
    rank, size, m = task["rank"], task["size"], hp.mini_batch_size
    starts = range(0, len(y), m)[rank :: max(1, size)]
    mine = task["repeat"] * [Batch.from_csr(X[i : i + m], y[i : i + m]) for i in starts]
    del X
    found = _alone(mine, hp) if size == 0 else _with_others(mine, hp, rank, task)
    print(json.dumps(dataclasses.asdict(found)))
    end(0)  # as `train` does: ProcessGroup.leave says why


def _alone(mine: list[Batch], hp: Hyperparameters) -> Found:
    before, wall, cpu = _memory("VmRSS"), time.perf_counter(), time.process_time()
    ends = Ends()
    fit(lambda epoch: ends.passing(mine), hp, callback=ends)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    told = [0, 0], [0, 0], cpu, wall, before, _memory("VmHWM"), memory_needed(hp)
    return Found(*told, ends.at, ends.learned, ends.read, ends.worked)


def _with_others(mine: list[Batch], hp: Hyperparameters, rank: int, task: dict[str, Any]) -> Found:
    # not without others: one host has nothing of this in its memory
    from fm_core.cluster.data import DistributedData, local_hyperparameters
    from fm_core.cluster.presence import Presence
    from fm_core.cluster.process_group import ProcessGroup
    from fm_core.cluster.sharded import fit_together

    interface = task["interface"]
    presence = Presence(task["names"], rank, port=task["port"], facts={}, interface=interface, wait=120)
    presence.meet()
    group = presence.begin(lambda: ProcessGroup(presence, interface=interface))
    communicators = [group.keys, group.rows]
    before, wall, cpu = _memory("VmRSS"), time.perf_counter(), time.process_time()
    ends = Ends()
    fit_together(DistributedData(lambda epoch: ends.passing(mine), False), hp, group, callback=ends)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    found = Found(
        [each.n_bytes for each in communicators], [each.n_messages for each in communicators],
        cpu, wall, before, _memory("VmHWM"), memory_needed(local_hyperparameters(hp, group)),
        ends.at, ends.learned, ends.read, ends.worked,
    )  # fmt: skip
    group.leave()
    return found


def _memory(what: str) -> int:
    """Bytes of this process, as the system counts them."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith(what)))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
