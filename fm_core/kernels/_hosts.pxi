# The passes of a training whose rows are spread over hosts; follows _sparse.pxi, whose loops they are made of.
#
# By rows (fm_core/cluster/steps.py): a host works on copies of the parameters that its batch touches, numbered one
# after the other: `score_rows`, then `gradients` of each. The owner of a feature adds the gradients that came for it,
# in the hosts' order, and `update`s it once.
# By sums (fm_core/cluster/summed.py): a host has the entries of its own features in all hosts' rows. It gives what
# those come to in each row (`score_parts`), adds up what all hosts give of its own rows (`add_parts`), and, from the
# sums of all rows, updates its features in place (`learn_parts`).
#
# Here the hosts may have other processors, and so other builds: what all of them must have to the same bit, w0, is
# updated by _sharded.pyx. Equations: interface.py; the plain form: reference.py.

from libc.string cimport memcpy


# ---------------------------------------------------------------- by rows

def score_rows(
    const int64_t[::1] indptr, const int32_t[::1] indices, const float[::1] values, const float[::1] labels,
    const float[:, ::1] params, double w0, float[:, ::1] sums, float[::1] residuals, float[::1] pair_residuals,
    float[::1] scores, bint classify, int num_threads, const float[::1] weights=None,
):
    """Score CSR rows: see interface.py."""
    cdef Py_ssize_t n_rows = scores.shape[0]
    cdef int has_pairless = 0
    cdef Factors f
    cdef Entries e
    cdef Rows a
    cdef int me
    need_rows(indptr, indices.shape[0], values.shape[0])
    need("starts of rows", indptr.shape[0], n_rows + 1)
    need("labels", labels.shape[0], n_rows)
    need("residuals of pairs", pair_residuals.shape[0], n_rows)
    need_room("columns of parameters", params.shape[1], 2)
    need_outputs(n_rows, params.shape[1] - 1, sums, residuals, scores)
    need_room("columns of sums", sums.shape[1], _whole_blocks(params.shape[1] - 1))
    need_threads(num_threads)
    if weights is not None:
        need("weights", weights.shape[0], n_rows)
    if n_rows == 0:
        return False
    _factors_of(params, &f)
    cdef const int32_t* keys = &indices[0] if indices.shape[0] else NULL
    cdef const float* x = &values[0] if indices.shape[0] else NULL
    cdef const float* of_rows = NULL
    if weights is not None:
        of_rows = &weights[0]
    e = Entries(&indptr[0], n_rows, keys, x, indices.shape[0])
    a = Rows(
        &f, &e, w0, classify, &scores[0], &labels[0], of_rows, &sums[0, 0], sums.shape[1], &residuals[0],
        &pair_residuals[0], &has_pairless,
    )
    cdef tasks* row_tasks = <tasks*> _memory(num_threads * sizeof(tasks))
    with nogil:
        tasks_deal(row_tasks, num_threads, _n_tasks(n_rows, ROWS_A_TASK))
        for me in prange(num_threads, num_threads=num_threads, schedule="static", chunksize=1):
            _score_rows(&a, row_tasks, num_threads, me)
    free(row_tasks)
    return bool(has_pairless)


cdef Py_ssize_t _whole_blocks(Py_ssize_t k) noexcept nogil:
    return (k + FULL - 1) // FULL * FULL


cdef void _factors_of(const float[:, ::1] params, Factors* f) noexcept:
    # rows of [v_i | w_i]; there may be none
    f.k = params.shape[1] - 1
    f.V = &params[0, 0] if params.shape[0] else NULL
    f.V_stride = f.k + 1
    f.w = f.V + f.k if params.shape[0] else NULL
    f.w_stride = f.k + 1


cdef void _keep_gradients(
    const Learning* a, const int64_t* starts, const int32_t* rows, const float* x, Py_ssize_t first, Py_ssize_t end
) noexcept nogil:
    cdef Py_ssize_t j
    # two copies: see _learn_features
    if a.has_pairless[0]:
        for j in range(first, end):
            _learn(a, j, rows + starts[j], x + starts[j], starts[j + 1] - starts[j], True, False, True)
    else:
        for j in range(first, end):
            _learn(a, j, rows + starts[j], x + starts[j], starts[j + 1] - starts[j], False, False, True)


def gradients(
    const int64_t[::1] starts, const int32_t[::1] rows, const float[::1] row_values, float[:, ::1] params,
    const float[:, ::1] sums, const float[::1] residuals, const float[::1] pair_residuals, bint has_pairless,
    float[:, ::1] out, int num_threads,
):
    """G of each row of `params`: see interface.py."""
    cdef Py_ssize_t n = starts.shape[0] - 1, task, k = params.shape[1] - 1
    cdef Learning a
    cdef int is_any = has_pairless
    need("values of rows", row_values.shape[0], rows.shape[0])
    need_room("starts", starts.shape[0], 1)
    need("entries of the starts", starts[n], rows.shape[0])
    need("rows of parameters", params.shape[0], n)
    need("rows of gradients", out.shape[0], n)
    need("columns of gradients", out.shape[1], k + 1)
    need("rows of sums", sums.shape[0], residuals.shape[0])
    need_room("columns of sums", sums.shape[1], _whole_blocks(k))
    need("residuals of pairs", pair_residuals.shape[0], residuals.shape[0])
    need_threads(num_threads)
    if rows.shape[0] == 0 or residuals.shape[0] == 0:
        out[:] = 0
        return
    a.rule = NULL
    a.params = &params[0, 0]
    a.state = &out[0, 0]
    a.k = k
    a.n_states = 1
    a.sums = &sums[0, 0]
    a.sums_stride = sums.shape[1]
    a.residuals = &residuals[0]
    a.pair_residuals = &pair_residuals[0]
    a.has_pairless = &is_any
    a.n_contexts = 0
    a.is_shared = num_threads > 1
    for task in prange(
        _n_tasks(n, FEATURES_A_TASK), num_threads=num_threads, schedule="dynamic", chunksize=1, nogil=True
    ):
        _keep_gradients(
            &a, &starts[0], &rows[0], &row_values[0], task * FEATURES_A_TASK, min((task + 1) * FEATURES_A_TASK, n)
        )


cdef inline void _update_row(
    float* p, float* state, const float* gradient, Py_ssize_t k, const Rule* rule
) noexcept nogil:
    # [v_i | w_i], from its gradient
    cdef Rule own = rule[0]  # the compiler cannot know that writing parameters leaves the caller's as it is
    cdef Py_ssize_t f = 0
    while k - f >= FULL:
        _update_lanes(p + f, state + f, k + 1, lanes_load(gradient + f, FULL), FULL, &own, own.factors)
        f += FULL
    if k > f:
        _update_lanes(
            p + f, state + f, k + 1, lanes_load(gradient + f, <int> (k - f)), <int> (k - f), &own, own.factors
        )
    if own.use_linear:
        _update_one(p + k, state + k, k + 1, gradient[k], &own, own.linear)


cdef inline const float* _total(
    const float* received, const int64_t* at, Py_ssize_t n, Py_ssize_t width, float* total
) noexcept nogil:
    # the sum of a row's gradients, in the hosts' order; where there is one alone, that one as it lies
    cdef Py_ssize_t f, e
    cdef const float* g = received + at[0] * width
    if n == 1:
        return g
    memcpy(total, g, width * sizeof(float))
    for e in range(1, n):
        g = received + at[e] * width
        for f in range(width):
            total[f] = total[f] + g[f]
    return total


def update(
    const int32_t[::1] touched, const int64_t[::1] starts, const int64_t[::1] at, const float[:, ::1] received,
    float[:, ::1] totals, float[:, ::1] params, float[:, ::1] state, step, bint lazy, int num_threads,
):
    """Add the gradients of each row in `touched` in the hosts' order, and update it: see interface.py."""
    cdef Rule rule = _rule(step)
    cdef Py_ssize_t j, i, f, e, width = params.shape[1], k = width - 1, stride = state.shape[1]
    cdef Py_ssize_t n = touched.shape[0], n_rows = params.shape[0], block, first
    cdef float* states = &state[0, 0] if state.shape[0] and stride else NULL
    cdef const float* every = &received[0, 0] if received.shape[0] else NULL
    cdef const int64_t* places = &at[0] if at.shape[0] else NULL
    cdef const float* g
    need_room("starts", starts.shape[0], n + 1)
    need("entries of the starts", starts[n], at.shape[0])
    need("columns of gradients", received.shape[1], width)
    need_room("rows of totals", totals.shape[0], n + 1)
    need("columns of totals", totals.shape[1], width)
    need_room("columns of parameters", width, 2)
    need("rows of the state", state.shape[0], params.shape[0])
    need_states(&rule, stride, width)
    need_threads(num_threads)
    with nogil:
        if lazy:
            for j in prange(n, num_threads=num_threads, schedule="dynamic", chunksize=FEATURES_A_TASK):
                if j + AHEAD_FEATURES < n:
                    i = touched[j + AHEAD_FEATURES]
                    lanes_prefetch(&params[i, 0], width)
                    if stride:
                        lanes_prefetch(states + i * stride, stride)
                i = touched[j]
                g = _total(every, places + starts[j], starts[j + 1] - starts[j], width, &totals[j, 0])
                _update_row(&params[i, 0], states + i * stride, g, k, &rule)
        else:
            for j in prange(n, num_threads=num_threads, schedule="dynamic", chunksize=FEATURES_A_TASK):
                g = _total(every, places + starts[j], starts[j + 1] - starts[j], width, &totals[j, 0])
                if g != &totals[j, 0]:
                    memcpy(&totals[j, 0], g, width * sizeof(float))
            # those without an occurrence have a gradient of zero: their decay and moments go on
            for f in range(width):
                totals[n, f] = 0
            for block in prange((n_rows + 63) // 64, num_threads=num_threads, schedule="dynamic"):
                first = block * 64
                j = _first_not_below(&touched[0], n, first) if n else 0
                for i in range(first, min(first + 64, n_rows)):
                    e = n
                    if j < n and touched[j] == i:
                        e = j
                        j = j + 1
                    _update_row(&params[i, 0], states + i * stride, &totals[e, 0], k, &rule)


# ---------------------------------------------------------------- by sums

def score_parts(
    const int64_t[::1] indptr, const int32_t[::1] indices, const float[::1] values, const float[:, ::1] params,
    float[:, ::1] parts, int num_threads,
):
    """What entries come to in each CSR row: see interface.py."""
    cdef Py_ssize_t n_rows = parts.shape[0], k = params.shape[1] - 1, room, task, r, start
    cdef int me
    cdef Factors f
    cdef float* sums
    cdef float* scratch
    cdef const int32_t* keys = &indices[0] if indices.shape[0] else NULL
    cdef const float* x = &values[0] if indices.shape[0] else NULL
    need_rows(indptr, indices.shape[0], values.shape[0])
    need("starts of rows", indptr.shape[0], n_rows + 1)
    need_room("columns of parameters", params.shape[1], 2)
    need("columns of parts", parts.shape[1], k + 1)
    need_threads(num_threads)
    _factors_of(params, &f)
    room = _whole_blocks(k)
    scratch = <float*> _memory(num_threads * room * sizeof(float))
    cdef tasks* row_tasks = <tasks*> malloc(num_threads * sizeof(tasks) + 1)
    if row_tasks == NULL:
        free(scratch)
        raise MemoryError()
    with nogil:
        tasks_deal(row_tasks, num_threads, _n_tasks(n_rows, ROWS_A_TASK))
        for me in prange(num_threads, num_threads=num_threads, schedule="static", chunksize=1):
            sums = scratch + me * room
            while True:
                task = tasks_next(row_tasks, num_threads, me)
                if task < 0:
                    break
                for r in range(task * ROWS_A_TASK, min((task + 1) * ROWS_A_TASK, n_rows)):
                    start = indptr[r]
                    parts[r, k] = <float> _score(
                        &f, 0, keys + start, x + start, indptr[r + 1] - start, indices.shape[0] - start, sums
                    )
                    memcpy(&parts[r, 0], sums, k * sizeof(float))
    free(row_tasks)
    free(scratch)


def add_parts(
    const float[:, :, ::1] parts, double w0, const float[::1] labels, float[:, ::1] told, float[::1] scores,
    bint classify, const float[::1] weights=None,
):
    """Add up what all hosts give of this host's rows: see interface.py."""
    cdef Py_ssize_t n_hosts = parts.shape[0], n_rows = parts.shape[1], k = parts.shape[2] - 1, host, r, at
    cdef double z
    cdef float e
    cdef const float* part
    cdef float* total
    cdef lanes t, s, pairs
    cdef int n
    need_room("columns of parts", k, 1)
    need("rows of sums", told.shape[0], n_rows)
    need("columns of sums", told.shape[1], k + 1)
    need("labels", labels.shape[0], n_rows)
    need("scores", scores.shape[0], n_rows)
    if weights is not None:
        need("weights", weights.shape[0], n_rows)
    with nogil:
        for r in range(n_rows):
            z = w0
            total = &told[r, 0]
            for at in range(k):
                total[at] = 0
            for host in range(n_hosts):
                # each times the sum of those before it, so that large values do not cancel
                part = &parts[host, r, 0]
                pairs = lanes_zero()
                at = 0
                while at < k:
                    n = <int> min(<Py_ssize_t> FULL, k - at)
                    t = lanes_load(part + at, n)
                    s = lanes_load(total + at, n)
                    pairs = pairs + t * s
                    lanes_store(total + at, s + t, n)
                    at = at + FULL
                z = z + part[k] + lanes_sum(pairs)
            z = _sigmoid(z) if classify else z
            scores[r] = <float> z
            e = <float> (z - labels[r])
            total[k] = e if weights is None else e * weights[r]


def learn_parts(
    int32_t[::1] features, int64_t[::1] starts, int32_t[::1] rows, float[::1] row_values,
    const float[::1] told, const unsigned char[::1] has_pairs, float[:, ::1] params, float[:, ::1] state,
    bint lazy, step, int num_threads,
):
    """Update features in place, from the sums and residuals of all rows: see interface.py."""
    cdef Rule rule = _rule(step)
    cdef Py_ssize_t n = rows.shape[0], n_features = features.shape[0], n_rows = has_pairs.shape[0]
    cdef Py_ssize_t k = params.shape[1] - 1, r
    cdef int me, has_pairless = 0
    cdef Groups g
    cdef Learning b
    need_learning(n, features, starts, rows, row_values, True, &rule, params, state, num_threads)
    need_room("sums", told.shape[0], n_rows * (k + 1) + FULL)
    if n == 0 and lazy:
        return
    g.features = &features[0] if n_features else NULL
    g.starts = &starts[0]
    g.rows = &rows[0] if n else NULL
    g.values = &row_values[0] if n else NULL
    cdef float* residuals = <float*> _memory(2 * n_rows * sizeof(float))
    cdef tasks* feature_tasks = <tasks*> malloc(num_threads * sizeof(tasks) + 1)
    if feature_tasks == NULL:
        free(residuals)
        raise MemoryError()
    b.rule = &rule
    b.params = &params[0, 0]
    b.n_states = state.shape[1] // (k + 1)
    b.state = &state[0, 0] if b.n_states else NULL
    b.k = k
    b.sums = &told[0]
    b.sums_stride = k + 1
    b.residuals = residuals
    b.pair_residuals = residuals + n_rows
    b.has_pairless = &has_pairless
    b.n_contexts = 0
    b.is_shared = num_threads > 1
    with nogil:
        for r in range(n_rows):
            residuals[r] = told[r * (k + 1) + k]
            residuals[n_rows + r] = residuals[r] if has_pairs[r] else 0
            if not has_pairs[r]:
                has_pairless = 1
        if lazy:
            tasks_deal(feature_tasks, num_threads, _n_tasks(n_features, FEATURES_A_TASK))
            for me in prange(num_threads, num_threads=num_threads, schedule="static", chunksize=1):
                _learn_features(&b, &g, n_features, feature_tasks, num_threads, me)
        else:
            _learn_all(&b, params.shape[0], &g, n_features, num_threads)
    free(feature_tasks)
    free(residuals)
