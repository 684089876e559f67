/* One width of polya_gamma.h: DRAW_LANES rows at a time, by functions named DRAW_NAME for processors of DRAW_TARGET. */

#define DRAW_INLINE DRAW_TARGET static inline __attribute__((always_inline))
#define words DRAW_NAME(words)
#define ints DRAW_NAME(ints)
#define floats DRAW_NAME(floats)
#define WHERE(mask, a, b) ((floats)(((mask) & (ints)(a)) | (~(mask) & (ints)(b))))

/* e to the a, for a from -87 to 87; Cephes, single precision. */
DRAW_INLINE floats DRAW_NAME(exponential)(floats a) {
    const floats scaled = a * 1.44269504088896341f;
    const ints n = __builtin_convertvector(scaled + WHERE(scaled < 0.0f, (floats){0} - 0.5f, (floats){0} + 0.5f), ints);
    const floats power = __builtin_convertvector(n, floats);
    const floats x = (a - power * 0.693359375f) - power * -2.12194440e-4f;
    floats p = x * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * x + 8.3334519073e-3f;
    p = p * x + 4.1665795894e-2f;
    p = p * x + 1.6666665459e-1f;
    p = p * x + 5.0000001201e-1f;
    return (p * x * x + x + 1.0f) * (floats)((n + 127) << 23);
}

DRAW_INLINE floats DRAW_NAME(limited)(floats a, float least, float most) {
    a = WHERE(a > most, (floats){0} + most, a);
    return WHERE(a < least, (floats){0} + least, a);
}

DRAW_INLINE int DRAW_NAME(any)(ints mask) {
    int found = 0;
    for (int i = 0; i < DRAW_LANES; i++) found |= mask[i];
    return found;
}

/* A uniform number above 0 and below 1. */
DRAW_INLINE floats DRAW_NAME(uniform)(words a) { return (DRAW_NAME(as_floats)(a >> 1) + 0.5f) * 0x1p-31f; }

/* One try of J*(1, z) / 4 for rows `ids`; gives which ones are accepted. */
DRAW_INLINE ints DRAW_NAME(try_pg)(const pg_rows *a, words ids, uint32_t n_tries, floats z, floats *om) {
    words block[4] = {ids, n_tries - (words){0}, a->sweep - (words){0}, {0}};
    DRAW_NAME(threefry)(a->key, block);
    const floats u = DRAW_NAME(uniform)(block[0]), e = -DRAW_NAME(logarithm)(DRAW_NAME(uniform)(block[1]));
    const floats half_square = z * z * 0.5f, rate = half_square + 1.2337005501361698f, one = (floats){0} + 1.0f;
    const ints is_small = z < 1.5625f;
    /* mass of the tail above t, pi / (2 rate) exp(-t rate), and of what is proposed below */
    const floats exponent = rate * 0.64f - WHERE(is_small, (floats){0}, z);
    const floats below = DRAW_NAME(exponential)(DRAW_NAME(limited)(exponent, -80.0f, 80.0f)) * rate *
                         WHERE(is_small, one * 0.37208966f, one * 1.2732395447351628f);
    const floats r = one / (below + 1.0f);
    const ints is_tail = u < r;
    floats x = e / rate + 0.64f;
    ints accepted = is_tail;
    if (DRAW_NAME(any)(~is_tail & is_small)) {
        const floats square = e * 2.0f + 1.5625f, candidate = 1.0f / square;
        const floats thinned = DRAW_NAME(exponential)(DRAW_NAME(limited)(-half_square * candidate, -80.0f, 0.0f));
        const ints kept = DRAW_NAME(uniform)(block[2]) * DRAW_NAME(root)(square) < thinned * 1.25f;
        x = WHERE(~is_tail & is_small, candidate, x);
        accepted |= ~is_tail & is_small & kept;
    }
    if (DRAW_NAME(any)(~is_tail & ~is_small)) {
        const floats mean = 1.0f / DRAW_NAME(limited)(z, 1.5625f, 1e30f);
        /* the square of a normal number: 2 e cos^2 of an angle from -pi/4 to pi/4, or sin^2, as the first bit says */
        const floats angle = DRAW_NAME(as_floats)(block[2] << 1) * (0x1p-31f * 0.785398163397448309616f);
        const floats s = angle * angle;
        const floats sine = ((s * -1.9515295891e-4f + 8.3321608736e-3f) * s - 1.6666654611e-1f) * s * angle + angle;
        const floats part = WHERE((ints)block[2] < 0, sine * sine, 1.0f - sine * sine);
        const floats w = mean * (e * 2.0f * part);
        const floats smaller = mean / ((w + DRAW_NAME(root)(w * w + w * 4.0f)) * 0.5f + 1.0f);
        const floats v = (u - r) / (1.0f - r);
        const floats candidate = WHERE(v * (mean + smaller) > mean, mean * mean / smaller, smaller);
        x = WHERE(~is_tail & ~is_small, candidate, x);
        accepted |= ~is_tail & ~is_small & (candidate <= 0.64f);
    }
    const floats last = DRAW_NAME(uniform)(block[3]);
    const ints is_high = last > 0.994f;
    if (DRAW_NAME(any)(accepted & is_high)) {
        const floats y = DRAW_NAME(limited)(WHERE(is_tail, x * -9.869604401089358f, -4.0f / x), -28.0f, 0.0f);
        const floats series = 1.0f - DRAW_NAME(exponential)(y) * 3.0f + DRAW_NAME(exponential)(y * 3.0f) * 5.0f;
        accepted &= ~is_high | (last < series);
    }
    *om = x * 0.25f;
    return accepted;
}

DRAW_TARGET static void DRAW_NAME(pg_draw)(const pg_rows *a, const float *z, ptrdiff_t first, ptrdiff_t n, float *om) {
    int rows[PG_ROWS + DRAW_LANES];
    int n_left = (int)n;
    for (int i = 0; i < n_left; i++) rows[i] = i;
    for (uint32_t n_tries = 0; n_left > 0 && n_tries < PG_TRIES; n_tries++) {
        int n_refused = 0;
        for (int i = n_left; i < n_left + DRAW_LANES; i++) rows[i] = rows[n_left - 1]; /* so that the last are whole */
        for (int at = 0; at < n_left; at += DRAW_LANES) {
            words ids;
            floats half, drawn;
            int here[DRAW_LANES];
            for (int i = 0; i < DRAW_LANES; i++) {
                here[i] = rows[at + i];
                ids[i] = (uint32_t)(first + here[i]);
                half[i] = z[here[i]];
            }
            half = WHERE(half < 0.0f, -half, half) * 0.5f;
            const ints accepted = DRAW_NAME(try_pg)(a, ids, n_tries, half, &drawn);
            const int n_here = n_left - at < DRAW_LANES ? n_left - at : DRAW_LANES;
            for (int i = 0; i < n_here; i++) {
                om[here[i]] = drawn[i];
                rows[n_refused] = here[i];
                n_refused += accepted[i] == 0;
            }
        }
        n_left = n_refused;
    }
}

DRAW_TARGET static void DRAW_NAME(pg_rows)(const pg_rows *a, ptrdiff_t begin, ptrdiff_t end, double *sums) {
    float z[PG_ROWS + DRAW_LANES], om[PG_ROWS + DRAW_LANES];
    floats total_om = {0}, total = {0};
    const ptrdiff_t n = end - begin;
    for (ptrdiff_t r = 0; r < n; r++) z[r] = a->records[(begin + r) * a->stride + a->k + 1] + a->w0;
    for (ptrdiff_t r = n; r < n + DRAW_LANES; r++) z[r] = 0;
    DRAW_NAME(pg_draw)(a, z, begin, n, om);
    for (ptrdiff_t r = 0; r < n; r += DRAW_LANES) {
        floats score, weight, kappa, of_z, of_p;
        ints here;
        for (int i = 0; i < DRAW_LANES; i++) {
            const float *record = a->records + (begin + (r + i < n ? r + i : n - 1)) * a->stride + a->k + 1;
            here[i] = -(r + i < n);
            score[i] = z[r + i], weight[i] = om[r + i], kappa[i] = record[2], of_z[i] = record[3], of_p[i] = record[4];
        }
        if (a->counts == 1) of_z = of_p = (floats){0};
        of_z += score;
        of_p += 1.0f / (DRAW_NAME(exponential)(DRAW_NAME(limited)(-score, -80.0f, 80.0f)) + 1.0f);
        for (int i = 0; i < DRAW_LANES && r + i < n; i++) {
            float *record = a->records + (begin + r + i) * a->stride + a->k + 1;
            record[1] = weight[i], record[3] = of_z[i], record[4] = of_p[i];
        }
        total_om += WHERE(here, weight, (floats){0});
        total += WHERE(here, kappa - weight * score, (floats){0});
    }
    for (int i = 0; i < DRAW_LANES; i++) sums[0] += total_om[i], sums[1] += total[i];
}

#undef WHERE
#undef floats
#undef ints
#undef words
#undef DRAW_INLINE
#undef DRAW_NAME
#undef DRAW_TARGET
#undef DRAW_LANES
