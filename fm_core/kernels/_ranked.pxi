# Positives beside sampled negatives: contexts, and for each of them the items that are compared. Each build of the
# kernels includes this text after _sparse.pxi.
#
# Rows 0 to n - 1 are the contexts; the g items of context r are the rows n + r g to n + (r + 1) g - 1, its positive
# first. No feature is on both sides. With c the context's factor sums and s_j an item's, the score of the pair is
# own(context) + own(item) + <c, s_j>, and own(context) is the same for all items that are compared. Of a loss that
# compares them, sum_j e_j = 0 for its derivatives e_j by the scores, so that
#
#   an item's feature   has the gradient  e_j x for w, and  e_j x (c + s_j - x v)  for v: that of the row of both
#   a context's feature has the gradient  0     for w, and  x sum_j e_j s_j        for v
#
# `sums` of an item's row become c + s_j, and of a context's row sum_j e_j s_j with a residual of 1: what follows is
# then the second step of _sparse.pxi, which leaves the other terms out of a feature that is a context's. The bias has
# no gradient.
#
# Losses, with d_j = z_j - z_0 for each of the g - 1 negatives:
#   PAIRWISE  mean of log(1 + exp(d_j)): S. Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback",
#             UAI 2009
#   SOFTMAX   log(1 + sum exp(d_j)): the cross entropy of the positive among the sampled; Y. Bengio, J.-S. Senecal,
#             "Quick Training of Probabilistic Neural Nets by Importance Sampling", AISTATS 2003
#   WARP      log(1 + exp(d_j)) of the first negative with d_j > -1 alone, times log(max(1, (n_items - 1) / its number))
#             / log(n_items): the positive's rank as far as the sample tells it, after J. Weston et al., "WSABIE", IJCAI
#             2011

from libc.math cimport log

cdef enum RankingLoss:
    PAIRWISE = 1
    SOFTMAX = 2
    WARP = 3

cdef enum:
    CONTEXTS_A_TASK = 16


cdef struct Ranked:
    const Rows* rows      # its scores are the losses
    float* orders         # the share of negatives that are below the positive, ties as a half
    Py_ssize_t n          # contexts
    Py_ssize_t n_compared
    int loss
    double n_items


cdef inline double _softplus(double d) noexcept nogil:
    return d + log(1 + exp(-d)) if d > 0 else log(1 + exp(d))


cdef double _compare(float* e, Py_ssize_t n, int loss, double n_items) noexcept nogil:
    # Gives the loss; the derivatives take the place of the scores.
    cdef Py_ssize_t j
    cdef double first = e[0], total = 0, highest, p, value = 0, product = 1
    if loss == PAIRWISE:
        for j in range(1, n):
            if e[j] - first > 36:  # 1 is nothing beside exp(36)
                value += e[j] - first
                p = 1
            else:
                p = exp(e[j] - first)
                product *= 1 + p  # one logarithm for many
                if product > 1e150:
                    value += log(product)
                    product = 1
                p = p / (1 + p)
            p = p / (n - 1)
            e[j] = <float> p
            total += p
        e[0] = <float> -total
        value = (value + log(product)) / (n - 1)
    elif loss == SOFTMAX:
        highest = first
        for j in range(1, n):
            highest = max(highest, <double> e[j])
        for j in range(n):
            p = exp(e[j] - highest)
            e[j] = <float> p
            total += p
        for j in range(1, n):
            e[j] = <float> (e[j] / total)
        e[0] = <float> (e[0] / total - 1)
        value = log(total) + highest - first
    else:
        e[0] = 0
        for j in range(1, n):
            if total == 0 and e[j] > first - 1:
                total = log(max(1.0, (n_items - 1) / j)) / log(max(2.0, n_items))
                value = total * _softplus(e[j] - first)
                e[j] = <float> (total * _sigmoid(e[j] - first))
                e[0] = -e[j]
                total = 1
            else:
                e[j] = 0
    return value


cdef inline float _dot(const float* a, const float* b, Py_ssize_t k) noexcept nogil:
    cdef lanes total = lanes_zero()
    cdef Py_ssize_t at = 0
    cdef int n
    while at < k:
        n = <int> min(<Py_ssize_t> FULL, k - at)
        total = total + lanes_load(a + at, n) * lanes_load(b + at, n)
        at += FULL
    return lanes_sum(total)


cdef inline double _side(
    const Factors* f, const int32_t* keys, const float* x, Py_ssize_t n, Py_ssize_t known, float* sums
) noexcept nogil:
    # what a context or an item gives by itself; most are one feature, which makes no pairs
    cdef Py_ssize_t at = 0
    cdef const float* v
    cdef int block
    if n != 1:
        return _score(f, 0, keys, x, n, known, sums)
    if AHEAD < known:
        lanes_prefetch(f.V + keys[AHEAD] * f.V_stride, f.k + 1)
    v = f.V + keys[0] * f.V_stride
    while at < f.k:
        block = <int> min(<Py_ssize_t> FULL, f.k - at)
        lanes_store(sums + at, x[0] * lanes_load(v + at, block), FULL)
        at += FULL
    return <double> x[0] * f.w[keys[0] * f.w_stride]


cdef void _rank_rows(const Ranked* b, tasks* row_tasks, int num_threads, int me) noexcept nogil:
    # what thread `me` gets of the contexts
    cdef const Rows* a = b.rows
    cdef const Entries* e = a.entries
    cdef Py_ssize_t task, r, j, row, at, f, stride = a.sums_stride, g = b.n_compared, k = a.factors.k
    cdef float* c
    cdef float* s
    cdef float* z
    cdef double item
    cdef float order
    cdef lanes of_context, of_item, gradient
    while True:
        task = tasks_next(row_tasks, num_threads, me)
        if task < 0:
            return
        for r in range(task * CONTEXTS_A_TASK, min((task + 1) * CONTEXTS_A_TASK, b.n)):
            at = e.indptr[r]
            c = a.sums + r * stride
            _side(a.factors, e.indices + at, e.values + at, e.indptr[r + 1] - at, e.n - at, c)
            row = b.n + r * g
            z = a.residuals + row
            for j in range(g):
                at = e.indptr[row + j]
                s = a.sums + (row + j) * stride
                item = _side(a.factors, e.indices + at, e.values + at, e.indptr[row + j + 1] - at, e.n - at, s)
                item += _dot(c, s, k)
                z[j] = <float> item
            order = 0
            for j in range(1, g):
                order += 1 if z[j] < z[0] else 0.5 if z[j] == z[0] else 0
            b.orders[r] = order / (g - 1)
            a.scores[r] = <float> _compare(z, g, b.loss, b.n_items)
            f = 0
            while f < k:
                of_context = lanes_load(c + f, FULL)
                gradient = lanes_zero()
                for j in range(g):
                    s = a.sums + (row + j) * stride + f
                    of_item = lanes_load(s, FULL)
                    gradient = gradient + z[j] * of_item
                    lanes_store(s, of_context + of_item, FULL)
                lanes_store(c + f, gradient, FULL)
                f = f + FULL
            a.residuals[r] = 1


def train_ranked(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const float[::1] values,
    Py_ssize_t n_contexts,
    int loss,
    double n_items,
    int32_t[::1] features,
    int64_t[::1] starts,
    int32_t[::1] rows,
    float[::1] row_values,
    bint is_grouped,
    float[:, ::1] params,
    float[:, ::1] state,
    float[:, ::1] sums,
    float[::1] residuals,
    float[::1] losses,
    float[::1] orders,
    bint lazy,
    step,
    int num_threads,
):
    """One update from contexts and the items that are compared in them: see interface.py."""
    cdef Rule rule = _rule(step)
    cdef Py_ssize_t n_rows = indptr.shape[0] - 1, n = indices.shape[0], n_features = features.shape[0]
    cdef Py_ssize_t* n_grouped = &n_features
    need_rows(indptr, indices.shape[0], values.shape[0])
    need_learning(n, features, starts, rows, row_values, is_grouped, &rule, params, state, num_threads)
    need_room("rows of sums", sums.shape[0], n_rows)
    need_room("columns of sums", sums.shape[1], params.shape[1] - 1)
    need_room("residuals", residuals.shape[0], n_rows)
    need("losses", losses.shape[0], n_contexts)
    need_room("contexts", n_contexts, 1)
    need("rows that are left over", n_rows % n_contexts, 0)
    need("orders", orders.shape[0], n_contexts)
    cdef Factors f
    f.k = params.shape[1] - 1
    f.V = &params[0, 0]
    f.V_stride = f.k + 1
    f.w = f.V + f.k
    f.w_stride = f.k + 1
    cdef Entries e = Entries(&indptr[0], n_rows, &indices[0], &values[0], n)
    cdef Groups g = Groups(&features[0], &starts[0], &rows[0], &row_values[0])
    cdef int me, has_pairless = 0  # a context has a user, and so every row of both has a pair
    cdef tasks* row_tasks = <tasks*> _memory(2 * num_threads * sizeof(tasks))
    cdef tasks* feature_tasks = row_tasks + num_threads
    cdef void* scratch = NULL
    cdef Rows a
    cdef Ranked ranked
    cdef Learning b
    try:
        if not is_grouped:
            scratch = _memory(n * SCRATCH_AN_ENTRY)
        a = Rows(&f, &e, 0, False, &losses[0], NULL, NULL, &sums[0, 0], sums.shape[1], &residuals[0], NULL, NULL)
        ranked = Ranked(&a, &orders[0], n_contexts, n_rows // n_contexts - 1, loss, n_items)
        b.rule = &rule
        b.params = &params[0, 0]
        b.n_states = state.shape[1] // (f.k + 1)
        b.state = &state[0, 0] if b.n_states else NULL
        b.k = f.k
        b.sums = a.sums
        b.sums_stride = a.sums_stride
        b.residuals = a.residuals
        b.pair_residuals = a.residuals
        b.has_pairless = &has_pairless
        b.n_contexts = n_contexts
        b.is_shared = num_threads > 1
        with nogil:
            tasks_deal(row_tasks, num_threads, _n_tasks(n_contexts, CONTEXTS_A_TASK))
            with parallel(num_threads=num_threads):
                for me in prange(num_threads, schedule="static", chunksize=1):
                    if me == 0:
                        if scratch != NULL:
                            n_grouped[0] = group_entries(&e, params.shape[0], scratch, &g)
                        tasks_deal(feature_tasks, num_threads, _n_tasks(n_grouped[0], FEATURES_A_TASK))
                    _rank_rows(&ranked, row_tasks, num_threads, me)
                if lazy:
                    for me in prange(num_threads, schedule="static", chunksize=1):
                        _learn_features(&b, &g, n_grouped[0], feature_tasks, num_threads, me)
            if not lazy:
                _learn_all(&b, params.shape[0], &g, n_features, num_threads)
    finally:
        free(scratch)
        free(row_tasks)
    return n_features
