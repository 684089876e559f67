# Dense rows: the three steps of _sparse.pxi, included before, on a matrix. A task is a few rows (then a few
# features), walked in strips of the other axis that stay in the second-level cache.

from cython.parallel cimport prange, threadid
from libc.math cimport fabs
from libc.string cimport memset

from fm_core.kernels.simd cimport FULL, lanes, lanes_load, lanes_prefetch, lanes_store, lanes_sum, lanes_zero

import numpy as np


cdef enum:
    PADDING = 16         # rows of `sums` are padded to a multiple of this: interface.PADDING
    STRIP = 512          # features, of a strip of step 1
    TILE = 16            # features of a task of step 2
    ROWS_A_STRIP = 64    # rows, of a strip of step 2 (a range's step has to be a literal)
    LARGE = 1024         # squares of sums that add up to less are not worth a second look
    HAS_PAIRS = -1       # in place of the one feature of a row
    NONE = -2


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


cdef inline double _dense_dot(
    const float* x, const float* w, const float* squares, Py_ssize_t n, double* of_squares
) noexcept nogil:
    # sum_i w_i x_i - 1/2 sum_i squares_i x_i^2, and the second sum alone
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
    of_squares[0] = lanes_sum(b)
    return <double> lanes_sum(a) - half * of_squares[0]


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


cdef int32_t _alone(const float* x, Py_ssize_t width) noexcept nogil:
    # the one feature of a row whose value is not zero
    cdef int32_t found = NONE
    cdef Py_ssize_t i
    for i in range(width):
        if x[i] != 0:
            if found != NONE:
                return HAS_PAIRS
            found = <int32_t> i
    return found


cdef void _dense_score(
    const Factors* f, double w0, const float* w, const float* squares, const float* X, Py_ssize_t width,
    Py_ssize_t n_rows, float* sums, Py_ssize_t sums_stride, double* z, int32_t* alone,
) noexcept nogil:
    # The scores of a task's rows; w and squares (sum_f v_if^2) are contiguous. `alone` gets the one feature of
    # each row that has no pairs, NONE if it has not even one, else HAS_PAIRS.
    cdef Py_ssize_t r, at, begin, end
    cdef double pairs, of_squares
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
        z[r] = 0.5 * pairs + _dense_dot(X + r * width, w, squares, width, &of_squares)
        # without pairs both are the same but for rounding: only then it is worth looking
        alone[r] = _alone(X + r * width, width) if fabs(pairs - of_squares) <= 1e-3 * pairs else HAS_PAIRS
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
        s = a.pair_residuals[r] * lanes_load(a.sums + r * a.sums_stride + at, FULL)
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
        g0 = g0 + X[r * stride] * (a.pair_residuals[r] * lanes_load(a.sums + r * a.sums_stride + at, FULL))
    lanes_store(g, g0, FULL)


cdef void _add_pairless(
    const Learning* a, const float* X, Py_ssize_t stride, Py_ssize_t n_rows, Py_ssize_t first, Py_ssize_t n,
    float* linear,
) noexcept nogil:
    # what the rows without pairs add to sum_r e_r x_ri
    cdef Py_ssize_t r, i
    for r in range(n_rows):
        i = a.alone[r] - first
        if 0 <= i < n:
            linear[i] += a.residuals[r] * X[r * stride + i]


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
        strip.pair_residuals = a.pair_residuals + row
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
        _dense_first_and_second(a.pair_residuals, X + first + i, width, n_rows, block, linear + i, squares + i)
        i += FULL
    if a.has_pairless[0]:
        _add_pairless(a, X + first, width, n_rows, first, n, linear)
    for i in range(n):
        p = a.params + (first + i) * columns
        state = a.state + (first + i) * a.n_states * columns
        at = 0
        while at < a.k:
            block = <int> min(<Py_ssize_t> FULL, a.k - at)
            _learn_block(a, p + at, state + at, lanes_load(g + i * a.sums_stride + at, FULL), squares[i], block, False)
            at += FULL
        if a.rule.use_linear:
            _update_one(p + a.k, state + a.k, columns, linear[i], a.rule, a.rule.linear)


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
    const float[::1] weights=None,
):
    """One update from a dense batch: see interface.py."""
    cdef Rule rule = _rule(step)
    need_room("numbers of the bias", bias.shape[0], 3)
    cdef Py_ssize_t n_rows = X.shape[0], width = X.shape[1], task, r, i, n
    cdef Py_ssize_t row_tasks = (n_rows + ROWS_A_TASK - 1) // ROWS_A_TASK
    cdef Py_ssize_t feature_tasks = (width + TILE - 1) // TILE
    cdef Factors f
    cdef Learning a
    cdef double w0 = bias[0], score
    cdef double[::1] z = _doubles(n_rows)
    cdef float[::1] pair_residuals = _floats(n_rows)
    cdef int32_t[::1] alone = _int32s(n_rows)
    cdef int has_pairless = 0
    cdef const float* of_rows = NULL
    need("labels", labels.shape[0], n_rows)
    need_room("rows", n_rows, 1)
    need("rows of parameters", params.shape[0], width)
    need_room("columns of parameters", params.shape[1], 2)
    need("rows of the state", state.shape[0], width)
    need_states(&rule, state.shape[1], params.shape[1])
    need_outputs(n_rows, params.shape[1] - 1, sums, residuals, scores)
    need("floats that rows of sums are padded to", sums.shape[1] % PADDING, 0)
    need("scratch for w", w.shape[0], width)
    need("scratch for squares", squares.shape[0], width)
    need_threads(num_threads)
    need_room("scratch for gradients", gradients.shape[0], num_threads)
    need_room("columns of scratch for gradients", gradients.shape[1], TILE * sums.shape[1])
    if weights is not None:
        need("weights", weights.shape[0], n_rows)
        of_rows = &weights[0]
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
    a.pair_residuals = &pair_residuals[0]
    a.has_pairless = &has_pairless
    a.alone = &alone[0]
    with nogil:
        _squares(&f, &params[0, 0] + f.k, f.k + 1, width, &w[0], &squares[0], num_threads)
        for task in prange(row_tasks, num_threads=num_threads, schedule="dynamic"):
            r = task * ROWS_A_TASK
            n = min(<Py_ssize_t> ROWS_A_TASK, n_rows - r)
            _dense_score(
                &f, w0, &w[0], &squares[0], &X[0, 0] + r * width, width, n,
                &sums[0, 0] + r * sums.shape[1], sums.shape[1], &z[0] + r, &alone[0] + r,
            )
        for r in range(n_rows):
            score = _sigmoid(z[r]) if classify else z[r]
            scores[r] = <float> score
            residuals[r] = <float> (score - labels[r])
            if of_rows != NULL:
                residuals[r] *= of_rows[r]
            pair_residuals[r] = residuals[r]
            if alone[r] != HAS_PAIRS:
                pair_residuals[r] = 0
                has_pairless = 1
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


def predict_dense(
    const float[:, ::1] X,
    double w0,
    const float[:] w,
    const float[:, :] V,
    float[::1] scores,
    bint classify,
    int num_threads,
):
    """Score dense rows: see interface.py."""
    cdef Py_ssize_t n_rows = X.shape[0], width = X.shape[1], task, r, n
    cdef Py_ssize_t n_tasks = (n_rows + ROWS_A_TASK - 1) // ROWS_A_TASK
    cdef Factors f
    need("scores", scores.shape[0], n_rows)
    need("weights", w.shape[0], width)
    need("rows of V", V.shape[0], width)
    need_room("rows of V", V.shape[0], 1)
    need("floats between factors", V.strides[1], sizeof(float))
    need_threads(num_threads)
    f.k = V.shape[1]
    f.V = &V[0, 0]
    f.V_stride = V.strides[0] // <Py_ssize_t> sizeof(float)
    cdef Py_ssize_t sums_stride = _padded(f.k), w_stride = w.strides[0] // <Py_ssize_t> sizeof(float)
    cdef double[::1] z = _doubles(n_rows)
    cdef int32_t[::1] alone = _int32s(n_rows)
    cdef float[::1] sums = _floats(n_tasks * ROWS_A_TASK * sums_stride)
    cdef float[::1] w_row = _floats(width), squares = _floats(width)
    with nogil:
        _squares(&f, &w[0], w_stride, width, &w_row[0], &squares[0], num_threads)
        for task in prange(n_tasks, num_threads=num_threads, schedule="dynamic"):
            r = task * ROWS_A_TASK
            n = min(<Py_ssize_t> ROWS_A_TASK, n_rows - r)
            _dense_score(
                &f, w0, &w_row[0], &squares[0], &X[0, 0] + r * width, width, n,
                &sums[0] + r * sums_stride, sums_stride, &z[0] + r, &alone[0] + r,
            )
        for r in range(n_rows):
            scores[r] = <float> (_sigmoid(z[r]) if classify else z[r])


def _doubles(Py_ssize_t n):
    return np.empty(n, np.float64)


def _floats(Py_ssize_t n):
    return np.empty(n, np.float32)


def _int32s(Py_ssize_t n):
    return np.empty(n, np.int32)
