"""Rows kept by feature (CSC), and which features may be drawn side by side: what a sweep of `_bayes.pxi` walks."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from fm_core.kernels.checks cimport need, need_room

import numpy as np

__all__ = ["colour", "count", "divide", "mean_squares", "transpose"]


def count(const int32_t[::1] keys, const float[::1] values, int32_t[::1] counts):
    """Add to `counts` how often each feature occurs, entries of value 0 left out; `values` may be empty: all are 1."""
    cdef Py_ssize_t t
    cdef bint all_ones = values.shape[0] == 0
    if not all_ones:
        need("values", values.shape[0], keys.shape[0])
    with nogil:
        for t in range(keys.shape[0]):
            if all_ones or values[t] != 0:
                counts[keys[t]] += 1


def transpose(
    const int64_t[::1] indptr,
    int32_t[::1] keys,
    float[::1] values,
    const int32_t[::1] numbers,
    int64_t[::1] places,
    int32_t[::1] rows,
):
    """Turn CSR rows into columns, in twelve bytes an entry all in all.

    Parameters
    ----------
    indptr : ndarray of int64, shape (n_rows + 1,)
    keys : ndarray of int32, shape (n,)
        Overwritten: n must be below 2^31.
    values : ndarray of float32, shape (n,), or empty
        Permuted in place. Without zeros.
    numbers : ndarray of int32, shape (feature_dim,)
        Which column a feature is.
    places : ndarray of int64, shape (n_columns,)
        Where each column begins; where the next one does, afterwards.
    rows : ndarray of int32, shape (n,)
        Output: the row of each entry, by column, in their order.
    """
    cdef Py_ssize_t r, t
    cdef int64_t place
    cdef int32_t there
    cdef float value
    need("rows", rows.shape[0], keys.shape[0])
    if values.shape[0]:
        need("values", values.shape[0], keys.shape[0])
    need_room("starts", indptr.shape[0], 1)
    need("entries of the starts", indptr[indptr.shape[0] - 1], keys.shape[0])
    with nogil:
        for r in range(indptr.shape[0] - 1):
            for t in range(indptr[r], indptr[r + 1]):
                place = places[numbers[keys[t]]]
                places[numbers[keys[t]]] = place + 1
                rows[place] = <int32_t> r
                keys[t] = <int32_t> place
        # values follow the cycles of the permutation: each exchange brings one to its place
        for t in range(values.shape[0]):
            while keys[t] != t:
                there = keys[t]
                value = values[there]
                values[there] = values[t]
                values[t] = value
                keys[t] = keys[there]
                keys[there] = there


cdef int _need_columns(const int64_t[::1] starts, Py_ssize_t n) except -1:
    need_room("starts", starts.shape[0], 1)
    need("entries of the starts", starts[starts.shape[0] - 1], n)
    return 0


def mean_squares(const int64_t[::1] starts, const float[::1] values):
    """Give the mean square of each column's values, float64 of shape (n_columns,)."""
    _need_columns(starts, values.shape[0])
    found = np.empty(starts.shape[0] - 1)
    cdef double[::1] means = found
    cdef Py_ssize_t j, t
    cdef double total
    with nogil:
        for j in range(means.shape[0]):
            total = 0
            for t in range(starts[j], starts[j + 1]):
                total += <double> values[t] * values[t]
            means[j] = total / (starts[j + 1] - starts[j])
    return found


def divide(const int64_t[::1] starts, float[::1] values, const double[::1] by):
    """Divide each column's values by its number, in place."""
    cdef Py_ssize_t j, t
    _need_columns(starts, values.shape[0])
    need("divisors", by.shape[0], starts.shape[0] - 1)
    with nogil:
        for j in range(by.shape[0]):
            if by[j] != 1:
                for t in range(starts[j], starts[j + 1]):
                    values[t] = <float> (values[t] / by[j])


def colour(const int64_t[::1] starts, const int32_t[::1] rows, Py_ssize_t n_rows, Py_ssize_t n_words):
    """Colour features so that two of one colour share no row; greedily, in their order.

    Parameters
    ----------
    starts : ndarray of int64, shape (n_features + 1,)
    rows : ndarray of int32, shape (n,)
    n_rows : int
    n_words : int
        64 colours each.

    Returns
    -------
    colours : ndarray of int32, shape (n_features,)
        ``64 * n_words`` for features that found none.
    """
    _need_columns(starts, rows.shape[0])
    need_room("words", n_words, 1)
    found = np.empty(starts.shape[0] - 1, np.int32)
    taken_of_rows = np.zeros((max(1, n_rows), n_words), np.uint64)
    taken_of_feature = np.empty(n_words, np.uint64)
    cdef int32_t[::1] colours = found
    cdef uint64_t[:, ::1] taken = taken_of_rows
    cdef uint64_t[::1] forbidden = taken_of_feature
    cdef Py_ssize_t j, t, word
    cdef uint64_t one = 1
    cdef int bit
    with nogil:
        for j in range(colours.shape[0]):
            forbidden[:] = 0
            for t in range(starts[j], starts[j + 1]):
                for word in range(n_words):
                    forbidden[word] |= taken[rows[t], word]
            word = 0
            while word < n_words and ~forbidden[word] == 0:
                word += 1
            colours[j] = <int32_t> (64 * n_words)
            if word < n_words:
                bit = 0
                while forbidden[word] >> bit & one:
                    bit += 1
                colours[j] = <int32_t> (64 * word + bit)
                for t in range(starts[j], starts[j + 1]):
                    taken[rows[t], word] |= one << bit
    return found
