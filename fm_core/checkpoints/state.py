"""The contents of a checkpoint: the position of a training, and the arrays of its solver."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_core.solvers.base import SolverState

__all__ = ["Checkpoint", "Position"]

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Position:
    """How far a training is, between two batches.

    Attributes
    ----------
    n_steps : int
        Updates so far.
    epoch, n_batches : int
        The epoch that is under way, and how many of its batches are done.
    is_dense : bool
    sums : dict of str to float
        The metrics' sums over those batches.
    labels_crc : int
        CRC-32 of those batches' labels and sizes, by which other data is recognised.
    passes : list of [n_records, n_batches, n_epochs]
        The epochs that are done; those alike in a row are one entry.
    metrics : dict of str to float
        Training metrics of the last of them.
    validation : dict of str to float
        Validation metrics of the model that would be kept.
    best_value : float
        The best epoch's validation loss; infinite if there is none yet.
    best_epoch : int
    best_bias : float
        w0 of that epoch.
    """

    n_steps: int
    epoch: int
    n_batches: int
    is_dense: bool
    sums: dict[str, float]
    labels_crc: int
    passes: list[list[int]]
    metrics: dict[str, float]
    validation: dict[str, float]
    best_value: float
    best_epoch: int
    best_bias: float


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A position, and the arrays of a solver there.

    Attributes
    ----------
    position : Position
    arrays : mapping of str to ndarray
        As `Solver.arrays` gives them.
    changed : ndarray of bool, shape (feature_dim,), or None
        The rows of lazy arrays that may be other than zero; None: any.
    best : ndarray of float32, shape (feature_dim, num_factors + 1), or None
        Rows ``[v_i | w_i]`` of the best epoch's model, if it is kept.
    """

    position: Position
    arrays: Mapping[str, NDArray[Any]]
    changed: NDArray[np.bool_] | None = None
    best: Floats | None = None

    @property
    def state(self) -> SolverState:
        """The state from which a solver resumes."""
        return SolverState(self.position.n_steps, self.arrays)
