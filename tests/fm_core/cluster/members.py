"""A process group whose members are threads of one process: several hosts without PyTorch."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np


class _Communicator:
    def __init__(self, rank, size, table, barrier):
        self._rank, self._size, self._table, self._barrier = rank, size, table, barrier

    def all_gather(self, row):
        return self.all_to_all(np.tile(row, (self._size, 1)), [1] * self._size, [1] * self._size)

    def all_to_all(self, sent, to, by, out=None, *, is_large=False):
        ends = np.cumsum(to)
        assert ends[-1] == len(sent)
        self._table[self._rank] = np.split(sent.copy(), ends[:-1])
        self._barrier.wait()
        received = [self._table[rank][self._rank] for rank in range(self._size)]
        self._barrier.wait()
        assert [len(each) for each in received] == list(by)
        return np.concatenate(received, out=out)


class Member:
    """See `fm_core.cluster.members.Members`."""

    def __init__(self, rank, size, communicators):
        self.rank, self.size = rank, size
        self.keys, self.rows = (_Communicator(rank, size, table, barrier) for table, barrier in communicators)


def together(size, task, timeout=30):
    """Call ``task(member)`` in a thread for each member, and give what they return."""
    communicators = [([None] * size, threading.Barrier(size, timeout=timeout)) for _ in range(2)]
    members = [Member(rank, size, communicators) for rank in range(size)]

    errors = []

    def work(member):
        try:
            return task(member)
        except BaseException as error:
            errors.append(error)  # the first is the reason of all others
            for _, barrier in communicators:
                barrier.abort()

    with ThreadPoolExecutor(size) as pool:
        results = list(pool.map(work, members))
    if errors:
        raise errors[0]
    return results
