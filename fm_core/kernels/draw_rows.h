/* One width of draw.h: DRAW_LANES rows at a time, by functions named DRAW_NAME for processors of DRAW_TARGET. */

#define DRAW_INLINE DRAW_TARGET static inline __attribute__((always_inline))
#define words DRAW_NAME(words)
#define ints DRAW_NAME(ints)
#define floats DRAW_NAME(floats)

typedef uint32_t words __attribute__((vector_size(4 * DRAW_LANES)));
typedef int32_t ints __attribute__((vector_size(4 * DRAW_LANES)));
typedef float floats __attribute__((vector_size(4 * DRAW_LANES)));

/* Threefry-4x32, 20 rounds, of counters x under `key` (four words and their parity); x becomes the block. */
DRAW_INLINE void DRAW_NAME(threefry)(const uint32_t *key, words *x) {
    static const int ROTATIONS[8][2] = {{10, 26}, {11, 21}, {13, 27}, {23, 5}, {6, 20}, {17, 11}, {25, 10}, {18, 20}};
    words x0 = x[0] + key[0], x1 = x[1] + key[1], x2 = x[2] + key[2], x3 = x[3] + key[3];
#define ROTATED(a, n) ((a) << (n) | (a) >> (32 - (n)))
#define ROUNDS(n)                                                                   \
    x0 += x1, x1 = ROTATED(x1, ROTATIONS[(n) % 8][0]) ^ x0;                         \
    x2 += x3, x3 = ROTATED(x3, ROTATIONS[(n) % 8][1]) ^ x2;                         \
    x0 += x3, x3 = ROTATED(x3, ROTATIONS[((n) + 1) % 8][0]) ^ x0;                   \
    x2 += x1, x1 = ROTATED(x1, ROTATIONS[((n) + 1) % 8][1]) ^ x2;
#define INJECT(s)                                                                   \
    x0 += key[(s) % 5], x1 += key[((s) + 1) % 5], x2 += key[((s) + 2) % 5];         \
    x3 += key[((s) + 3) % 5] + (s);
    ROUNDS(0) ROUNDS(2) INJECT(1)
    ROUNDS(4) ROUNDS(6) INJECT(2)
    ROUNDS(8) ROUNDS(10) INJECT(3)
    ROUNDS(12) ROUNDS(14) INJECT(4)
    ROUNDS(16) ROUNDS(18) INJECT(5)
#undef INJECT
#undef ROUNDS
#undef ROTATED
    x[0] = x0, x[1] = x1, x[2] = x2, x[3] = x3;
}

DRAW_INLINE floats DRAW_NAME(as_floats)(words a) { return __builtin_convertvector((ints)a, floats); }

DRAW_INLINE floats DRAW_NAME(root)(floats a) {
#if DRAW_LANES == 16
    return (floats)_mm512_sqrt_ps((__m512)a);
#elif DRAW_LANES == 8
    return (floats)_mm256_sqrt_ps((__m256)a);
#elif defined(__SSE2__)
    return (floats)_mm_sqrt_ps((__m128)a);
#else
    return (floats){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])};
#endif
}

/* Natural logarithm of normal numbers above 0. */
DRAW_INLINE floats DRAW_NAME(logarithm)(floats a) {
    /* a = 2^e (1 + f), 1 + f from sqrt(1/2) to sqrt(2), whose bits the constant is */
    const ints bits = (ints)a, e = (bits - 0x3F3504F3) >> 23;
    const floats f = (floats)(bits - (e << 23)) - 1.0f, z = f * f, power = __builtin_convertvector(e, floats);
    floats p = f * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    /* log 2 in two parts, the larger of which has few bits, so that its product is exact */
    return (f + (p * f * z - power * 2.12194440e-4f - z * 0.5f)) + power * 0.693359375f;
}

/* Two normal numbers of two words. */
DRAW_INLINE void DRAW_NAME(normal)(words a, words b, floats *first, floats *second) {
    const floats u = (DRAW_NAME(as_floats)(a >> 1) + 0.5f) * 0x1p-31f;
    const floats radius = DRAW_NAME(root)(DRAW_NAME(logarithm)(u) * -2.0f);
    /* an angle from -pi/4 to pi/4, and the quarter of the circle that its highest two bits name */
    const floats x = DRAW_NAME(as_floats)(b << 2) * (0x1p-31f * 0.785398163397448309616f), z = x * x;
    const floats sine = ((z * -1.9515295891e-4f + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * x + x;
    const floats cosine =
        ((z * 2.443315711809948e-5f - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - z * 0.5f + 1.0f;
    const words odd = (words)((ints)(b << 1) >> 31), sign = b & 0x80000000u;
    const words x_part = ((words)cosine & ~odd) | ((words)sine & odd);
    const words y_part = ((words)sine & ~odd) | ((words)cosine & odd);
    *first = radius * (floats)(x_part ^ sign ^ (odd & 0x80000000u));
    *second = radius * (floats)(y_part ^ sign);
}

DRAW_INLINE void DRAW_NAME(pair)(words a, words b, draw_kind kind, floats *first, floats *second) {
    if (kind.method == DRAW_NORMAL) {
        DRAW_NAME(normal)(a, b, first, second);
        *first *= kind.scale;
        *second *= kind.scale;
    } else if (kind.method == DRAW_UNIFORM) {
        *first = (DRAW_NAME(as_floats)(a >> 8) * 0x1p-23f - 1.0f) * kind.scale;
        *second = (DRAW_NAME(as_floats)(b >> 8) * 0x1p-23f - 1.0f) * kind.scale;
    } else {
        *first = *second = kind.scale - (floats){0};
    }
}

DRAW_TARGET static void DRAW_NAME(rows)(float *params, ptrdiff_t k, ptrdiff_t begin, ptrdiff_t end, uint32_t first,
                                        uint32_t every, const uint32_t *key, uint32_t stream, draw_kind factors,
                                        draw_kind linear) {
    words ids = {0};
    for (int lane = 0; lane < DRAW_LANES; lane++) ids[lane] = first + every * ((uint32_t)begin + (uint32_t)lane);
    for (ptrdiff_t r = begin; r < end; r += DRAW_LANES, ids += every * DRAW_LANES) {
        const ptrdiff_t n = end - r < DRAW_LANES ? end - r : DRAW_LANES;
        float *row = params + r * (k + 1);
        for (ptrdiff_t j = 0; j <= k; j += 4) {
            words block[4] = {ids, (uint32_t)(j / 4) - (words){0}, stream - (words){0}, {0}};
            DRAW_NAME(threefry)(key, block);
            for (ptrdiff_t half = 0; half < 2 && j + 2 * half <= k; half++) {
                const ptrdiff_t at = j + 2 * half;
                const words a = half ? block[2] : block[0], b = half ? block[3] : block[1];
                floats both[2], weights[2];
                if (at < k) DRAW_NAME(pair)(a, b, factors, &both[0], &both[1]);
                if (at + 1 >= k) {
                    DRAW_NAME(pair)(a, b, linear, &weights[0], &weights[1]);
                    both[k - at] = weights[k - at];
                }
                if (at < k)
                    for (ptrdiff_t lane = 0; lane < n; lane++) {
                        row[lane * (k + 1) + at] = both[0][lane];
                        row[lane * (k + 1) + at + 1] = both[1][lane];
                    }
                else
                    for (ptrdiff_t lane = 0; lane < n; lane++) row[lane * (k + 1) + at] = both[0][lane];
            }
        }
    }
}

#undef floats
#undef ints
#undef words
#undef DRAW_INLINE
#undef DRAW_NAME
#undef DRAW_TARGET
#undef DRAW_LANES
