/* Samples of eight factors, which is what the Bayesian solver takes unless it is given fewer: the two walks of _bayes.pxi
 * over a feature's rows, without a panel in between.
 *
 * The eight numbers q of a row are half a cache line, so that a register of 16 lanes has two rows, one of 8 lanes one.
 * om h h' is symmetric: with h rotated by 0 to 4 places, five products have all of it (the last one twice). They are
 * added up where they are, in registers. The tenth number of a record's line, z, and its om and kappa are read one by one
 * to all lanes of their row, which costs no shuffle.
 */
#ifndef FM_CORE_BAYES_EIGHT_H
#define FM_CORE_BAYES_EIGHT_H

#include "simd_double.h"

#include <stdint.h>

enum {
    EIGHT_SUMS = 72,  /* rows of 8: sum om h_i h_(i+d) for d = 0 .. 4, sum h r, sum om x h, and 8 times sum om x x, sum x r */
    EIGHT_FLUSHED = 64, /* rows added up in float32 */
    EIGHT_AHEAD = 64, /* rows asked for ahead of use */
    EIGHT_NEAR = 512  /* rows that are near once they were summed: not asked for again */
};

/* Features solved at a time, whatever the build: so many floats are half a cache line. */
#define EIGHT_PLACES 8

typedef struct {
    float *records;       /* [q_1 .. q_8, 1, z, om, kappa, ..] */
    ptrdiff_t stride;
    const int32_t *rows;  /* of all features; */
    const float *values;  /* and values, or NULL */
    ptrdiff_t n_entries;
    float w0;
    int is_weighted;      /* om is not 1 */
} eight_data;

typedef struct {
    float *params;              /* rows of 9 */
    const float *noise;         /* as params, or NULL */
    const int32_t *groups;
    const double *precision;    /* by group, 9 x 9 */
    const double *shift;        /* by group, 9 */
    double alpha, held, least;  /* see _bayes.pxi */
} eight_prior;

#if LANES >= 8
#define EIGHT_FITS 1

#if LANES == 16
#define EIGHT_ROTATION(d)                                                                                               \
    (d), (d + 1) % 8, (d + 2) % 8, (d + 3) % 8, (d + 4) % 8, (d + 5) % 8, (d + 6) % 8, (d + 7) % 8,                     \
    (d) + 8, (d + 1) % 8 + 8, (d + 2) % 8 + 8, (d + 3) % 8 + 8, (d + 4) % 8 + 8, (d + 5) % 8 + 8, (d + 6) % 8 + 8,      \
    (d + 7) % 8 + 8
#else
#define EIGHT_ROTATION(d)                                                                                               \
    (d), (d + 1) % 8, (d + 2) % 8, (d + 3) % 8, (d + 4) % 8, (d + 5) % 8, (d + 6) % 8, (d + 7) % 8
#endif

enum { EIGHT_ROWS = LANES / 8 };

/* Eight floats of each row: of one row with 8 lanes. */
FM_INLINE lanes eight_load(const float *a, const float *b) {
#if LANES == 16
    return (lanes)_mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(a)), _mm256_loadu_ps(b), 1);
#else
    return *(const lanes_unaligned *)a;
#endif
}

FM_INLINE void eight_store(float *a, float *b, lanes x) {
#if LANES == 16
    _mm256_storeu_ps(a, _mm512_castps512_ps256((__m512)x));
    _mm256_storeu_ps(b, _mm512_extractf32x8_ps((__m512)x, 1));
#else
    *(lanes_unaligned *)a = x;
#endif
}

/* One float of each row, in all of its lanes. */
FM_INLINE lanes eight_spread(const float *a, const float *b) {
#if LANES == 16
    return (lanes)_mm512_mask_broadcastss_ps(_mm512_set1_ps(*a), 0xFF00, _mm_load_ss(b));
#else
    return lanes_set(*a);
#endif
}

/* The same, but the compiler takes it for a number of its own: it would add z + w0 up in another order where om is left
   out, and rows of weight 1 would no longer be those of no weight, bit for bit. */
FM_INLINE lanes eight_settled(lanes a) {
    __asm__("" : "+v"(a));
    return a;
}

/* total[0 .. 8) += the sum of the rows' lanes. */
FM_INLINE void eight_flush(double *total, lanes a) {
#if LANES == 16
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)a), _mm512_extractf32x8_ps((__m512)a, 1));
    doubles_store(total, doubles_load(total) + (doubles)_mm512_cvtps_pd(half));
#else
    doubles_add_lanes(total, a);
#endif
}

FM_INLINE void eight_sum(
    const eight_data *a, const float *old, ptrdiff_t begin, ptrdiff_t end, int has_values, int is_weighted,
    double *sums) {
    const lanes of_old = eight_load(old, old);
    const float *records = a->records;
    const ptrdiff_t stride = a->stride, last_known = a->n_entries - EIGHT_AHEAD - EIGHT_ROWS;
#pragma GCC unroll 18 /* a loop becomes memset, and that an instruction whose start takes longer than all of it */
    for (int i = 0; i < EIGHT_SUMS; i += DOUBLES) doubles_store(sums + i, doubles_set(0));
    for (ptrdiff_t t = begin; t < end;) {
        const ptrdiff_t until = end - t > EIGHT_FLUSHED ? t + EIGHT_FLUSHED : end;
        lanes s0 = lanes_zero(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, of_h = s0, of_r = s0, with_r = s0, of_x = s0;
        for (; t < until; t += EIGHT_ROWS) {
            if (t <= last_known)
                for (int i = 0; i < EIGHT_ROWS; i++)
                    line_prefetch_to_write(records + a->rows[t + EIGHT_AHEAD + i] * stride);
            const ptrdiff_t u = EIGHT_ROWS == 2 && t + 1 < until ? t + 1 : t;
            const float *first = records + a->rows[t] * stride, *second = records + a->rows[u] * stride;
            lanes h = eight_load(first, second), x, om, weighted;
            lanes r = eight_settled(eight_spread(first + 9, second + 9) + a->w0);
            if (is_weighted) {
                om = eight_spread(first + 10, second + 10);
                r = om * r;
            }
            r = eight_spread(first + 11, second + 11) - r;
            if (has_values) {
                x = eight_spread(a->values + t, a->values + u);
                h = x * (h - x * of_old);
            } else {
                h = h - of_old;
            }
#if LANES == 16
            if (u == t) { /* the last one, alone */
                h = (lanes)_mm512_maskz_mov_ps(0x00FF, (__m512)h), r = (lanes)_mm512_maskz_mov_ps(0x00FF, (__m512)r);
                if (is_weighted) om = (lanes)_mm512_maskz_mov_ps(0x00FF, (__m512)om);
                if (has_values) x = (lanes)_mm512_maskz_mov_ps(0x00FF, (__m512)x);
            }
#endif
            weighted = is_weighted ? om * h : h;
            s0 += weighted * h;
            s1 += weighted * SHUFFLE(lanes_bits, h, h, EIGHT_ROTATION(1));
            s2 += weighted * SHUFFLE(lanes_bits, h, h, EIGHT_ROTATION(2));
            s3 += weighted * SHUFFLE(lanes_bits, h, h, EIGHT_ROTATION(3));
            s4 += weighted * SHUFFLE(lanes_bits, h, h, EIGHT_ROTATION(4));
            with_r += h * r;
            if (has_values) {
                of_h += weighted * x, of_r += x * r;
                of_x += is_weighted ? om * x * x : x * x;
            } else {
                of_h += weighted, of_r += r;
                if (is_weighted) of_x += om;
            }
        }
        t = until;
        eight_flush(sums, s0), eight_flush(sums + 8, s1), eight_flush(sums + 16, s2), eight_flush(sums + 24, s3);
        eight_flush(sums + 32, s4), eight_flush(sums + 40, with_r), eight_flush(sums + 48, of_h);
        if (has_values || is_weighted) eight_flush(sums + 56, of_x);
        eight_flush(sums + 64, of_r);
    }
    if (!has_values && !is_weighted) sums[56] = (double)(end - begin);
}

/* The sums over entries [begin, end) of a feature whose vector is `old`. */
static void eight_sum_rows(const eight_data *a, const float *old, ptrdiff_t begin, ptrdiff_t end, double *sums) {
    if (a->values && a->is_weighted)
        eight_sum(a, old, begin, end, 1, 1, sums);
    else if (a->values)
        eight_sum(a, old, begin, end, 1, 0, sums);
    else if (a->is_weighted)
        eight_sum(a, old, begin, end, 0, 1, sums);
    else
        eight_sum(a, old, begin, end, 0, 0, sums);
}

FM_INLINE void eight_move(
    const eight_data *a, const float *old, const float *step, ptrdiff_t begin, ptrdiff_t end, int has_values) {
    const lanes of_old = eight_load(old, old), of_step = eight_load(step, step);
    const float of_w = step[8];
    float *records = a->records;
    const ptrdiff_t stride = a->stride;
    const ptrdiff_t last_known = end - begin > EIGHT_NEAR ? a->n_entries - EIGHT_AHEAD - EIGHT_ROWS : -1;
    for (ptrdiff_t t = begin; t < end; t += EIGHT_ROWS) {
        if (t <= last_known)
            for (int i = 0; i < EIGHT_ROWS; i++)
                line_prefetch_to_write(records + a->rows[t + EIGHT_AHEAD + i] * stride);
        const ptrdiff_t u = EIGHT_ROWS == 2 && t + 1 < end ? t + 1 : t;
        float *first = records + a->rows[t] * stride, *second = records + a->rows[u] * stride;
        const lanes q = eight_load(first, second);
        lanes total, x;
        if (has_values) {
            x = eight_spread(a->values + t, a->values + u);
            total = (q - x * of_old) * of_step;
            eight_store(first, second, q + x * of_step);
        } else {
            total = (q - of_old) * of_step;
            eight_store(first, second, q + of_step);
        }
#if LANES == 16
        total += SHUFFLE(lanes_bits, total, total, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
        total += SHUFFLE(lanes_bits, total, total, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
        total += SHUFFLE(lanes_bits, total, total, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
        total += of_w;
        if (has_values) total *= x;
        const float z = first[9] + total[0], other = second[9] + total[8];
        first[9] = z, second[9] = u == t ? z : other;
#else
        const float moved = lanes_total(total) + of_w;
        first[9] += has_values ? x[0] * moved : moved;
#endif
    }
}

/* Let the records of entries [begin, end) follow a feature's vector from `old` to `old` + `step`. */
static void eight_move_rows(
    const eight_data *a, const float *old, const float *step, ptrdiff_t begin, ptrdiff_t end) {
    if (a->values)
        eight_move(a, old, step, begin, end, 1);
    else
        eight_move(a, old, step, begin, end, 0);
}

/* ---- the draw: see _solve_of, whose steps these are ---- */

/* Eight sums of a feature to one place of eight systems, rows of which are EIGHT_PLACES: the lower triangle of sum om h h',
   row after row, and the 9 of sum h r. */
FM_INLINE void eight_take(const double *sums, double *system, int place) {
    double *const at = system + place;
#pragma GCC unroll 5
    for (int d = 0; d < 5; d++)
        for (int i = 0; i < (d < 4 ? 8 : 4); i++) {
            const int j = (i + d) % 8, row = i > j ? i : j, column = i > j ? j : i;
            at[(row * (row + 1) / 2 + column) * EIGHT_PLACES] = sums[8 * d + i];
        }
#pragma GCC unroll 9
    for (int i = 0; i < 9; i++) {
        at[(36 + i) * EIGHT_PLACES] = sums[48 + i];
        at[(45 + i) * EIGHT_PLACES] = sums[i < 8 ? 40 + i : 64];
    }
}

typedef float eight __attribute__((vector_size(32)));
typedef float eight_unaligned __attribute__((vector_size(32), aligned(4), may_alias));
typedef int eight_bits __attribute__((vector_size(32)));

#define EIGHT_LOW 0, 8, 1, 9, 4, 12, 5, 13
#define EIGHT_HIGH 2, 10, 3, 11, 6, 14, 7, 15
#define EIGHT_FIRST 0, 1, 8, 9, 4, 5, 12, 13
#define EIGHT_LAST 2, 3, 10, 11, 6, 7, 14, 15
#define EIGHT_LOWER 0, 1, 2, 3, 8, 9, 10, 11
#define EIGHT_UPPER 4, 5, 6, 7, 12, 13, 14, 15

/* Eight rows of eight become eight columns. */
FM_INLINE void eight_turn(eight *a) {
    eight b[8], c[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        b[2 * i] = SHUFFLE(eight_bits, a[2 * i], a[2 * i + 1], EIGHT_LOW);
        b[2 * i + 1] = SHUFFLE(eight_bits, a[2 * i], a[2 * i + 1], EIGHT_HIGH);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        c[4 * i] = SHUFFLE(eight_bits, b[4 * i], b[4 * i + 2], EIGHT_FIRST);
        c[4 * i + 1] = SHUFFLE(eight_bits, b[4 * i], b[4 * i + 2], EIGHT_LAST);
        c[4 * i + 2] = SHUFFLE(eight_bits, b[4 * i + 1], b[4 * i + 3], EIGHT_FIRST);
        c[4 * i + 3] = SHUFFLE(eight_bits, b[4 * i + 1], b[4 * i + 3], EIGHT_LAST);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        a[i] = SHUFFLE(eight_bits, c[i], c[i + 4], EIGHT_LOWER);
        a[i + 4] = SHUFFLE(eight_bits, c[i], c[i + 4], EIGHT_UPPER);
    }
}

/* Nine numbers of each place's feature, place by place. */
FM_INLINE void eight_gather(const float *from, const int32_t *features, int n, eight *to) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        const float *row = from + 9 * (ptrdiff_t)features[i < n ? i : 0];
        to[i] = *(const eight_unaligned *)row;
        to[8][i] = row[8];
    }
    eight_turn(to);
}

FM_INLINE doubles eight_widened(const eight *a, int at) {
#if LANES == 16
    return (doubles)_mm512_cvtps_pd((__m256)*a);
#else
    return (doubles)_mm256_cvtps_pd(at ? _mm256_extractf128_ps((__m256)*a, 1) : _mm256_castps256_ps128((__m256)*a));
#endif
}

/* 1 / sqrt(a), a above 0. */
FM_INLINE doubles eight_inverse_root(doubles a) {
#if LANES == 16
    /* 14 bits, then 28, then all: half of the time of a root and a division, on whose result all waits */
    doubles y = (doubles)_mm512_rsqrt14_pd((__m512d)a);
    y = y * (1.5 - 0.5 * a * y * y);
    return y * (1.5 - 0.5 * a * y * y);
#else
    return 1.0 / doubles_sqrt(a);
#endif
}

/* Draws of n features, from what eight_take left: their steps go to `vectors` (old, step, step of q; each `stride`). */
static void eight_solve(
    const eight_prior *a, const double *system, const int32_t *features, int n, float *vectors, ptrdiff_t stride) {
    eight of_params[9], of_noise[9], steps[9];
    int is_one_group = 1;
    const double *precision = a->precision + 81 * a->groups[features[0]], *shift = a->shift + 9 * a->groups[features[0]];
    double own[54 * EIGHT_PLACES];
    for (int i = 1; i < n; i++) is_one_group &= a->groups[features[i]] == a->groups[features[0]];
    if (!is_one_group)
        for (int place = 0; place < EIGHT_PLACES; place++) {
            const ptrdiff_t group = a->groups[features[place < n ? place : 0]];
            for (int i = 0, at = 0; i < 9; i++) {
                own[(45 + i) * EIGHT_PLACES + place] = a->shift[9 * group + i];
                for (int j = 0; j <= i; j++, at++)
                    own[at * EIGHT_PLACES + place] = a->precision[81 * group + 9 * i + j];
            }
        }
    eight_gather(a->params, features, n, of_params);
    if (a->noise) eight_gather(a->noise, features, n, of_noise);
    for (int part = 0; part < EIGHT_PLACES / DOUBLES; part++) {
        const double *const from = system + part * DOUBLES, *const priors = own + part * DOUBLES;
        doubles P[45], right[9], old[9];
        const doubles alpha = doubles_set(a->alpha), of_diagonal = alpha * (1 + a->held);
#pragma GCC unroll 9
        for (int i = 0; i < 9; i++) {
            old[i] = eight_widened(of_params + i, part);
            right[i] = alpha * doubles_load(from + (45 + i) * EIGHT_PLACES);
        }
#pragma GCC unroll 9
        for (int i = 0; i < 9; i++)
#pragma GCC unroll 9
            for (int j = 0; j <= i; j++) {
                const int at = i * (i + 1) / 2 + j;
                const doubles p = (i == j ? of_diagonal : alpha) * doubles_load(from + at * EIGHT_PLACES);
                right[i] += p * old[j];
                if (i != j) right[j] += p * old[i];
                P[at] = p + (is_one_group ? doubles_set(precision[9 * i + j]) : doubles_load(priors + at * EIGHT_PLACES));
            }
#pragma GCC unroll 9
        for (int i = 0; i < 9; i++)
            right[i] += is_one_group ? doubles_set(shift[i]) : doubles_load(priors + (45 + i) * EIGHT_PLACES);
        /* P = L L', with 1 / L_jj on the diagonal; and right becomes L^-1 right */
        doubles smallest[9];
#pragma GCC unroll 9
        for (int j = 0; j < 9; j++) smallest[j] = P[j * (j + 1) / 2 + j] * a->least;
#pragma GCC unroll 9
        for (int j = 0; j < 9; j++) {
            const int diagonal = j * (j + 1) / 2 + j;
            const doubles inverse = eight_inverse_root(doubles_max(P[diagonal], smallest[j]));
            P[diagonal] = inverse;
            right[j] *= inverse;
#pragma GCC unroll 9
            for (int i = j + 1; i < 9; i++) {
                P[i * (i + 1) / 2 + j] *= inverse;
                right[i] -= P[i * (i + 1) / 2 + j] * right[j];
            }
#pragma GCC unroll 9
            for (int i = j + 1; i < 9; i++)
#pragma GCC unroll 9
                for (int m = j + 1; m <= i; m++)
                    P[i * (i + 1) / 2 + m] -= P[i * (i + 1) / 2 + j] * P[m * (m + 1) / 2 + j];
        }
        /* the draw: L' a = L^-1 right + noise */
#pragma GCC unroll 9
        for (int i = 8; i >= 0; i--) {
            doubles c = right[i];
            if (a->noise) c += eight_widened(of_noise + i, part);
#pragma GCC unroll 9
            for (int j = i + 1; j < 9; j++) c -= right[j] * P[j * (j + 1) / 2 + i];
            right[i] = c * P[i * (i + 1) / 2 + i];
#if LANES == 16
            steps[i] = (eight)_mm512_cvtpd_ps((__m512d)(right[i] - old[i]));
#else
            _mm_storeu_ps((float *)(steps + i) + part * DOUBLES, _mm256_cvtpd_ps((__m256d)(right[i] - old[i])));
#endif
        }
    }
    const eight of_w = steps[8];
    eight_turn(steps);
    for (int place = 0; place < n; place++) {
        float *own_vectors = vectors + 3 * place * stride, *params = a->params + 9 * (ptrdiff_t)features[place];
        *(eight_unaligned *)(own_vectors + stride) = steps[place];
        own_vectors[stride + 8] = of_w[place];
        *(eight_unaligned *)params += steps[place];
        params[8] += of_w[place];
    }
}

#else
#define EIGHT_FITS 0

/* Never called. */
static void eight_sum_rows(const eight_data *a, const float *old, ptrdiff_t begin, ptrdiff_t end, double *sums) {}

static void eight_move_rows(
    const eight_data *a, const float *old, const float *step, ptrdiff_t begin, ptrdiff_t end) {}

static void eight_take(const double *sums, double *system, int place) {}

static void eight_solve(
    const eight_prior *a, const double *system, const int32_t *features, int n, float *vectors, ptrdiff_t stride) {}
#endif

#endif
