"""Statistics of a model's parameters, computed for one block of rows at a time."""

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fm_core.arrays import row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.model import Model

__all__ = ["Summary", "blocks", "factor_norms", "largest", "summarise"]


@dataclasses.dataclass(frozen=True)
class Summary:
    """The sizes and norms of a model.

    Attributes
    ----------
    n_parameters : int
        Of w0, w and V together.
    w0 : float
    w_norm, v_norm : float
        Euclidean (of V: Frobenius).
    w_range : tuple of float
        The least and the greatest linear weight.
    v_norm_quantiles : tuple of float
        Of the Euclidean norms of the features' factors: least, quartiles and median, greatest.
    n_idle : int
        Features all of whose parameters are 0.
    """

    n_parameters: int
    w0: float
    w_norm: float
    w_range: tuple[float, float]
    v_norm: float
    v_norm_quantiles: tuple[float, float, float, float, float]
    n_idle: int


def blocks(model: "Model") -> Iterator[slice]:
    """Split the features into slices whose factors have a few megabytes each.

    Parameters
    ----------
    model : Model

    Returns
    -------
    slices : iterator of slice
        In the order of the features.
    """
    return row_blocks(model.V)


def factor_norms(model: "Model") -> "NDArray[np.float64]":
    """Return the Euclidean norm of each feature's factors.

    Parameters
    ----------
    model : Model

    Returns
    -------
    norms : ndarray of float64, shape (feature_dim,)
    """
    norms = np.empty(model.feature_dim)
    for rows in blocks(model):
        V = model.V[rows].astype(np.float64)
        norms[rows] = np.sqrt(np.einsum("ij,ij->i", V, V))
    return norms


def largest(values: "NDArray[np.floating]", n: int) -> "NDArray[np.intp]":
    """Return the positions of the n largest values by magnitude, the largest first.

    Parameters
    ----------
    values : ndarray of float, shape (m,)
    n : int
        If m is smaller, all positions are returned.

    Returns
    -------
    positions : ndarray of intp
        For equal values, the lower position comes first.
    """
    magnitudes = np.abs(values)
    n = min(n, len(values))
    if n == 0:
        return np.empty(0, np.intp)
    threshold = np.partition(magnitudes, len(values) - n)[len(values) - n]
    kept = np.flatnonzero(magnitudes >= threshold)
    return kept[np.argsort(-magnitudes[kept], kind="stable")[:n]]


def summarise(model: "Model") -> Summary:
    """Summarise all parameters of a model.

    Parameters
    ----------
    model : Model

    Returns
    -------
    summary : Summary
        Sizes, norms and quantiles.
    """
    norms = factor_norms(model)
    w = model.w.astype(np.float64)
    least, first, median, third, greatest = np.quantile(norms, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return Summary(
        n_parameters=model.V.size + model.w.size + 1,
        w0=model.w0,
        w_norm=math.sqrt(float(w @ w)),
        w_range=(float(w.min()), float(w.max())),
        v_norm=math.sqrt(float(norms @ norms)),
        v_norm_quantiles=(least, first, median, third, greatest),
        n_idle=int(np.count_nonzero((norms == 0) & (w == 0))),
    )
