/* One build of retrieval.h: SCAN_BUILD, by functions named SCAN_NAME for processors of SCAN_TARGET. */

#define SCAN_INLINE SCAN_TARGET static inline __attribute__((always_inline))

/* <p, q> of the block's items and each of n contexts. */
SCAN_INLINE void SCAN_NAME(products)(const uint8_t *codes, ptrdiff_t quads, const retrieval_query *queries, const int n,
                                     retrieval_ints *products) {
#if SCAN_BUILD == SCAN_AVX512
    __m512i sums[RETRIEVAL_TOGETHER];
    for (int i = 0; i < n; i++) sums[i] = _mm512_setzero_si512();
    for (ptrdiff_t quad = 0; quad < quads; quad++) {
        const __m512i four = _mm512_loadu_si512(codes + 64 * quad);
        for (int i = 0; i < n; i++) {
            int32_t of_context;
            memcpy(&of_context, queries[i].codes + 4 * quad, 4);
            sums[i] = _mm512_dpbusd_epi32(sums[i], four, _mm512_set1_epi32(of_context));
        }
    }
    for (int i = 0; i < n; i++)
        products[i] = (retrieval_ints)_mm512_sub_epi32(sums[i], _mm512_set1_epi32(queries[i].code_sum));
#elif SCAN_BUILD == SCAN_AVX2
    /* VPMADDUBSW wants one side without signs, which the context's gives to the other: at most 2 * 127^2 < 2^15. */
    const __m256i flip = _mm256_set1_epi8((char)0x80), ones = _mm256_set1_epi16(1);
    for (int i = 0; i < n; i++) {
        __m256i low = _mm256_setzero_si256(), high = _mm256_setzero_si256();
        for (ptrdiff_t quad = 0; quad < quads; quad++) {
            int32_t of_context;
            memcpy(&of_context, queries[i].codes + 4 * quad, 4);
            const __m256i p = _mm256_set1_epi32(of_context), size = _mm256_abs_epi8(p);
            const __m256i a = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(codes + 64 * quad)), flip);
            const __m256i b = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(codes + 64 * quad + 32)), flip);
            low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_maddubs_epi16(size, _mm256_sign_epi8(a, p)), ones));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_maddubs_epi16(size, _mm256_sign_epi8(b, p)), ones));
        }
        memcpy(&products[i], &low, 32);
        memcpy((char *)&products[i] + 32, &high, 32);
    }
#else
    for (int i = 0; i < n; i++) {
        int32_t sums[RETRIEVAL_BLOCK] = {0};
        for (ptrdiff_t quad = 0; quad < quads; quad++) {
            const int8_t *p = queries[i].codes + 4 * quad;
            const uint8_t *four = codes + 64 * quad;
            for (int item = 0; item < RETRIEVAL_BLOCK; item++)
                sums[item] += four[4 * item] * p[0] + four[4 * item + 1] * p[1] + four[4 * item + 2] * p[2] +
                              four[4 * item + 3] * p[3];
        }
        for (int item = 0; item < RETRIEVAL_BLOCK; item++) products[i][item] = sums[item] - queries[i].code_sum;
    }
#endif
}

/* Which of the 16 are at least the limit, a bit each. */
SCAN_INLINE uint32_t SCAN_NAME(reaching)(retrieval_floats values, float limit) {
#if SCAN_BUILD == SCAN_AVX512
    return _mm512_cmp_ps_mask((__m512)values, _mm512_set1_ps(limit), _CMP_GE_OQ);
#elif SCAN_BUILD == SCAN_AVX2
    __m256 half[2];
    memcpy(half, &values, sizeof values);
    const __m256 limits = _mm256_set1_ps(limit);
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(half[0], limits, _CMP_GE_OQ)) |
           (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(half[1], limits, _CMP_GE_OQ)) << 8;
#else
    uint32_t mask = 0;
    for (int item = 0; item < RETRIEVAL_BLOCK; item++) mask |= (uint32_t)(values[item] >= limit) << item;
    return mask;
#endif
}

SCAN_INLINE void SCAN_NAME(some)(const retrieval_items *items, ptrdiff_t begin, ptrdiff_t end,
                                 const retrieval_query *queries, retrieval_found *found, const int n) {
    for (ptrdiff_t block = begin; block < end; block++) {
        const retrieval_bounds bounds = items->bounds[block];
        int wanted = 0;
        for (int i = 0; i < n; i++)
            wanted |= (bounds.bias + queries[i].norm * (bounds.norm + bounds.error) + bounds.rest >= found[i].threshold) &
                      (queries[i].allowed == NULL || queries[i].allowed[block]);
        if (!wanted) continue;
        retrieval_ints products[RETRIEVAL_TOGETHER];
        SCAN_NAME(products)(items->codes + 64 * items->quads * block, items->quads, queries, n, products);
        retrieval_floats scale, bias;
        memcpy(&scale, items->scale + RETRIEVAL_BLOCK * block, sizeof scale);
        memcpy(&bias, items->bias + RETRIEVAL_BLOCK * block, sizeof bias);
        for (int i = 0; i < n; i++) {
            const retrieval_floats approximate =
                __builtin_convertvector(products[i], retrieval_floats) * (scale * queries[i].scale) + bias;
            const float error = queries[i].residual * bounds.norm + queries[i].norm * bounds.error + bounds.rest;
            uint32_t mask = SCAN_NAME(reaching)(approximate + error, found[i].threshold);
            if (queries[i].allowed != NULL) mask &= queries[i].allowed[block];
            if (mask) retrieval_keep(&found[i], block, mask, (const float *)&approximate, error);
        }
    }
}

SCAN_TARGET static void SCAN_NAME(scan)(const retrieval_items *items, ptrdiff_t begin, ptrdiff_t end,
                                        const retrieval_query *queries, retrieval_found *found, ptrdiff_t n_queries) {
    ptrdiff_t i = 0;
    for (; i + RETRIEVAL_TOGETHER <= n_queries; i += RETRIEVAL_TOGETHER)
        SCAN_NAME(some)(items, begin, end, queries + i, found + i, RETRIEVAL_TOGETHER);
    for (; i < n_queries; i++) SCAN_NAME(some)(items, begin, end, queries + i, found + i, 1);
}

#undef SCAN_INLINE
#undef SCAN_NAME
#undef SCAN_TARGET
#undef SCAN_BUILD
