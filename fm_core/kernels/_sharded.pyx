"""The passes of a training whose rows are spread over hosts, where one host's are one loop.

A host works on copies of the rows that its batch touches, numbered one after the other: `score` them,
then `gradients` of each. The owner of a row adds the gradients that came for it, in the hosts' order, and
`update`s it once. `order`, `columns` and `places` prepare the numbers that this needs; they depend on the
data only and run in the reading thread. Equations: interface.py; the plain form: reference.py.

One build, for any processor: between hosts the network is what limits, and these loops are not
the ones that a single host runs.
"""

from cython.parallel cimport prange
from libc.math cimport exp
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from fm_core.kernels.checks cimport need, need_room, need_rows, need_threads
from fm_core.kernels.simd cimport FULL

import numpy as np

cdef extern from *:
    void __builtin_prefetch(const void* address) nogil

cdef enum:
    ROWS_A_TASK = 32
    FEATURES_A_TASK = 64
    AHEAD = 8            # rows, scattered in memory, that are asked for ahead of their use


# ---------------------------------------------------------------- numbers

def order(const int32_t[::1] features, int32_t world, int32_t n_local, int32_t[::1] out):
    """Number features owner by owner: ``out = features % world * n_local + features // world``."""
    cdef Py_ssize_t i
    cdef int32_t f
    need("numbers", out.shape[0], features.shape[0])
    need_room("hosts", world, 1)
    with nogil:
        for i in range(features.shape[0]):
            f = features[i]
            out[i] = f % world * n_local + f // world


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


cdef inline double _sigmoid(double z) noexcept nogil:
    return 1 / (1 + exp(-z)) if z >= 0 else exp(z) / (1 + exp(z))


cdef inline double _pairs(
    const float* params, Py_ssize_t k, const int32_t* keys, const float* x, Py_ssize_t n, float* sums
) noexcept nogil:
    # sum_{i<j} <v_i, v_j> x_i x_j: each entry times the sum of those before it, so that large values do not cancel
    cdef Py_ssize_t j, f
    cdef const float* v
    cdef float t, pairs
    cdef double total = 0
    memset(sums, 0, k * sizeof(float))
    for j in range(n):
        v = params + keys[j] * (k + 1)
        pairs = 0
        for f in range(k):
            t = x[j] * v[f]
            pairs = pairs + t * sums[f]
            sums[f] = sums[f] + t
        total += pairs
    return total


def score(
    const int64_t[::1] indptr, const int32_t[::1] indices, const float[::1] values, const float[::1] labels,
    const float[:, ::1] params, double w0, float[:, ::1] sums, float[::1] residuals, float[::1] scores,
    bint classify, int num_threads,
):
    """Score CSR rows.

    Outputs: `sums`, s_f of each row, shape (n_rows, num_factors); `scores`; `residuals`, scores less labels.
    """
    cdef Py_ssize_t r, j, k = params.shape[1] - 1
    cdef const float* rows = &params[0, 0] if params.shape[0] else NULL
    cdef const int32_t* keys = &indices[0] if indices.shape[0] else NULL
    cdef const float* x = &values[0] if indices.shape[0] else NULL
    cdef double z
    need_rows(indptr, indices.shape[0], values.shape[0])
    need("starts of rows", indptr.shape[0], scores.shape[0] + 1)
    need("labels", labels.shape[0], scores.shape[0])
    need("residuals", residuals.shape[0], scores.shape[0])
    need("rows of sums", sums.shape[0], scores.shape[0])
    need("columns of sums", sums.shape[1], k)
    need_threads(num_threads)
    with nogil:
        for r in prange(scores.shape[0], num_threads=num_threads, schedule="dynamic", chunksize=ROWS_A_TASK):
            z = w0
            for j in range(indptr[r], indptr[r + 1]):
                z = z + params[indices[j], k] * values[j]
            z = z + _pairs(
                rows, k, keys + indptr[r], x + indptr[r], indptr[r + 1] - indptr[r], &sums[r, 0]
            )
            z = _sigmoid(z) if classify else z
            scores[r] = <float> z
            residuals[r] = <float> (z - labels[r])


def gradients(
    const int64_t[::1] starts, const int32_t[::1] rows, const float[::1] row_values, const float[:, ::1] params,
    const float[:, ::1] sums, const float[::1] residuals, float[:, ::1] out, int num_threads, has_pairs=None,
):
    """G of each row of `params`: feature j occurs in the entries ``starts[j]:starts[j + 1]``.

    `has_pairs`, uint8: whether a row has more than one value other than zero, where some of them are elsewhere.
    """
    cdef Py_ssize_t j, e, f, k = params.shape[1] - 1
    cdef double linear, squares, ex
    cdef float weight, rest
    need("values of rows", row_values.shape[0], rows.shape[0])
    need_room("starts", starts.shape[0], 1)
    need("entries of the starts", starts[starts.shape[0] - 1], rows.shape[0])
    need("rows of parameters", params.shape[0], starts.shape[0] - 1)
    need("rows of gradients", out.shape[0], starts.shape[0] - 1)
    need("columns of gradients", out.shape[1], k + 1)
    need("rows of sums", sums.shape[0], residuals.shape[0])
    need("columns of sums", sums.shape[1], k)
    need_threads(num_threads)
    # values other than zero, of each row; at most 2
    cdef unsigned char[::1] n_values = np.zeros(residuals.shape[0], np.uint8) if has_pairs is None else 2 * has_pairs
    need("rows of pairs", n_values.shape[0], residuals.shape[0])
    if has_pairs is None:
        for e in range(rows.shape[0]):
            if row_values[e] != 0 and n_values[rows[e]] < 2:
                n_values[rows[e]] += 1
    for j in prange(
        starts.shape[0] - 1, num_threads=num_threads, schedule="dynamic", chunksize=FEATURES_A_TASK, nogil=True
    ):
        linear = 0
        squares = 0
        for f in range(k):
            out[j, f] = 0
        for e in range(starts[j], starts[j + 1]):
            ex = residuals[rows[e]] * row_values[e]
            linear = linear + ex
            if n_values[rows[e]] == 2:  # else there are no pairs: the factors' gradient is exactly zero
                squares = squares + ex * row_values[e]
                weight = <float> ex
                for f in range(k):
                    out[j, f] = out[j, f] + weight * sums[rows[e], f]
        rest = <float> squares
        for f in range(k):
            out[j, f] = out[j, f] - rest * params[j, f]
        out[j, k] = <float> linear


# ---------------------------------------------------------------- updates

include "_optimizers.pxi"


cdef inline void _update(
    float* p, float* state, Py_ssize_t stride, const float* gradient, Py_ssize_t n, const Rule* rule, Rates rates
) noexcept nogil:
    # n parameters that share their rates
    cdef Rule own = rule[0]  # the compiler cannot know that writing parameters leaves the caller's as it is
    cdef Py_ssize_t f = 0
    while n - f >= FULL:
        _update_lanes(p + f, state + f, stride, lanes_load(gradient + f, FULL), FULL, &own, rates)
        f += FULL
    if n > f:
        _update_lanes(p + f, state + f, stride, lanes_load(gradient + f, <int> (n - f)), <int> (n - f), &own, rates)


cdef inline const float* _total(
    const float* gradients, const int64_t[::1] at, int64_t start, int64_t stop, Py_ssize_t width, float* total
) noexcept nogil:
    # the sum of a row's gradients, in the hosts' order; where there is one alone, that one as it lies
    cdef Py_ssize_t f, e
    cdef const float* g = gradients + at[start] * width
    if stop - start == 1:
        return g
    memcpy(total, g, width * sizeof(float))
    for e in range(start + 1, stop):
        g = gradients + at[e] * width
        for f in range(width):
            total[f] = total[f] + g[f]
    return total


def update(
    const int32_t[::1] touched, const int64_t[::1] starts, const int64_t[::1] at, const float[:, ::1] received,
    float[:, ::1] totals, float[:, ::1] params, float[:, ::1] state, step, bint lazy, int num_threads,
):
    """Add the gradients of each row in `touched` in the hosts' order, and update it; not `lazy`: every row.

    Row ``touched[j]`` has the gradients ``received[at[starts[j]:starts[j + 1]]]``; `totals` is scratch of as many
    rows as `touched` has, and one more.
    """
    cdef Rule rule = _rule(step)
    cdef Py_ssize_t j, i, f, e, width = params.shape[1], k = width - 1, stride = state.shape[1]
    cdef Py_ssize_t n = touched.shape[0], n_rows = params.shape[0] if not lazy else n, block, first
    cdef float* states = &state[0, 0] if state.shape[0] and stride else NULL
    cdef const float* gradients = &received[0, 0] if received.shape[0] else NULL
    cdef const float* g
    need_room("starts", starts.shape[0], n + 1)
    need("entries of the starts", starts[n], at.shape[0])
    need("columns of gradients", received.shape[1], width)
    need_room("rows of totals", totals.shape[0], n + 1)
    need("columns of totals", totals.shape[1], width)
    need("rows of the state", state.shape[0], params.shape[0])
    need_states(&rule, stride, width)
    need_threads(num_threads)
    with nogil:
        if lazy:
            for j in prange(n, num_threads=num_threads, schedule="dynamic", chunksize=FEATURES_A_TASK):
                if j + AHEAD < n:
                    i = touched[j + AHEAD]
                    _ask_for(&params[i, 0], width)
                    _ask_for(states + i * stride, stride)
                i = touched[j]
                g = _total(gradients, at, starts[j], starts[j + 1], width, &totals[j, 0])
                _update(&params[i, 0], states + i * stride, width, g, k, &rule, rule.factors)
                if rule.use_linear:
                    _update(&params[i, k], states + i * stride + k, width, g + k, 1, &rule, rule.linear)
        else:
            for j in prange(n, num_threads=num_threads, schedule="dynamic", chunksize=FEATURES_A_TASK):
                g = _total(gradients, at, starts[j], starts[j + 1], width, &totals[j, 0])
                if g != &totals[j, 0]:
                    memcpy(&totals[j, 0], g, width * sizeof(float))
            # those without an occurrence have a gradient of zero: their decay and moments go on
            for f in range(width):
                totals[n, f] = 0
            for block in prange((n_rows + 63) // 64, num_threads=num_threads, schedule="dynamic"):
                first = block * 64
                j = 0
                e = n
                while j < e:  # the first of `touched` that is not below this block
                    i = (j + e) // 2
                    if touched[i] < first:
                        j = i + 1
                    else:
                        e = i
                for i in range(first, min(first + 64, n_rows)):
                    e = n
                    if j < n and touched[j] == i:
                        e = j
                        j = j + 1
                    _update(&params[i, 0], states + i * stride, width, &totals[e, 0], k, &rule, rule.factors)
                    if rule.use_linear:
                        _update(&params[i, k], states + i * stride + k, width, &totals[e, k], 1, &rule, rule.linear)


def update_bias(float[::1] bias, double gradient, step):
    """Update w0, from the sum of all hosts' residuals."""
    cdef Rule rule = _rule(step)
    cdef float g = <float> gradient
    if rule.use_bias:
        _update(&bias[0], &bias[1], 1, &g, 1, &rule, rule.bias)
