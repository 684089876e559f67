"""The other way through a step: entries go to the owners of their features, and sums come back, in place of rows.

Each member sends, ahead of time, the entries of its rows to those who own their features. Of all rows of a step an
owner has what its own features come to: a part of the score, and of the sums s_f of Rendle's formula. Those parts go
to the member whose row it is, k + 1 numbers a row and owner; it adds them up in the members' order, and sends the sums
and the residual to all, as many numbers again. So each owner has the gradients of its features from all rows, and
updates them in place: no row of the model is copied or sent.

What that sends grows with the rows of a step, the way by rows with its distinct features: see `is_shorter`. The model
is the same but for the last digits, and the same bits from run to run: which way is taken depends on the data only.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fm_core.kernels._sharded as kernels
from fm_core.batch import Batch
from fm_core.cluster.members import LARGE, Floats, Members
from fm_core.kernels import group
from fm_core.links import link_for

__all__ = ["Scored", "SummedStep", "is_shorter", "plan", "scored_by_sums"]


#: Bytes that have to be saved in a step: to sort and send entries takes the reading thread about as long as 10 Gb/s
#: takes for so many.
_WORTH = 1 << 19


@dataclasses.dataclass(frozen=True)
class SummedStep:
    """A step of members who own a part of the model's rows each, by sums.

    Attributes
    ----------
    original : Batch
        This member's rows as they were read, perhaps none.
    n_rows : list of int
        Rows of each member.
    indptr, indices, values
        The rows of all members, one after the other, with the entries of this member's features alone.
    starts, rows, row_values
        The same by feature, as `kernels.group` gives them.
    has_pairs : ndarray of uint8, shape (rows of all members,)
        Whether a row has more than one value other than zero, at whichever member.
    touched : ndarray of int32
        This member's rows of the model among them.
    is_large, is_dense, writes_checkpoint : bool
        As of `steps.Step`.
    """

    original: Batch
    n_rows: list[int]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: Floats
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    row_values: Floats
    has_pairs: NDArray[np.uint8]
    touched: NDArray[np.int32]
    is_large: bool
    is_dense: bool
    writes_checkpoint: bool


@dataclasses.dataclass(frozen=True)
class Scored:
    """What a step's rows come to.

    Attributes
    ----------
    sums : ndarray of float32, shape (rows of all members, num_factors)
    residuals : ndarray of float32, shape (rows of all members,)
    scores : ndarray of float32, shape (rows of this member,)
    bias_gradient : float
        The sum of all residuals, in the members' order.
    """

    sums: Floats
    residuals: Floats
    scores: Floats
    bias_gradient: float


def is_shorter(
    wanted: NDArray[np.int64], n_rows: NDArray[np.int64], n_entries: NDArray[np.int64], num_factors: int
) -> bool:
    """Tell whether the member that sends most sends less by sums than by rows, by so much that it is worth it.

    Parameters
    ----------
    wanted : ndarray of int64, shape (n_members, n_members)
        Distinct features in a member's rows, by who has them and who owns them.
    n_rows, n_entries : ndarray of int64, shape (n_members,)
        Of each member's batch.
    num_factors : int
    """
    size, width = len(n_rows), 4 * (num_factors + 1)
    of_others = wanted - np.diag(np.diag(wanted))
    asks, serves = of_others.sum(axis=1), of_others.sum(axis=0)
    by_rows = (4 + width) * asks + width * serves
    # of entries about as many go to each owner
    by_sums = width * (n_rows.sum() - n_rows + (size - 1) * n_rows) + (size - 1) * (4 * n_rows + 8 * n_entries // size)
    return bool(by_rows.max() - by_sums.max() >= _WORTH)


def plan(
    original: Batch,
    csr: tuple[NDArray[np.int64], NDArray[np.int32], Floats],
    n_rows: list[int],
    n_local: int,
    members: Members,
    checked: Callable[[NDArray[Any], int, int], NDArray[Any]],
    *,
    num_factors: int,
    is_dense: bool,
    writes_checkpoint: bool,
) -> SummedStep:
    """Send the entries of this member's rows to their owners, and take those of its own features.

    Parameters
    ----------
    original : Batch
    csr : tuple
        Its rows, whose features are numbered by owner: those of member r begin at ``r * n_local``.
    n_rows : list of int
        Rows of each member.
    n_local : int
    members : Members
    checked : callable
        Holds numbers of other members to a range.
    num_factors, is_dense, writes_checkpoint
        Of the step.
    """
    size, m = members.size, n_rows[members.rank]
    indptr, ordered, values = csr
    owners = ordered // np.int32(n_local)
    by_owner = np.argsort(owners, kind="stable")  # within an owner's, row by row
    row_of = np.repeat(np.arange(m, dtype=np.int64), np.diff(indptr))
    counts = np.bincount(owners.astype(np.int64) * m + row_of, minlength=size * m).astype(np.int32)
    to = counts.reshape(size, m).sum(axis=1, dtype=np.int64).tolist()
    has_pairs = np.bincount(row_of[values != 0], minlength=m) > 1
    coded = 2 * counts + np.tile(has_pairs, size).astype(np.int32)
    told = checked(members.keys.all_to_all(coded, [m] * size, n_rows), 0, 2 * n_local + 1)
    lengths = told // 2
    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    by = np.diff(ends[np.cumsum([0, *n_rows])]).tolist()
    local = (ordered % np.int32(n_local))[by_owner]
    indices = checked(members.keys.all_to_all(local, to, by), 0, n_local - 1)
    taken = members.keys.all_to_all(values[by_owner], to, by)
    touched, starts, rows, row_values = group(ends, indices, taken, n_local)
    return SummedStep(
        original=original,
        n_rows=n_rows,
        indptr=ends,
        indices=indices,
        values=taken,
        starts=starts,
        rows=rows,
        row_values=row_values,
        has_pairs=(told % 2).astype(np.uint8),
        touched=touched,
        is_large=max(n_rows) * 4 * (num_factors + 1) >= LARGE,
        is_dense=is_dense,
        writes_checkpoint=writes_checkpoint,
    )


def scored_by_sums(
    step: SummedStep, params: Floats, w0: float, predictor_type: str, members: Members, num_threads: int
) -> Scored:
    """Score the rows of a step, with all members."""
    n, k, size = len(step.indptr) - 1, params.shape[1] - 1, members.size
    m = step.n_rows[members.rank]
    parts = np.empty((n, k + 1), np.float32)
    sums, of_rows, unused = np.empty((n, k), np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    kernels.score(
        step.indptr, step.indices, step.values, np.zeros(n, np.float32), params, 0.0, sums, unused, of_rows,
        False, num_threads,
    )  # fmt: skip
    parts[:, :k], parts[:, k] = sums, of_rows
    mine = members.rows.all_to_all(parts, step.n_rows, [m] * size, is_large=step.is_large).reshape(size, m, k + 1)
    told = np.zeros((m, k + 1), np.float32)
    z = np.full(m, w0, np.float64)
    for (
        part
    ) in mine:  # in the members' order; each times the sum of those before it, so that large values do not cancel
        z += part[:, k]
        z += np.einsum("rf,rf->r", part[:, :k], told[:, :k])
        told[:, :k] += part[:, :k]
    labels, weights = step.original.known_labels, step.original.weights
    scores = link_for(predictor_type).score(z)
    told[:, k] = scores - labels
    if weights is not None:
        told[:, k] *= weights
    every = members.rows.all_to_all(np.concatenate([told] * size), [m] * size, step.n_rows, is_large=step.is_large)
    residuals = np.ascontiguousarray(every[:, k])
    of_members = np.split(residuals, np.cumsum(step.n_rows)[:-1])
    bias_gradient = functools.reduce(
        lambda a, b: a + b, (float(of_one.sum(dtype=np.float64)) for of_one in of_members)
    )  # fmt: skip
    return Scored(np.ascontiguousarray(every[:, :k]), residuals, scores.astype(np.float32), bias_gradient)
