/* Several doubles as one value, a register wide, and what a team of threads needs: the rest of what _bayes.pxi has no
 * word for. `lanes` of simd.h are floats; a register holds half as many doubles.
 */
#ifndef FM_CORE_SIMD_DOUBLE_H
#define FM_CORE_SIMD_DOUBLE_H

#include "simd.h"

#define DOUBLES (LANES / 2)

typedef double doubles __attribute__((vector_size(8 * DOUBLES)));
typedef double doubles_unaligned __attribute__((vector_size(8 * DOUBLES), aligned(8), may_alias));

FM_INLINE doubles doubles_set(double x) { return x - (doubles){0}; }

FM_INLINE doubles doubles_load(const double *p) { return *(const doubles_unaligned *)p; }

FM_INLINE void doubles_store(double *p, doubles a) { *(doubles_unaligned *)p = a; }

FM_INLINE doubles doubles_sqrt(doubles a) {
#if LANES == 16
    return (doubles)_mm512_sqrt_pd((__m512d)a);
#elif LANES == 8
    return (doubles)_mm256_sqrt_pd((__m256d)a);
#elif defined(__SSE2__)
    return (doubles)_mm_sqrt_pd((__m128d)a);
#else
    return (doubles){sqrt(a[0]), sqrt(a[1])};
#endif
}

/* The larger one in each place; b where a is not a number. */
FM_INLINE doubles doubles_max(doubles a, doubles b) {
    typedef long long longs __attribute__((vector_size(8 * DOUBLES)));
    const longs is_larger = (longs)(a > b);
    return (doubles)(((longs)a & is_larger) | ((longs)b & ~is_larger));
}

/* total[0 .. LANES) += a, each float widened first. */
FM_INLINE void doubles_add_lanes(double *total, lanes a) {
#if LANES == 16
    const __m256 low = _mm512_castps512_ps256((__m512)a);
    const __m256 high = _mm512_extractf32x8_ps((__m512)a, 1);
    doubles_store(total, doubles_load(total) + (doubles)_mm512_cvtps_pd(low));
    doubles_store(total + 8, doubles_load(total + 8) + (doubles)_mm512_cvtps_pd(high));
#elif LANES == 8
    const __m128 low = _mm256_castps256_ps128((__m256)a);
    const __m128 high = _mm256_extractf128_ps((__m256)a, 1);
    doubles_store(total, doubles_load(total) + (doubles)_mm256_cvtps_pd(low));
    doubles_store(total + 4, doubles_load(total + 4) + (doubles)_mm256_cvtps_pd(high));
#else
    for (int i = 0; i < LANES; i++) total[i] += a[i];
#endif
}

/* The sum of a register's floats, by shuffles: once a row, where lanes_sum's walk through memory would show. */
FM_INLINE float lanes_total(lanes a) {
#if LANES == 4 && !defined(__SSE2__)
    return (a[0] + a[2]) + (a[1] + a[3]);
#else
#if LANES == 16
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)a), _mm512_extractf32x8_ps((__m512)a, 1));
#elif LANES == 8
    const __m256 half = (__m256)a;
#endif
#if LANES == 4
    __m128 b = (__m128)a;
#else
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#endif
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
#endif
}

/* Ask for a cache line that will be written. */
FM_INLINE void line_prefetch_to_write(const float *p) { __builtin_prefetch(p, 1, 3); }

/* All threads of the team wait for each other; alone, nothing happens. */
static inline void team_barrier(void) {
#if defined(_OPENMP)
    _Pragma("omp barrier")
#endif
}

#endif
