# One sweep of a Bayesian factorization machine, written once: _bayes_generic, _bayes_avx2 and _bayes_avx512
# include this text and are compiled for their instruction sets. reference_bayes.py is its plain twin, and
# docs/explanation/bayes.md explains the model.
#
# A sweep visits the features one after the other, and a feature's vector a = [v_j | w_j], of k + 1 numbers, is drawn
# in one piece ("block" Gibbs), given all the others. With each row's score z kept up to date, and its sums
# q_f = sum_i v_if x_i, a row is linear in a: z = rest + <a, h>, h = [x (q - x v_j) | x]. So a's conditional is normal,
#
#     precision  P = Lambda_g + alpha sum_r om_r h_r h_r'          g: the feature's group, Lambda_g and mu_g its prior
#     mean       P^-1 (Lambda_g mu_g + alpha (sum_r om_r h_r h_r' a + sum_r h_r (kappa_r - om_r z_r)))
#
# where a is the old vector. A regressor has om = 1 and kappa = y; a classifier alpha = 1, kappa = y - 1/2 and a
# Polya-Gamma draw for om [1]_. Two walks over the feature's rows: the first sums, the second moves z and q.
#
# Layout: a row's record is [q_1 .. q_k, 1, z, om, kappa, sum of z, sum of sigmoid(z)] and filling, whole cache lines,
# so that a feature's row costs one miss: k = 10 and below, one line. The 1 stands where a has w: it makes w's column of
# h without a case of its own.
#
# The sum over rows is a product of matrices, H' H: rows' h are written side by side to a panel in the first-level
# cache, with the residual as one column more, and blocks of 8 x LANES sums stay in registers over the panel. Panels
# are added up in float64. Systems are solved in float64, one feature per place of a register.
#
# Threads: features that share no row ("one colour", e.g. the values of one one-hot field) do not depend on each other,
# and are shared out. A feature of very many rows is cut into chunks of rows, summed and moved by many threads. Which
# sums are made, and in which order they are added, never depends on the number of threads: nor do the bits.
#
# .. [1] N. Polson, J. Scott, J. Windle, "Bayesian Inference for Logistic Models Using Polya-Gamma Latent Variables",
#        JASA 108, 2013. Block sampling of factors: R. Salakhutdinov, A. Mnih, "Bayesian Probabilistic Matrix
#        Factorization using MCMC", ICML 2008; of factorization machines, number by number: S. Rendle, "Factorization
#        Machines with libFM", TIST 3(3), 2012.

from cython.parallel cimport parallel, prange, threadid
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import numpy as np

from fm_core.kernels.checks cimport need, need_room, need_threads
from fm_core.kernels.simd cimport FULL, lanes, lanes_load, lanes_store, lanes_zero
from fm_core.kernels.work_stealing cimport tasks, tasks_deal, tasks_next


cdef extern from "simd_double.h" nogil:
    enum:
        WIDE "DOUBLES"       # doubles of a register: half of FULL
    ctypedef double doubles
    float lanes_total(lanes a)
    void line_prefetch_to_write(const float* p)
    doubles doubles_set(double x)
    doubles doubles_load(const double* p)
    void doubles_store(double* p, doubles a)
    doubles doubles_sqrt(doubles a)
    doubles doubles_max(doubles a, doubles b)
    void doubles_add_lanes(double* total, lanes a)
    void team_barrier()


cdef extern from "bayes_eight.h" nogil:
    enum:
        EIGHT_FITS           # whether registers of this build are wide enough
        EIGHT_SUMS
        EIGHT_PLACES
    ctypedef struct eight_data:
        float* records
        Py_ssize_t stride
        const int32_t* rows
        const float* values
        Py_ssize_t n_entries
        float w0
        int is_weighted
    ctypedef struct eight_prior:
        float* params
        const float* noise
        const int32_t* groups
        const double* precision
        const double* shift
        double alpha
        double held
        double least
    void eight_sum_rows(const eight_data* a, const float* old, Py_ssize_t begin, Py_ssize_t end, double* sums)
    void eight_move_rows(
        const eight_data* a, const float* old, const float* step, Py_ssize_t begin, Py_ssize_t end
    )
    void eight_take(const double* sums, double* system, int place)
    void eight_solve(
        const eight_prior* a, const double* system, const int32_t* features, int n, float* vectors, Py_ssize_t stride
    )


cdef enum:
    PANEL = 32           # rows of a panel
    AHEAD = 24           # rows of a feature asked for ahead of use
    TOGETHER = 1024      # rows of the features that are solved together: their records stay near for the second walk
    ROWS_A_CHUNK = 4096  # rows summed in one piece by the functions of all rows, and features by those of all features
    FEATURES_A_CHUNK = 16384
    # a colour: see `bayes.schedule`
    FIRST_TASK = 0
    LAST_TASK = 1
    FIRST_HEAVY = 2
    LAST_HEAVY = 3
    FIRST_CHUNK = 4
    LAST_CHUNK = 5
    INDEPENDENT = 6
    NUMBERS_OF_A_COLOUR = 7


#: Sums of float32 know P to so much of its diagonal, and no direction of it may seem to be known better than that: this
#: share of the diagonal holds a vector where it is. (Columns that say nearly the same would throw it far away.)
cdef double HELD = 1e-6
#: Less than this share of a number of P, once those before are known, is rounding, and may be negative.
cdef double LEAST = 1e-7


cdef struct Sweep:
    # the data, by feature: rows[starts[j]:starts[j + 1]], and values unless all are 1
    const int64_t* starts
    const int32_t* rows
    const float* values
    # in which order, and what goes together
    const int32_t* order
    const int64_t* tasks
    const int64_t* heavy
    const int64_t* chunks
    const int64_t* colours
    Py_ssize_t n_colours
    # what changes
    float* records
    Py_ssize_t stride
    int lines                # of a record, in use
    float* params            # rows of k + 1
    Py_ssize_t k
    # priors: by group, (k + 1) x (k + 1) and k + 1 numbers
    const int32_t* groups
    const double* precision
    const double* shift      # precision times mean
    const float* noise       # normal numbers, as params; NULL: the conditional mean is taken
    double alpha
    float w0
    bint is_weighted
    bint only_moves          # records are made anew from params
    # of heavy features: the sums of each chunk, and of each feature the old vector and both steps
    double* chunk_sums
    float* heavy_vectors
    # eight factors have walks of their own
    bint is_eight
    eight_data eight
    eight_prior prior
    Py_ssize_t n_sums        # of a feature
    int places               # features that are solved together


cdef struct Scratch:
    float* panel             # PANEL rows of h, the residual in lane k + 1 unless is_weighted
    float* weighted          # om h, and the residual; the same as panel unless is_weighted
    double* sums             # k + 2 rows: sum om h h', and sum h (kappa - om z)
    float* vectors           # WIDE times: old vector, step, and step of q; each `stride` floats
    double* system           # lower triangle of P, one feature a place
    double* right            # k + 1
    double* old              # k + 1


# ---------------------------------------------------------------- the first walk: sums over a feature's rows

cdef inline void _ask_ahead(const Sweep* a, const int32_t* rows) noexcept nogil:
    # for the record of a row that comes later
    cdef const float* record = a.records + rows[AHEAD] * a.stride
    cdef int line
    line_prefetch_to_write(record)
    for line in range(1, a.lines):
        line_prefetch_to_write(record + 16 * line)


cdef inline void _fill_blocks(
    const Sweep* a, int n_blocks, bint is_weighted, const float* old, const int32_t* rows, const float* values,
    Py_ssize_t n, Py_ssize_t n_known, float* panel, float* weighted
) noexcept nogil:
    cdef Py_ssize_t t, stride = a.stride, k = a.k
    cdef int b
    cdef float x = 1, om, residual, w0 = a.w0
    cdef const float* record
    cdef lanes h
    for t in range(n):
        if t + AHEAD < n_known:
            _ask_ahead(a, rows + t)
        record = a.records + rows[t] * stride
        if values != NULL:
            x = values[t]
        om = record[k + 2]
        residual = record[k + 3] - om * (record[k + 1] + w0)
        for b in range(n_blocks):
            h = x * (lanes_load(record + b * FULL, FULL) - x * lanes_load(old + b * FULL, FULL))
            lanes_store(panel + b * FULL, h, FULL)
            if is_weighted:
                lanes_store(weighted + b * FULL, om * h, FULL)
        if is_weighted:
            weighted[k + 1] = residual
        else:
            panel[k + 1] = residual
        panel = panel + stride
        weighted = weighted + stride


cdef inline void _fill(
    const Sweep* a, const float* old, Py_ssize_t begin, Py_ssize_t n, Py_ssize_t end, const Scratch* s
) noexcept nogil:
    # n rows from `begin` on, of a range that ends at `end`
    cdef int n_blocks = <int> ((a.k + FULL) // FULL)
    cdef const float* x = NULL
    if a.values != NULL:
        x = a.values + begin
    if n_blocks == 1 and a.is_weighted:
        _fill_blocks(a, 1, True, old, a.rows + begin, x, n, end - begin, s.panel, s.weighted)
    elif n_blocks == 1:
        _fill_blocks(a, 1, False, old, a.rows + begin, x, n, end - begin, s.panel, s.panel)
    elif n_blocks == 2 and a.is_weighted:
        _fill_blocks(a, 2, True, old, a.rows + begin, x, n, end - begin, s.panel, s.weighted)
    elif n_blocks == 2:
        _fill_blocks(a, 2, False, old, a.rows + begin, x, n, end - begin, s.panel, s.panel)
    else:
        _fill_blocks(a, n_blocks, a.is_weighted, old, a.rows + begin, x, n, end - begin, s.panel, s.weighted)


# total[i][:] += sum_t left[t][i] right[t][:], a register of columns and some rows i at a time

cdef inline void _add8(
    const float* left, const float* right, Py_ssize_t stride, Py_ssize_t n, double* total
) noexcept nogil:
    cdef lanes s0 = lanes_zero(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, h
    cdef Py_ssize_t t
    for t in range(n):
        h = lanes_load(right + t * stride, FULL)
        s0 = s0 + left[t * stride] * h
        s1 = s1 + left[t * stride + 1] * h
        s2 = s2 + left[t * stride + 2] * h
        s3 = s3 + left[t * stride + 3] * h
        s4 = s4 + left[t * stride + 4] * h
        s5 = s5 + left[t * stride + 5] * h
        s6 = s6 + left[t * stride + 6] * h
        s7 = s7 + left[t * stride + 7] * h
    doubles_add_lanes(total, s0)
    doubles_add_lanes(total + stride, s1)
    doubles_add_lanes(total + 2 * stride, s2)
    doubles_add_lanes(total + 3 * stride, s3)
    doubles_add_lanes(total + 4 * stride, s4)
    doubles_add_lanes(total + 5 * stride, s5)
    doubles_add_lanes(total + 6 * stride, s6)
    doubles_add_lanes(total + 7 * stride, s7)


cdef inline void _add10(
    const float* left, const float* right, Py_ssize_t stride, Py_ssize_t n, double* total
) noexcept nogil:
    # the whole of k 8 at once
    cdef lanes s0 = lanes_zero(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, s8 = s0, s9 = s0, h
    cdef Py_ssize_t t
    for t in range(n):
        h = lanes_load(right + t * stride, FULL)
        s0 = s0 + left[t * stride + 0] * h
        s1 = s1 + left[t * stride + 1] * h
        s2 = s2 + left[t * stride + 2] * h
        s3 = s3 + left[t * stride + 3] * h
        s4 = s4 + left[t * stride + 4] * h
        s5 = s5 + left[t * stride + 5] * h
        s6 = s6 + left[t * stride + 6] * h
        s7 = s7 + left[t * stride + 7] * h
        s8 = s8 + left[t * stride + 8] * h
        s9 = s9 + left[t * stride + 9] * h
    doubles_add_lanes(total + 0 * stride, s0)
    doubles_add_lanes(total + 1 * stride, s1)
    doubles_add_lanes(total + 2 * stride, s2)
    doubles_add_lanes(total + 3 * stride, s3)
    doubles_add_lanes(total + 4 * stride, s4)
    doubles_add_lanes(total + 5 * stride, s5)
    doubles_add_lanes(total + 6 * stride, s6)
    doubles_add_lanes(total + 7 * stride, s7)
    doubles_add_lanes(total + 8 * stride, s8)
    doubles_add_lanes(total + 9 * stride, s9)


cdef inline void _add2(
    const float* left, const float* right, Py_ssize_t stride, Py_ssize_t n, double* total
) noexcept nogil:
    cdef lanes s0 = lanes_zero(), s1 = s0, h
    cdef Py_ssize_t t
    for t in range(n):
        h = lanes_load(right + t * stride, FULL)
        s0 = s0 + left[t * stride] * h
        s1 = s1 + left[t * stride + 1] * h
    doubles_add_lanes(total, s0)
    doubles_add_lanes(total + stride, s1)


cdef inline void _add1(
    const float* left, const float* right, Py_ssize_t stride, Py_ssize_t n, double* total
) noexcept nogil:
    cdef lanes s0 = lanes_zero()
    cdef Py_ssize_t t
    for t in range(n):
        s0 = s0 + left[t * stride] * lanes_load(right + t * stride, FULL)
    doubles_add_lanes(total, s0)


cdef inline void _multiply(const Sweep* a, const Scratch* s, Py_ssize_t n, double* sums) noexcept nogil:
    # sums += [om h | residual]' h over n rows of the panel; above the diagonal only what its register holds
    cdef Py_ssize_t i = 0, b, size, n_rows = a.k + 2
    cdef const float* left
    cdef const float* right
    cdef double* total
    while i < n_rows:
        size = 10 if n_rows - i == 10 else (8 if n_rows - i >= 8 else (2 if n_rows - i >= 2 else 1))
        left = s.weighted + i
        for b in range(min(i + size - 1, a.k) // FULL + 1):
            right = s.panel + b * FULL
            total = sums + i * a.stride + b * FULL
            if size == 10:
                _add10(left, right, a.stride, n, total)
            elif size == 8:
                _add8(left, right, a.stride, n, total)
            elif size == 2:
                _add2(left, right, a.stride, n, total)
            else:
                _add1(left, right, a.stride, n, total)
        i += size


cdef void _sum_rows(
    const Sweep* a, const float* old, Py_ssize_t begin, Py_ssize_t end, const Scratch* s, double* sums
) noexcept nogil:
    cdef Py_ssize_t n
    if a.is_eight:
        eight_sum_rows(&a.eight, old, begin, end, sums)
        return
    memset(sums, 0, a.n_sums * sizeof(double))
    while begin < end:
        n = min(<Py_ssize_t> PANEL, end - begin)
        _fill(a, old, begin, n, end, s)
        _multiply(a, s, n, sums)
        begin += n


# ---------------------------------------------------------------- the draw

cdef inline Py_ssize_t _triangle(Py_ssize_t i) noexcept nogil:
    # where row i of a lower triangle begins
    return i * (i + 1) // 2


cdef void _take_sums(const Sweep* a, const Scratch* s, const double* sums, int place) noexcept nogil:
    # alpha times the sums, and the old vector, to one place of the systems
    cdef Py_ssize_t i, j, width = a.k + 1
    cdef double* row
    if a.is_eight:
        eight_take(sums, s.system, place)
        return
    for i in range(width):
        row = s.system + _triangle(i) * WIDE + place
        for j in range(i + 1):
            row[j * WIDE] = a.alpha * sums[i * a.stride + j]
        s.right[i * WIDE + place] = a.alpha * sums[width * a.stride + i]


cdef void _solve(const Sweep* a, const Scratch* s, const int32_t* features, int n) noexcept nogil:
    # The draws of n features, from what is in `system`, `right` and `vectors`, to the steps in `vectors`.
    cdef Py_ssize_t i, j, m, width = a.k + 1
    cdef int place
    cdef doubles c, d, least, one = doubles_set(1)
    cdef double* row
    cdef double* other
    cdef const double* prior
    cdef float* vectors
    cdef float step
    if a.is_eight:
        eight_solve(&a.prior, s.system, features, n, s.vectors, a.stride)
        return
    for i in range(width):
        for place in range(WIDE):
            s.old[i * WIDE + place] = a.params[features[place] * width + i] if place < n else 0
    for i in range(width):
        row = s.system + (_triangle(i) + i) * WIDE
        doubles_store(row, doubles_load(row) * doubles_set(1 + HELD))
    # right += alpha sum om h h' old
    for i in range(width):
        row = s.system + _triangle(i) * WIDE
        c = doubles_load(s.right + i * WIDE)
        for j in range(i):
            d = doubles_load(row + j * WIDE)
            c = c + d * doubles_load(s.old + j * WIDE)
            doubles_store(
                s.right + j * WIDE, doubles_load(s.right + j * WIDE) + d * doubles_load(s.old + i * WIDE)
            )
        c = c + doubles_load(row + i * WIDE) * doubles_load(s.old + i * WIDE)
        doubles_store(s.right + i * WIDE, c)
    # the prior; places without a feature get one too, so that they can be solved
    for place in range(WIDE):
        m = a.groups[features[place if place < n else 0]]
        prior = a.precision + m * width * width
        for i in range(width):
            row = s.system + _triangle(i) * WIDE + place
            for j in range(i + 1):
                row[j * WIDE] = (row[j * WIDE] if place < n else 0) + prior[i * width + j]
            s.right[i * WIDE + place] = (s.right[i * WIDE + place] if place < n else 0) + a.shift[m * width + i]
    # P = L L', with 1 / L_jj on the diagonal; and right becomes L^-1 right
    for j in range(width):
        other = s.system + _triangle(j) * WIDE
        d = doubles_load(other + j * WIDE)
        least = d * doubles_set(LEAST)
        c = doubles_load(s.right + j * WIDE)
        for m in range(j):
            d = d - doubles_load(other + m * WIDE) * doubles_load(other + m * WIDE)
            c = c - doubles_load(other + m * WIDE) * doubles_load(s.right + m * WIDE)
        d = one / doubles_sqrt(doubles_max(d, least))
        doubles_store(other + j * WIDE, d)
        doubles_store(s.right + j * WIDE, c * d)
        for i in range(j + 1, width):
            row = s.system + _triangle(i) * WIDE
            c = doubles_load(row + j * WIDE)
            for m in range(j):
                c = c - doubles_load(row + m * WIDE) * doubles_load(other + m * WIDE)
            doubles_store(row + j * WIDE, c * d)
    # the draw: L' a = L^-1 right + noise
    if a.noise != NULL:
        for place in range(n):
            for i in range(width):
                s.right[i * WIDE + place] += a.noise[features[place] * width + i]
    for i in range(width - 1, -1, -1):
        row = s.system + _triangle(i) * WIDE
        c = doubles_load(s.right + i * WIDE) * doubles_load(row + i * WIDE)
        doubles_store(s.right + i * WIDE, c)
        for j in range(i):
            doubles_store(
                s.right + j * WIDE, doubles_load(s.right + j * WIDE) - c * doubles_load(row + j * WIDE)
            )
    for place in range(n):
        vectors = s.vectors + 3 * place * a.stride
        for i in range(width):
            step = <float> (s.right[i * WIDE + place] - s.old[i * WIDE + place])
            vectors[a.stride + i] = step
            if i < a.k:
                vectors[2 * a.stride + i] = step
            a.params[features[place] * width + i] += step


cdef inline void _begin_vectors(const Sweep* a, Py_ssize_t feature, float* vectors) noexcept nogil:
    # the old vector without w, and no step yet; to make records anew, zero and the whole vector as the step
    cdef Py_ssize_t i
    cdef const float* params = a.params + feature * (a.k + 1)
    memset(vectors, 0, 3 * a.stride * sizeof(float))
    if a.only_moves:
        for i in range(a.k):
            vectors[a.stride + i] = params[i]
            vectors[2 * a.stride + i] = params[i]
        vectors[a.stride + a.k] = params[a.k]
    else:
        for i in range(a.k):
            vectors[i] = params[i]


# ---------------------------------------------------------------- the second walk: rows follow

cdef inline void _move_blocks(
    const Sweep* a, int n_blocks, const float* vectors, const int32_t* rows, const float* values, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t t, stride = a.stride, k = a.k
    cdef int b
    cdef float x = 1, z
    cdef float* record
    cdef const float* steps = vectors + stride
    cdef const float* steps_of_q = vectors + 2 * stride
    cdef lanes q, total
    for t in range(n):
        if t + AHEAD < n:
            _ask_ahead(a, rows + t)
        record = a.records + rows[t] * stride
        if values != NULL:
            x = values[t]
        z = record[k + 1]
        total = lanes_zero()
        for b in range(n_blocks):
            q = lanes_load(record + b * FULL, FULL)
            total = total + (q - x * lanes_load(vectors + b * FULL, FULL)) * lanes_load(steps + b * FULL, FULL)
            lanes_store(record + b * FULL, q + x * lanes_load(steps_of_q + b * FULL, FULL), FULL)
        record[k + 1] = z + x * lanes_total(total)


cdef void _move(const Sweep* a, const float* vectors, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    cdef int n_blocks = <int> ((a.k + FULL) // FULL)
    cdef const float* x = NULL
    if a.is_eight:
        eight_move_rows(&a.eight, vectors, vectors + a.stride, begin, end)
        return
    if a.values != NULL:
        x = a.values + begin
    if n_blocks == 1:
        _move_blocks(a, 1, vectors, a.rows + begin, x, end - begin)
    elif n_blocks == 2:
        _move_blocks(a, 2, vectors, a.rows + begin, x, end - begin)
    else:
        _move_blocks(a, n_blocks, vectors, a.rows + begin, x, end - begin)


# ---------------------------------------------------------------- who does what

cdef inline void _ask_for_first_rows(const Sweep* a, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    # of the features at these places of the order
    cdef Py_ssize_t p, t
    for p in range(first, last):
        for t in range(a.starts[a.order[p]], min(a.starts[a.order[p] + 1], a.starts[a.order[p]] + AHEAD)):
            _ask_ahead(a, a.rows + t - AHEAD)


cdef void _light(
    const Sweep* a, const Scratch* s, Py_ssize_t begin, Py_ssize_t end, bint are_independent
) noexcept nogil:
    # the features at places `begin` to `end` of the order, as many at once as a register has places
    cdef Py_ssize_t p = begin, n_rows
    cdef const int32_t* features
    cdef int n, i
    while p < end:
        features = a.order + p
        n_rows = a.starts[features[0] + 1] - a.starts[features[0]]
        n = 1
        while are_independent and n < a.places and p + n < end:
            n_rows += a.starts[features[n] + 1] - a.starts[features[n]]
            if n_rows > TOGETHER:
                break
            n += 1
        if not a.is_eight or p + n == end or features[n] != features[n - 1] + 1:
            _ask_for_first_rows(a, p + n, min(end, p + n + a.places))
        for i in range(n):
            _begin_vectors(a, features[i], s.vectors + 3 * i * a.stride)
            if not a.only_moves:
                _sum_rows(
                    a, s.vectors + 3 * i * a.stride, a.starts[features[i]], a.starts[features[i] + 1], s, s.sums
                )
                _take_sums(a, s, s.sums, i)
        if not a.only_moves:
            _solve(a, s, features, n)
        for i in range(n):
            _move(a, s.vectors + 3 * i * a.stride, a.starts[features[i]], a.starts[features[i] + 1])
        p += n


cdef void _solve_heavy(const Sweep* a, const Scratch* s, Py_ssize_t heavy) noexcept nogil:
    cdef const int64_t* h = a.heavy + 3 * heavy
    cdef Py_ssize_t c, i, size = a.n_sums
    cdef int32_t feature = <int32_t> h[0]
    cdef float* vectors = a.heavy_vectors + 3 * heavy * a.stride
    _begin_vectors(a, feature, s.vectors)
    if not a.only_moves:
        memset(s.sums, 0, size * sizeof(double))
        for c in range(h[1], h[2]):
            for i in range(size):
                s.sums[i] += a.chunk_sums[c * size + i]
        _take_sums(a, s, s.sums, 0)
        _solve(a, s, &feature, 1)
    for i in range(3 * a.stride):
        vectors[i] = s.vectors[i]


cdef void _work(const Sweep* a, const Scratch* s, tasks* dealt, int n_threads, int me) noexcept nogil:
    # what thread `me` does of the whole sweep; `dealt` has three rounds of tasks a colour
    cdef Py_ssize_t c, i, n_chunks, size = a.n_sums
    cdef const int64_t* colour
    cdef const int64_t* chunk
    for c in range(a.n_colours):
        colour = a.colours + NUMBERS_OF_A_COLOUR * c
        n_chunks = colour[LAST_CHUNK] - colour[FIRST_CHUNK]
        while True:
            i = tasks_next(dealt, n_threads, me)
            if i < 0:
                break
            if i < n_chunks:
                i += colour[FIRST_CHUNK]
                chunk = a.chunks + 3 * i
                if not a.only_moves:
                    _begin_vectors(a, a.heavy[3 * chunk[0]], s.vectors)
                    _sum_rows(a, s.vectors, chunk[1], chunk[2], s, a.chunk_sums + i * size)
            else:
                i += colour[FIRST_TASK] - n_chunks
                _light(a, s, a.tasks[2 * i], a.tasks[2 * i + 1], colour[INDEPENDENT])
        team_barrier()
        dealt += n_threads
        if n_chunks:
            while True:
                i = tasks_next(dealt, n_threads, me)
                if i < 0:
                    break
                _solve_heavy(a, s, colour[FIRST_HEAVY] + i)
            team_barrier()
            while True:
                i = tasks_next(dealt + n_threads, n_threads, me)
                if i < 0:
                    break
                chunk = a.chunks + 3 * (colour[FIRST_CHUNK] + i)
                _move(a, a.heavy_vectors + 3 * chunk[0] * a.stride, chunk[1], chunk[2])
            team_barrier()
        dealt += 2 * n_threads


cdef void* _cut(char** at, Py_ssize_t n_bytes) noexcept nogil:
    # the next n_bytes of a block of memory, beginning at a cache line
    cdef char* here = at[0]
    here += (64 - <uintptr_t> here % 64) % 64
    at[0] = here + n_bytes
    return here


cdef Py_ssize_t _make_scratch(const Sweep* a, Scratch* s, char* memory) noexcept nogil:
    # gives how many bytes a thread needs
    cdef char* at = memory
    cdef Py_ssize_t width = a.k + 1
    s.panel = <float*> _cut(&at, PANEL * a.stride * sizeof(float))
    s.weighted = <float*> _cut(&at, PANEL * a.stride * sizeof(float)) if a.is_weighted else s.panel
    s.sums = <double*> _cut(&at, a.n_sums * sizeof(double))
    s.vectors = <float*> _cut(&at, 3 * a.places * a.stride * sizeof(float))
    s.system = <double*> _cut(&at, (_triangle(width) + width) * a.places * sizeof(double))
    s.right = s.system + _triangle(width) * a.places
    s.old = <double*> _cut(&at, width * WIDE * sizeof(double))
    return at - memory + 64


def sweep(
    const int64_t[::1] starts,
    const int32_t[::1] rows,
    const float[::1] values,
    schedule,
    float[:, ::1] records,
    float[:, ::1] params,
    const int32_t[::1] groups,
    const double[:, :, ::1] precision,
    const double[:, ::1] shift,
    const float[:, ::1] noise,
    double alpha,
    double w0,
    bint is_weighted,
    bint only_moves,
    int num_threads,
):
    """Draw every feature's vector, or make the records anew: see interface.BayesKernels."""
    cdef const int32_t[::1] order = schedule.order
    cdef const int64_t[:, ::1] light = schedule.tasks, heavy = schedule.heavy, chunks = schedule.chunks
    cdef const int64_t[:, ::1] colours = schedule.steps
    cdef Sweep a
    cdef Scratch measured
    cdef Scratch* scratch
    cdef tasks* dealt
    cdef char* memory
    cdef Py_ssize_t c, size
    cdef int me
    cdef Py_ssize_t n = order.shape[0], width = params.shape[1]
    need("starts", starts.shape[0], n + 1)
    need("entries of the starts", starts[n], rows.shape[0])
    if values.shape[0]:
        need("values", values.shape[0], rows.shape[0])
    need("rows of parameters", params.shape[0], n)
    need_room("columns of parameters", width, 2)
    need("groups", groups.shape[0], n)
    need("rows of a precision", precision.shape[1], width)
    need("columns of a precision", precision.shape[2], width)
    need("groups of shifts", shift.shape[0], precision.shape[0])
    need("columns of shifts", shift.shape[1], width)
    if noise.shape[0]:
        need("rows of noise", noise.shape[0], n)
        need("columns of noise", noise.shape[1], width)
    need_room("columns of records", records.shape[1], width + 5)
    need("columns of tasks", light.shape[1], 2)
    need("columns of features that are cut", heavy.shape[1], 3)
    need("columns of chunks", chunks.shape[1], 3)
    need("columns of steps", colours.shape[1], 7)
    need_threads(num_threads)
    if n == 0 or colours.shape[0] == 0:
        return
    a.starts, a.rows, a.order = &starts[0], &rows[0] if rows.shape[0] else NULL, &order[0]
    a.values = &values[0] if values.shape[0] else NULL
    a.tasks = &light[0, 0] if light.shape[0] else NULL
    a.heavy = &heavy[0, 0] if heavy.shape[0] else NULL
    a.chunks = &chunks[0, 0] if chunks.shape[0] else NULL
    a.colours, a.n_colours = &colours[0, 0], colours.shape[0]
    a.records, a.stride = &records[0, 0], records.shape[1]
    a.params, a.k = &params[0, 0], params.shape[1] - 1
    a.lines = <int> ((a.k + 4 + 15) // 16)
    a.groups, a.precision, a.shift = &groups[0], &precision[0, 0, 0], &shift[0, 0]
    a.noise = &noise[0, 0] if noise.shape[0] else NULL
    a.alpha, a.w0, a.is_weighted, a.only_moves = alpha, <float> w0, is_weighted, only_moves
    a.is_eight = EIGHT_FITS and a.k == 8
    a.n_sums = EIGHT_SUMS if a.is_eight else (a.k + 2) * a.stride
    a.eight.records, a.eight.stride, a.eight.rows, a.eight.values = a.records, a.stride, a.rows, a.values
    a.eight.n_entries, a.eight.w0, a.eight.is_weighted = rows.shape[0], a.w0, is_weighted
    a.prior.params, a.prior.noise, a.prior.groups = a.params, a.noise, a.groups
    a.prior.precision, a.prior.shift = a.precision, a.shift
    a.prior.alpha, a.prior.held, a.prior.least = alpha, HELD, LEAST
    a.places = EIGHT_PLACES if a.is_eight else WIDE
    size = _make_scratch(&a, &measured, NULL)
    memory = <char*> malloc(
        64 + num_threads * (size + sizeof(Scratch) + 3 * a.n_colours * sizeof(tasks) + 128)
        + chunks.shape[0] * a.n_sums * sizeof(double) + 64
        + 3 * heavy.shape[0] * a.stride * sizeof(float) + 64
    )
    if memory == NULL:
        raise MemoryError()
    cdef char* at = memory
    dealt = <tasks*> _cut(&at, 3 * a.n_colours * num_threads * sizeof(tasks))
    scratch = <Scratch*> _cut(&at, num_threads * sizeof(Scratch))
    a.chunk_sums = <double*> _cut(&at, chunks.shape[0] * a.n_sums * sizeof(double))
    a.heavy_vectors = <float*> _cut(&at, 3 * heavy.shape[0] * a.stride * sizeof(float))
    for me in range(num_threads):
        _make_scratch(&a, &scratch[me], <char*> _cut(&at, size))
    for c in range(a.n_colours):
        tasks_deal(
            dealt + 3 * c * num_threads, num_threads,
            colours[c, LAST_CHUNK] - colours[c, FIRST_CHUNK] + colours[c, LAST_TASK] - colours[c, FIRST_TASK],
        )
        tasks_deal(dealt + (3 * c + 1) * num_threads, num_threads, colours[c, LAST_HEAVY] - colours[c, FIRST_HEAVY])
        tasks_deal(dealt + (3 * c + 2) * num_threads, num_threads, colours[c, LAST_CHUNK] - colours[c, FIRST_CHUNK])
    if num_threads == 1:
        with nogil:
            _work(&a, scratch, dealt, 1, 0)
    else:
        with nogil, parallel(num_threads=num_threads):
            _work(&a, &scratch[threadid()], dealt, num_threads, threadid())
    free(memory)


# ---------------------------------------------------------------- all rows, between two sweeps

cdef inline void _turn_from(
    float* records, Py_ssize_t stride, Py_ssize_t k, Py_ssize_t n, float w0, bint begins_anew, double* sums
) noexcept nogil:
    cdef Py_ssize_t r
    cdef float z, residual
    cdef double total = 0, squares = 0
    cdef float* record = records + k
    for r in range(n):
        z = record[1] + w0
        residual = record[3] - z
        if begins_anew:
            record[4] = z
        else:
            record[4] = z + record[4]
        total += residual
        squares += <double> residual * residual
        record = record + stride
    sums[0], sums[1] = total, squares


cdef void _turn(
    float* records, Py_ssize_t stride, Py_ssize_t k, Py_ssize_t n, float w0, bint begins_anew, double* sums
) noexcept nogil:
    if begins_anew:
        _turn_from(records, stride, k, n, w0, True, sums)
    else:
        _turn_from(records, stride, k, n, w0, False, sums)


cdef void _turn_weighted(
    float* records, Py_ssize_t stride, Py_ssize_t k, Py_ssize_t n, float w0, bint begins_anew, double* sums
) noexcept nogil:
    # om is a row's weight, above 0, and kappa that times its label
    cdef Py_ssize_t r
    cdef double residual, total = 0, squares = 0
    cdef float* record
    for r in range(n):
        record = records + r * stride + k
        residual = record[3] - record[2] * (record[1] + w0)
        record[4] = record[1] + w0 + (0 if begins_anew else record[4])
        total += residual
        squares += residual * residual / record[2]
    sums[0], sums[1] = total, squares


def turn_rows(
    float[:, ::1] records, Py_ssize_t k, double w0, int counts, int num_threads, bint is_weighted=False
):
    """Between two sweeps of a regressor, add each row's score to its sum: see interface.BayesKernels."""
    cdef Py_ssize_t n = records.shape[0], c, n_chunks = (n + ROWS_A_CHUNK - 1) // ROWS_A_CHUNK
    parts = np.zeros((max(1, n_chunks), 2))
    cdef double[:, ::1] sums = parts
    need_room("factors", k, 0)
    need_room("columns of records", records.shape[1], k + 6)
    need_threads(num_threads)
    for c in prange(n_chunks, num_threads=num_threads, schedule="static", nogil=True):
        if is_weighted:
            _turn_weighted(
                &records[c * ROWS_A_CHUNK, 0], records.shape[1], k,
                min(<Py_ssize_t> ROWS_A_CHUNK, n - c * ROWS_A_CHUNK), <float> w0, counts == 1, &sums[c, 0],
            )
        else:
            _turn(
                &records[c * ROWS_A_CHUNK, 0], records.shape[1], k,
                min(<Py_ssize_t> ROWS_A_CHUNK, n - c * ROWS_A_CHUNK), <float> w0, counts == 1, &sums[c, 0],
            )
    return parts.sum(axis=0)


# ---------------------------------------------------------------- all features

cdef void _group_sums(
    const float* params, Py_ssize_t width, const int32_t* groups, Py_ssize_t begin, Py_ssize_t end, double* sums
) noexcept nogil:
    cdef Py_ssize_t j, f
    cdef double* of_group
    for j in range(begin, end):
        of_group = sums + 2 * width * groups[j]
        for f in range(width):
            of_group[f] += params[j * width + f]
            of_group[width + f] += <double> params[j * width + f] * params[j * width + f]


def group_sums(const float[:, ::1] params, const int32_t[::1] groups, Py_ssize_t n_groups, int num_threads):
    """Sums, and sums of squares, of the vectors of each group: see interface.BayesKernels."""
    cdef Py_ssize_t n = params.shape[0], width = params.shape[1], c
    cdef Py_ssize_t n_chunks = (n + FEATURES_A_CHUNK - 1) // FEATURES_A_CHUNK
    need("groups", groups.shape[0], n)
    need_threads(num_threads)
    parts = np.zeros((max(1, n_chunks), n_groups, 2, width))
    cdef double[:, :, :, ::1] sums = parts
    for c in prange(n_chunks, num_threads=num_threads, schedule="static", nogil=True):
        _group_sums(
            &params[0, 0], width, &groups[0], c * FEATURES_A_CHUNK, min(n, (c + 1) * FEATURES_A_CHUNK),
            &sums[c, 0, 0, 0],
        )
    return parts.sum(axis=0)


# ---------------------------------------------------------------- compression: products of tall matrices

cdef enum:
    ROWS_A_PANEL = 64

cdef void _weigh(const float* matrix, Py_ssize_t stride, const float* weights, Py_ssize_t n, float* out) noexcept nogil:
    cdef Py_ssize_t r, i
    for r in range(n):
        for i in range(stride):
            out[r * stride + i] = weights[r] * matrix[r * stride + i]


cdef void _gram(
    const float* matrix, Py_ssize_t stride, Py_ssize_t width, const float* weights, Py_ssize_t n, float* panel,
    double* total
) noexcept nogil:
    # total += matrix' diag(weights) matrix, at and below the diagonal, over n rows
    cdef Py_ssize_t done = 0, here, i, b
    while done < n:
        here = min(<Py_ssize_t> ROWS_A_PANEL, n - done)
        _weigh(matrix + done * stride, stride, weights + done, here, panel)
        for i in range(0, width, 8):
            for b in range((i + 7) // FULL + 1):
                _add8(panel + i, matrix + done * stride + b * FULL, stride, here, total + i * stride + b * FULL)
        done += here


def gram(const float[:, ::1] matrix, Py_ssize_t width, const float[::1] weights, int num_threads):
    """``matrix' diag(weights) matrix`` of the first columns: see interface.BayesKernels."""
    cdef Py_ssize_t n = matrix.shape[0], stride = matrix.shape[1], c
    cdef Py_ssize_t n_chunks = (n + FEATURES_A_CHUNK - 1) // FEATURES_A_CHUNK
    need("weights", weights.shape[0], n)
    need("columns of whole cache lines", stride % 16, 0)
    need_room("columns", stride, width)
    need_threads(num_threads)
    parts = np.zeros((max(1, n_chunks), (width + 7) // 8 * 8, stride))
    panels = np.empty((num_threads, ROWS_A_PANEL * stride), np.float32)
    cdef double[:, :, ::1] totals = parts
    cdef float[:, ::1] panel = panels
    for c in prange(n_chunks, num_threads=num_threads, schedule="static", nogil=True):
        _gram(
            &matrix[c * FEATURES_A_CHUNK, 0], stride, width, &weights[c * FEATURES_A_CHUNK],
            min(<Py_ssize_t> FEATURES_A_CHUNK, n - c * FEATURES_A_CHUNK), &panel[threadid(), 0], &totals[c, 0, 0],
        )
    found = np.ascontiguousarray(parts.sum(axis=0)[:width, :width])
    cdef double[:, ::1] square = found
    cdef Py_ssize_t i, j
    for i in range(width):
        for j in range(i):
            square[j, i] = square[i, j]
    return found


cdef inline void _project(
    const float* row, Py_ssize_t width, const float* into, Py_ssize_t into_width, float* out
) noexcept nogil:
    # out[:into_width] = row[:width] into
    # four sums at once: each waits for its last product
    cdef Py_ssize_t i, at = 0
    cdef lanes s0, s1, t0, t1
    cdef const float* row_of
    while at + 2 * FULL <= into_width:
        s0 = lanes_zero()
        s1 = s0
        t0 = s0
        t1 = s0
        row_of = into + at
        for i in range(width // 2):
            s0 = s0 + row[2 * i] * lanes_load(row_of, FULL)
            t0 = t0 + row[2 * i] * lanes_load(row_of + FULL, FULL)
            row_of = row_of + into_width
            s1 = s1 + row[2 * i + 1] * lanes_load(row_of, FULL)
            t1 = t1 + row[2 * i + 1] * lanes_load(row_of + FULL, FULL)
            row_of = row_of + into_width
        if width % 2:
            s0 = s0 + row[width - 1] * lanes_load(row_of, FULL)
            t0 = t0 + row[width - 1] * lanes_load(row_of + FULL, FULL)
        lanes_store(out + at, s0 + s1, FULL)
        lanes_store(out + at + FULL, t0 + t1, FULL)
        at += 2 * FULL
    while at < into_width:
        s0 = lanes_zero()
        s1 = s0
        for i in range(width // 2):
            s0 = s0 + row[2 * i] * lanes_load(into + 2 * i * into_width + at, FULL)
            s1 = s1 + row[2 * i + 1] * lanes_load(into + (2 * i + 1) * into_width + at, FULL)
        if width % 2:
            s0 = s0 + row[width - 1] * lanes_load(into + (width - 1) * into_width + at, FULL)
        lanes_store(out + at, s0 + s1, FULL)
        at += FULL


def project(
    const float[:, ::1] matrix,
    Py_ssize_t width,
    const float[:, :, ::1] into,
    const int32_t[::1] which,
    float[:, ::1] out,
    Py_ssize_t out_width,
    int num_threads,
):
    """Multiply the first columns of each row by the matrix that is its own: see interface.BayesKernels."""
    cdef Py_ssize_t n = matrix.shape[0], into_width = into.shape[2], r, i
    cdef float* row
    need_room("matrices", into.shape[0], 1)
    need("rows of a matrix", into.shape[1], width)
    need("columns of whole cache lines", into_width % 16, 0)
    need_room("columns", matrix.shape[1], width)
    if which.shape[0]:
        need("numbers of matrices", which.shape[0], n)
    need("rows that are written", out.shape[0], n)
    need_room("columns that are written", out.shape[1], out_width)
    need_room("columns of a matrix", into_width, out_width)
    need_threads(num_threads)
    rows = np.empty((num_threads, into_width + 16), np.float32)
    cdef float[:, ::1] done = rows
    for r in prange(n, num_threads=num_threads, schedule="static", nogil=True):
        row = &done[threadid(), 0]
        _project(&matrix[r, 0], width, &into[which[r] if which.shape[0] else 0, 0, 0], into_width, row)
        for i in range(out_width):
            out[r, i] = row[i]
