"""Negatives for positives: items drawn at random that are not known to go with the user, and the rows of them all.

Draw number `try` of negative j of positive r is the output of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable
Pseudorandom Number Generators", OOPSLA 2014) for a counter made of these three: a function of the seed and of its own
place alone. A draw that is known is drawn again, `TRIES` times; the next item after the last draw that is not known is
taken then. A user of whom all items are known has no negatives, and no row.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

import numpy as np

from fm_core.kernels.checks cimport need, need_room, need_rows

__all__ = ["draw_negatives", "find_pairs", "put_ranked"]

cdef enum:
    TRIES = 64


cdef inline uint64_t _mixed(uint64_t z) noexcept nogil:
    z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline int64_t _below(uint64_t word, int64_t n) noexcept nogil:
    # the upper 32 bits scaled: n is below 2^31, so that no number is more likely than another by more than n / 2^32
    return <int64_t> (((word >> 32) * <uint64_t> n) >> 32)


cdef inline bint _is_known(const int32_t* items, int64_t n, int32_t item) noexcept nogil:
    # halves without a branch: which half it is cannot be guessed
    cdef int64_t half
    if n == 0:
        return False
    while n > 1:
        half = n >> 1
        items += half if items[half] <= item else 0
        n -= half
    return items[0] == item


def draw_negatives(
    const int32_t[::1] users, const int64_t[::1] rows, const int64_t[::1] known_starts, const int32_t[::1] known,
    const int32_t[::1] weights, int64_t n_items, int64_t n_negatives, uint64_t key,
):
    """Draw negatives.

    Parameters
    ----------
    users : memoryview of int32, shape (n,)
        Of each positive.
    rows : memoryview of int64, shape (n,)
        The number of each positive's record in its epoch.
    known_starts, known : memoryviews of int64, shape (n_users + 1,), and int32
        The items that are known of each user, increasing.
    weights : memoryview of int32
        Items, each as often as it is to be drawn; empty: all alike.
    n_items, n_negatives : int
    key : int
        Of this epoch.

    Returns
    -------
    items : ndarray of int32, shape (n, n_negatives)
        -1: the user of this positive has no negatives.
    """
    cdef int64_t n = users.shape[0], r, j, start, n_known, item = 0
    cdef int64_t n_weights = weights.shape[0]
    cdef int attempt
    cdef bint known_already = False
    cdef uint64_t place
    found = np.empty((n, n_negatives), np.int32)
    cdef int32_t[:, ::1] out = found
    cdef const int32_t* of_user
    need("records of positives", rows.shape[0], n)
    need_room("negatives", n_negatives, 0)
    need_rows(known_starts, known.shape[0], known.shape[0])
    with nogil:
        for r in range(n):
            start = known_starts[users[r]]
            n_known = known_starts[users[r] + 1] - start
            of_user = &known[start] if n_known else NULL
            for j in range(n_negatives):
                if n_known >= n_items:
                    out[r, j] = -1
                    continue
                place = <uint64_t> rows[r] * <uint64_t> n_negatives + <uint64_t> j
                for attempt in range(TRIES):
                    item = _below(
                        _mixed(key + (place * TRIES + <uint64_t> attempt) * <uint64_t> 0x9E3779B97F4A7C15),
                        n_weights if n_weights else n_items,
                    )
                    if n_weights:
                        item = weights[item]
                    known_already = _is_known(of_user, n_known, <int32_t> item)
                    if not known_already:
                        break
                while known_already:
                    item = (item + 1) % n_items
                    known_already = _is_known(of_user, n_known, <int32_t> item)
                out[r, j] = <int32_t> item
    return found


def find_pairs(
    const int64_t[::1] indptr, const int32_t[::1] indices, const float[::1] values, labels,
    int32_t first_user, int32_t end_of_users, int32_t first_id, int32_t end_of_ids,
):
    """Find user and item of each positive.

    Parameters
    ----------
    indptr, indices, values : memoryviews of int64, int32 and float32
    labels : ndarray of float32, shape (n_rows,), or None
        A row is a positive if its label is above 0, or there are none.
    first_user, end_of_users, first_id, end_of_ids : int
        Which features are users, and which are ids of items.

    Returns
    -------
    rows : ndarray of int64, shape (n,)
        Those of the positives.
    users, ids : ndarray of int32, shape (n,)
        Counted from the first user, and the first id.
    wrong : int
        The first positive row that has not one user and one id; -1: there is none.
    """
    cdef int64_t n_rows = indptr.shape[0] - 1, n = 0, r, at, wrong = -1
    cdef int32_t key, user, item
    cdef int n_users, n_ids
    cdef const float[::1] y
    cdef bint all_positive = labels is None
    need_rows(indptr, indices.shape[0], values.shape[0])
    if not all_positive:
        y = labels
        need("labels", y.shape[0], n_rows)
    found_rows = np.empty(n_rows, np.int64)
    found_users = np.empty(n_rows, np.int32)
    found_ids = np.empty(n_rows, np.int32)
    cdef int64_t[::1] rows = found_rows
    cdef int32_t[::1] users = found_users, ids = found_ids
    with nogil:
        for r in range(n_rows):
            if not all_positive and not y[r] > 0:
                continue
            n_users = n_ids = 0
            user = item = 0
            for at in range(indptr[r], indptr[r + 1]):
                key = indices[at]
                if values[at] == 0:
                    continue
                if first_user <= key < end_of_users:
                    user = key - first_user
                    n_users += 1
                elif first_id <= key < end_of_ids:
                    item = key - first_id
                    n_ids += 1
            if n_users != 1 or n_ids != 1:
                wrong = r
                break
            rows[n], users[n], ids[n] = r, user, item
            n += 1
    return found_rows[:n], found_users[:n], found_ids[:n], wrong


def put_ranked(
    const int64_t[::1] indptr, const int32_t[::1] indices, const float[::1] values, const int64_t[::1] rows,
    const int32_t[:, ::1] items, const int64_t[::1] item_starts, const int32_t[::1] item_keys,
    const float[::1] item_values, const int32_t[:, ::1] item_ranges,
):
    """Make the rows of contexts and of the items that are compared in them: see _ranked.pxi.

    Parameters
    ----------
    indptr, indices, values : memoryviews of int64, int32 and float32
        Rows of context and item together.
    rows : memoryview of int64, shape (n,)
        Which of them are wanted.
    items : memoryview of int32, shape (n, n_compared)
        Of each, the positive first.
    item_starts, item_keys, item_values : memoryviews of int64, shape (n_items + 1,), int32 and float32
        The features of every item.
    item_ranges : memoryview of int32, shape (m, 2)
        Features from ... to before ... are an item's.

    Returns
    -------
    indptr, indices, values : ndarrays
        First the n contexts, then the n_compared items of each.
    """
    cdef int64_t n = rows.shape[0], g = items.shape[1], r, j, at, item, size = 0
    cdef Py_ssize_t m
    cdef bint is_item
    need_rows(indptr, indices.shape[0], values.shape[0])
    need("rows of items", items.shape[0], n)
    need_rows(item_starts, item_keys.shape[0], item_values.shape[0])
    need("columns of ranges", item_ranges.shape[1], 2)
    for r in range(n):
        size += indptr[rows[r] + 1] - indptr[rows[r]]
        for j in range(g):
            size += item_starts[items[r, j] + 1] - item_starts[items[r, j]]
    starts = np.empty(n * (g + 1) + 1, np.int64)
    cdef int64_t[::1] out_starts = starts
    keys = np.empty(size, np.int32)
    cdef int32_t[::1] out_keys = keys
    numbers = np.empty(size, np.float32)
    cdef float[::1] out_values = numbers
    cdef int64_t place = 0
    with nogil:
        out_starts[0] = 0
        for r in range(n):
            for at in range(indptr[rows[r]], indptr[rows[r] + 1]):
                is_item = False
                for m in range(item_ranges.shape[0]):
                    is_item = is_item or (item_ranges[m, 0] <= indices[at] < item_ranges[m, 1])
                if not is_item:
                    out_keys[place] = indices[at]
                    out_values[place] = values[at]
                    place += 1
            out_starts[r + 1] = place
        for r in range(n):
            for j in range(g):
                item = items[r, j]
                for at in range(item_starts[item], item_starts[item + 1]):
                    out_keys[place] = item_keys[at]
                    out_values[place] = item_values[at]
                    place += 1
                out_starts[n + r * g + j + 1] = place
    return starts, keys[:place], numbers[:place]
