# Sparse rows: the hot loops, written once. Each of _minibatch_generic, _minibatch_avx2 and _minibatch_avx512
# includes this text, after _optimizers.pxi and before _dense.pxi, and is compiled for its instruction set.
#
# Plan of one training step (equations: docs/explanation/solver.md)
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

from cython.parallel cimport parallel, prange
from libc.math cimport exp
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc

from fm_core.kernels.checks cimport need, need_room, need_rows, need_threads, rows_within
from fm_core.kernels._group cimport SCRATCH_AN_ENTRY, Entries, Groups, group_entries
from fm_core.kernels.simd cimport (
    FULL, lanes, lanes_load, lanes_prefetch, lanes_prefetch_to_write, lanes_store, lanes_sum, lanes_zero
)
from fm_core.kernels.work_stealing cimport flag_set, tasks, tasks_deal, tasks_next


cdef enum:
    AHEAD = 48           # rows of `params` prefetched ahead of use in step 1
    AHEAD_FEATURES = 6   # features prefetched ahead of use in step 2
    ROWS_A_TASK = 32     # rows a thread takes at a time: see work_stealing.h
    FEATURES_A_TASK = 64


# ---------------------------------------------------------------- tasks

cdef Py_ssize_t _n_tasks(Py_ssize_t n, Py_ssize_t a_task) noexcept nogil:
    return (n + a_task - 1) // a_task


cdef void* _memory(size_t n_bytes) except NULL:
    cdef void* memory = malloc(n_bytes + 1)  # never of none: NULL would be right then
    if memory == NULL:
        raise MemoryError()
    return memory


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
    const float* weights     # NULL: all are 1
    float* sums
    Py_ssize_t sums_stride
    float* residuals
    float* pair_residuals    # zero where a row has no pairs: see Learning
    int* has_pairless        # 1 once there is such a row


cdef inline bint _has_pairs(const float* x, Py_ssize_t n) noexcept nogil:
    # whether at least two of a row's values are not zero
    cdef Py_ssize_t j
    cdef int found = 0
    if n > 1 and x[0] != 0 and x[1] != 0:  # as good as always
        return True
    for j in range(n):
        found += x[j] != 0
        if found == 2:
            return True
    return False


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
                if a.weights != NULL:
                    a.residuals[r] *= a.weights[r]
                if _has_pairs(e.values + at, e.indptr[r + 1] - at):
                    a.pair_residuals[r] = a.residuals[r]
                else:
                    a.pair_residuals[r] = 0
                    flag_set(a.has_pairless)


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
    # The same, but zero for rows without pairs. The gradient of their factors is exactly zero, and as two sums
    # that cancel it would be noise, other noise in each build: Adam makes steps of any size of it.
    const float* pair_residuals
    const int* has_pairless
    const int32_t* alone     # of dense rows: see _dense_score
    Py_ssize_t n_contexts    # rows below it are contexts that items are compared in: see _ranked.pxi
    bint is_shared           # by several threads


cdef inline void _learn_block(
    const Learning* a, float* p, float* state, lanes g, float squares, int n, bint is_kept
) noexcept nogil:
    # n factors of a feature, whose gradient is g - squares * v; `is_kept`, a constant wherever this is called: it is
    # written to `state`, and nothing is updated
    if is_kept:
        lanes_store(state, g - squares * lanes_load(p, n), n)
    else:
        _update_lanes(p, state, a.k + 1, g - squares * lanes_load(p, n), n, a.rule, a.rule.factors)


# The gradient and update of one feature i that occurs in n rows with the values x, a block or more of
# factors at a time: sum_r e_r (x_r s_rf - x_r^2 v_if). Each also gives sum_r e_r x_r, the gradient of w_i:
# summed in the same loop, as most features occur once or twice in a batch and leaving a loop is what
# costs then. (Of the rows that have pairs: what the others add to it is left to _linear.) Of a feature of contexts,
# `own` is 0 and not 1: it has no gradient but sum_r e_r x_r s_rf.

cdef inline double _factors4(
    const Learning* a, Py_ssize_t i, Py_ssize_t at, const int32_t* rows, const float* x, Py_ssize_t n, float own,
    bint is_kept,
) noexcept nogil:
    cdef lanes g0 = lanes_zero(), g1 = lanes_zero(), g2 = lanes_zero(), g3 = lanes_zero()
    cdef const float* s
    cdef double linear = 0, squares = 0
    cdef float e, q
    cdef Py_ssize_t j, width = a.k + 1
    for j in range(n):
        s = a.sums + rows[j] * a.sums_stride + at
        e = a.pair_residuals[rows[j]] * x[j]
        linear += e
        squares += <double> e * x[j]
        g0 = g0 + e * lanes_load(s, FULL)
        g1 = g1 + e * lanes_load(s + FULL, FULL)
        g2 = g2 + e * lanes_load(s + 2 * FULL, FULL)
        g3 = g3 + e * lanes_load(s + 3 * FULL, FULL)
    q = own * <float> squares
    cdef float* p = a.params + i * width + at
    cdef float* state = a.state + i * a.n_states * width + at
    _learn_block(a, p, state, g0, q, FULL, is_kept)
    _learn_block(a, p + FULL, state + FULL, g1, q, FULL, is_kept)
    _learn_block(a, p + 2 * FULL, state + 2 * FULL, g2, q, FULL, is_kept)
    _learn_block(a, p + 3 * FULL, state + 3 * FULL, g3, q, FULL, is_kept)
    return linear


cdef inline double _factors2(
    const Learning* a, Py_ssize_t i, Py_ssize_t at, const int32_t* rows, const float* x, Py_ssize_t n, float own,
    bint is_kept,
) noexcept nogil:
    cdef lanes g0 = lanes_zero(), g1 = lanes_zero()
    cdef const float* s
    cdef double linear = 0, squares = 0
    cdef float e, q
    cdef Py_ssize_t j, width = a.k + 1
    for j in range(n):
        s = a.sums + rows[j] * a.sums_stride + at
        e = a.pair_residuals[rows[j]] * x[j]
        linear += e
        squares += <double> e * x[j]
        g0 = g0 + e * lanes_load(s, FULL)
        g1 = g1 + e * lanes_load(s + FULL, FULL)
    q = own * <float> squares
    cdef float* p = a.params + i * width + at
    cdef float* state = a.state + i * a.n_states * width + at
    _learn_block(a, p, state, g0, q, FULL, is_kept)
    _learn_block(a, p + FULL, state + FULL, g1, q, FULL, is_kept)
    return linear


cdef inline double _factors1(
    const Learning* a, Py_ssize_t i, Py_ssize_t at, int block, const int32_t* rows, const float* x, Py_ssize_t n,
    float own, bint is_kept,
) noexcept nogil:
    cdef lanes g = lanes_zero()
    cdef double linear = 0, squares = 0
    cdef float e
    cdef Py_ssize_t j, width = a.k + 1
    for j in range(n):
        e = a.pair_residuals[rows[j]] * x[j]
        linear += e
        squares += <double> e * x[j]
        g = g + e * lanes_load(a.sums + rows[j] * a.sums_stride + at, FULL)
    cdef float* p = a.params + i * width + at
    cdef float* state = a.state + i * a.n_states * width + at
    _learn_block(a, p, state, g, own * <float> squares, block, is_kept)
    return linear


cdef double _linear(const Learning* a, const int32_t* rows, const float* x, Py_ssize_t n) noexcept nogil:
    cdef double linear = 0
    cdef float e
    cdef Py_ssize_t j
    for j in range(n):
        e = a.residuals[rows[j]] * x[j]
        linear += e
    return linear


cdef inline void _learn(
    const Learning* a, Py_ssize_t i, const int32_t* rows, const float* x, Py_ssize_t n, bint with_pairless,
    bint with_contexts, bint is_kept,
) noexcept nogil:
    # feature i occurs in n rows, with the values x; some rows may have no pairs, or none; some may be contexts, or none
    cdef Py_ssize_t at = 0, width = a.k + 1
    cdef double linear = 0
    cdef float own = 0 if with_contexts and n > 0 and rows[0] < a.n_contexts else 1
    while a.k - at >= 4 * FULL:
        linear = _factors4(a, i, at, rows, x, n, own, is_kept)
        at += 4 * FULL
    if a.k - at >= 2 * FULL:
        linear = _factors2(a, i, at, rows, x, n, own, is_kept)
        at += 2 * FULL
    if a.k - at >= FULL:
        linear = _factors1(a, i, at, FULL, rows, x, n, own, is_kept)
        at += FULL
    if a.k - at > 0:
        linear = _factors1(a, i, at, <int> (a.k - at), rows, x, n, own, is_kept)
    if with_pairless:
        linear = _linear(a, rows, x, n)
    if is_kept:
        a.state[i * a.n_states * width + a.k] = <float> linear
    elif a.rule.use_linear:
        _update_one(
            a.params + i * width + a.k, a.state + i * a.n_states * width + a.k, width,
            own * <float> linear, a.rule, a.rule.linear,
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


cdef inline void _learn_tasks(
    const Learning* a, const Groups* g, Py_ssize_t n_features, tasks* feature_tasks, int num_threads, int me,
    bint with_pairless, bint with_contexts,
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
            _learn(
                a, g.features[j], g.rows + at, g.values + at, g.starts[j + 1] - at, with_pairless, with_contexts, False
            )


cdef void _learn_features(
    const Learning* a, const Groups* g, Py_ssize_t n_features, tasks* feature_tasks, int num_threads, int me
) noexcept nogil:
    # three copies: asked for each feature, even a question that is never answered yes costs
    if a.n_contexts:
        _learn_tasks(a, g, n_features, feature_tasks, num_threads, me, False, True)
    elif a.has_pairless[0]:
        _learn_tasks(a, g, n_features, feature_tasks, num_threads, me, True, False)
    else:
        _learn_tasks(a, g, n_features, feature_tasks, num_threads, me, False, False)


cdef void _learn_all(
    const Learning* a, Py_ssize_t feature_dim, const Groups* g, Py_ssize_t n_features, int num_threads
) noexcept nogil:
    # every feature, those without an occurrence with a gradient of zero (their decay and moments go on)
    cdef Py_ssize_t task, i, j, at, n_tasks = (feature_dim + FEATURES_A_TASK - 1) // FEATURES_A_TASK
    for task in prange(n_tasks, num_threads=num_threads, schedule="dynamic", chunksize=16):
        j = _first_not_below(g.features, n_features, task * FEATURES_A_TASK)
        for i in range(task * FEATURES_A_TASK, min((task + 1) * FEATURES_A_TASK, feature_dim)):
            if j < n_features and g.features[j] == i:
                at = g.starts[j]
                _learn(
                    a, i, g.rows + at, g.values + at, g.starts[j + 1] - at, a.has_pairless[0], a.n_contexts > 0, False
                )
                j = j + 1
            else:
                _learn(a, i, g.rows, g.values, 0, False, False, False)


cdef void _learn_bias(
    float* bias, const float* residuals, Py_ssize_t n_rows, const Rule* rule
) noexcept nogil:
    cdef double g = 0
    cdef Py_ssize_t r
    for r in range(n_rows):
        g += residuals[r]
    if rule.use_bias:
        _update_one(bias, bias + 1, 1, <float> g, rule, rule.bias)


# ---------------------------------------------------------------- what Python calls

cdef int need_learning(
    Py_ssize_t n, const int32_t[::1] features, const int64_t[::1] starts, const int32_t[::1] rows,
    const float[::1] row_values, bint is_grouped, const Rule* rule, const float[:, ::1] params,
    const float[:, ::1] state, Py_ssize_t num_threads,
) except -1:
    need("rows of entries", rows.shape[0], n)
    need("values of entries", row_values.shape[0], n)
    need("starts of features", starts.shape[0], features.shape[0] + 1)
    if is_grouped:
        need("entries of the starts", starts[features.shape[0]], n)
    else:
        need("features", features.shape[0], n)
    need_room("columns of parameters", params.shape[1], 2)
    need_room("rows of parameters", params.shape[0], 1)
    need("rows of the state", state.shape[0], params.shape[0])
    need_states(rule, state.shape[1], params.shape[1])
    need_threads(num_threads)
    return 0


cdef int need_outputs(
    Py_ssize_t n_rows, Py_ssize_t k, const float[:, ::1] sums, const float[::1] residuals, const float[::1] scores
) except -1:
    need("rows of sums", sums.shape[0], n_rows)
    need_room("columns of sums", sums.shape[1], k)
    need("residuals", residuals.shape[0], n_rows)
    need("scores", scores.shape[0], n_rows)
    return 0


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
    const float[::1] weights=None,
):
    """One update from a sparse batch: see interface.py."""
    cdef Rule rule = _rule(step)
    cdef Py_ssize_t n_rows = labels.shape[0], n = indices.shape[0], n_features = features.shape[0]
    cdef Py_ssize_t* n_grouped = &n_features  # written by one thread, read by all
    need_rows(indptr, indices.shape[0], values.shape[0])
    need("starts of rows", indptr.shape[0], n_rows + 1)
    need_learning(n, features, starts, rows, row_values, is_grouped, &rule, params, state, num_threads)
    need_outputs(n_rows, params.shape[1] - 1, sums, residuals, scores)
    need_room("numbers of the bias", bias.shape[0], 3)
    cdef const float* of_rows = NULL
    if weights is not None:
        need("weights", weights.shape[0], n_rows)
        of_rows = &weights[0]
    cdef Factors f
    f.k = params.shape[1] - 1
    f.V = &params[0, 0]
    f.V_stride = f.k + 1
    f.w = f.V + f.k
    f.w_stride = f.k + 1
    cdef Entries e = Entries(&indptr[0], n_rows, &indices[0], &values[0], n)
    cdef Groups g = Groups(&features[0], &starts[0], &rows[0], &row_values[0])
    cdef int me, has_pairless = 0
    cdef tasks* row_tasks = <tasks*> _memory(2 * num_threads * sizeof(tasks))
    cdef tasks* feature_tasks = row_tasks + num_threads
    cdef void* scratch = NULL
    cdef float* pair_residuals = NULL
    cdef Rows a
    cdef Learning b
    try:
        pair_residuals = <float*> _memory(n_rows * sizeof(float))
        if not is_grouped:
            scratch = _memory(n * SCRATCH_AN_ENTRY)
        a = Rows(
            &f, &e, bias[0], classify, &scores[0], &labels[0], of_rows,
            &sums[0, 0], sums.shape[1], &residuals[0], pair_residuals, &has_pairless,
        )
        b.rule = &rule
        b.params = &params[0, 0]
        b.n_states = state.shape[1] // (f.k + 1)
        b.state = &state[0, 0] if b.n_states else NULL
        b.k = f.k
        b.sums = a.sums
        b.sums_stride = a.sums_stride
        b.residuals = a.residuals
        b.pair_residuals = pair_residuals
        b.has_pairless = &has_pairless
        b.n_contexts = 0
        b.is_shared = num_threads > 1
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
    finally:
        free(scratch)
        free(pair_residuals)
        free(row_tasks)
    return n_features


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
    """Score sparse rows: see interface.py."""
    cdef Py_ssize_t n_rows = scores.shape[0]
    cdef Factors f
    if not rows_within(indptr, indices, values.shape[0], V.shape[0]):
        raise ValueError("the rows do not lie within their entries, or a key is no row of V")
    need("starts of rows", indptr.shape[0], n_rows + 1)
    need("rows of V", V.shape[0], w.shape[0])
    need("floats between factors", V.strides[1], sizeof(float))
    need_room("rows of V", V.shape[0], 1)
    need_threads(num_threads)
    f.k = V.shape[1]
    f.V = &V[0, 0]
    f.V_stride = V.strides[0] // <Py_ssize_t> sizeof(float)
    f.w = &w[0]
    f.w_stride = w.strides[0] // <Py_ssize_t> sizeof(float)
    cdef Entries e = Entries(&indptr[0], n_rows, &indices[0], &values[0], indices.shape[0])
    cdef Rows a = Rows(&f, &e, w0, classify, &scores[0], NULL, NULL, NULL, 0, NULL, NULL, NULL)
    cdef tasks* row_tasks = <tasks*> _memory(num_threads * sizeof(tasks))
    cdef int me
    with nogil:
        tasks_deal(row_tasks, num_threads, _n_tasks(n_rows, ROWS_A_TASK))
        for me in prange(num_threads, num_threads=num_threads, schedule="static", chunksize=1):
            _score_rows(&a, row_tasks, num_threads, me)
    free(row_tasks)
