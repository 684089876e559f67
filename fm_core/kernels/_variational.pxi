# One sweep of mean-field variational inference, written once: _variational_generic, _variational_avx2 and
# _variational_avx512 include this text. reference_variational.py is its plain twin; _bayes.pxi has the model.
#
# Every number of the model is taken to be normal and independent of the others, with a mean and a variance, and a sweep
# brings one feature after the other to where the evidence's lower bound [1]_ is greatest given all others. With each
# row's z at the means, q_f = sum_i v_if x_i, s_f = sum_i x_i^2 var_if and t_f = sum_i x_i^3 var_if v_if (v: means), and
#
#     h = [x (q - x v_j) | x],   c_f = x^2 (s_f - x^2 var_jf),
#     d_f = x ((s_f - x^2 var_jf) (q_f - x v_jf) - (t_f - x^3 var_jf v_jf)),
#
# where c is the variance of h and d its covariance with the rest of the score, both 0 for w:
#
#     P = Lambda_g + alpha sum_r om (h h' + diag(c)),    variances 1 / P_ff
#     means P^-1 (Lambda_g mu_g + alpha (sum_r om h h' a + sum_r (h (kappa - om z) - om d)))      a: the old means
#
# A regressor has om = 1. A classifier has om = tanh(xi / 2) / (2 xi) with xi^2 = E z^2: the bound of [2]_, which is
# what a Polya-Gamma weight is on average.
#
# Layout: a row's record is [q_1 .. q_k, 1, z, om, kappa, score, probability, rest | s | t], each part whole cache
# lines; rest is what of the score's variance is not in s, t and q: sum x^2 var_w + sum_f x^4 (var_f v_f^2 -
# var_f^2 / 2).
#
# Threads share out features that share no row; each is summed by one of them, so that bits do not depend on how many.
#
# .. [1] D. Blei, A. Kucukelbir, J. McAuliffe, "Variational Inference: A Review for Statisticians", JASA 112, 2017.
# .. [2] T. Jaakkola, M. Jordan, "Bayesian parameter estimation via variational methods", Statistics and Computing 10,
#        2000.

from cython.parallel cimport prange, threadid
from libc.math cimport exp, fabs, sqrt, tanh
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fm_core.kernels.checks cimport need

import numpy as np


cdef extern from "simd_double.h" nogil:
    void line_prefetch_to_write(const float* p)


cdef enum:
    AHEAD = 16
    ROWS_A_CHUNK = 4096


cdef struct Sweep:
    const int64_t* starts
    const int32_t* rows
    const float* values      # NULL: all are 1
    float* records
    Py_ssize_t stride
    Py_ssize_t part          # where s begins; t is as far behind
    float* params
    float* variances
    Py_ssize_t k
    const int32_t* groups
    const double* precision
    const double* shift
    double alpha
    float w0
    bint only_moves


cdef inline Py_ssize_t _size(Py_ssize_t k) noexcept nogil:
    # doubles of a feature's scratch: P, its right side, sum d, sum om h h' a, the step, and h
    return (k + 1) * (k + 1) + 6 * (k + 1)


cdef void _sum_rows(const Sweep* a, Py_ssize_t j, double* P, double* right, double* h) noexcept nogil:
    cdef Py_ssize_t t, i, m, k = a.k, width = a.k + 1
    cdef const float* record
    cdef const float* v = a.params + j * width
    cdef const float* var = a.variances + j * width
    cdef double x = 1, om, residual, u, w, others
    for t in range(a.starts[j], a.starts[j + 1]):
        if t + AHEAD < a.starts[j + 1]:
            for i in range(0, a.stride, 16):
                line_prefetch_to_write(a.records + a.rows[t + AHEAD] * a.stride + i)
        record = a.records + a.rows[t] * a.stride
        if a.values != NULL:
            x = a.values[t]
        om = record[k + 2]
        residual = record[k + 3] - om * (record[k + 1] + a.w0)
        for i in range(k):
            u = record[i] - x * v[i]
            others = max(0.0, record[a.part + i] - x * x * var[i])  # rounding makes less of nothing
            h[i] = x * u
            P[i * width + i] += om * x * x * others
            right[i] -= om * x * (others * u - (record[2 * a.part + i] - x * x * x * var[i] * v[i]))
        h[k] = x
        for i in range(width):
            w = om * h[i]
            right[i] += h[i] * residual
            for m in range(i + 1):
                P[i * width + m] += w * h[m]
        # om c is in the diagonal, but is no part of om h h' a
        for i in range(k):
            others = max(0.0, record[a.part + i] - x * x * var[i])
            right[i] -= om * x * x * others * v[i]


cdef void _solve(const Sweep* a, Py_ssize_t j, double* P, double* right, double* diagonal) noexcept nogil:
    # In `right` the means, in `diagonal` the precisions.
    cdef Py_ssize_t i, m, n, width = a.k + 1
    cdef const float* old = a.params + j * width
    cdef double* total = diagonal + width
    cdef double c
    for i in range(width):
        total[i] = 0
    for i in range(width):
        for m in range(i):
            total[i] += P[i * width + m] * old[m]
            total[m] += P[i * width + m] * old[i]
        total[i] += P[i * width + i] * old[i]
    for i in range(width):
        right[i] = a.shift[a.groups[j] * width + i] + a.alpha * (total[i] + right[i])
        for m in range(i + 1):
            P[i * width + m] *= a.alpha
        P[i * width + i] += a.precision[a.groups[j] * width + i]
        diagonal[i] = P[i * width + i]
    for i in range(width):
        for m in range(i + 1):
            c = P[i * width + m]
            for n in range(m):
                c -= P[i * width + n] * P[m * width + n]
            P[i * width + m] = sqrt(c) if i == m else c / P[m * width + m]
        c = right[i]
        for n in range(i):
            c -= P[i * width + n] * right[n]
        right[i] = c / P[i * width + i]
    for i in range(width - 1, -1, -1):
        c = right[i]
        for n in range(i + 1, width):
            c -= P[n * width + i] * right[n]
        right[i] = c / P[i * width + i]


cdef void _move(const Sweep* a, Py_ssize_t j, const double* means, const double* precisions) noexcept nogil:
    # Brings rows from the old means and variances to the new ones, and writes these.
    cdef Py_ssize_t t, i, k = a.k, width = a.k + 1
    cdef float* record
    cdef float* v = a.params + j * width
    cdef float* var = a.variances + j * width
    cdef float x = 1, z, rest, step, spread, old, was, new, now
    for t in range(a.starts[j], a.starts[j + 1]):
        record = a.records + a.rows[t] * a.stride
        if a.values != NULL:
            x = a.values[t]
        z, rest = 0, 0
        for i in range(k):
            old = 0 if a.only_moves else v[i]
            was = 0 if a.only_moves else var[i]
            new, now = <float> means[i], <float> (1 / precisions[i])
            step, spread = new - old, now - was
            z += (record[i] - x * old) * step
            record[i] += x * step
            record[a.part + i] += x * x * spread
            record[2 * a.part + i] += x * x * x * (now * new - was * old)
            rest += x * x * x * x * ((now * new * new - was * old * old) - (now * now - was * was) / 2)
        old = 0 if a.only_moves else v[k]
        was = 0 if a.only_moves else var[k]
        record[k + 1] += x * (z + <float> means[k] - old)
        record[k + 6] += rest + x * x * (<float> (1 / precisions[k]) - was)
    for i in range(width):
        v[i] = <float> means[i]
        var[i] = <float> (1 / precisions[i])


cdef void _feature(const Sweep* a, Py_ssize_t j, double* scratch) noexcept nogil:
    cdef Py_ssize_t i, width = a.k + 1
    cdef double* P = scratch
    cdef double* right = P + width * width
    cdef double* diagonal = right + width
    cdef double* h = diagonal + 2 * width
    if a.only_moves:
        for i in range(width):
            right[i] = a.params[j * width + i]
            diagonal[i] = 1 / <double> a.variances[j * width + i]
    else:
        memset(P, 0, (width * width + width) * sizeof(double))
        _sum_rows(a, j, P, right, h)
        _solve(a, j, P, right, diagonal)
    _move(a, j, right, diagonal)


def sweep(
    const int64_t[::1] starts,
    const int32_t[::1] rows,
    const float[::1] values,
    const int32_t[::1] order,
    const int64_t[::1] edges,
    float[:, ::1] records,
    float[:, ::1] params,
    float[:, ::1] variances,
    const int32_t[::1] groups,
    const double[:, ::1] precision,
    const double[:, ::1] shift,
    double alpha,
    double w0,
    bint only_moves,
    int num_threads,
):
    """Bring every feature's means and variances to their best: see variational_interface.VariationalKernels."""
    cdef Sweep a
    cdef Py_ssize_t c, p, size, begin, end
    cdef double* scratch
    a.starts, a.rows = &starts[0], &rows[0] if rows.shape[0] else NULL
    a.values = &values[0] if values.shape[0] else NULL
    a.records, a.stride = &records[0, 0], records.shape[1]
    a.params, a.variances, a.k = &params[0, 0], &variances[0, 0], params.shape[1] - 1
    a.part = (a.k + 7 + 15) // 16 * 16
    a.groups, a.precision, a.shift = &groups[0], &precision[0, 0], &shift[0, 0]
    a.alpha, a.w0, a.only_moves = alpha, <float> w0, only_moves
    size = _size(a.k) + 16  # no cache line of two threads
    scratch = <double*> malloc(num_threads * size * sizeof(double))
    if scratch == NULL:
        raise MemoryError()
    for c in range(edges.shape[0] - 1):
        begin, end = edges[c], edges[c + 1]
        if end - begin < 2 or num_threads == 1:
            for p in range(begin, end):
                _feature(&a, order[p], scratch)
        else:
            for p in prange(begin, end, num_threads=num_threads, schedule="dynamic", nogil=True):
                _feature(&a, order[p], scratch + threadid() * size)
    free(scratch)


cdef void _turn(
    float* records, Py_ssize_t stride, Py_ssize_t part, Py_ssize_t k, Py_ssize_t n, double w0, double w0_variance,
    bint is_classifier, const float* weights, double* sums
) noexcept nogil:
    # `weights`, above 0, are already in kappa, and in a regressor's om; NULL: all are 1
    cdef Py_ssize_t r, i
    cdef float* record
    cdef double z, var, s, q, xi, residual, om
    for r in range(n):
        record = records + r * stride
        z = record[k + 1] + w0
        var = record[k + 6] + w0_variance
        for i in range(k):
            s, q = record[part + i], record[i]
            var += s * s / 2 + s * q * q - 2 * q * record[2 * part + i]
        var = max(var, 0.0)
        if is_classifier:
            xi = sqrt(z * z + var)
            record[k + 2] = <float> (tanh(xi / 2) / (2 * xi) if xi > 1e-4 else 0.25 - xi * xi / 48)
            record[k + 5] = <float> (1 / (1 + exp(-max(-500.0, min(500.0, z / sqrt(1 + 0.39269908169872414 * var))))))
            if weights != NULL:
                record[k + 2] *= weights[r]
        om = record[k + 2]
        residual = record[k + 3] - om * z
        sums[3] += om * (z - record[k + 4]) * (z - record[k + 4])
        record[k + 4] = <float> z
        sums[0] += om
        sums[1] += residual
        if weights != NULL:
            sums[2] += residual * residual / weights[r] + weights[r] * var
        else:
            sums[2] += residual * residual + var


def turn_rows(
    float[:, ::1] records, Py_ssize_t k, double w0, double w0_variance, bint is_classifier, int num_threads,
    const float[::1] weights=None,
):
    """Between two sweeps, give each row its weight and its score: see variational_interface.VariationalKernels."""
    cdef Py_ssize_t n = records.shape[0], c, n_chunks = (n + ROWS_A_CHUNK - 1) // ROWS_A_CHUNK
    parts = np.zeros((max(1, n_chunks), 4))
    cdef double[:, ::1] sums = parts
    cdef float* of_rows = NULL
    if weights is not None:
        need("weights", weights.shape[0], n)
        of_rows = <float*> &weights[0]
    for c in prange(n_chunks, num_threads=num_threads, schedule="static", nogil=True):
        _turn(
            &records[c * ROWS_A_CHUNK, 0], records.shape[1], (k + 7 + 15) // 16 * 16, k,
            min(<Py_ssize_t> ROWS_A_CHUNK, n - c * ROWS_A_CHUNK), w0, w0_variance, is_classifier,
            NULL if of_rows == NULL else of_rows + c * ROWS_A_CHUNK, &sums[c, 0],
        )
    return parts.sum(axis=0)
