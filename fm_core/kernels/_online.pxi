# Learning from each row once, as it comes, written once: _online_generic, _online_avx2 and _online_avx512 include this
# text and are compiled for their instruction sets. reference_online.py is its plain twin.
#
# Assumed-density filtering [1]_, [2]_: what is known of each number is a normal distribution of its own, a mean m and a
# variance s. A row is scored with the means; that it is linear in each number, with h = x (q - x v) for factors and x
# for w, gives the score's variance beside it:
#
#     z = w0 + sum_i w_i x_i + 1/2 sum_f (q_f^2 - sum_i v_if^2 x_i^2),   q_f = sum_i v_if x_i,   var = s_w0 + sum s h^2
#
# The label then moves all means at once, and lowers all variances:
#
#     regressor    g = y - z, no more than `MOST` standard deviations of it,                h = 1 / noise
#     classifier   g = y - sigmoid(z / sqrt(1 + pi var / 8)) [3]_,                          h = p (1 - p), at least .001
#     G = g h', H = h / (1 + h var)            h' = H for a regressor, 1 / (1 + h var) for a classifier
#     m <- m + s h_i G,    1 / s <- 1 / s + h_i^2 H / (1 - s h_i^2 H)
#
# A likelihood that counts W times has W times the g and the h of its first lines. A row of weight 3 is learned from as
# three rows are, one after the other; one of more than `TIMES` so often, each time as a part of it.
#
# Kept is 1 / s less the prior's, `information`, so that a feature that never occurred is all zeros. A regressor's noise
# is learned on the way, as the mean of g^2 - var.
#
# Rows are learned from one after the other, by one thread: the next row's score needs this one's. It is a row's way
# through memory that takes the time, so that rows ahead are asked for.
#
# .. [1] M. Opper, "A Bayesian Approach to On-line Learning", in On-line Learning in Neural Networks, 1998.
# .. [2] T. Graepel et al., "Web-Scale Bayesian Click-Through Rate Prediction for Sponsored Search Advertising in
#        Microsoft's Bing Search Engine", ICML 2010; factors: D. Stern, R. Herbrich, T. Graepel, "Matchbox", WWW 2009.
# .. [3] D. MacKay, "The Evidence Framework Applied to Classification Networks", Neural Computation 4, 1992.

from libc.math cimport ceil, exp, sqrt
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc

from fm_core.kernels.checks cimport need
from fm_core.kernels.simd cimport (
    FULL, lanes, lanes_load, lanes_prefetch_to_write, lanes_set, lanes_store, lanes_sum, lanes_zero,
)


cdef enum:
    AHEAD = 64      # entries asked for ahead of use
    MOST = 8
    TIMES = 8


cdef struct Learner:
    float* params            # rows [v | w]: means
    float* information
    Py_ssize_t k
    int n_blocks
    int rest                 # numbers of a row's last block
    const float* precision   # the prior's, and 1 behind it, of n_blocks blocks
    const float* is_factor   # 1 for factors, else 0
    double* state            # w0, its precision, the noise's variance, rows so far
    bint is_classifier


cdef inline void _score(
    const Learner* a, const int32_t* keys, const float* values, Py_ssize_t n, float* sums, float* panel,
    double* z, double* variance
) noexcept nogil:
    # Also gives each entry's h and s, side by side, in `panel`.
    cdef Py_ssize_t t, row = a.k + 1
    cdef int b, size
    cdef float x
    cdef lanes p, h, s, q, square, total = lanes_zero(), spread = lanes_zero()
    cdef double linear
    for b in range(a.n_blocks):
        size = a.rest if b == a.n_blocks - 1 else <int> FULL
        q = lanes_zero()
        square = lanes_zero()
        for t in range(n):
            p = values[t] * lanes_load(a.params + keys[t] * row + b * FULL, size)
            q = q + p
            square = square + p * p
        lanes_store(sums + b * FULL, q, FULL)
        total = total + lanes_load(a.is_factor + b * FULL, FULL) * (q * q - square)
    linear = sums[a.k]
    sums[a.k] = 1
    z[0] = a.state[0] + linear + 0.5 * <double> lanes_sum(total)
    for t in range(n):
        x = values[t]
        for b in range(a.n_blocks):
            size = a.rest if b == a.n_blocks - 1 else <int> FULL
            p = lanes_load(a.params + keys[t] * row + b * FULL, size) * lanes_load(a.is_factor + b * FULL, FULL)
            h = x * (lanes_load(sums + b * FULL, FULL) - x * p)
            s = lanes_set(1) / (
                lanes_load(a.precision + b * FULL, FULL) + lanes_load(a.information + keys[t] * row + b * FULL, size)
            )
            spread = spread + s * h * h
            lanes_store(panel + b * FULL, h, FULL)
            lanes_store(panel + (a.n_blocks + b) * FULL, s, FULL)
        panel = panel + 2 * a.n_blocks * FULL
    variance[0] = 1 / a.state[1] + <double> lanes_sum(spread)


cdef inline void _move(
    const Learner* a, const int32_t* keys, Py_ssize_t n, const float* panel, float gradient, float curvature
) noexcept nogil:
    cdef Py_ssize_t t, row = a.k + 1
    cdef int b, size
    cdef float* params
    cdef float* information
    cdef lanes h, s, p
    for t in range(n):
        for b in range(a.n_blocks):
            size = a.rest if b == a.n_blocks - 1 else <int> FULL
            params = a.params + keys[t] * row + b * FULL
            information = a.information + keys[t] * row + b * FULL
            h = lanes_load(panel + b * FULL, FULL)
            s = lanes_load(panel + (a.n_blocks + b) * FULL, FULL)
            p = curvature * h * h
            lanes_store(params, lanes_load(params, size) + gradient * s * h, size)
            lanes_store(information, lanes_load(information, size) + p / (lanes_set(1) - s * p), size)
        panel = panel + 2 * a.n_blocks * FULL


cdef inline void _learn(
    const Learner* a, const int32_t* keys, const float* values, Py_ssize_t n, double y, double weight, float* sums,
    float* panel, float* score
) noexcept nogil:
    cdef double z, variance, g, h, p, most
    cdef double* state = a.state
    _score(a, keys, values, n, sums, panel, &z, &variance)
    score[0] = <float> z
    if a.is_classifier:
        p = z / sqrt(1 + 0.39269908169872414 * variance)
        p = 1 / (1 + exp(-max(-500.0, min(500.0, p))))
        g = weight * (y - p)
        h = weight * max(p * (1 - p), 1e-3)
        g = g / (1 + h * variance)
    else:
        g = y - z
        most = MOST * sqrt(state[2] + variance)
        g = max(-most, min(most, g))
        h = weight / state[2]
        state[2] += weight * (max(g * g - variance, 0.1 * state[2]) - state[2]) / (state[3] + 99 + weight)
        g = g * h / (1 + h * variance)
    h = h / (1 + h * variance)
    state[3] += weight
    state[0] += g / state[1]
    state[1] += h / (1 - h / state[1])
    _move(a, keys, n, panel, <float> g, <float> h)


def filter_rows(
    const int64_t[::1] indptr,
    const int32_t[::1] keys,
    const float[::1] values,
    const float[::1] labels,
    float[:, ::1] params,
    float[:, ::1] information,
    const float[::1] precision,
    const float[::1] is_factor,
    double[::1] state,
    float[::1] scores,
    bint is_classifier,
    const float[::1] weights=None,
):
    """Score each row and learn from it, one after the other: see online_interface.OnlineKernels."""
    cdef Py_ssize_t n_rows = labels.shape[0], r, t, n, longest = 0, end
    cdef Py_ssize_t row = params.shape[1]
    cdef Learner a
    cdef float* sums
    cdef float* panel
    cdef char* memory
    cdef const float* of_rows = NULL
    cdef double weight
    cdef float unwanted
    cdef Py_ssize_t times
    if weights is not None:
        need("weights", weights.shape[0], n_rows)
    if n_rows == 0:
        return
    if weights is not None:
        of_rows = &weights[0]
    a.params, a.information = &params[0, 0], &information[0, 0]
    a.k = row - 1
    a.n_blocks = <int> ((row + FULL - 1) // FULL)
    a.rest = <int> (row - (a.n_blocks - 1) * FULL)
    a.precision, a.is_factor, a.state = &precision[0], &is_factor[0], &state[0]
    a.is_classifier = is_classifier
    for r in range(n_rows):
        longest = max(longest, <Py_ssize_t> (indptr[r + 1] - indptr[r]))
    memory = <char*> malloc(64 + (2 * longest + 1) * a.n_blocks * FULL * sizeof(float))
    if memory == NULL:
        raise MemoryError()
    sums = <float*> (memory + (64 - <size_t> memory % 64) % 64)
    panel = sums + a.n_blocks * FULL
    end = indptr[n_rows]
    with nogil:
        for r in range(n_rows):
            n = indptr[r + 1] - indptr[r]
            for t in range(indptr[r] + AHEAD, min(end, indptr[r + 1] + AHEAD)):
                lanes_prefetch_to_write(a.params + keys[t] * row, row)
                lanes_prefetch_to_write(a.information + keys[t] * row, row)
            times, weight = 1, 1
            if of_rows != NULL:
                times = <Py_ssize_t> max(1.0, min(<double> TIMES, ceil(of_rows[r])))
                weight = of_rows[r] / times
            for t in range(times):
                _learn(
                    &a, &keys[indptr[r]] if n else NULL, &values[indptr[r]] if n else NULL, n, labels[r], weight,
                    sums, panel, &scores[r] if t == 0 else &unwanted,
                )
    free(memory)
