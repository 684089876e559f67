"""Collective operations on the members' arrays. Sums are added in the members' order, so all get the same bits."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_core.cluster.members import LARGE, Floats, Members
from fm_core.metrics import Metrics, metrics_for

__all__ = ["all_reduce", "broadcasts", "gathered", "sum_metrics"]


def all_reduce(mine: Floats, members: Members) -> None:
    """Replace an array by the sum of all members' arrays.

    Parameters
    ----------
    mine : ndarray of float32, shape (n,)
        Changed in place.
    members : Members
        Of n numbers each sends 2 n (size - 1) / size to others.
    """
    size = members.size
    cuts = [len(mine) * rank // size for rank in range(size + 1)]
    sizes = np.diff(cuts).tolist()
    n = sizes[members.rank]
    is_large = mine.nbytes // size >= LARGE
    pieces = members.rows.all_to_all(mine, sizes, [n] * size, is_large=is_large).reshape(size, n)
    total = pieces[0].copy()
    for piece in pieces[1:]:
        total += piece
    mine[:] = members.rows.all_to_all(np.tile(total, size), [n] * size, sizes, is_large=is_large)


def broadcasts(mine: NDArray[Any], sizes: Sequence[int], members: Members) -> Iterator[tuple[int, NDArray[Any]]]:
    """Give all members this one's rows, and get theirs: of one after the other, so that there is no copy for each.

    Parameters
    ----------
    mine : ndarray, shape (sizes[members.rank], ...)
    sizes : sequence of int, length members.size
        How many rows each member gives.
    members : Members

    Yields
    ------
    rank : int
    rows : ndarray, shape (sizes[rank], ...)
    """
    for shift in range(members.size):
        receiver, sender = (members.rank + shift) % members.size, (members.rank - shift) % members.size
        give = [len(mine) if rank == receiver else 0 for rank in range(members.size)]
        take = [sizes[rank] if rank == sender else 0 for rank in range(members.size)]
        yield sender, members.rows.all_to_all(mine, give, take)


def gathered(mine: NDArray[Any], members: Members) -> NDArray[Any]:
    """Gather the rows of all members; their numbers may differ.

    Parameters
    ----------
    mine : ndarray
        The rows of this member.
    members : Members

    Returns
    -------
    rows : ndarray
        Those of all members, one member after the other.
    """
    size = members.size
    sizes = members.rows.all_gather(np.array([len(mine)], np.int64))[:, 0].tolist()
    return members.rows.all_to_all(np.concatenate([mine] * size), [len(mine)] * size, sizes)


def sum_metrics(metrics: Metrics, members: Members, predictor_type: str) -> Metrics:
    """Add up the sums that the metrics of all members are made of. Collective: each member calls it.

    Parameters
    ----------
    metrics : Metrics
        Of this member's rows, possibly none.
    members : Members
    predictor_type : {"regressor", "binary_classifier"}

    Returns
    -------
    total : Metrics
        Of all rows, the same on every member. Sums are added in the order of the ranks.
    """
    sums = metrics.sums()
    table = members.rows.all_gather(np.array(list(sums.values()), np.float64)).tolist()
    added = [functools.reduce(lambda a, b: a + b, column) for column in zip(*table, strict=True)]
    total = metrics_for(predictor_type)
    kinds = {name: type(value) for name, value in total.sums().items()}  # not this member's, which may have no row
    total.go_on_from({name: kinds[name](value) for name, value in zip(sums, added, strict=True)})
    return total
