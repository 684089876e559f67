"""Group the entries of a sparse batch by feature.

The kernels sum each feature's gradient at once, so they need, for each distinct feature,
the rows it occurs in. A stable radix sort of (feature, entry) pairs gives that without
hashing and without a table of feature_dim entries: features come out in rising order
(memory is then walked in one direction), rows within a feature in rising order (sums are
always made in one order). At most eleven bits a pass, so that the counters and the ends of
the buckets stay in the nearest caches: feature_dim of a million takes two passes of ten bits,
any int32 at most three.

Grouping depends on the data only, so a reading thread can do it ahead of the solver; it
holds no GIL.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import numpy as np

cdef enum:
    MOST_BITS = 11


cdef Py_ssize_t _sort(
    const int64_t* indptr, Py_ssize_t n_rows, const int32_t* indices, const float* values, Py_ssize_t n,
    int passes, int bits, uint64_t* pairs, uint64_t* spare, uint32_t* row_of, int32_t* features, int64_t* starts,
    int32_t* rows, float* row_values,
) noexcept nogil:
    # returns the number of distinct features
    cdef Py_ssize_t[3][2048] counts
    cdef Py_ssize_t j, r, total, count, n_features = 0
    cdef int p
    cdef uint32_t key, mask = (<uint32_t> 1 << bits) - 1
    cdef uint64_t* other
    memset(counts, 0, sizeof(counts))
    for r in range(n_rows):
        for j in range(indptr[r], indptr[r + 1]):
            key = <uint32_t> indices[j]
            pairs[j] = (<uint64_t> key << 32) | <uint64_t> j
            row_of[j] = <uint32_t> r
            counts[0][key & mask] += 1
            if passes > 1:
                counts[1][(key >> bits) & mask] += 1
            if passes > 2:
                counts[2][key >> (2 * bits)] += 1
    for p in range(passes):
        total = 0
        for j in range(mask + 1):
            count = counts[p][j]
            counts[p][j] = total
            total += count
        for j in range(n):
            key = (<uint32_t> (pairs[j] >> 32) >> (p * bits)) & mask
            spare[counts[p][key]] = pairs[j]
            counts[p][key] += 1
        other = pairs
        pairs = spare
        spare = other
    for j in range(n):
        key = <uint32_t> (pairs[j] >> 32)
        if n_features == 0 or <uint32_t> features[n_features - 1] != key:
            features[n_features] = <int32_t> key
            starts[n_features] = j
            n_features += 1
        rows[j] = <int32_t> row_of[<uint32_t> pairs[j]]
        row_values[j] = values[<uint32_t> pairs[j]]
    starts[n_features] = n
    return n_features


def group(const int64_t[::1] indptr, const int32_t[::1] indices, const float[::1] values, int64_t feature_dim):
    """Group the entries of CSR rows by feature.

    Parameters
    ----------
    indptr : ndarray of int64, shape (n_rows + 1,)
    indices : ndarray of int32, shape (n_entries,)
        Checked: not negative, below feature_dim. At most 2**32 - 1 entries.
    values : ndarray of float32, shape (n_entries,)
    feature_dim : int

    Returns
    -------
    features : ndarray of int32, shape (n_features,)
        The distinct features, rising.
    starts : ndarray of int64, shape (n_features + 1,)
        Feature j occurs in entries ``starts[j]:starts[j + 1]`` of the next two.
    rows : ndarray of int32, shape (n_entries,)
        The row of each entry, rising within a feature.
    row_values : ndarray of float32, shape (n_entries,)
        The value of each entry.
    """
    cdef Py_ssize_t n = indices.shape[0], n_rows = indptr.shape[0] - 1, n_features = 0
    cdef int passes, bits = 1
    if n_rows < 0:
        raise ValueError("indptr is empty, expected n_rows + 1 entries")
    while feature_dim > <int64_t> 1 << bits:
        bits += 1
    passes = (bits + MOST_BITS - 1) // MOST_BITS
    bits = (bits + passes - 1) // passes
    features_out = np.empty(n, np.int32)
    starts_out = np.empty(n + 1, np.int64)
    rows_out = np.empty(n, np.int32)
    row_values_out = np.empty(n, np.float32)
    cdef int32_t[::1] features = features_out, rows = rows_out
    cdef int64_t[::1] starts = starts_out
    cdef float[::1] row_values = row_values_out
    if n == 0:
        starts[0] = 0
        return features_out, starts_out, rows_out, row_values_out
    cdef uint64_t* pairs = <uint64_t*> malloc(n * (2 * sizeof(uint64_t) + sizeof(uint32_t)))
    if pairs == NULL:
        raise MemoryError()
    with nogil:
        n_features = _sort(
            &indptr[0], n_rows, &indices[0], &values[0], n, passes, bits, pairs, pairs + n, <uint32_t*> (pairs + 2 * n),
            &features[0], &starts[0], &rows[0], &row_values[0],
        )
        free(pairs)
    return features_out[:n_features], starts_out[: n_features + 1], rows_out, row_values_out
