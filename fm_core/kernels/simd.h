/* Several floats as one value: what the loops of _sparse.pxi need and C has no word for.
 *
 * `lanes` is a GCC/Clang vector, so + - * / work on it in Cython as they do in C. It is as wide
 * as a register: GCC 12 sends wider vectors through memory (six times slower with AVX2). Added
 * here: loads and stores of fewer floats, which never touch a byte behind the last one, square
 * root, limits and sums.
 */
#ifndef FM_CORE_SIMD_H
#define FM_CORE_SIMD_H

#include <math.h>
#include <stddef.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef float lanes_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int lanes_bits __attribute__((vector_size(4 * LANES)));

#define FM_INLINE static inline __attribute__((always_inline))

/* Numbers of a, and of b after them, by their places: constants. GCC 11 and older have no __builtin_shufflevector. */
#if defined(__clang__)
#define SHUFFLE(places, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(places, a, b, ...) __builtin_shuffle(a, b, (places){__VA_ARGS__})
#endif

FM_INLINE lanes lanes_zero(void) { return (lanes){0}; }

FM_INLINE lanes lanes_set(float x) { return x - (lanes){0}; }

#if LANES == 8
FM_INLINE __m256i lanes_mask(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

/* The first n (1 to LANES) floats; the other lanes are zero. */
FM_INLINE lanes lanes_load(const float *p, int n) {
    if (n == LANES) return *(const lanes_unaligned *)p;
#if LANES == 16
    /* A masked 512-bit access counts as 64 bytes, so that a load behind a store to the neighbouring row waits
       for it: up to eight floats go as 256 bits, .64 of the time at k 8, .82 at k 4, .85 at k 20. */
    if (n == 8) return (lanes)_mm512_zextps256_ps512(_mm256_loadu_ps(p));
    if (n < 8) return (lanes)_mm512_zextps256_ps512(_mm256_maskz_loadu_ps((__mmask8)((1u << n) - 1u), p));
    return (lanes)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
#elif LANES == 8
    return (lanes)_mm256_maskload_ps(p, lanes_mask(n));
#else
    return (lanes){p[0], n > 1 ? p[1] : 0.0f, n > 2 ? p[2] : 0.0f, 0.0f};
#endif
}

FM_INLINE void lanes_store(float *p, lanes a, int n) {
    if (n == LANES) {
        *(lanes_unaligned *)p = a;
        return;
    }
#if LANES == 16
    if (n == 8)
        _mm256_storeu_ps(p, _mm512_castps512_ps256((__m512)a));
    else if (n < 8)
        _mm256_mask_storeu_ps(p, (__mmask8)((1u << n) - 1u), _mm512_castps512_ps256((__m512)a));
    else
        _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)a);
#elif LANES == 8
    _mm256_maskstore_ps(p, lanes_mask(n), (__m256)a);
#else
    p[0] = a[0];
    if (n > 1) p[1] = a[1];
    if (n > 2) p[2] = a[2];
#endif
}

FM_INLINE lanes lanes_sqrt(lanes a) {
#if LANES == 16
    return (lanes)_mm512_sqrt_ps((__m512)a);
#elif LANES == 8
    return (lanes)_mm256_sqrt_ps((__m256)a);
#elif defined(__SSE2__)
    return (lanes)_mm_sqrt_ps((__m128)a);
#else
    return (lanes){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])};
#endif
}

/* Each lane limited to [-c, c]; NaN stays NaN, so that divergence is not hidden. */
FM_INLINE lanes lanes_clip(lanes a, float c) {
    lanes_bits above = a > c, below = a < -c;
    lanes_bits high = (lanes_bits)lanes_set(c), low = (lanes_bits)lanes_set(-c);
    return (lanes)((above & high) | (below & low) | (~(above | below) & (lanes_bits)a));
}

/* a where n is zero, else b. */
FM_INLINE lanes lanes_where_zero(lanes n, lanes a, lanes b) {
    lanes_bits zero = n == 0.0f;
    return (lanes)((zero & (lanes_bits)a) | (~zero & (lanes_bits)b));
}

FM_INLINE float lanes_sum(lanes a) {
    float part[LANES];
    memcpy(part, &a, sizeof part);
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) part[i] += part[i + n];
    return part[0];
}

/* Ask for n floats from p on, to be near when they are used. */
FM_INLINE void lanes_prefetch(const float *p, ptrdiff_t n) {
    const char *end = (const char *)(p + n);
    for (const char *at = (const char *)p; at < end; at += 64) __builtin_prefetch(at, 0, 3);
    __builtin_prefetch(end - 1, 0, 3);
}

/* The same for floats that will be written, and that another core may have read: without it the first store to
   each line waits for that core to give it up. Where a processor has no such instruction it is an ordinary one. */
FM_INLINE void lanes_prefetch_to_write(const float *p, ptrdiff_t n) {
    const char *end = (const char *)(p + n);
    for (const char *at = (const char *)p; at < end; at += 64) __builtin_prefetch(at, 1, 3);
    __builtin_prefetch(end - 1, 1, 3);
}

#endif
