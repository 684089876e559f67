/* Sixteen floats as one value: what the loops of _loops.pxi need and C has no word for.
 *
 * `lanes` is a GCC/Clang vector, so + - * / work on it in Cython as they do in C, and the
 * compiler cuts it to what the instruction set has (one register with AVX-512, two with
 * AVX2, four with SSE2 or NEON). Added here: loads and stores of fewer than sixteen
 * floats, which never touch a byte behind the last one, square root, limits and sums.
 */
#ifndef FM_CORE_LANES_H
#define FM_CORE_LANES_H

#include <math.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

typedef float lanes __attribute__((vector_size(64)));
typedef float lanes_unaligned __attribute__((vector_size(64), aligned(4), may_alias));
typedef int lanes_bits __attribute__((vector_size(64)));

#define FM_INLINE static inline __attribute__((always_inline))

FM_INLINE lanes lanes_zero(void) { return (lanes){0}; }

FM_INLINE lanes lanes_set(float x) { return x - (lanes){0}; }

/* The first n (1 to 16) floats; the other lanes are zero. */
FM_INLINE lanes lanes_load(const float *p, int n) {
    if (n == 16) return *(const lanes_unaligned *)p;
#if defined(__AVX512F__)
    return (lanes)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
#else
    lanes a = {0};
    int i = 0;
    if (n >= 8) {
        memcpy(&a, p, 32);
        i = 8;
    }
    for (; i < n; i++) a[i] = p[i];
    return a;
#endif
}

FM_INLINE void lanes_store(float *p, lanes a, int n) {
    if (n == 16) {
        *(lanes_unaligned *)p = a;
        return;
    }
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)a);
#else
    memcpy(p, &a, (size_t)n * sizeof(float));
#endif
}

FM_INLINE lanes lanes_sqrt(lanes a) {
#if defined(__AVX512F__)
    return (lanes)_mm512_sqrt_ps((__m512)a);
#elif defined(__AVX__)
    union { lanes all; __m256 part[2]; } u = {a};
    for (int i = 0; i < 2; i++) u.part[i] = _mm256_sqrt_ps(u.part[i]);
    return u.all;
#elif defined(__SSE2__)
    union { lanes all; __m128 part[4]; } u = {a};
    for (int i = 0; i < 4; i++) u.part[i] = _mm_sqrt_ps(u.part[i]);
    return u.all;
#else
    for (int i = 0; i < 16; i++) a[i] = sqrtf(a[i]);
    return a;
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
    float half[8];
    for (int i = 0; i < 8; i++) half[i] = a[i] + a[i + 8];
    for (int i = 0; i < 4; i++) half[i] += half[i + 4];
    return (half[0] + half[2]) + (half[1] + half[3]);
}

/* Ask for n floats from p on, to be near when they are used. */
FM_INLINE void lanes_prefetch(const float *p, Py_ssize_t n) {
    const char *end = (const char *)(p + n);
    for (const char *at = (const char *)p; at < end; at += 64) __builtin_prefetch(at, 0, 3);
    __builtin_prefetch(end - 1, 0, 3);
}

#endif
