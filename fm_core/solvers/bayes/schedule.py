"""Which features are drawn together, and which rows are summed in one piece: decided by the data alone.

Features that share no row do not depend on each other given the rest: they get one colour, and the threads of a sweep
share them out. The values of one one-hot field have one colour, as do features that are rare. A feature of very many
rows is cut into chunks. None of it depends on the number of threads, so neither do the sums, bit for bit.
"""

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fm_core.kernels._by_feature import colour

__all__ = ["CHUNK", "HEAVY", "MOST_WORDS", "TASK", "Schedule", "schedule"]

#: Rows of a chunk, and of features that one thread takes at a time; features of more than `HEAVY` rows are cut.
CHUNK, TASK, HEAVY = 4096, 4096, 16384

#: Words of 64 colours: rows of more entries leave features without one, which are then drawn one by one.
MOST_WORDS = 8


class Schedule(NamedTuple):
    """What a sweep visits.

    Attributes
    ----------
    order : ndarray of int32, shape (n_features,)
        Features colour by colour.
    tasks : ndarray of int64, shape (n_tasks, 2)
        Ranges of `order` that one thread draws.
    heavy : ndarray of int64, shape (n_heavy, 3)
        A feature that is cut, and the range of its chunks.
    chunks : ndarray of int64, shape (n_chunks, 3)
        The place in `heavy`, and a range of the feature's entries.
    steps : ndarray of int64, shape (n_steps, 7)
        One after the other: ranges of `tasks`, `heavy` and `chunks`, and whether the features of a task share no row.
    fields : ndarray of int64, shape (n_colours + 1,), or empty
        Where each colour begins in `order`; empty if a feature has none.
    """

    order: NDArray[np.int32]
    tasks: NDArray[np.int64]
    heavy: NDArray[np.int64]
    chunks: NDArray[np.int64]
    steps: NDArray[np.int64]
    fields: NDArray[np.int64]

    @property
    def colours(self) -> NDArray[np.int32]:
        """The colour of each feature; features without one are of many, by their number."""
        found = np.arange(len(self.order), dtype=np.int32)
        if len(self.fields):
            found[self.order] = np.repeat(np.arange(len(self.fields) - 1), np.diff(self.fields))
        return found


def schedule(starts: NDArray[np.int64], rows: NDArray[np.int32], n_rows: int, longest_row: int) -> Schedule:
    """Create the schedule of columns.

    Parameters
    ----------
    starts : ndarray of int64, shape (n_features + 1,)
    rows : ndarray of int32, shape (n_entries,)
    n_rows : int
    longest_row : int
        Entries of the longest row.

    Returns
    -------
    schedule : Schedule
    """
    n_words = max(1, min(MOST_WORDS, longest_row // 64 + 1))
    colours = colour(starts, rows, n_rows, n_words)
    order = np.argsort(colours, kind="stable").astype(np.int32)
    sizes = np.diff(starts)
    plan = _Plan(order, sizes, starts)
    edges = np.flatnonzero(np.diff(colours[order], prepend=-1, append=64 * n_words + 1))
    for begin, end in itertools.pairwise(edges):
        if colours[order[begin]] < 64 * n_words:
            plan.add_independent(int(begin), int(end))
        else:
            plan.add_one_by_one(int(begin), int(end))
    is_coloured = len(order) > 0 and colours[order[-1]] < 64 * n_words
    return plan.schedule(edges.astype(np.int64) if is_coloured else np.empty(0, np.int64))


class _Plan:
    def __init__(self, order: NDArray[np.int32], sizes: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        self._order, self._sizes, self._starts = order, sizes, starts
        self._tasks: list[tuple[int, int]] = []
        self._heavy: list[tuple[int, int, int]] = []
        self._chunks: list[tuple[int, int, int]] = []
        self._steps: list[tuple[int, ...]] = []

    def add_independent(self, begin: int, end: int) -> None:
        """Features of one colour: light ones in tasks of about as many rows, heavy ones in chunks."""
        before = len(self._tasks), len(self._heavy), len(self._chunks)
        places = np.arange(begin, end)
        is_heavy = self._sizes[self._order[begin:end]] > HEAVY
        for place in places[is_heavy]:
            self._cut(int(place))
        edges = np.flatnonzero(np.diff(is_heavy, prepend=True, append=True))
        for first, last in zip(begin + edges[::2], begin + edges[1::2], strict=True):
            ends = np.cumsum(self._sizes[self._order[first:last]])
            done = 0
            while done < last - first:
                limit = (ends[done - 1] if done else 0) + TASK
                upto = max(done + 1, int(np.searchsorted(ends, limit, side="right")))
                self._tasks.append((int(first) + done, int(first) + upto))
                done = upto
        self._close(before, are_independent=True)

    def add_one_by_one(self, begin: int, end: int) -> None:
        """Features that may share rows: each heavy one is a colour of its own, those between are one task."""
        first = begin
        for place in [*range(begin, end), end]:
            if place == end or self._sizes[self._order[place]] > HEAVY:
                if first < place:
                    before = len(self._tasks), len(self._heavy), len(self._chunks)
                    self._tasks.append((first, place))
                    self._close(before, are_independent=False)
                if place < end:
                    before = len(self._tasks), len(self._heavy), len(self._chunks)
                    self._cut(place)
                    self._close(before, are_independent=True)
                first = place + 1

    def _cut(self, place: int) -> None:
        feature = int(self._order[place])
        begin, end = int(self._starts[feature]), int(self._starts[feature + 1])
        first = len(self._chunks)
        self._chunks += [(len(self._heavy), at, min(at + CHUNK, end)) for at in range(begin, end, CHUNK)]
        self._heavy.append((feature, first, len(self._chunks)))

    def _close(self, before: tuple[int, int, int], are_independent: bool) -> None:
        after = len(self._tasks), len(self._heavy), len(self._chunks)
        ranges = [number for pair in zip(before, after, strict=True) for number in pair]
        self._steps.append((*ranges, int(are_independent)))

    def schedule(self, fields: NDArray[np.int64]) -> Schedule:
        def array(of: list[tuple[int, ...]], width: int) -> NDArray[np.int64]:
            return np.array(of, np.int64).reshape(-1, width)

        return Schedule(
            self._order, array([*self._tasks], 2), array([*self._heavy], 3), array([*self._chunks], 3),
            array(self._steps, 7), fields,
        )  # fmt: skip
