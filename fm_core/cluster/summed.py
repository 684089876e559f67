"""A step by sums: entries go to the owners of their features, and sums come back, instead of rows of the model.

Each member sends the entries of its rows, ahead of time, to the owners of their features. For all rows of a step, an
owner computes the contribution of its own features: a part of the score, and of the sums s_f of Rendle's formula. It
sends these parts to the member that has the row, k + 1 numbers per row and owner. That member adds them in the order of
the members, and sends the sums and the residual to all, as many numbers again. So each owner has the gradients of its
features from all rows, and updates them in place: no row of the model is copied or sent.

The bytes grow with the rows of a step, and those of a step by rows grow with its distinct features: see `is_shorter`.
The model is the same except for the last digits, with the same bits in every run, because only the data chooses.
"""

import dataclasses
import functools
import itertools

import numpy as np
from numpy.typing import NDArray

import fm_core.kernels._sharded as numbers
from fm_core.batch import Batch
from fm_core.cluster.members import LARGE, Floats, Members
from fm_core.errors import ProcessGroupError
from fm_core.given import MOST_FEATURES
from fm_core.kernels import PADDING, group, in_use
from fm_core.links import link_for

__all__ = ["Scored", "SummedStep", "is_shorter", "plan", "scored_by_sums"]


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
    told : ndarray of float32
        As `kernels.interface.Kernels.learn_parts` takes it, of the rows of all members.
    scores : ndarray of float32, shape (rows of this member,)
    bias_gradient : float
        The sum of all residuals, in the members' order.
    """

    told: Floats
    scores: Floats
    bias_gradient: float


def is_shorter(wanted: NDArray[np.int64], n_rows: NDArray[np.int64], entries: NDArray[np.int64], width: int) -> bool:
    """Return whether the member that sends most sends less by sums than by rows.

    Parameters
    ----------
    wanted, entries : ndarray of int64, shape (n_members, n_members)
        Distinct features, and entries, in a member's rows, by who has them and who owns them.
    n_rows : ndarray of int64, shape (n_members,)
        Of each member's batch.
    width : int
        Bytes of num_factors + 1 numbers as they are sent (wire.py).

    Returns
    -------
    is_shorter : bool
    """
    size = len(n_rows)
    of_others = wanted - np.diag(np.diag(wanted))
    by_rows = (4 + width) * of_others.sum(axis=1) + width * of_others.sum(axis=0)
    to_others = 4 * (size - 1) * n_rows + 8 * (entries.sum(axis=1) - np.diag(entries))
    by_sums = width * (n_rows.sum() + (size - 2) * n_rows) + to_others
    return bool(by_rows.max() > by_sums.max())


def plan(
    original: Batch,
    csr: tuple[NDArray[np.int64], NDArray[np.int32], Floats],
    n_rows: NDArray[np.int64],
    entries: NDArray[np.int64],
    n_local: int,
    members: Members,
    *,
    width: int,
    is_dense: bool,
    writes_checkpoint: bool,
) -> SummedStep:
    """Send the entries of this member's rows to their owners, and take those of its own features.

    Parameters
    ----------
    original : Batch
    csr : tuple
        Its rows, whose features are numbered by owner: those of member r begin at ``r * n_local``.
    n_rows : ndarray of int64, shape (n_members,)
        Rows of each member.
    entries : ndarray of int64, shape (n_members, n_members)
        As `is_shorter` takes them.
    n_local : int
    members : Members
    width : int
        As `is_shorter` takes it.
    is_dense, writes_checkpoint
        Of the step.

    Returns
    -------
    step : SummedStep

    Raises
    ------
    ProcessGroupError
        Another member runs another program.
    """
    n, mine, ours = int(n_rows.sum()), entries[members.rank].copy(), entries[:, members.rank].copy()
    to, by = n_rows[members.rank] + 2 * mine, n_rows + 2 * ours
    if not (ours >= 0).all() or by.sum() > MOST_FEATURES:
        raise ProcessGroupError(
            f"another host has {ours.min()} to {ours.max()} entries in a step, expected 0 to {MOST_FEATURES // 2}: it "
            "runs another program"
        )
    dealt = np.empty(to.sum(), np.int32)
    numbers.deal(*csr, n_local, mine, dealt)
    taken = members.keys.all_to_all(dealt, to, by)
    ends, indices, values = np.empty(n + 1, np.int64), *np.empty((2, ours.sum()), np.int32)
    values, has_pairs = values.view(np.float32), np.empty(n, np.uint8)
    if not numbers.take(taken, n_rows, ours, n_local, ends, indices, values, has_pairs):
        raise ProcessGroupError("other hosts send entries that do not belong to this host: they run another program")
    touched, starts, rows, row_values = group(ends, indices, values, n_local)
    return SummedStep(
        original=original,
        n_rows=n_rows.tolist(),
        indptr=ends,
        indices=indices,
        values=values,
        starts=starts,
        rows=rows,
        row_values=row_values,
        has_pairs=has_pairs,
        touched=touched,
        is_large=bool(n_rows.max() * width >= LARGE),
        is_dense=is_dense,
        writes_checkpoint=writes_checkpoint,
    )


def scored_by_sums(
    step: SummedStep, params: Floats, w0: float, predictor_type: str, members: Members, num_threads: int
) -> Scored:
    """Score the rows of a step by adding the contributions of each member's features. Collective.

    Parameters
    ----------
    step : SummedStep
    params : ndarray of float32, shape (features of this member, num_factors + 1)
        This member's rows of the model, ``[V | w]``.
    w0 : float
    predictor_type : {"regressor", "binary_classifier"}
    members : Members
    num_threads : int

    Returns
    -------
    scored : Scored
    """
    n, width, size = len(step.indptr) - 1, params.shape[1], members.size
    m = step.n_rows[members.rank]
    kernels = in_use()[1]
    parts = np.empty((n, width), np.float32)
    kernels.score_parts(step.indptr, step.indices, step.values, params, parts, num_threads)
    mine = members.rows.all_to_all(parts, step.n_rows, [m] * size, is_large=step.is_large).reshape(size, m, width)
    told, scores = np.empty((size, m, width), np.float32), np.empty(m, np.float32)
    kernels.add_parts(
        mine, w0, step.original.known_labels, told[0], scores, link_for(predictor_type).is_classifier,
        step.original.weights,
    )  # fmt: skip
    told[1:] = told[0]
    every = np.empty(n * width + PADDING, np.float32)
    of_members = every[: n * width].reshape(n, width)
    members.rows.all_to_all(
        told.reshape(size * m, width), [m] * size, step.n_rows, of_members, is_large=step.is_large
    )  # fmt: skip
    ends = itertools.pairwise(itertools.accumulate(step.n_rows, initial=0))
    bias_gradient = functools.reduce(lambda a, b: a + b, (numbers.sum_last(of_members[a:b]) for a, b in ends))
    return Scored(every, scores, bias_gradient)
