"""Group the entries of a sparse batch by feature.

The kernels sum each feature's gradient at once, so they need, for each distinct feature,
the rows it occurs in. A stable radix sort by feature gives that without hashing and without
a table of feature_dim entries: features come out in rising order (memory is then walked in
one direction), rows within a feature in rising order (sums are always made in one order).
At most eleven bits a pass, so that the counters and the ends of the buckets stay in the
nearest caches: feature_dim of a million takes two passes of ten bits, any int32 at most three.

What is sorted is a word of 64 bits an entry: feature, row and value, where feature and row
take 32 bits together, as in a million features and a batch of four thousand; else feature
and number of the entry, and rows and values are fetched at the end (a sixth more time).

Grouping depends on the data only. With one thread that learns, the reading thread does it ahead (`group`);
with several, one of them does it while the others score (`group_entries`). It holds no GIL.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fm_core.kernels.checks cimport need_rows

import numpy as np

cdef enum:
    MOST_BITS = 11


cdef inline uint32_t _bits_of(float value) noexcept nogil:
    cdef uint32_t bits
    memcpy(&bits, &value, sizeof(bits))
    return bits


cdef inline float _of_bits(uint32_t bits) noexcept nogil:
    cdef float value
    memcpy(&value, &bits, sizeof(value))
    return value


cdef uint64_t* _sort(
    const Entries* a, int passes, int bits, int row_bits, uint64_t* words, uint64_t* spare, uint32_t* row_of
) noexcept nogil:
    # Gives the sorted words, in one of the two buffers: with row_bits `feature, row | value`, else
    # `feature | entry`, and row_of[entry]. The upper 32 bits start with the feature.
    cdef uint32_t[3][2048] counts
    cdef Py_ssize_t j, r
    cdef int p, shift
    cdef uint32_t key, total, count, mask = (<uint32_t> 1 << bits) - 1
    cdef uint64_t word
    cdef uint64_t* other
    memset(counts, 0, sizeof(counts))
    for j in range(a.n):
        key = <uint32_t> a.indices[j]
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
    for r in range(a.n_rows):
        for j in range(a.indptr[r], a.indptr[r + 1]):
            key = <uint32_t> a.indices[j]
            if row_bits >= 0:
                word = (<uint64_t> ((key << row_bits) | <uint32_t> r) << 32) | _bits_of(a.values[j])
            else:
                word = (<uint64_t> key << 32) | <uint64_t> j
                row_of[j] = <uint32_t> r
            words[counts[0][key & mask]] = word
            counts[0][key & mask] += 1
    for p in range(1, passes):
        shift = 32 + max(row_bits, 0) + p * bits
        for j in range(a.n):
            key = <uint32_t> (words[j] >> shift) & mask
            spare[counts[p][key]] = words[j]
            counts[p][key] += 1
        other = words
        words = spare
        spare = other
    return words


cdef Py_ssize_t _split(
    const Entries* a, const uint64_t* words, int row_bits, const uint32_t* row_of, const Groups* out
) noexcept nogil:
    # Takes the sorted words apart; the number of distinct features. The current feature is written again at
    # each entry: a branch would be mispredicted at most features.
    cdef Py_ssize_t j, n_features = 0
    cdef int shift = max(row_bits, 0)
    cdef uint32_t key, upper, lower, last = ~(<uint32_t> (words[0] >> 32) >> shift)
    cdef uint32_t row_mask = (<uint32_t> 1 << shift) - 1
    out.starts[0] = 0
    for j in range(a.n):
        upper = <uint32_t> (words[j] >> 32)
        lower = <uint32_t> words[j]
        key = upper >> shift
        n_features += key != last
        last = key
        out.features[n_features - 1] = <int32_t> key
        out.starts[n_features] = j + 1
        if row_bits >= 0:
            out.rows[j] = <int32_t> (upper & row_mask)
            out.values[j] = _of_bits(lower)
        else:
            out.rows[j] = <int32_t> row_of[lower]
            out.values[j] = a.values[lower]
    return n_features


cdef Py_ssize_t group_entries(const Entries* a, int64_t feature_dim, void* scratch, const Groups* out) noexcept nogil:
    # what `group` does, with `SCRATCH_AN_ENTRY` bytes of scratch an entry; the number of distinct features
    cdef int bits = _bits_below(feature_dim), row_bits = _bits_below(a.n_rows), passes
    cdef uint64_t* words = <uint64_t*> scratch
    cdef uint32_t* row_of = <uint32_t*> (words + 2 * a.n)
    if a.n == 0:
        out.starts[0] = 0
        return 0
    if bits + row_bits > 32:
        row_bits = -1
    passes = (bits + MOST_BITS - 1) // MOST_BITS
    bits = (bits + passes - 1) // passes
    return _split(a, _sort(a, passes, bits, row_bits, words, words + a.n, row_of), row_bits, row_of, out)


cdef int _bits_below(int64_t n) noexcept nogil:
    # bits of the numbers below n, at least one
    cdef int bits = 1
    while n > <int64_t> 1 << bits:
        bits += 1
    return bits


def ungrouped(Py_ssize_t n_entries):
    """Give the arrays that `group` gives, of the greatest length and without content: `train_sparse` groups then."""
    return (
        np.empty(n_entries, np.int32), np.empty(n_entries + 1, np.int64),
        np.empty(n_entries, np.int32), np.empty(n_entries, np.float32),
    )


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
    if n_rows < 0:
        raise ValueError("indptr is empty, expected n_rows + 1 entries")
    need_rows(indptr, n, values.shape[0])
    features_out, starts_out, rows_out, row_values_out = ungrouped(n)
    cdef int32_t[::1] features = features_out, rows = rows_out
    cdef int64_t[::1] starts = starts_out
    cdef float[::1] row_values = row_values_out
    if n == 0:
        starts[0] = 0
        return features_out, starts_out, rows_out, row_values_out
    cdef Entries entries = Entries(&indptr[0], n_rows, &indices[0], &values[0], n)
    cdef Groups groups = Groups(&features[0], &starts[0], &rows[0], &row_values[0])
    cdef void* scratch = malloc(n * SCRATCH_AN_ENTRY)
    if scratch == NULL:
        raise MemoryError()
    with nogil:
        n_features = group_entries(&entries, feature_dim, scratch, &groups)
        free(scratch)
    return features_out[:n_features], starts_out[: n_features + 1], rows_out, row_values_out
