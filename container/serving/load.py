"""The load of all processes of a server together: a few numbers in shared memory.

Each process writes its own cells and reads those of all, so there is no lock that a killed process
could leave behind. Two processes that check at the same moment may both find room; the bounds are still useful.
"""

import mmap

__all__ = ["Load"]


class Load:
    """Requests that wait or are computed, and bytes of bodies.

    Made before the processes are forked.

    Parameters
    ----------
    n_processes : int
        Those that receive requests, each with a slot of its own.
    most_requests : int
        How many requests may be under way.
    most_bytes : int
        How many bytes of bodies may be in memory.
    """

    def __init__(self, n_processes: int, most_requests: int, most_bytes: int) -> None:
        self._cells = memoryview(mmap.mmap(-1, 3 * 8 * n_processes)).cast("q")
        self._n = n_processes
        self.most_requests = most_requests
        self.most_bytes = most_bytes

    @property
    def requests(self) -> int:
        """The number of running requests."""
        return sum(self._cells[: self._n])

    @property
    def bytes(self) -> int:
        """The bytes of bodies in memory."""
        return sum(self._cells[self._n : 2 * self._n])

    @property
    def processes(self) -> int:
        """The processes that receive requests now."""
        return sum(self._cells[2 * self._n :])

    @property
    def is_full(self) -> bool:
        """Whether no further request may be taken."""
        return self.requests >= self.most_requests

    def add(self, slot: int, requests: int = 0, size: int = 0) -> None:
        """Count what a process takes or, if negative, releases."""
        self._cells[slot] += requests
        self._cells[self._n + slot] += size

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may be held."""
        return self.bytes + size <= self.most_bytes

    def begin(self, slot: int) -> None:
        """Count a process that receives requests."""
        self._cells[2 * self._n + slot] = 1

    def clear(self, slot: int) -> None:
        """Forget a process that ended, and what it had."""
        for kind in range(3):
            self._cells[kind * self._n + slot] = 0
