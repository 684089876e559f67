"""ProcessGroup: the processes that train one model together, and how they exchange arrays.

It uses PyTorch's torch.distributed with gloo, and only this module imports it. A process group has two
communicators. Each is a gloo group with its own thread, the only one that calls it: the reading thread
exchanges the keys of later batches on one, while the solver exchanges rows on the other. A thread that waits
for a communicator is woken when the job ends on all hosts.

`Presence` (presence.py) decides which hosts are alive, and why a job ends: every host ends with the same error,
whatever its broken connection reported. gloo's own timeouts are longer than all of Presence's.
"""

import base64
import datetime
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

# Before PyTorch is loaded: while a name is not known yet, its sockets would say so in lines of their own.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import numpy as np
import torch
from numpy.typing import NDArray
from torch.distributed import PrefixStore, ProcessGroupGloo, Store
from torch.distributed.distributed_c10d import AllToAllOptions

from fm_core.cluster.presence import InThread, Presence

__all__ = ["Communicator", "ProcessGroup"]

#: Seconds between two looks whether the others have said where they are reached.
_LOOK = 0.05

#: Of messages that are no part of one of gloo's own exchanges; they arrive in the order in which they are sent.
_TAG = 1

_FAILED = object()


class Communicator:
    """One way between the members: whole arrays, one exchange after the other, in the same order on every member.

    Attributes
    ----------
    n_bytes, n_messages : int
        Sent to other members so far.
    """

    def __init__(self, members: "ProcessGroup", group: ProcessGroupGloo) -> None:
        self.n_bytes = self.n_messages = 0
        self._members = members
        self._group = group
        self._sends: list[tuple[Any, torch.Tensor]] = []  # under way, each with what it sends
        self._tasks: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="communicator", daemon=True).start()

    def all_gather(self, row: NDArray[Any]) -> NDArray[Any]:
        """Give the rows of all members.

        Parameters
        ----------
        row : ndarray, shape (n,)
            Of the same type and length on every member.

        Returns
        -------
        rows : ndarray, shape (n_members, n)
        """
        # not gloo's allgather: that goes around a ring, and on 64 members waits for 63 messages one after the other
        size = self._members.size
        return self.all_to_all(np.tile(row, (size, 1)), [1] * size, [1] * size)

    def all_to_all(
        self,
        sent: NDArray[Any],
        to: Sequence[int],
        by: Sequence[int],
        out: NDArray[Any] | None = None,
        *,
        is_large: bool = False,
    ) -> NDArray[Any]:
        """Send each member its rows, and return those received from each, one member after the other.

        Parameters
        ----------
        sent : ndarray, shape (sum(to), ...)
            C-contiguous. If `is_large`, it may not change before the next exchange.
        to, by : sequence of int, length n_members
            How many of the rows go to each, and how many come from each.
        out : ndarray, shape (sum(by), ...), optional
        is_large : bool
            Whether rows go both ways at once, which costs the processor a tenth of a millisecond; all members say the
            same. gloo's own exchange tells a sender that it is awaited behind what goes the other way: if one member
            comes later than the other, the second half begins when the first has arrived.

        Returns
        -------
        received : ndarray, shape (sum(by), ...)
            `sent` itself where there is no other member.
        """
        if self._members.size == 1 and out is None:
            self._members.presence.check()
            return sent
        to, by = list(map(int, to)), list(map(int, by))
        out = np.empty((sum(by), *sent.shape[1:]), sent.dtype) if out is None else out
        received, outgoing = torch.from_numpy(out), torch.from_numpy(sent)
        if is_large:
            self._run(lambda: self._both_ways(outgoing, to, received, by))
        else:
            self._run(lambda: self._group.alltoall_base(received, outgoing, by, to, AllToAllOptions()).wait())
        others = [n for rank, n in enumerate(to) if rank != self._members.rank]
        self._count(sum(others) * sent.itemsize * int(np.prod(sent.shape[1:])), sum(n > 0 for n in others))
        return out

    def _both_ways(self, outgoing: torch.Tensor, to: list[int], received: torch.Tensor, by: list[int]) -> None:
        """Ask for what comes, then send what goes; what is sent may be under way when all has come."""
        rank, size = self._members.rank, self._members.size
        pieces, places = outgoing.split(to), received.split(by)
        others = [(rank + shift) % size for shift in range(1, size)]
        awaited = [self._group.recv([places[other]], other, _TAG) for other in others if by[other]]
        self._sends = [(self._group.send([pieces[other]], other, _TAG), outgoing) for other in others if to[other]]
        places[rank].copy_(pieces[rank])
        for work in awaited:
            work.wait()

    def fail(self) -> None:
        """Wake up who waits."""
        self._results.put(_FAILED)

    def _count(self, n_bytes: int, n_messages: int) -> None:
        self.n_bytes += n_bytes
        self.n_messages += n_messages

    def _run(self, task: Callable[[], Any]) -> None:
        self._members.presence.check()
        self._tasks.put(task)
        result = self._results.get()
        if result is not None:
            raise self._members.presence.explained(result)

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            try:
                for work, _ in self._sends:
                    work.wait()
                self._sends = []
                task()
            except Exception as error:
                self._results.put(error)
            else:
                self._results.put(None)


class ProcessGroup:
    """The members, in an order that all agree on.

    Parameters
    ----------
    presence : Presence
        Which has met the others.
    interface : str, optional
        Network interface for the connections between members, which take ports that the system chooses; by default
        the one on the way to the first member.
    patience : float
        Seconds that one exchange may take: a member may have to wait for its data.

    Attributes
    ----------
    presence : Presence
    names : tuple of str
    rank, size : int
    keys, rows : Communicator

    Raises
    ------
    ProcessGroupError
        A member was lost.
    """

    def __init__(self, presence: Presence, *, interface: str | None = None, patience: float = 86400.0) -> None:
        self.presence = presence
        self.names, self.rank, self.size = presence.names, presence.rank, presence.size
        self.keys, self.rows = (self._communicator(name, interface, patience) for name in ("keys", "rows"))

    def _communicator(self, name: str, interface: str | None, patience: float) -> Communicator:
        options = ProcessGroupGloo._Options()
        options._devices = [
            ProcessGroupGloo.create_device(interface=interface)
            if interface
            else ProcessGroupGloo.create_device(hostname=self.presence.own_address())
        ]
        options._timeout = datetime.timedelta(seconds=patience)
        store = _Addresses(self.presence, f"{name}/")
        try:
            group = self._in_thread(lambda: ProcessGroupGloo(PrefixStore(name, store), self.rank, self.size, options))
        except RuntimeError as error:
            raise self.presence.explained(error) from None
        communicator = Communicator(self, group)
        self.presence.when_failed(communicator.fail)
        return communicator

    def _in_thread(self, task: Callable[[], Any]) -> Any:
        """Do what may wait for a lost member for good, as long as none is known to be lost."""
        begun = InThread(task)
        while not begun.is_done.wait(0.1):
            self.presence.check()
        return begun.result()

    def leave(self, sentence: str = "", blame: str | None = None) -> None:
        """See `Presence.leave`.

        A process that has been in a group ends by `os._exit`, as `train` does: PyTorch aborts one that ends as Python
        does while one of its threads still waits, now and then.
        """
        self.presence.leave(sentence, blame)


class _Addresses(Store):  # type: ignore[misc]
    """Where the members are reached, as gloo asks for it: put on the board.

    Parameters
    ----------
    presence : Presence
    prefix : str
        Of the names that gloo asks for.
    """

    def __init__(self, presence: Presence, prefix: str) -> None:
        super().__init__()
        self._presence = presence
        self._prefix = prefix
        self._found: dict[str, str] = {}

    def set(self, name: str, value: bytes) -> None:
        """Say where this member is reached."""
        self._presence.texts({name: base64.b64encode(value).decode()}, "")

    def get(self, name: str) -> bytes:
        """Give what a member said, as soon as it is there."""
        self.wait([name])
        return base64.b64decode(self._found[name])

    def wait(self, names: Sequence[str], timeout: datetime.timedelta | None = None) -> None:
        """Wait until all are there."""
        while not all(name in self._found for name in names):
            found = self._presence.texts({}, self._prefix)
            if found.keys() == self._found.keys():
                time.sleep(_LOOK)
            self._found = found
