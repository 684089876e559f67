"""Candidates against one context: the part of each score that depends on the candidate.

For a candidate with features x and the context's factor sums c (c_f = sum_i v_if x_i over the
context), this is

    <w, x>  +  sum_f c_f s_f  +  sum_{i<j} <v_i, v_j> x_i x_j,    s_f = sum_j v_jf x_j

The last sum is left out where a candidate has one feature, and is then exactly 0. It is never computed as the half of
s_f^2 minus squares: of a value like a year or a time both are so large that their difference is noise.
"""

from libc.stdint cimport int32_t, int64_t

from fm_core.kernels.checks cimport need, need_rows

import numpy as np

cdef extern from *:
    void __builtin_prefetch(const void* address) nogil

cdef enum:
    # Rows of V asked for ahead of their use: enough to cover a miss, few enough to stay in the cache.
    AHEAD = 8


def candidate_scores(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const float[::1] values,
    const float[:] w,
    const float[:, :] V,
    const float[::1] context_sums,
    float[::1] sums,
    double[::1] scores,
):
    """Score the candidates.

    Parameters
    ----------
    indptr, indices, values : memoryviews of int64, int32 and float32
        CSR rows, checked already.
    w : memoryview of float32, shape (feature_dim,)
    V : memoryview of float32, shape (feature_dim, num_factors)
        Each row contiguous.
    context_sums : memoryview of float32, shape (num_factors,)
    sums : memoryview of float32, shape (num_factors,)
        Scratch.
    scores : memoryview of float64, shape (n_rows,)
        Written.
    """
    cdef:
        Py_ssize_t n_rows = scores.shape[0], n_entries = indices.shape[0], k = V.shape[1], row, at
        const float* factors = &V[0, 0]
        Py_ssize_t stride = V.strides[0] // <Py_ssize_t> sizeof(float)
        double z
    need_rows(indptr, indices.shape[0], values.shape[0])
    need("rows of V", V.shape[0], w.shape[0])
    need("floats between factors", V.strides[1], sizeof(float))
    need("starts of rows", indptr.shape[0], n_rows + 1)
    need("sums of the context", context_sums.shape[0], k)
    need("sums", sums.shape[0], k)
    with nogil:
        for at in range(min(<Py_ssize_t> AHEAD, n_entries)):
            _prefetch(factors + indices[at] * stride, k)
        for row in range(n_rows):
            z = 0
            for at in range(indptr[row], indptr[row + 1]):
                if at + AHEAD < n_entries:
                    _prefetch(factors + indices[at + AHEAD] * stride, k)
                z += values[at] * (<double> w[indices[at]] + _dot(factors + indices[at] * stride, &context_sums[0], k))
            if indptr[row + 1] - indptr[row] > 1:
                z += _own_pairs(
                    factors, stride, k, &indices[indptr[row]], &values[indptr[row]], indptr[row + 1] - indptr[row],
                    &sums[0],
                )
            scores[row] = z


def context_sums(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const float[::1] values,
    const float[:] w,
    const float[:, :] V,
    double[:, ::1] sums,
    double[::1] own,
):
    """Give what each row has as a context, in double precision.

    Parameters
    ----------
    indptr, indices, values : memoryviews of int64, int32 and float32
        CSR rows, checked already.
    w : memoryview of float32, shape (feature_dim,)
    V : memoryview of float32, shape (feature_dim, num_factors)
        Each row contiguous.
    sums : memoryview of float64, shape (n_rows, num_factors)
        Written: ``s_f``.
    own : memoryview of float64, shape (n_rows,)
        Written: ``<w, x> + sum_{i<j} <v_i, v_j> x_i x_j``.
    """
    cdef:
        Py_ssize_t k = V.shape[1], row, at, f
        const float* factors = &V[0, 0]
        const float* v
        Py_ssize_t stride = V.strides[0] // <Py_ssize_t> sizeof(float)
        double linear, pairs, item
    need_rows(indptr, indices.shape[0], values.shape[0])
    need("rows of V", V.shape[0], w.shape[0])
    need("floats between factors", V.strides[1], sizeof(float))
    need("starts of rows", indptr.shape[0], own.shape[0] + 1)
    need("rows of sums", sums.shape[0], own.shape[0])
    need("columns of sums", sums.shape[1], k)
    with nogil:
        for row in range(own.shape[0]):
            linear = pairs = 0
            for f in range(k):
                sums[row, f] = 0
            for at in range(indptr[row], indptr[row + 1]):
                v = factors + indices[at] * stride
                linear += <double> values[at] * w[indices[at]]
                for f in range(k):
                    item = <double> values[at] * v[f]
                    pairs += item * sums[row, f]
                    sums[row, f] += item
            own[row] = linear + pairs


def shared_scores(
    const int64_t[::1] rows,
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const float[::1] values,
    const float[:] w,
    const float[:, :] V,
    const int32_t[::1] context_keys,
    const float[::1] context_values,
    const double[::1] context_sums,
    const double[::1] joined,
    double[::1] scores,
):
    """Score once more those candidates that have a feature of the context, in double precision.

    Such a feature makes no pair with itself: its entry meets the sums of the context's other features.

    Parameters
    ----------
    rows : memoryview of int64, shape (n,)
        The candidates to score.
    indptr, indices, values, w, V, scores
        As for `candidate_scores`; other rows of `scores` stay as they are.
    context_keys, context_values : memoryviews of int32 and float32, shape (m,)
        The context's row, keys increasing.
    context_sums, joined : memoryviews of float64, shape (num_factors,)
        The context's, and the part of it that is of no key.
    """
    cdef:
        Py_ssize_t k = V.shape[1], n_context = context_keys.shape[0], r, at, i, f, place
        const float* factors = &V[0, 0]
        const float* v
        Py_ssize_t stride = V.strides[0] // <Py_ssize_t> sizeof(float)
        double[::1] before = np.empty(k), others = np.empty(k)
        double z, item, pairs
    need_rows(indptr, indices.shape[0], values.shape[0])
    need("rows of V", V.shape[0], w.shape[0])
    need("floats between factors", V.strides[1], sizeof(float))
    need("starts of rows", indptr.shape[0], scores.shape[0] + 1)
    need("values of the context", context_values.shape[0], n_context)
    need("sums of the context", context_sums.shape[0], k)
    need("sums of joined features", joined.shape[0], k)
    with nogil:
        for r in range(rows.shape[0]):
            z = 0
            for f in range(k):
                before[f] = 0
            for at in range(indptr[rows[r]], indptr[rows[r] + 1]):
                place = _found(context_keys, indices[at])
                for f in range(k):
                    others[f] = joined[f] if place >= 0 else context_sums[f]
                if place >= 0:
                    for i in range(n_context):
                        if i != place:
                            v = factors + context_keys[i] * stride
                            for f in range(k):
                                others[f] += <double> context_values[i] * v[f]
                v = factors + indices[at] * stride
                pairs = 0
                for f in range(k):
                    item = <double> values[at] * v[f]
                    pairs += item * (others[f] + before[f])
                    before[f] += item
                z += <double> values[at] * w[indices[at]] + pairs
            scores[rows[r]] = z


cdef inline Py_ssize_t _found(const int32_t[::1] keys, int32_t key) noexcept nogil:
    """Give the place of a key among increasing ones, or -1."""
    cdef Py_ssize_t low = 0, high = keys.shape[0], middle
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < keys.shape[0] and keys[low] == key else -1


cdef inline void _prefetch(const float* row, Py_ssize_t k) noexcept nogil:
    cdef Py_ssize_t f
    for f in range(0, k, 16):  # floats of a cache line
        __builtin_prefetch(row + f)


cdef inline float _dot(const float* a, const float* b, Py_ssize_t k) noexcept nogil:
    cdef float total = 0
    cdef Py_ssize_t f
    for f in range(k):
        total += a[f] * b[f]
    return total


cdef inline double _own_pairs(
    const float* factors, Py_ssize_t stride, Py_ssize_t k,
    const int32_t* keys, const float* x, Py_ssize_t n, float* sums,
) noexcept nogil:
    cdef Py_ssize_t f, j
    cdef const float* v
    cdef float pairs, item
    cdef double total = 0
    # each entry times the sum of those before it, as in _sparse.pxi: large values do not cancel
    for f in range(k):
        sums[f] = 0
    for j in range(n):
        v = factors + keys[j] * stride
        pairs = 0
        for f in range(k):
            item = v[f] * x[j]
            pairs += item * sums[f]
            sums[f] += item
        total += pairs
    return total
