"""A share of the training rows, held out: the same rows in every pass, kept in memory from the first one on.

One row in each block of a fixed size is held out, by its number, so each block has one, however a pass is divided into
batches. If the data has fewer rows than a block, and none was held out, the training rows are scored instead.

`HeldOut.kept` shrinks an epoch's model as far as these rows suggest: see shrinkage.py.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from fm_core.analysis.shrinkage import constant_score, kept_share, log_odds, shrunk
from fm_core.batch import Batch
from fm_core.formats.rebatch import rebatched
from fm_core.model import Model
from fm_core.training.callbacks import Batches, once_more

__all__ = ["HeldOut"]

#: Rows that are held out at most: a loss of so many is as sure as one of more.
_MOST = 100_000


class HeldOut:
    """Training rows without those that are held out: a `Batches`.

    Parameters
    ----------
    batches : Batches
    fraction : float
        Above 0.
    seed : int
    batch_size : int
        Rows of each batch given out, but the last of a pass.

    Attributes
    ----------
    share : float
        How much of the model was kept when `kept` was last asked.
    """

    def __init__(self, batches: Batches, fraction: float, seed: int, batch_size: int) -> None:
        self._batches = batches
        self._block = max(2, round(1 / fraction))
        self._seed = seed
        self._batch_size = batch_size
        self._held: list[Batch] | None = None
        self._are_learned_from = False
        self._labels = self._n = 0.0  # of all rows, by their weights
        self.share = 1.0

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The rows of a pass that are learned from."""
        return rebatched(self._learned_from(self._batches(epoch)), self._batch_size)

    def once_more(self, epoch: int) -> Iterator[Batch]:
        """Return the training rows of an epoch in a pass before it.

        Parameters
        ----------
        epoch : int
            From 0.

        Returns
        -------
        batches : iterator of Batch
            Without the rows that are held out.
        """
        return rebatched(self._learned_from(once_more(self._batches, epoch)), self._batch_size)

    def held(self, epoch: int) -> Iterable[Batch]:
        """Return the rows that are held out, after the first pass.

        Parameters
        ----------
        epoch : int
            From 0; the rows are the same in each.

        Returns
        -------
        batches : iterable of Batch
        """
        return self._held or ()

    def kept(self, model: Model, num_threads: int = 1) -> Model:
        """Shrink a model towards a constant as far as the held-out rows suggest, after the first pass.

        Parameters
        ----------
        model : Model
        num_threads : int

        Returns
        -------
        model : Model
            The model itself, or a shrunk copy.
        """
        is_classifier = model.is_classifier
        constant = constant_score(self._labels, self._n, is_classifier=is_classifier)
        held = self._held or []
        self.share = 0.0
        if held and not self._are_learned_from:
            scores = np.concatenate([model.predict(batch, num_threads) for batch in held])
            self.share = kept_share(
                log_odds(scores) if is_classifier else scores.astype(np.float64),
                np.concatenate([batch.known_labels for batch in held]).astype(np.float64),
                constant,
                is_classifier=is_classifier,
                weights=np.concatenate([batch.weights_or_ones for batch in held]).astype(np.float64),
            )
        return shrunk(model, constant, self.share)

    def _learned_from(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        held: list[Batch] = []
        few: list[Batch] = []
        n_seen = n_held = 0
        labels = n = 0.0
        for batch in batches:
            weights = batch.weights_or_ones.astype(np.float64)
            labels, n = labels + float(np.sum(weights * batch.known_labels)), n + float(weights.sum())
            is_held = self._are_held(np.arange(n_seen, n_seen + batch.n_rows, dtype=np.uint64))
            n_seen += batch.n_rows
            if n_held >= _MOST:
                is_held[:] = False
            if is_held.any():
                n_held += int(np.count_nonzero(is_held))
                if self._held is None:
                    held.append(batch.take(np.flatnonzero(is_held)))
            rest = batch.take(np.flatnonzero(~is_held)) if is_held.any() else batch
            if self._held is None and n_seen < self._block:
                few.append(rest)
            if rest.n_rows:
                yield rest
        if self._held is None:
            self._held, self._are_learned_from = held or few, not held
            self._labels, self._n = labels, n

    def _are_held(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        block = np.uint64(self._block)
        mixed = (numbers // block + np.uint64(self._seed % 2**63)) * np.uint64(0x9E3779B97F4A7C15)
        places = (mixed >> np.uint64(33)) % block
        # the very first row is learned from: there may be no other
        places[(places == 0) & (numbers < block)] = block - np.uint64(1)
        found: NDArray[np.bool_] = places == numbers % block
        return found
