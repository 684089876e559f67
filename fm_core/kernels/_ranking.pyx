"""Candidates against one context: the part of each score that depends on the candidate.

For a candidate with features x and the context's factor sums c (c_f = sum_i v_if x_i over the
context), this is

    <w, x>  +  sum_f c_f s_f  +  1/2 sum_f (s_f^2 - sum_j v_jf^2 x_j^2),    s_f = sum_j v_jf x_j

The last sum is left out where a candidate has one feature, and is then exactly 0.
"""

from libc.stdint cimport int32_t, int64_t

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
        Written: ``<w, x> + 1/2 sum_f (s_f^2 - sum_j v_jf^2 x_j^2)``.
    """
    cdef:
        Py_ssize_t k = V.shape[1], row, at, f
        const float* factors = &V[0, 0]
        const float* v
        Py_ssize_t stride = V.strides[0] // <Py_ssize_t> sizeof(float)
        double linear, pairs, item
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
                    sums[row, f] += item
                    pairs -= item * item
            for f in range(k):
                pairs += sums[row, f] * sums[row, f]
            own[row] = linear + 0.5 * pairs


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
    cdef float squares = 0, total = 0, item
    for f in range(k):
        sums[f] = 0
    for j in range(n):
        v = factors + keys[j] * stride
        for f in range(k):
            item = v[f] * x[j]
            sums[f] += item
            squares += item * item
    for f in range(k):
        total += sums[f] * sums[f]
    return 0.5 * (<double> total - squares)
