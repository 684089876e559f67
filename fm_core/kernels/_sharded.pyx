"""The numbers by which hosts find each other's rows, and what all hosts must have to the same bit.

`order`, `count`, `deal`, `take`, `columns` and `places` prepare the numbers of a step; they depend on the data only and
run in the reading thread. The passes themselves are those of _hosts.pxi, in as many builds as there are instruction
sets. This is one build for any processor: w0 is on all hosts, and updated alike on all of them.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint64_t

from fm_core.kernels.checks cimport need, need_room, need_rows, need_threads

import numpy as np

cdef extern from *:
    void __builtin_prefetch(const void* address) nogil

cdef enum:
    AHEAD = 8            # rows, scattered in memory, that are asked for ahead of their use


# ---------------------------------------------------------------- numbers

cdef inline int32_t _quotient(int32_t f, double per_host) noexcept nogil:
    # f // world, without a division: the half keeps it from the next whole number by more than it is rounded by
    return <int32_t> ((f + 0.5) * per_host)


def order(const int32_t[::1] features, int32_t world, int32_t n_local, int32_t[::1] out):
    """Number features owner by owner: ``out = features % world * n_local + features // world``."""
    cdef Py_ssize_t i
    cdef int32_t f, local
    need("numbers", out.shape[0], features.shape[0])
    need_room("hosts", world, 1)
    cdef double per_host = 1.0 / world
    with nogil:
        for i in range(features.shape[0]):
            f = features[i]
            local = _quotient(f, per_host)
            out[i] = (f - local * world) * n_local + local


def count(
    const int32_t[::1] ordered, int32_t n_local, uint64_t[::1] marks, int64_t[::1] n_distinct, int64_t[::1] n_entries
):
    """Count the distinct features of each owner, and the entries; they are numbered by `order`.

    Parameters
    ----------
    ordered : ndarray of int32
    n_local : int
    marks : ndarray of uint64
        Scratch: a bit for each number that there may be; zeros, as it is left again.
    n_distinct, n_entries : ndarray of int64, shape (n_hosts,)
        Outputs.
    """
    cdef Py_ssize_t i, owner
    cdef int32_t f
    cdef uint64_t bit, one = 1
    need("counts of entries", n_entries.shape[0], n_distinct.shape[0])
    need_room("bits", 64 * marks.shape[0], n_distinct.shape[0] * n_local)
    n_distinct[:] = 0
    n_entries[:] = 0
    cdef double per_owner = 1.0 / n_local
    with nogil:
        for i in range(ordered.shape[0]):
            f = ordered[i]
            owner = _quotient(f, per_owner)
            n_entries[owner] += 1
            bit = one << (f & 63)
            if not marks[f >> 6] & bit:
                marks[f >> 6] |= bit
                n_distinct[owner] += 1
        for i in range(ordered.shape[0]):
            marks[ordered[i] >> 6] = 0


def deal(
    const int64_t[::1] indptr, const int32_t[::1] ordered, const float[::1] values, int32_t n_local,
    const int64_t[::1] n_entries, int32_t[::1] out,
):
    """Deal the entries of CSR rows out to the owners of their features.

    Parameters
    ----------
    indptr, ordered, values : ndarray
        Rows whose features are numbered by `order`.
    n_local : int
    n_entries : ndarray of int64, shape (n_hosts,)
        As `count` gives it.
    out : ndarray of int32, shape (n_hosts * n_rows + 2 * n_entries.sum(),)
        Output, one owner after the other. First of each row: twice how many entries it has there, and one more if it
        has more than one value other than zero. Then the entries, row by row: the owner's number of the feature, and
        the bits of the value.
    """
    cdef Py_ssize_t n_rows = indptr.shape[0] - 1, n_hosts = n_entries.shape[0], r, j, owner, base = 0
    cdef int32_t n_values
    need_rows(indptr, ordered.shape[0], values.shape[0])
    at_, lengths_ = np.empty(n_hosts, np.int64), np.empty(n_hosts, np.int64)
    cdef int64_t[::1] at = at_, lengths = lengths_
    for owner in range(n_hosts):
        lengths[owner] = base
        at[owner] = base + n_rows
        base += n_rows + 2 * n_entries[owner]
    need("numbers to deal out", out.shape[0], base)
    need("entries", (base - n_hosts * n_rows) // 2, ordered.shape[0])
    cdef double per_owner = 1.0 / n_local
    cdef const int32_t* bits = <const int32_t*> &values[0] if values.shape[0] else NULL
    with nogil:
        for r in range(n_rows):
            n_values = 0
            for j in range(indptr[r], indptr[r + 1]):
                n_values += values[j] != 0
            for owner in range(n_hosts):
                out[lengths[owner] + r] = n_values > 1
            for j in range(indptr[r], indptr[r + 1]):
                owner = _quotient(ordered[j], per_owner)
                out[lengths[owner] + r] += 2
                out[at[owner]] = <int32_t> (ordered[j] - owner * n_local)
                out[at[owner] + 1] = bits[j]
                at[owner] += 2


def take(
    const int32_t[::1] dealt, const int64_t[::1] n_rows, const int64_t[::1] n_entries, int32_t n_local,
    int64_t[::1] indptr, int32_t[::1] indices, float[::1] values, unsigned char[::1] has_pairs,
):
    """Put together what all hosts have dealt out to one: CSR rows, one host's after the other's.

    Parameters
    ----------
    dealt : ndarray of int32
        See `deal`.
    n_rows, n_entries : ndarray of int64, shape (n_hosts,)
        Of each host.
    n_local : int
    indptr, indices, values : ndarray
        Outputs.
    has_pairs : ndarray of uint8
        Output: whether a row has more than one value other than zero, at whichever host.

    Returns
    -------
    is_sound : bool
        False: lengths do not belong to the entries, or a feature is none of this host's; the outputs are of no use.
    """
    cdef Py_ssize_t host, r, end, row = 0, entry = 0, at = 0
    cdef int32_t length
    cdef int64_t total
    cdef bint is_sound = True
    need("hosts", n_entries.shape[0], n_rows.shape[0])
    cdef int64_t of_rows = 0, of_entries = 0
    for host in range(n_rows.shape[0]):
        of_rows += n_rows[host]
        of_entries += n_entries[host]
    need("numbers dealt out", dealt.shape[0], of_rows + 2 * of_entries)
    need("starts of rows", indptr.shape[0], of_rows + 1)
    need("rows", has_pairs.shape[0], of_rows)
    need("indices", indices.shape[0], of_entries)
    need("values", values.shape[0], of_entries)
    cdef int32_t* bits = <int32_t*> &values[0] if values.shape[0] else NULL
    with nogil:
        indptr[0] = 0
        for host in range(n_rows.shape[0]):
            total = 0
            for r in range(n_rows[host]):
                length = dealt[at + r]
                is_sound = is_sound and length >= 0
                has_pairs[row] = length & 1
                total += length >> 1
                indptr[row + 1] = indptr[row] + (length >> 1)
                row += 1
            is_sound = is_sound and total == n_entries[host]
            at += n_rows[host]
            end = entry + n_entries[host]
            while entry < end:
                is_sound = is_sound and 0 <= dealt[at] < n_local
                indices[entry] = dealt[at]
                bits[entry] = dealt[at + 1]
                entry += 1
                at += 2
    return is_sound


def columns(
    const int64_t[::1] starts, const int32_t[::1] rows, const float[::1] row_values, int64_t[::1] at,
    int32_t[::1] indices, float[::1] values,
):
    """Turn what `group` gives back into CSR rows, their columns numbered by the groups.

    `at` begins as the rows' starts and ends as their ends.
    """
    cdef Py_ssize_t j, e
    cdef int64_t to
    need("values of rows", row_values.shape[0], rows.shape[0])
    need("indices", indices.shape[0], rows.shape[0])
    need("values", values.shape[0], rows.shape[0])
    need_room("starts", starts.shape[0], 1)
    need("entries of the starts", starts[starts.shape[0] - 1], rows.shape[0])
    with nogil:
        for j in range(starts.shape[0] - 1):
            for e in range(starts[j], starts[j + 1]):
                to = at[rows[e]]
                at[rows[e]] = to + 1
                indices[to] = <int32_t> j
                values[to] = row_values[e]


def places(const int32_t[::1] ranks, int64_t[::1] next_of, int64_t[::1] out):
    """Where, of the requests of all ranks one after the other, each entry of `group` stands.

    Every rank asks in rising order, and so `group` meets its requests in their own order; `next_of`
    begins as where each rank's begin.
    """
    cdef Py_ssize_t e
    need("places", out.shape[0], ranks.shape[0])
    with nogil:
        for e in range(ranks.shape[0]):
            out[e] = next_of[ranks[e]]
            next_of[ranks[e]] += 1


# ---------------------------------------------------------------- rows

cdef inline void _ask_for(const float* row, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t f
    for f in range(0, n, 16):
        __builtin_prefetch(row + f)
    __builtin_prefetch(row + n - 1)


def gather(const float[:, :] params, const int32_t[::1] wanted, float[:, ::1] out, int num_threads):
    """Copy rows of `params`: ``out = params[wanted]``; its rows are contiguous."""
    cdef Py_ssize_t j, c, width = params.shape[1]
    cdef const float* row
    need("rows", out.shape[0], wanted.shape[0])
    need("columns", out.shape[1], width)
    need_threads(num_threads)
    for j in prange(wanted.shape[0], num_threads=num_threads, schedule="static", nogil=True):
        if j + AHEAD < wanted.shape[0]:
            _ask_for(&params[wanted[j + AHEAD], 0], width)
        row = &params[wanted[j], 0]
        for c in range(width):
            out[j, c] = row[c]


# ---------------------------------------------------------------- w0

include "_optimizers.pxi"


def sum_last(const float[:, ::1] rows):
    """Give the sum of the last column, in float64."""
    cdef Py_ssize_t r, last = rows.shape[1] - 1
    cdef double total = 0
    with nogil:
        for r in range(rows.shape[0]):
            total += rows[r, last]
    return total


def update_bias(float[::1] bias, double gradient, step):
    """Update w0, from the sum of all hosts' residuals."""
    cdef Rule rule = _rule(step)
    if rule.use_bias:
        _update_one(&bias[0], &bias[1], 1, <float> gradient, &rule, rule.bias)
