"""The best of very many items for a context: one pass over packed items, then exact scores of the candidates.

The pass (kernels/retrieval.h) computes bounds of scores, so its candidates, some tens of a million items, contain all
of the best. `ranking` scores the candidates, and the result equals, bit for bit, that of ranking all items. Items are
sorted by the highest score that they can reach. So the threshold rises early, and later blocks are skipped.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fm_core.analysis.inspection import factor_norms
from fm_core.analysis.ranking import Context, Ranked, own_scores, rank_in_context
from fm_core.kernels._retrieval import BLOCK, norms, pack, scan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.batch import Batch
    from fm_core.model import Model

__all__ = ["Choice", "PackedItems"]

_Number = TypeVar("_Number", bound=np.generic)

#: Contexts of one pass: where all items tie, each keeps 8 bytes of each.
_TOGETHER = 16

#: A pass is of no use if more than one item in so many is wanted.
_FEW = 16

#: Above, the intervals could overflow float32: every item is scored in full.
_LARGEST = 1e30


class PackedItems:
    """Items, ready to be asked for the best.

    Parameters
    ----------
    model : Model
    rows : Batch
        Sparse: each item's own features, none of which contexts may have.
    num_threads : int
        Threads that pack.
    """

    def __init__(self, model: "Model", rows: "Batch", num_threads: int = 1) -> None:
        self.model = model
        self.rows = rows
        n, k = rows.n_rows, model.num_factors
        own = own_scores(model, rows)
        lengths = np.empty(n)
        norms(*rows.csr, model.V, lengths, num_threads)
        self._is_finite = bool(np.isfinite(own).all() and np.isfinite(lengths).all())
        if not self._is_finite:
            return
        # What a context of a usual norm can make of an item.
        usual = float(np.sqrt(np.mean(factor_norms(model) ** 2)))
        self._order = np.argsort(-(own + usual * lengths), kind="stable")
        self._places = np.empty(n, np.int32)
        self._places[self._order] = np.arange(n, dtype=np.int32)
        n_blocks = -(-n // BLOCK)
        self._width = 4 * (-(-k // 4))
        self._codes = _aligned(n_blocks * BLOCK * self._width, np.uint8)
        self._scale = _aligned(n_blocks * BLOCK, np.float32)
        self._bias = _aligned(n_blocks * BLOCK, np.float32)
        self._bounds = np.empty((n_blocks, 4), np.float32)
        pack(*rows.csr, model.V, own, self._order, self._codes, self._scale, self._bias, self._bounds, num_threads)
        self._largest = float(self._bounds[:, :2].sum(axis=1).max(initial=0))

    def choice_of(self, allowed: "NDArray[np.bool_]") -> "Choice":
        """Make what `best` takes of a choice of items, which takes some milliseconds of a million.

        Parameters
        ----------
        allowed : ndarray of bool, shape (n_items,)

        Returns
        -------
        choice : Choice
            The allowed items as bits, in the order that `best` scans them.
        """
        bits = np.zeros(-(-self.rows.n_rows // BLOCK) * BLOCK, np.bool_)
        bits[: len(allowed)] = allowed[self._order] if self._is_finite else allowed
        return Choice(allowed, np.packbits(bits, bitorder="little").view(np.uint16))

    def best(
        self,
        contexts: Sequence[Context],
        top_k: int,
        choices: "Sequence[Choice | None] | None" = None,
        excluded: "Sequence[NDArray[np.int64]] | None" = None,
        num_threads: int = 1,
    ) -> list[Ranked]:
        """Find the best items for each context.

        Parameters
        ----------
        contexts : sequence of Context
            None has a feature of an item.
        top_k : int
            How many are wanted, at least 1.
        choices : sequence of (Choice or None), optional
            The items that each context may get; None: all.
        excluded : sequence of ndarray of int64, optional
            Items that each context may not get.
        num_threads : int
            The result does not depend on it.

        Returns
        -------
        ranked : list of Ranked
            What `ranking.rank` gives for all allowed items; of equal ones the first comes first.
        """
        n = len(contexts)
        choices = [None] * n if choices is None else choices
        excluded = [np.empty(0, np.int64)] * n if excluded is None else excluded
        found: list[Ranked] = []
        for at in range(0, n, _TOGETHER):
            part = slice(at, at + _TOGETHER)
            kept = self._kept(contexts[part], top_k, choices[part], excluded[part], num_threads)
            for context, positions in zip(contexts[part], kept, strict=True):
                ranked = rank_in_context(self.model, context, self.rows.take(positions), top_k)
                found.append(Ranked(positions[ranked.indices], ranked.scores))
        return found

    def _kept(
        self,
        contexts: Sequence[Context],
        top_k: int,
        choices: "Sequence[Choice | None]",
        excluded: "Sequence[NDArray[np.int64]]",
        num_threads: int,
    ) -> "list[NDArray[np.int64]]":
        """Positions of the items that may be among the best of each context, increasing."""
        n = self.rows.n_rows
        with np.errstate(over="ignore"):
            sums = np.array([context.sums for context in contexts]).astype(np.float32).astype(np.float64)
            size = np.sqrt((sums * sums).sum(axis=1)).max(initial=0)
        if top_k * _FEW >= n or not (self._is_finite and size * max(1.0, self._largest) < _LARGEST):
            return [_all_of(n, *limits) for limits in zip(choices, excluded, strict=True)]
        codes, numbers = _query(sums, self._width)
        masks = [self._mask(*limits) for limits in zip(choices, excluded, strict=True)]
        places = scan(self._codes, self._scale, self._bias, self._bounds, codes, numbers, masks, top_k, num_threads)
        return [np.sort(self._order[of_context]) for of_context in places]

    def _mask(self, choice: "Choice | None", excluded: "NDArray[np.int64]") -> "NDArray[np.uint16] | None":
        if not len(excluded):
            return None if choice is None else choice.mask
        mask = np.full(len(self._bounds), 0xFFFF, np.uint16) if choice is None else choice.mask.copy()
        blocks, lanes = np.divmod(self._places[excluded], BLOCK)
        np.bitwise_and.at(mask, blocks, ~(np.uint16(1) << lanes.astype(np.uint16)))
        return mask


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Choice:
    """Items among which the best are looked for.

    Attributes
    ----------
    allowed : ndarray of bool, shape (n_items,)
    mask : ndarray of uint16, shape (n_blocks,)
        The same, a bit for each place.
    """

    allowed: "NDArray[np.bool_]"
    mask: "NDArray[np.uint16]"


def _all_of(n: int, choice: Choice | None, excluded: "NDArray[np.int64]") -> "NDArray[np.int64]":
    allowed = np.ones(n, np.bool_) if choice is None else choice.allowed.copy()
    allowed[excluded] = False
    return np.flatnonzero(allowed)


def _query(sums: "NDArray[np.float64]", width: int) -> "tuple[NDArray[np.int8], NDArray[np.float32]]":
    """Eight-bit codes of each context, and its numbers in the form that `scan` needs."""
    largest = np.abs(sums).max(axis=1, initial=0)
    scale = np.where(largest > 1e-30, largest / 127, 0).astype(np.float32).astype(np.float64)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    rounded = np.clip(np.rint(sums * inverse[:, np.newaxis]), -127, 127)
    said = rounded * scale[:, np.newaxis]
    norm = np.maximum(np.linalg.norm(sums, axis=1), np.linalg.norm(said, axis=1))
    residual = np.linalg.norm(sums - said, axis=1)
    codes = np.zeros((len(sums), width), np.int8)
    codes[:, : sums.shape[1]] = rounded
    above = 1 + 2.0**-20  # rounded up, as numbers of 24 bits
    return codes, np.column_stack([scale, norm * above, residual * above]).astype(np.float32)


def _aligned(n: int, dtype: "type[_Number]") -> "NDArray[_Number]":
    """An array that begins with a cache line, as the widest loads would have it."""
    memory = np.empty(n * np.dtype(dtype).itemsize + 64, np.uint8)
    start = -memory.ctypes.data % 64
    whole: NDArray[_Number] = memory[start : start + n * np.dtype(dtype).itemsize].view(dtype)
    return whole
