# distutils: depends = fm_core/kernels/retrieval.h fm_core/kernels/retrieval_scan.h
"""Items packed for retrieval.h, and the pass over them.

With s_i = sum_j v_j x_j over an item's features and b_i what the item adds by itself, a context of factor sums c gives
it ``b_i + <c, s_i>`` and a number of its own. The pass works with intervals that hold that value as real arithmetic
has it *and* as `_ranking.candidate_scores` computes it, whose dot products are sums of at most k float32 terms in some
order: their error is at most (k + 1) 2^-24 |c| sum_j |x_j| |v_j| (N. Higham, "Accuracy and Stability of Numerical
Algorithms", section 3.1). The slack below is twice that, and pays for the few roundings of the pass itself.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.math cimport INFINITY, fabs, fmax, rint, sqrt
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc

from fm_core.kernels.checks cimport need, need_room, need_rows, need_threads

import numpy as np

__all__ = ["BLOCK", "builds", "norms", "pack", "scan", "use"]

cdef extern from "retrieval.h" nogil:
    enum:
        RETRIEVAL_BLOCK
    ctypedef struct retrieval_bounds:
        float norm
        float error
        float bias
        float rest
    ctypedef struct retrieval_items:
        const uint8_t* codes
        const float* scale
        const float* bias
        const retrieval_bounds* bounds
        ptrdiff_t n_blocks
        ptrdiff_t quads
    ctypedef struct retrieval_query:
        const int8_t* codes
        int32_t code_sum
        float scale
        float norm
        float residual
        const uint16_t* allowed
    ctypedef struct retrieval_found:
        ptrdiff_t n
        uint32_t* items
        float threshold
        int failed
    int retrieval_begin(retrieval_found* f, ptrdiff_t top)
    void retrieval_end(retrieval_found* f)
    void retrieval_compact(retrieval_found* f)
    int retrieval_join(retrieval_found* f, const retrieval_found* other)
    ctypedef void retrieval_scan(
        const retrieval_items* items, ptrdiff_t begin, ptrdiff_t end, const retrieval_query* queries,
        retrieval_found* found, ptrdiff_t n_queries,
    ) noexcept nogil
    retrieval_scan* retrieval_build(int i)

BLOCK = RETRIEVAL_BLOCK

# Bytes of items a task: they stay in the first or second cache while several contexts look at them.
cdef ptrdiff_t TASK_BYTES = 1 << 16
cdef double SLACK = 2.0 ** -23

# By the numbers of retrieval_build.
NAMES = ("avx512", "avx2", "generic")
cdef retrieval_scan* look = NULL


def builds():
    """Names of the builds that this processor runs, fastest first; the best items are the same by all."""
    return tuple(name for i, name in enumerate(NAMES) if retrieval_build(i) != NULL)


def use(name):
    """Look with the build of that name from now on."""
    global look
    if name not in builds():
        raise ValueError(f"{name!r} is not one of the builds that run here: {', '.join(builds())}")
    look = retrieval_build(NAMES.index(name))


cdef inline void _item(
    const int64_t* indptr, const int32_t* indices, const float* values, const float* V, Py_ssize_t stride,
    Py_ssize_t k, Py_ssize_t row, double* sums, double* norm, double* reach,
) noexcept nogil:
    # An item's s, its length, and sum_j |x_j| |v_j|.
    cdef Py_ssize_t at, f
    cdef const float* v
    cdef double x, square
    for f in range(k):
        sums[f] = 0
    reach[0] = 0
    for at in range(indptr[row], indptr[row + 1]):
        v = V + indices[at] * stride
        x = values[at]
        square = 0
        for f in range(k):
            sums[f] += x * v[f]
            square += <double> v[f] * v[f]
        reach[0] += fabs(x) * sqrt(square)
    square = 0
    for f in range(k):
        square += sums[f] * sums[f]
    norm[0] = sqrt(square)


def norms(
    const int64_t[::1] indptr, const int32_t[::1] indices, const float[::1] values, const float[:, :] V,
    double[::1] norm, int num_threads,
):
    """Give the length of each item's s.

    Parameters
    ----------
    indptr, indices, values : memoryviews of int64, int32 and float32
        The items' own features as CSR rows, checked already.
    V : memoryview of float32, shape (feature_dim, num_factors)
        Each row contiguous.
    norm : memoryview of float64, shape (n_items,)
        Written.
    num_threads : int
    """
    cdef Py_ssize_t n = norm.shape[0], k = V.shape[1], row
    cdef Py_ssize_t stride = V.strides[0] // <Py_ssize_t> sizeof(float)
    need_rows(indptr, indices.shape[0], values.shape[0])
    need("starts of rows", indptr.shape[0], n + 1)
    need("floats between factors", V.strides[1], sizeof(float))
    need_threads(num_threads)
    cdef double[:, ::1] scratch = np.empty((num_threads, k), np.float64)
    cdef double[::1] reach = np.empty(num_threads, np.float64)
    cdef const int32_t* keys = &indices[0] if indices.shape[0] else NULL
    cdef const float* x = &values[0] if values.shape[0] else NULL
    for row in prange(n, num_threads=num_threads, schedule="static", nogil=True):
        _item(&indptr[0], keys, x, &V[0, 0], stride, k, row, &scratch[threadid(), 0], &norm[row], &reach[threadid()])


def pack(
    const int64_t[::1] indptr, const int32_t[::1] indices, const float[::1] values, const float[:, :] V,
    const double[::1] bias, const int64_t[::1] order,
    uint8_t[::1] codes, float[::1] scale, float[::1] bias_out, float[:, ::1] bounds, int num_threads,
):
    """Pack items.

    Parameters
    ----------
    indptr, indices, values, V
        As for `norms`.
    bias : memoryview of float64, shape (n_items,)
    order : memoryview of int64, shape (n_items,)
        The item of each place.
    codes : memoryview of uint8, shape (n_blocks * 16 * 4 * ceil(num_factors / 4),)
    scale, bias_out : memoryviews of float32, shape (n_blocks * 16,)
    bounds : memoryview of float32, shape (n_blocks, 4)
        These four are written; what stands at places without an item is never among the best.
    num_threads : int
    """
    cdef Py_ssize_t n = order.shape[0], k = V.shape[1], n_blocks = bounds.shape[0], block
    cdef Py_ssize_t stride = V.strides[0] // <Py_ssize_t> sizeof(float), quads = (k + 3) // 4
    need_rows(indptr, indices.shape[0], values.shape[0])
    need("starts of rows", indptr.shape[0], n + 1)
    need("floats between factors", V.strides[1], sizeof(float))
    need("biases", bias.shape[0], n)
    need_room("blocks", n_blocks, (n + RETRIEVAL_BLOCK - 1) // RETRIEVAL_BLOCK)
    need("columns of bounds", bounds.shape[1], 4)
    need("codes", codes.shape[0], n_blocks * RETRIEVAL_BLOCK * 4 * quads)
    need("scales", scale.shape[0], n_blocks * RETRIEVAL_BLOCK)
    need("biases that are written", bias_out.shape[0], n_blocks * RETRIEVAL_BLOCK)
    need_threads(num_threads)
    cdef double[:, ::1] scratch = np.empty((num_threads, k), np.float64)
    cdef const int32_t* keys = &indices[0] if indices.shape[0] else NULL
    cdef const float* x = &values[0] if values.shape[0] else NULL
    for block in prange(n_blocks, num_threads=num_threads, schedule="static", nogil=True):
        _pack_block(
            &indptr[0], keys, x, &V[0, 0], stride, k, &bias[0], &order[0], n, block,
            &codes[block * quads * 4 * RETRIEVAL_BLOCK], &scale[block * RETRIEVAL_BLOCK],
            &bias_out[block * RETRIEVAL_BLOCK], <retrieval_bounds*> &bounds[block, 0], &scratch[threadid(), 0],
        )


cdef void _pack_block(
    const int64_t* indptr, const int32_t* indices, const float* values, const float* V, Py_ssize_t stride,
    Py_ssize_t k, const double* bias, const int64_t* order, Py_ssize_t n, Py_ssize_t block,
    uint8_t* codes, float* scale, float* bias_out, retrieval_bounds* bounds, double* sums,
) noexcept nogil:
    cdef Py_ssize_t lane, place, f
    cdef double norm, reach, largest, size, code, residual, top_norm = 0, top_error = 0, top_rest = 0
    cdef double top_bias = -INFINITY
    for f in range((k + 3) // 4 * 4 * RETRIEVAL_BLOCK):
        codes[f] = 128
    for lane in range(RETRIEVAL_BLOCK):
        place = block * RETRIEVAL_BLOCK + lane
        scale[lane] = 0
        bias_out[lane] = -INFINITY
        if place >= n:
            continue
        _item(indptr, indices, values, V, stride, k, order[place], sums, &norm, &reach)
        bias_out[lane] = <float> bias[order[place]]
        largest = 0
        for f in range(k):
            largest = fmax(largest, fabs(sums[f]))
        if largest > 1e-30:
            scale[lane] = <float> (largest / 127)
        size = scale[lane]
        residual = 0
        for f in range(k):
            code = rint(sums[f] / size) if size > 0 else 0
            code = -127 if code < -127 else 127 if code > 127 else code
            codes[(f // 4 * RETRIEVAL_BLOCK + lane) * 4 + f % 4] = <uint8_t> (<int> code + 128)
            residual += (sums[f] - size * code) * (sums[f] - size * code)
        top_norm = fmax(top_norm, norm)
        top_error = fmax(top_error, sqrt(residual) + (k + 16) * SLACK * fmax(reach, norm))
        top_bias = fmax(top_bias, bias[order[place]])
        # below the normal numbers an error is no share of its number any more
        top_rest = fmax(top_rest, 8 * SLACK * fabs(bias[order[place]]) + (k + 16) * 1e-36)
    # a little more than what was computed, as a number of 24 bits
    bounds.norm = <float> (top_norm * (1 + 2 * SLACK))
    bounds.error = <float> (top_error * (1 + 2 * SLACK))
    bounds.bias = <float> top_bias
    bounds.rest = <float> (top_rest * (1 + 2 * SLACK))


def scan(
    const uint8_t[::1] codes, const float[::1] scale, const float[::1] bias, const float[:, ::1] bounds,
    const int8_t[:, ::1] query_codes, const float[:, ::1] query_numbers, allowed, Py_ssize_t top, int num_threads,
):
    """Find the places of the items that may be among the best.

    Parameters
    ----------
    codes, scale, bias, bounds
        As `pack` wrote them.
    query_codes : memoryview of int8, shape (n_contexts, 4 * ceil(num_factors / 4))
        From -127 to 127, padded with zeros.
    query_numbers : memoryview of float32, shape (n_contexts, 3)
        Of each context: the scale of its codes, its norm (of it or of what its codes say, whichever is longer), the
        norm of the difference of both.
    allowed : sequence of (ndarray of uint16, shape (n_blocks,), or None)
        Of each context: a bit for each item of a block; None: all.
    top : int
        How many of the best are wanted, at least 1.
    num_threads : int
        The result does not depend on it.

    Returns
    -------
    places : list of ndarray of int64
        Of each context, increasing. All of the best `top` are among them.

    Raises
    ------
    MemoryError
    """
    cdef Py_ssize_t n = query_codes.shape[0], n_blocks = bounds.shape[0], quads = query_codes.shape[1] // 4
    need_room("columns of codes", quads, 1)
    need("columns of codes", query_codes.shape[1], 4 * quads)
    need("columns of bounds", bounds.shape[1], 4)
    need("codes", codes.shape[0], n_blocks * RETRIEVAL_BLOCK * 4 * quads)
    need("scales", scale.shape[0], n_blocks * RETRIEVAL_BLOCK)
    need("biases", bias.shape[0], n_blocks * RETRIEVAL_BLOCK)
    need("numbers of queries", query_numbers.shape[0], n)
    need("columns of numbers of queries", query_numbers.shape[1], 3)
    need("masks of queries", len(allowed), n)
    need_room("items that are wanted", top, 1)
    need_threads(num_threads)
    cdef Py_ssize_t blocks_a_task = max(1, TASK_BYTES // (64 * quads))
    cdef Py_ssize_t n_tasks = (n_blocks + blocks_a_task - 1) // blocks_a_task, task, i, f
    cdef int threads = max(1, min(num_threads, n_tasks)), me
    cdef int64_t code_sum
    cdef const uint16_t[::1] mask
    cdef int64_t[::1] places
    cdef bint failed = False
    cdef retrieval_items items
    cdef retrieval_query* queries
    cdef retrieval_found* found
    if n == 0 or n_blocks == 0:
        return [np.empty(0, np.int64) for _ in range(n)]
    items.codes, items.scale, items.bias = &codes[0], &scale[0], &bias[0]
    items.bounds = <const retrieval_bounds*> &bounds[0, 0]
    items.n_blocks, items.quads = n_blocks, quads
    queries = <retrieval_query*> malloc(n * sizeof(retrieval_query))
    found = <retrieval_found*> calloc(n * threads, sizeof(retrieval_found))
    kept = []
    try:
        if queries == NULL or found == NULL:
            raise MemoryError
        for i in range(n):
            code_sum = 0
            for f in range(4 * quads):
                code_sum += query_codes[i, f]
            queries[i].codes = &query_codes[i, 0]
            queries[i].code_sum = <int32_t> (128 * code_sum)
            queries[i].scale = query_numbers[i, 0]
            queries[i].norm = query_numbers[i, 1]
            queries[i].residual = query_numbers[i, 2]
            queries[i].allowed = NULL
            if allowed[i] is not None:
                mask = allowed[i]
                need("blocks of a mask", mask.shape[0], n_blocks)
                queries[i].allowed = &mask[0]
        for i in range(n * threads):
            if not retrieval_begin(&found[i], top):
                raise MemoryError
        with nogil, parallel(num_threads=threads):
            for task in prange(n_tasks, schedule="dynamic", chunksize=2):
                me = threadid()
                look(
                    &items, task * blocks_a_task, min(n_blocks, (task + 1) * blocks_a_task), queries, found + me * n, n,
                )
        for i in range(n):
            for me in range(threads):
                failed = failed or found[me * n + i].failed
            for me in range(1, threads):
                if not failed and not retrieval_join(&found[i], &found[me * n + i]):
                    failed = True
            if failed:
                raise MemoryError
            retrieval_compact(&found[i])
            result = np.empty(found[i].n, np.int64)
            places = result
            for f in range(found[i].n):
                places[f] = found[i].items[f]
            result.sort()
            kept.append(result)
    finally:
        if found != NULL:
            for i in range(n * threads):
                retrieval_end(&found[i])
        free(found)
        free(queries)
    return kept


use(builds()[0])
