"""Snapshots: what a checkpoint is written from while training continues.

A second set of the solver's arrays is updated before each checkpoint. For arrays by feature, only rows that changed
since the last checkpoint are copied (kernels/_dirty_rows.pyx); all other arrays are copied whole. Without a second set,
the solver's own arrays are used, and must be written before training continues.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_core.kernels._dirty_rows import collect, mark, refresh
from fm_core.solvers.base import ArraySpec

__all__ = ["Snapshots"]

#: Batches whose changes are noted together: between two of them training has the caches, and the bits come from memory.
_BATCHES_AT_ONCE = 16
#: A batch with more features than that has none of the caches left: its changes are noted at once.
_MANY_FEATURES = 65_536


class Snapshots:
    """The arrays of one solver as they were when the last snapshot was taken.

    Parameters
    ----------
    layout : mapping of str to ArraySpec
    arrays : mapping of str to ndarray
        Those of the solver, now.
    changed : ndarray of bool, shape (n_features,), or None
        Rows by feature that have been changed before, if training goes on from a checkpoint; None: all.
    is_new : bool
        Whether training begins, so that no row has been changed yet.
    has_copy : bool
        Whether there is a second set of the arrays.
    """

    def __init__(
        self,
        layout: Mapping[str, ArraySpec],
        arrays: Mapping[str, NDArray[Any]],
        changed: NDArray[np.bool_] | None = None,
        *,
        is_new: bool = True,
        has_copy: bool = True,
    ) -> None:
        self._by_feature = [name for name, spec in layout.items() if spec.by_feature]
        n = max((len(arrays[name]) for name in self._by_feature), default=0)
        self._dirty_rows = np.zeros(-(-n // 64), np.uint64)
        self._changed_ever = np.zeros(n, np.uint8)
        self._all_dirty = self._all_ever = False
        self._unmarked: list[NDArray[np.int32]] = []
        if not is_new:  # the copies of lazy arrays do not have these rows yet
            self.mark(None if changed is None else np.flatnonzero(changed).astype(np.int32))
        self._names = list(layout)
        self._copies: dict[str, NDArray[Any]] | None = None
        if has_copy:
            # Zeros as untouched pages, as the solver has them: `zeros_like` would write gigabytes of them.
            self._copies = {
                name: np.zeros(arrays[name].shape, arrays[name].dtype) if layout[name].is_lazy else arrays[name].copy()
                for name in self._by_feature
            }

    def mark(self, features: NDArray[np.int32] | None) -> None:
        """Note which rows a step has changed.

        Parameters
        ----------
        features : ndarray of int32, shape (n,), or None
            None: all rows.
        """
        if features is None:
            self._all_dirty = self._all_ever = True
        else:
            self._unmarked.append(features.copy())  # it may be the begin of an array as long as the batch
            if len(self._unmarked) >= _BATCHES_AT_ONCE or features.size > _MANY_FEATURES:
                self._mark_all()

    def _mark_all(self) -> None:
        for features in self._unmarked:
            mark(features, self._dirty_rows)
        self._unmarked.clear()

    def take(self, arrays: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Return the arrays from which a checkpoint is written, with their current values; valid until the next call.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            Those of the solver.

        Returns
        -------
        arrays : mapping of str to ndarray
        """
        if self._copies is None:
            return arrays
        self._mark_all()
        if self._all_dirty:
            self._dirty_rows.fill(~np.uint64(0))
            self._all_dirty = False
        for first, second in itertools.zip_longest(self._by_feature[::2], self._by_feature[1::2]):
            nothing = np.empty((len(arrays[first]), 0), np.float32)
            state, state_copy = (nothing, nothing) if second is None else (arrays[second], self._copies[second])
            refresh(arrays[first], self._copies[first], state, state_copy, self._dirty_rows)
        for name in self._names:
            if name not in self._by_feature:
                copy, array = self._copies.get(name), arrays[name]
                if copy is not None and (copy.shape, copy.dtype) == (array.shape, array.dtype):
                    np.copyto(copy, array)
                else:  # the first one, or the data has made it another
                    self._copies[name] = array.copy()
        return self._copies

    def changed(self) -> NDArray[np.bool_] | None:
        """Give the rows that have ever been changed, None for all; the next snapshot refreshes later ones only."""
        self._mark_all()
        collect(self._dirty_rows, self._changed_ever)
        return None if self._all_ever else self._changed_ever.astype(bool)
