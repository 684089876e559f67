"""The contents of requests and answers, independent of the formats that read and write them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fm_core.batch import Batch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Predictions", "RankedPredictions", "Ranking", "Recommended", "Rows", "Wishes"]


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a request and, where the format has them, what names each row.

    Attributes
    ----------
    batch : Batch
    uids, metadatas : sequence of (str, bytes or None), or None
        Echoed as they came.
    explained : mapping of int to int
        The rows to explain, each with the number of shares of a kind to return.
    spread : sequence of int
        The rows whose standard deviations are requested, in increasing order.
    """

    batch: Batch
    uids: Sequence[Any] | None = None
    metadatas: Sequence[Any] | None = None
    explained: Mapping[int, int] = dataclasses.field(default_factory=dict)
    spread: Sequence[int] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Predictions:
    """The predictions for the rows of a request.

    Attributes
    ----------
    scores : ndarray of float32, shape (n_rows,)
        Finite.
    with_labels : bool
        Whether each row has a `predicted_label` too: 1 if its score is at least 0.5, else 0.
    uids, metadatas : sequence of (str, bytes or None), or None
    explanations : mapping of int to dict
        Of some rows.
    classes : tuple of str
        What the labels 0 and 1 are called, where the schema says it.
    spread : sequence of int
        Some rows, whose standard deviations are given too.
    std : ndarray of float32, shape (len(spread),), or None
    """

    scores: "NDArray[np.float32]"
    with_labels: bool
    uids: Sequence[Any] | None = None
    metadatas: Sequence[Any] | None = None
    explanations: Mapping[int, Any] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()
    spread: Sequence[int] = ()
    std: "NDArray[np.float32] | None" = None


@dataclasses.dataclass(frozen=True, slots=True)
class Ranking:
    """A context and the candidates to be ranked for it.

    Attributes
    ----------
    context : Batch
        One row.
    candidates : Batch
    top_k : int or None
        None: all of them.
    with_spread : bool
        Whether to return standard deviations.
    """

    context: Batch
    candidates: Batch
    top_k: int | None
    with_spread: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class RankedPredictions:
    """The best candidates of a `Ranking`, best first.

    Attributes
    ----------
    indices : ndarray of int64, shape (n,)
        Positions among the request's candidates.
    predictions : Predictions
    """

    indices: "NDArray[np.int64]"
    predictions: Predictions


@dataclasses.dataclass(frozen=True, slots=True)
class Wishes:
    """Requests for the best items of the catalogue, as they came.

    Attributes
    ----------
    instances : list
    """

    instances: list[Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Recommended:
    """The best items of the catalogue for one request, best first.

    Attributes
    ----------
    columns : sequence of dict
        Of each item.
    predictions : Predictions
    """

    columns: Sequence[dict[str, Any]]
    predictions: Predictions
