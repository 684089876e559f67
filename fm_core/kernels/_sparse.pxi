# The hot loops, written once: each of _generic, _avx2 and _avx512 includes this text and
# is compiled for its instruction set.
#
# Plan of one training step (equations: docs/solver.md)
#   1. rows     each row's sums s_f = sum_i v_if x_i, its score and residual;     rows in parallel
#               beside them one thread groups the entries by feature, if that was not done before
#   2. features each feature's whole gradient, summed in row order, and its
#               update: every touched parameter is loaded once and stored once;  features in parallel
#   3. bias     the residuals' sum, in row order
# No gradient buffer, no atomics; a sum is always made by one thread in one order, so the
# result does not depend on the number of threads.
#
# Layout: `params` has one row [v_i | w_i] of num_factors + 1 floats per feature, `state` one
# row [first state of v_i, w_i | second state of v_i, w_i]: one place in memory, so one
# cache miss and not two or three. Rows are not padded to cache lines: memory stays at
# 3 (k + 1) floats a feature. Parameters and state are separate arrays, so that the state of
# features never seen stays untouched zero pages.
#
# Factors are worked on in blocks, a register each (simd.h): four, two or one block at a time
# with all sums in registers, then the remaining num_factors % FULL lanes.

from cython.parallel cimport parallel, prange, threadid
from libc.math cimport exp, fabs, sqrtf
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fm_core.kernels._group cimport SCRATCH_AN_ENTRY, Entries, Groups, group_entries

import numpy as np


cdef extern from "simd.h" nogil:
    enum:
        FULL "LANES"  # lanes of a full block: 16 with AVX-512, 8 with AVX2, else 4
    ctypedef float lanes
    lanes lanes_zero()
    lanes lanes_set(float x)
    lanes lanes_load(const float* p, int n)
    void lanes_store(float* p, lanes a, int n)
    lanes lanes_sqrt(lanes a)
    lanes lanes_clip(lanes a, float c)
    lanes lanes_where_zero(lanes n, lanes a, lanes b)
    float lanes_sum(lanes a)
    void lanes_prefetch(const float* p, Py_ssize_t n)
    void lanes_prefetch_to_write(const float* p, Py_ssize_t n)


cdef extern from "work_stealing.h" nogil:
    ctypedef struct tasks:
        pass
    void tasks_deal(tasks* all, int n_threads, Py_ssize_t n)
    Py_ssize_t tasks_next(tasks* all, int n_threads, int me)


cdef enum:
    PADDING = 16         # rows of `sums` are padded to a multiple of this: protocol.LANES
    AHEAD = 48           # rows of `params` prefetched ahead of use in step 1
    AHEAD_FEATURES = 6   # features prefetched ahead of use in step 2
    ROWS_A_TASK = 32     # rows a thread takes at a time: see work_stealing.h
    FEATURES_A_TASK = 64


# ---------------------------------------------------------------- parameters of an update

cdef enum Optimizer:
    ADAM = 0
    SGD = 1
    ADAGRAD = 2
    FTRL = 3


cdef struct Rule:
    Optimizer optimizer
    float rescale_grad
    float clip_gradient      # not positive: none
    float eps
    float bias_lr
    float bias_wd
    float linear_lr
    float linear_wd
    float factors_lr
    float factors_wd
    bint use_bias
    bint use_linear


cdef Rule _rule(step):
    cdef Rule rule
    rule.optimizer = <Optimizer> <int> step.optimizer
    rule.rescale_grad = step.rescale_grad
    rule.clip_gradient = step.clip_gradient
    rule.eps = step.eps
    rule.bias_lr, rule.bias_wd = step.bias_lr, step.bias_wd
    rule.linear_lr, rule.linear_wd = step.linear_lr, step.linear_wd
    rule.factors_lr, rule.factors_wd = step.factors_lr, step.factors_wd
    rule.use_bias, rule.use_linear = step.use_bias, step.use_linear
    return rule


# The same four formulas twice: for a block of factors, and for one number (w_i and w0).
# protocol.py states them; reference.py is their plain form.

cdef inline void _update_lanes(
    float* p, float* state, Py_ssize_t stride, lanes g, int n, const Rule* rule
) noexcept nogil:
    cdef lanes theta = lanes_load(p, n), a, b, root
    cdef float lr = rule.factors_lr, wd = rule.factors_wd
    # 1 - beta in float32, as MXNet has it: that is 1.3e-5 less than .001, and shows in the parameters
    cdef float one = 1, beta1 = 0.9, beta2 = 0.999, rest1 = one - beta1, rest2 = one - beta2, slope
    g = g * rule.rescale_grad
    if rule.optimizer != FTRL:
        g = g + wd * theta
    if rule.clip_gradient > 0:
        g = lanes_clip(g, rule.clip_gradient)
    if rule.optimizer == ADAM:
        a = beta1 * lanes_load(state, n) + rest1 * g
        b = beta2 * lanes_load(state + stride, n) + rest2 * g * g
        lanes_store(state, a, n)
        lanes_store(state + stride, b, n)
        theta = theta - lr * a / (lanes_sqrt(b) + rule.eps)
    elif rule.optimizer == SGD:
        theta = theta - lr * g
    elif rule.optimizer == ADAGRAD:
        a = lanes_load(state, n) + g * g
        lanes_store(state, a, n)
        theta = theta - lr * g / (lanes_sqrt(a) + rule.eps)
    elif lr > 0:
        slope = one / lr
        b = lanes_load(state + stride, n)
        a = lanes_where_zero(b, lanes_set(-(slope + wd)) * theta, lanes_load(state, n))
        root = lanes_sqrt(b)
        b = b + g * g
        a = a + g - (lanes_sqrt(b) - root) * slope * theta
        lanes_store(state, a, n)
        lanes_store(state + stride, b, n)
        theta = lanes_set(-one) * a / ((lanes_sqrt(b) + one) * slope + wd)
    lanes_store(p, theta, n)


cdef inline void _update_one(
    float* p, float* state, Py_ssize_t stride, float g, const Rule* rule, float lr, float wd
) noexcept nogil:
    cdef float theta = p[0], a, b, root
    cdef float one = 1, beta1 = 0.9, beta2 = 0.999, rest1 = one - beta1, rest2 = one - beta2
    g = g * rule.rescale_grad
    if rule.optimizer != FTRL:
        g = g + wd * theta
    if rule.clip_gradient > 0:
        g = rule.clip_gradient if g > rule.clip_gradient else g
        g = -rule.clip_gradient if g < -rule.clip_gradient else g
    if rule.optimizer == ADAM:
        a = beta1 * state[0] + rest1 * g
        b = beta2 * state[stride] + rest2 * g * g
        state[0] = a
        state[stride] = b
        p[0] = theta - lr * a / (sqrtf(b) + rule.eps)
    elif rule.optimizer == SGD:
        p[0] = theta - lr * g
    elif rule.optimizer == ADAGRAD:
        a = state[0] + g * g
        state[0] = a
        p[0] = theta - lr * g / (sqrtf(a) + rule.eps)
    elif lr > 0:
        b = state[stride]
        a = state[0] if b != 0 else -(1 / lr + wd) * theta
        root = sqrtf(b)
        b = b + g * g
        a = a + g - (sqrtf(b) - root) / lr * theta
        state[0] = a
        state[stride] = b
        p[0] = -a / ((sqrtf(b) + 1) / lr + wd)


# ---------------------------------------------------------------- tasks

cdef Py_ssize_t _n_tasks(Py_ssize_t n, Py_ssize_t a_task) noexcept nogil:
    return (n + a_task - 1) // a_task


cdef tasks* _tasks(int n_threads) except NULL:
    cdef tasks* all = <tasks*> malloc(n_threads * sizeof(tasks))
    if all == NULL:
        raise MemoryError()
    return all


# ---------------------------------------------------------------- 1. rows

cdef struct Factors:
    const float* V       # row i starts at V + i * V_stride
    Py_ssize_t V_stride
    const float* w       # w_i is at w + i * w_stride
    Py_ssize_t w_stride
    Py_ssize_t k


cdef inline float _pairs4(
    const Factors* f, Py_ssize_t at, const int32_t* keys, const float* x, Py_ssize_t n, float* sums
) noexcept nogil:
    # sum_f sum_{i<j} v_if x_i v_jf x_j over the four blocks of factors from `at`: each entry times the sum
    # of those before it. The same work as s_f^2 minus the squares, but large values do not cancel.
    # The sums s_f go to sums[f] unless that is NULL.
    cdef lanes s0 = lanes_zero(), s1 = lanes_zero(), s2 = lanes_zero(), s3 = lanes_zero()
    cdef lanes p0 = lanes_zero(), p1 = lanes_zero(), t0, t1, t2, t3
    cdef const float* v
    cdef Py_ssize_t j
    for j in range(n):
        v = f.V + keys[j] * f.V_stride + at
        t0 = x[j] * lanes_load(v, FULL)
        t1 = x[j] * lanes_load(v + FULL, FULL)
        t2 = x[j] * lanes_load(v + 2 * FULL, FULL)
        t3 = x[j] * lanes_load(v + 3 * FULL, FULL)
        p0 = p0 + t0 * s0
        p1 = p1 + t1 * s1
        p0 = p0 + t2 * s2
        p1 = p1 + t3 * s3
        s0 = s0 + t0
        s1 = s1 + t1
        s2 = s2 + t2
        s3 = s3 + t3
    if sums != NULL:
        lanes_store(sums + at, s0, FULL)
        lanes_store(sums + at + FULL, s1, FULL)
        lanes_store(sums + at + 2 * FULL, s2, FULL)
        lanes_store(sums + at + 3 * FULL, s3, FULL)
    return lanes_sum(p0 + p1)


cdef inline float _pairs2(
    const Factors* f, Py_ssize_t at, const int32_t* keys, const float* x, Py_ssize_t n, float* sums
) noexcept nogil:
    cdef lanes s0 = lanes_zero(), s1 = lanes_zero(), p0 = lanes_zero(), p1 = lanes_zero(), t0, t1
    cdef const float* v
    cdef Py_ssize_t j
    for j in range(n):
        v = f.V + keys[j] * f.V_stride + at
        t0 = x[j] * lanes_load(v, FULL)
        t1 = x[j] * lanes_load(v + FULL, FULL)
        p0 = p0 + t0 * s0
        p1 = p1 + t1 * s1
        s0 = s0 + t0
        s1 = s1 + t1
    if sums != NULL:
        lanes_store(sums + at, s0, FULL)
        lanes_store(sums + at + FULL, s1, FULL)
    return lanes_sum(p0 + p1)


cdef inline float _pairs1(
    const Factors* f, Py_ssize_t at, int width, const int32_t* keys, const float* x, Py_ssize_t n, float* sums
) noexcept nogil:
    cdef lanes s = lanes_zero(), p = lanes_zero(), t
    cdef Py_ssize_t j
    for j in range(n):
        t = x[j] * lanes_load(f.V + keys[j] * f.V_stride + at, width)
        p = p + t * s
        s = s + t
    if sums != NULL:
        lanes_store(sums + at, s, FULL)
    return lanes_sum(p)


cdef inline double _score(
    const Factors* f, double w0, const int32_t* keys, const float* x, Py_ssize_t n, Py_ssize_t known, float* sums
) noexcept nogil:
    # w0 + sum_i w_i x_i + sum_{i<j} <v_i, v_j> x_i x_j; keys[:known] may be read, so that parameters
    # are asked for AHEAD keys before they are used, in this row or a later one
    cdef Py_ssize_t at = 0, j
    cdef double linear = w0, pairs = 0
    for j in range(n):
        if j + AHEAD < known:
            lanes_prefetch(f.V + keys[j + AHEAD] * f.V_stride, f.k + 1)
        linear += f.w[keys[j] * f.w_stride] * x[j]
    while f.k - at >= 4 * FULL:
        pairs += _pairs4(f, at, keys, x, n, sums)
        at += 4 * FULL
    if f.k - at >= 2 * FULL:
        pairs += _pairs2(f, at, keys, x, n, sums)
        at += 2 * FULL
    if f.k - at >= FULL:
        pairs += _pairs1(f, at, FULL, keys, x, n, sums)
        at += FULL
    if f.k - at > 0:
        pairs += _pairs1(f, at, <int> (f.k - at), keys, x, n, sums)
    return linear + pairs


cdef inline double _sigmoid(double z) noexcept nogil:
    return 1 / (1 + exp(-z)) if z >= 0 else exp(z) / (1 + exp(z))


cdef struct Rows:
    const Factors* factors
    const Entries* entries
    double w0
    bint classify
    float* scores
    # to learn from, else NULL
    const float* labels
    float* sums
    Py_ssize_t sums_stride
    float* residuals


cdef void _score_rows(const Rows* a, tasks* row_tasks, int num_threads, int me) noexcept nogil:
    # what thread `me` gets of the rows
    cdef const Entries* e = a.entries
    cdef Py_ssize_t task, r, at
    cdef double z
    while True:
        task = tasks_next(row_tasks, num_threads, me)
        if task < 0:
            return
        for r in range(task * ROWS_A_TASK, min((task + 1) * ROWS_A_TASK, e.n_rows)):
            at = e.indptr[r]
            z = _score(
                a.factors, a.w0, e.indices + at, e.values + at, e.indptr[r + 1] - at, e.n - at,
                NULL if a.sums == NULL else a.sums + r * a.sums_stride,
            )
            z = _sigmoid(z) if a.classify else z
            a.scores[r] = <float> z
            if a.labels != NULL:
                a.residuals[r] = <float> (z - a.labels[r])


# ---------------------------------------------------------------- 2. features

cdef struct Learning:
    const Rule* rule
    float* params            # [v_i | w_i], rows of k + 1
    float* state             # rows of n_states * (k + 1)
    Py_ssize_t k
    Py_ssize_t n_states
    const float* sums        # s_f of each row, rows of sums_stride
    Py_ssize_t sums_stride
    const float* residuals
    bint is_shared           # by several threads


# The gradient and update of one feature i that occurs in n rows with the values x, a block or more of
# factors at a time: sum_r e_r (x_r s_rf - x_r^2 v_if). Each also gives sum_r e_r x_r, the gradient of w_i:
# summed in the same loop, as most features occur once or twice in a batch and leaving a loop is what
# costs then.

cdef inline double _factors4(
    const Learning* a, Py_ssize_t i, Py_ssize_t at, const int32_t* rows, const float* x, Py_ssize_t n
) noexcept nogil:
    cdef lanes g0 = lanes_zero(), g1 = lanes_zero(), g2 = lanes_zero(), g3 = lanes_zero()
    cdef const float* s
    cdef double linear = 0, squares = 0
    cdef float e, q
    cdef Py_ssize_t j, width = a.k + 1
    for j in range(n):
        s = a.sums + rows[j] * a.sums_stride + at
        e = a.residuals[rows[j]] * x[j]
        linear += e
        squares += <double> e * x[j]
        g0 = g0 + e * lanes_load(s, FULL)
        g1 = g1 + e * lanes_load(s + FULL, FULL)
        g2 = g2 + e * lanes_load(s + 2 * FULL, FULL)
        g3 = g3 + e * lanes_load(s + 3 * FULL, FULL)
    q = <float> squares
    cdef float* p = a.params + i * width + at
    cdef float* state = a.state + i * a.n_states * width + at
    _update_lanes(p, state, width, g0 - q * lanes_load(p, FULL), FULL, a.rule)
    _update_lanes(p + FULL, state + FULL, width, g1 - q * lanes_load(p + FULL, FULL), FULL, a.rule)
    _update_lanes(p + 2 * FULL, state + 2 * FULL, width, g2 - q * lanes_load(p + 2 * FULL, FULL), FULL, a.rule)
    _update_lanes(p + 3 * FULL, state + 3 * FULL, width, g3 - q * lanes_load(p + 3 * FULL, FULL), FULL, a.rule)
    return linear


cdef inline double _factors2(
    const Learning* a, Py_ssize_t i, Py_ssize_t at, const int32_t* rows, const float* x, Py_ssize_t n
) noexcept nogil:
    cdef lanes g0 = lanes_zero(), g1 = lanes_zero()
    cdef const float* s
    cdef double linear = 0, squares = 0
    cdef float e, q
    cdef Py_ssize_t j, width = a.k + 1
    for j in range(n):
        s = a.sums + rows[j] * a.sums_stride + at
        e = a.residuals[rows[j]] * x[j]
        linear += e
        squares += <double> e * x[j]
        g0 = g0 + e * lanes_load(s, FULL)
        g1 = g1 + e * lanes_load(s + FULL, FULL)
    q = <float> squares
    cdef float* p = a.params + i * width + at
    cdef float* state = a.state + i * a.n_states * width + at
    _update_lanes(p, state, width, g0 - q * lanes_load(p, FULL), FULL, a.rule)
    _update_lanes(p + FULL, state + FULL, width, g1 - q * lanes_load(p + FULL, FULL), FULL, a.rule)
    return linear


cdef inline double _factors1(
    const Learning* a, Py_ssize_t i, Py_ssize_t at, int block, const int32_t* rows, const float* x, Py_ssize_t n
) noexcept nogil:
    cdef lanes g = lanes_zero()
    cdef double linear = 0, squares = 0
    cdef float e
    cdef Py_ssize_t j, width = a.k + 1
    for j in range(n):
        e = a.residuals[rows[j]] * x[j]
        linear += e
        squares += <double> e * x[j]
        g = g + e * lanes_load(a.sums + rows[j] * a.sums_stride + at, FULL)
    cdef float* p = a.params + i * width + at
    cdef float* state = a.state + i * a.n_states * width + at
    _update_lanes(p, state, width, g - <float> squares * lanes_load(p, block), block, a.rule)
    return linear


cdef inline void _learn(
    const Learning* a, Py_ssize_t i, const int32_t* rows, const float* x, Py_ssize_t n
) noexcept nogil:
    # feature i occurs in n rows, with the values x
    cdef Py_ssize_t at = 0, width = a.k + 1
    cdef double linear = 0
    while a.k - at >= 4 * FULL:
        linear = _factors4(a, i, at, rows, x, n)
        at += 4 * FULL
    if a.k - at >= 2 * FULL:
        linear = _factors2(a, i, at, rows, x, n)
        at += 2 * FULL
    if a.k - at >= FULL:
        linear = _factors1(a, i, at, FULL, rows, x, n)
        at += FULL
    if a.k - at > 0:
        linear = _factors1(a, i, at, <int> (a.k - at), rows, x, n)
    if a.rule.use_linear:
        _update_one(
            a.params + i * width + a.k, a.state + i * a.n_states * width + a.k, width,
            <float> linear, a.rule, a.rule.linear_lr, a.rule.linear_wd,
        )


cdef inline Py_ssize_t _first_not_below(const int32_t* features, Py_ssize_t n, Py_ssize_t i) noexcept nogil:
    cdef Py_ssize_t low = 0, high = n, middle
    while low < high:
        middle = (low + high) // 2
        if features[middle] < i:
            low = middle + 1
        else:
            high = middle
    return low


cdef void _learn_features(
    const Learning* a, const Groups* g, Py_ssize_t n_features, tasks* feature_tasks, int num_threads, int me
) noexcept nogil:
    # what thread `me` gets of the features that `group` gave
    cdef Py_ssize_t task, j, at, next_, width = a.k + 1
    while True:
        task = tasks_next(feature_tasks, num_threads, me)
        if task < 0:
            return
        for j in range(task * FEATURES_A_TASK, min((task + 1) * FEATURES_A_TASK, n_features)):
            if j + AHEAD_FEATURES < n_features:
                next_ = g.features[j + AHEAD_FEATURES]
                if a.is_shared:
                    lanes_prefetch_to_write(a.params + next_ * width, width)
                else:
                    lanes_prefetch(a.params + next_ * width, width)
                if a.n_states:
                    lanes_prefetch(a.state + next_ * a.n_states * width, a.n_states * width)
            at = g.starts[j]
            _learn(a, g.features[j], g.rows + at, g.values + at, g.starts[j + 1] - at)


cdef void _learn_all(
    const Learning* a, Py_ssize_t feature_dim, const Groups* g, Py_ssize_t n_features, int num_threads
) noexcept nogil:
    # every feature, those without an occurrence with a gradient of zero (their decay and moments go on)
    cdef Py_ssize_t task, i, j, n_tasks = (feature_dim + FEATURES_A_TASK - 1) // FEATURES_A_TASK
    for task in prange(n_tasks, num_threads=num_threads, schedule="dynamic", chunksize=16):
        j = _first_not_below(g.features, n_features, task * FEATURES_A_TASK)
        for i in range(task * FEATURES_A_TASK, min((task + 1) * FEATURES_A_TASK, feature_dim)):
            if j < n_features and g.features[j] == i:
                _learn(a, i, g.rows + g.starts[j], g.values + g.starts[j], g.starts[j + 1] - g.starts[j])
                j = j + 1
            else:
                _learn(a, i, g.rows, g.values, 0)


cdef void _learn_bias(
    float* bias, const float* residuals, Py_ssize_t n_rows, const Rule* rule
) noexcept nogil:
    cdef double g = 0
    cdef Py_ssize_t r
    for r in range(n_rows):
        g += residuals[r]
    if rule.use_bias:
        _update_one(bias, bias + 1, 1, <float> g, rule, rule.bias_lr, rule.bias_wd)


# ---------------------------------------------------------------- dense rows
#
# The same three steps on a matrix. A task is a few rows (then a few features), walked in
# strips of the other axis that stay in the second-level cache.

cdef enum:
    STRIP = 512          # features, of a strip of step 1
    TILE = 16            # features of a task of step 2
    ROWS_A_STRIP = 64    # rows, of a strip of step 2 (a range's step has to be a literal)
    LARGE = 1024         # squares of sums that add up to less are not worth a second look


cdef inline void _dense_sums(
    const Factors* f, const float* X, Py_ssize_t stride, Py_ssize_t at, int block, Py_ssize_t begin, Py_ssize_t end,
    float* sums, Py_ssize_t sums_stride, Py_ssize_t n_rows,
) noexcept nogil:
    # adds sum_i x_ri v_if over the strip begin:end of features to the sums of eight rows: as many as
    # hide the latency of an addition. Of fewer rows the last is worked on again and again.
    cdef const float* x0 = X
    cdef const float* x1 = X + min(1, n_rows - 1) * stride
    cdef const float* x2 = X + min(2, n_rows - 1) * stride
    cdef const float* x3 = X + min(3, n_rows - 1) * stride
    cdef const float* x4 = X + min(4, n_rows - 1) * stride
    cdef const float* x5 = X + min(5, n_rows - 1) * stride
    cdef const float* x6 = X + min(6, n_rows - 1) * stride
    cdef const float* x7 = X + min(7, n_rows - 1) * stride
    cdef float* o0 = sums + at
    cdef float* o1 = o0 + min(1, n_rows - 1) * sums_stride
    cdef float* o2 = o0 + min(2, n_rows - 1) * sums_stride
    cdef float* o3 = o0 + min(3, n_rows - 1) * sums_stride
    cdef float* o4 = o0 + min(4, n_rows - 1) * sums_stride
    cdef float* o5 = o0 + min(5, n_rows - 1) * sums_stride
    cdef float* o6 = o0 + min(6, n_rows - 1) * sums_stride
    cdef float* o7 = o0 + min(7, n_rows - 1) * sums_stride
    cdef lanes s0 = lanes_load(o0, FULL), s1 = lanes_load(o1, FULL)
    cdef lanes s2 = lanes_load(o2, FULL), s3 = lanes_load(o3, FULL)
    cdef lanes s4 = lanes_load(o4, FULL), s5 = lanes_load(o5, FULL)
    cdef lanes s6 = lanes_load(o6, FULL), s7 = lanes_load(o7, FULL)
    cdef lanes v
    cdef Py_ssize_t i
    for i in range(begin, end):
        v = lanes_load(f.V + i * f.V_stride + at, block)
        s0 = s0 + x0[i] * v
        s1 = s1 + x1[i] * v
        s2 = s2 + x2[i] * v
        s3 = s3 + x3[i] * v
        s4 = s4 + x4[i] * v
        s5 = s5 + x5[i] * v
        s6 = s6 + x6[i] * v
        s7 = s7 + x7[i] * v
    lanes_store(o0, s0, FULL)
    lanes_store(o1, s1, FULL)
    lanes_store(o2, s2, FULL)
    lanes_store(o3, s3, FULL)
    lanes_store(o4, s4, FULL)
    lanes_store(o5, s5, FULL)
    lanes_store(o6, s6, FULL)
    lanes_store(o7, s7, FULL)


cdef inline double _dense_dot(const float* x, const float* w, const float* squares, Py_ssize_t n) noexcept nogil:
    # sum_i w_i x_i - 1/2 sum_i squares_i x_i^2
    cdef lanes a = lanes_zero(), b = lanes_zero(), t
    cdef float half = 0.5
    cdef Py_ssize_t i = 0
    while n - i >= FULL:
        t = lanes_load(x + i, FULL)
        a = a + t * lanes_load(w + i, FULL)
        b = b + t * t * lanes_load(squares + i, FULL)
        i += FULL
    if n > i:
        t = lanes_load(x + i, <int> (n - i))
        a = a + t * lanes_load(w + i, <int> (n - i))
        b = b + t * t * lanes_load(squares + i, <int> (n - i))
    return <double> lanes_sum(a) - half * <double> lanes_sum(b)


cdef double _dense_by_pairs(
    const Factors* f, double w0, const float* w, const float* x, Py_ssize_t width
) noexcept nogil:
    # the score of a row as _score has it for sparse ones: no large squares that cancel, three times the work
    cdef Py_ssize_t at = 0, i
    cdef int block
    cdef double total = w0
    cdef lanes s, p, t
    for i in range(width):
        total += <double> w[i] * x[i]
    while at < f.k:
        block = <int> min(FULL, f.k - at)
        s = lanes_zero()
        p = lanes_zero()
        for i in range(width):
            if x[i] != 0:
                t = x[i] * lanes_load(f.V + i * f.V_stride + at, block)
                p = p + t * s
                s = s + t
        total += lanes_sum(p)
        at += FULL
    return total


cdef void _dense_score(
    const Factors* f, double w0, const float* w, const float* squares, const float* X, Py_ssize_t width,
    Py_ssize_t n_rows, float* sums, Py_ssize_t sums_stride, double* z,
) noexcept nogil:
    # the scores of a task's rows; w and squares (sum_f v_if^2) are contiguous
    cdef Py_ssize_t r, at, begin, end
    cdef double pairs
    cdef lanes s
    for r in range(n_rows):
        at = 0
        while at < sums_stride:
            lanes_store(sums + r * sums_stride + at, lanes_zero(), FULL)
            at += FULL
    begin = 0
    while begin < width:
        end = min(begin + STRIP, width)
        at = 0
        while at < f.k:
            r = 0
            while r < n_rows:
                _dense_sums(
                    f, X + r * width, width, at, <int> min(FULL, f.k - at), begin, end,
                    sums + r * sums_stride, sums_stride, n_rows - r,
                )
                r += 8
            at += FULL
        begin = end
    for r in range(n_rows):
        pairs = 0
        at = 0
        while at < f.k:
            s = lanes_load(sums + r * sums_stride + at, FULL)
            pairs += lanes_sum(s * s)
            at += FULL
        z[r] = 0.5 * pairs + _dense_dot(X + r * width, w, squares, width)
        # Of 0.5 * pairs about a ten millionth is rounding. Where little is left of it that shows.
        if pairs > LARGE and fabs(z[r]) < 0.02 * pairs:
            z[r] = _dense_by_pairs(f, w0, w, X + r * width, width)
        else:
            z[r] += w0


cdef inline void _dense_gradients(
    const Learning* a, const float* X, Py_ssize_t stride, Py_ssize_t at, Py_ssize_t n_rows,
    float* g, Py_ssize_t g_stride,
) noexcept nogil:
    # adds sum_r e_r x_ri s_rf to the gradients of eight features
    cdef lanes g0 = lanes_load(g, FULL), g1 = lanes_load(g + g_stride, FULL)
    cdef lanes g2 = lanes_load(g + 2 * g_stride, FULL), g3 = lanes_load(g + 3 * g_stride, FULL)
    cdef lanes g4 = lanes_load(g + 4 * g_stride, FULL), g5 = lanes_load(g + 5 * g_stride, FULL)
    cdef lanes g6 = lanes_load(g + 6 * g_stride, FULL), g7 = lanes_load(g + 7 * g_stride, FULL)
    cdef lanes s
    cdef const float* x = X
    cdef Py_ssize_t r
    for r in range(n_rows):
        # a column of lines, which no hardware prefetcher follows
        lanes_prefetch(x + 32 * stride, 8)
        s = a.residuals[r] * lanes_load(a.sums + r * a.sums_stride + at, FULL)
        g0 = g0 + x[0] * s
        g1 = g1 + x[1] * s
        g2 = g2 + x[2] * s
        g3 = g3 + x[3] * s
        g4 = g4 + x[4] * s
        g5 = g5 + x[5] * s
        g6 = g6 + x[6] * s
        g7 = g7 + x[7] * s
        x += stride
    lanes_store(g, g0, FULL)
    lanes_store(g + g_stride, g1, FULL)
    lanes_store(g + 2 * g_stride, g2, FULL)
    lanes_store(g + 3 * g_stride, g3, FULL)
    lanes_store(g + 4 * g_stride, g4, FULL)
    lanes_store(g + 5 * g_stride, g5, FULL)
    lanes_store(g + 6 * g_stride, g6, FULL)
    lanes_store(g + 7 * g_stride, g7, FULL)


cdef inline void _dense_gradient(
    const Learning* a, const float* X, Py_ssize_t stride, Py_ssize_t at, Py_ssize_t n_rows, float* g
) noexcept nogil:
    # the same for one feature
    cdef lanes g0 = lanes_load(g, FULL)
    cdef Py_ssize_t r
    for r in range(n_rows):
        g0 = g0 + X[r * stride] * (a.residuals[r] * lanes_load(a.sums + r * a.sums_stride + at, FULL))
    lanes_store(g, g0, FULL)


cdef void _dense_learn(
    const Learning* a, const float* X, Py_ssize_t width, Py_ssize_t n_rows, Py_ssize_t first, Py_ssize_t n, float* g
) noexcept nogil:
    # the gradients and updates of features first:first + n, n at most TILE; g is scratch of
    # TILE * sums_stride floats
    cdef Learning strip = a[0]
    cdef Py_ssize_t i, at, row, rows, columns = a.k + 1
    cdef float[16] linear, squares
    cdef float* p
    cdef float* state
    cdef int block
    memset(g, 0, TILE * a.sums_stride * sizeof(float))
    for row in range(0, n_rows, 64):
        rows = min(<Py_ssize_t> ROWS_A_STRIP, n_rows - row)
        strip.sums = a.sums + row * a.sums_stride
        strip.residuals = a.residuals + row
        at = 0
        while at < a.k:
            i = 0
            while i + 8 <= n:
                _dense_gradients(
                    &strip, X + row * width + first + i, width, at, rows, g + i * a.sums_stride + at, a.sums_stride
                )
                i += 8
            while i < n:
                _dense_gradient(&strip, X + row * width + first + i, width, at, rows, g + i * a.sums_stride + at)
                i += 1
            at += FULL
    i = 0
    while i < n:
        block = <int> min(<Py_ssize_t> FULL, n - i)
        _dense_first_and_second(a.residuals, X + first + i, width, n_rows, block, linear + i, squares + i)
        i += FULL
    for i in range(n):
        p = a.params + (first + i) * columns
        state = a.state + (first + i) * a.n_states * columns
        at = 0
        while at < a.k:
            block = <int> min(<Py_ssize_t> FULL, a.k - at)
            _update_lanes(
                p + at, state + at, columns,
                lanes_load(g + i * a.sums_stride + at, FULL) - squares[i] * lanes_load(p + at, block), block, a.rule,
            )
            at += FULL
        if a.rule.use_linear:
            _update_one(p + a.k, state + a.k, columns, linear[i], a.rule, a.rule.linear_lr, a.rule.linear_wd)


cdef inline void _dense_first_and_second(
    const float* residuals, const float* X, Py_ssize_t stride, Py_ssize_t n_rows, int block,
    float* linear, float* squares,
) noexcept nogil:
    # sum_r e_r x_ri and sum_r e_r x_ri^2 of a block of features
    cdef lanes a = lanes_zero(), b = lanes_zero(), x, ex
    cdef Py_ssize_t r
    for r in range(n_rows):
        x = lanes_load(X + r * stride, block)
        ex = residuals[r] * x
        a = a + ex
        b = b + ex * x
    lanes_store(linear, a, block)
    lanes_store(squares, b, block)


# ---------------------------------------------------------------- what Python calls

cdef Py_ssize_t _padded(Py_ssize_t k) noexcept nogil:
    return (k + PADDING - 1) // PADDING * PADDING


def train_sparse(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const float[::1] values,
    const float[::1] labels,
    int32_t[::1] features,
    int64_t[::1] starts,
    int32_t[::1] rows,
    float[::1] row_values,
    bint is_grouped,
    float[:, ::1] params,
    float[:, ::1] state,
    float[::1] bias,
    float[:, ::1] sums,
    float[::1] residuals,
    float[::1] scores,
    bint classify,
    bint lazy,
    step,
    int num_threads,
):
    """One update from a sparse batch: see protocol.py."""
    cdef Rule rule = _rule(step)
    cdef Py_ssize_t n_rows = labels.shape[0], n = indices.shape[0], n_features = features.shape[0]
    cdef Py_ssize_t* n_grouped = &n_features  # written by one thread, read by all
    cdef Factors f
    f.k = params.shape[1] - 1
    f.V = &params[0, 0]
    f.V_stride = f.k + 1
    f.w = f.V + f.k
    f.w_stride = f.k + 1
    cdef Entries e = Entries(&indptr[0], n_rows, &indices[0], &values[0], n)
    cdef Groups g = Groups(&features[0], &starts[0], &rows[0], &row_values[0])
    cdef Rows a = Rows(
        &f, &e, bias[0], classify, &scores[0], &labels[0], &sums[0, 0], sums.shape[1], &residuals[0]
    )
    cdef Learning b
    b.rule = &rule
    b.params = &params[0, 0]
    b.n_states = state.shape[1] // (f.k + 1)
    b.state = &state[0, 0] if b.n_states else NULL
    b.k = f.k
    b.sums = a.sums
    b.sums_stride = a.sums_stride
    b.residuals = a.residuals
    b.is_shared = num_threads > 1
    cdef int me
    cdef tasks* row_tasks = _tasks(2 * num_threads)
    cdef tasks* feature_tasks = row_tasks + num_threads
    cdef void* scratch = NULL
    if not is_grouped:
        scratch = malloc(n * SCRATCH_AN_ENTRY + 1)
        if scratch == NULL:
            free(row_tasks)
            raise MemoryError()
    with nogil:
        tasks_deal(row_tasks, num_threads, _n_tasks(n_rows, ROWS_A_TASK))
        # one region for both steps: threads are woken once a batch
        with parallel(num_threads=num_threads):
            for me in prange(num_threads, schedule="static", chunksize=1):
                if me == 0:
                    if scratch != NULL:
                        n_grouped[0] = group_entries(&e, params.shape[0], scratch, &g)
                    tasks_deal(feature_tasks, num_threads, _n_tasks(n_grouped[0], FEATURES_A_TASK))
                _score_rows(&a, row_tasks, num_threads, me)
            if lazy:
                for me in prange(num_threads, schedule="static", chunksize=1):
                    _learn_features(&b, &g, n_grouped[0], feature_tasks, num_threads, me)
        if not lazy:
            _learn_all(&b, params.shape[0], &g, n_features, num_threads)
        _learn_bias(&bias[0], a.residuals, n_rows, &rule)
    free(scratch)
    free(row_tasks)
    return n_features


def train_dense(
    const float[:, ::1] X,
    const float[::1] labels,
    float[:, ::1] params,
    float[:, ::1] state,
    float[::1] bias,
    float[:, ::1] sums,
    float[::1] residuals,
    float[::1] scores,
    float[::1] w,
    float[::1] squares,
    float[:, ::1] gradients,
    bint classify,
    step,
    int num_threads,
):
    """One update from a dense batch: see protocol.py."""
    cdef Rule rule = _rule(step)
    cdef Py_ssize_t n_rows = X.shape[0], width = X.shape[1], task, r, i, n
    cdef Py_ssize_t row_tasks = (n_rows + ROWS_A_TASK - 1) // ROWS_A_TASK
    cdef Py_ssize_t feature_tasks = (width + TILE - 1) // TILE
    cdef Factors f
    cdef Learning a
    cdef double w0 = bias[0], score
    cdef double[::1] z = _doubles(n_rows)
    f.k = params.shape[1] - 1
    f.V = &params[0, 0]
    f.V_stride = f.k + 1
    a.rule = &rule
    a.params = &params[0, 0]
    a.n_states = state.shape[1] // (f.k + 1)
    a.state = &state[0, 0] if a.n_states else NULL
    a.k = f.k
    a.sums = &sums[0, 0]
    a.sums_stride = sums.shape[1]
    a.residuals = &residuals[0]
    with nogil:
        _squares(&f, &params[0, 0] + f.k, f.k + 1, width, &w[0], &squares[0], num_threads)
        for task in prange(row_tasks, num_threads=num_threads, schedule="dynamic"):
            r = task * ROWS_A_TASK
            n = min(<Py_ssize_t> ROWS_A_TASK, n_rows - r)
            _dense_score(
                &f, w0, &w[0], &squares[0], &X[0, 0] + r * width, width, n,
                &sums[0, 0] + r * sums.shape[1], sums.shape[1], &z[0] + r,
            )
        for r in range(n_rows):
            score = _sigmoid(z[r]) if classify else z[r]
            scores[r] = <float> score
            residuals[r] = <float> (score - labels[r])
        for task in prange(feature_tasks, num_threads=num_threads, schedule="static"):
            i = task * TILE
            _dense_learn(
                &a, &X[0, 0], width, n_rows, i, min(<Py_ssize_t> TILE, width - i),
                &gradients[0, 0] + threadid() * gradients.shape[1],
            )
        _learn_bias(&bias[0], &residuals[0], n_rows, &rule)


cdef void _squares(
    const Factors* f, const float* w, Py_ssize_t w_stride, Py_ssize_t width, float* w_out, float* squares,
    int num_threads,
) noexcept nogil:
    # w, contiguous, and sum_f v_if^2 of each feature
    cdef Py_ssize_t i, at
    cdef float total
    cdef lanes v
    for i in prange(width, num_threads=num_threads, schedule="static"):
        total = 0
        at = 0
        while at < f.k:
            v = lanes_load(f.V + i * f.V_stride + at, <int> min(<Py_ssize_t> FULL, f.k - at))
            total = total + lanes_sum(v * v)
            at = at + FULL
        squares[i] = total
        w_out[i] = w[i * w_stride]


def predict_sparse(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const float[::1] values,
    double w0,
    const float[:] w,
    const float[:, :] V,
    float[::1] scores,
    bint classify,
    int num_threads,
):
    """Score sparse rows: see protocol.py."""
    cdef Py_ssize_t n_rows = scores.shape[0]
    cdef Factors f
    f.k = V.shape[1]
    f.V = &V[0, 0]
    f.V_stride = V.strides[0] // <Py_ssize_t> sizeof(float)
    f.w = &w[0]
    f.w_stride = w.strides[0] // <Py_ssize_t> sizeof(float)
    cdef Entries e = Entries(&indptr[0], n_rows, &indices[0], &values[0], indices.shape[0])
    cdef Rows a = Rows(&f, &e, w0, classify, &scores[0], NULL, NULL, 0, NULL)
    cdef tasks* row_tasks = _tasks(num_threads)
    cdef int me
    with nogil:
        tasks_deal(row_tasks, num_threads, _n_tasks(n_rows, ROWS_A_TASK))
        for me in prange(num_threads, num_threads=num_threads, schedule="static", chunksize=1):
            _score_rows(&a, row_tasks, num_threads, me)
    free(row_tasks)


def predict_dense(
    const float[:, ::1] X,
    double w0,
    const float[:] w,
    const float[:, :] V,
    float[::1] scores,
    bint classify,
    int num_threads,
):
    """Score dense rows: see protocol.py."""
    cdef Py_ssize_t n_rows = X.shape[0], width = X.shape[1], task, r, n
    cdef Py_ssize_t n_tasks = (n_rows + ROWS_A_TASK - 1) // ROWS_A_TASK
    cdef Factors f
    f.k = V.shape[1]
    f.V = &V[0, 0]
    f.V_stride = V.strides[0] // <Py_ssize_t> sizeof(float)
    cdef Py_ssize_t sums_stride = _padded(f.k), w_stride = w.strides[0] // <Py_ssize_t> sizeof(float)
    cdef double[::1] z = _doubles(n_rows)
    cdef float[::1] sums = _floats(n_tasks * ROWS_A_TASK * sums_stride)
    cdef float[::1] w_row = _floats(width), squares = _floats(width)
    with nogil:
        _squares(&f, &w[0], w_stride, width, &w_row[0], &squares[0], num_threads)
        for task in prange(n_tasks, num_threads=num_threads, schedule="dynamic"):
            r = task * ROWS_A_TASK
            n = min(<Py_ssize_t> ROWS_A_TASK, n_rows - r)
            _dense_score(
                &f, w0, &w_row[0], &squares[0], &X[0, 0] + r * width, width, n,
                &sums[0] + r * sums_stride, sums_stride, &z[0] + r,
            )
        for r in range(n_rows):
            scores[r] = <float> (_sigmoid(z[r]) if classify else z[r])


def _doubles(Py_ssize_t n):
    return np.empty(n, np.float64)


def _floats(Py_ssize_t n):
    return np.empty(n, np.float32)
