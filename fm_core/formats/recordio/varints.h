/* Packed keys, sixteen at a time, and packed floats, on processors with AVX-512 VBMI2 (Ice Lake, Zen 4).
 *
 * 64 bytes at a time: a byte below 128 ends a varint, so the positions of those bytes, pressed together, are where
 * the keys end, and each but the first begins one behind. One permutation of bytes puts each key into a lane of its
 * own, where two multiplications join its groups of seven bits. No key waits for the one before; read one after
 * the other, where each begins depends on how long the last one was. Tried beside the plain loop of _decode.pyx,
 * records of 39 keys take .6 of the time.
 *
 * What is rare is left to the caller's loop, which also finds what is wrong: a key of more than 28 bits, one that
 * is not below feature_dim, a last one that is cut.
 */
#ifndef FM_CORE_VARINTS_H
#define FM_CORE_VARINTS_H

#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define FM_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,bmi,bmi2,popcnt")))

static int has_vbmi2(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("popcnt");
}

/* Read keys of [p, end) to `out`, which has room for end - p of them, until one is left to the caller.
 *
 * `n` becomes their number, `previous` (the key before, or -1) the last of them; `unordered` is set if one is not
 * above the one before. Gives where the first key begins that was not read.
 */
FM_AVX512 static const uint8_t *avx512_keys(const uint8_t *p, const uint8_t *end, uint64_t feature_dim, int32_t *out,
                                        int64_t *n, int64_t *previous, int *unordered) {
    static const uint8_t POSITIONS[64] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                          16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
                                          32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47,
                                          48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
    const __m512i positions = _mm512_loadu_si512(POSITIONS);
    const __m512i limit = _mm512_set1_epi32((int32_t)(feature_dim > 1 << 28 ? 1 << 28 : feature_dim));
    const __m512i first_byte = _mm512_set4_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0x00000000);
    const int32_t *start = out;
    __m512i before = _mm512_set1_epi32((int32_t)*previous);
    __mmask16 falling = 0;
    while (p < end) {
        const uint64_t left = (uint64_t)(end - p);
        const __mmask64 there = left < 64 ? ((uint64_t)1 << left) - 1 : ~(uint64_t)0;
        const __m512i bytes = _mm512_maskz_loadu_epi8(there, p);
        const uint64_t stops = ~_mm512_movepi8_mask(bytes) & there;
        const int found = __builtin_popcountll(stops), count = found < 16 ? found : 16;
        if (count == 0) break;
        const __mmask16 used = (__mmask16)((1u << count) - 1u);
        const __m512i ends =
            _mm512_cvtepu8_epi32(_mm512_castsi512_si128(_mm512_maskz_compress_epi8(stops, positions)));
        const __m512i starts =
            _mm512_add_epi32(_mm512_alignr_epi32(ends, _mm512_set1_epi32(-1), 15), _mm512_set1_epi32(1));
        const __m512i more = _mm512_sub_epi32(ends, starts); /* bytes of a key after its first */
        if (_mm512_mask_cmpgt_epu32_mask(used, more, _mm512_set1_epi32(3))) break;
        const __m512i from =
            _mm512_add_epi8(_mm512_shuffle_epi8(starts, first_byte), _mm512_set1_epi32(0x03020100));
        const __m512i groups = _mm512_and_si512(
            _mm512_permutexvar_epi8(from, bytes),
            _mm512_srlv_epi32(_mm512_set1_epi32(0x7F7F7F7F),
                              _mm512_slli_epi32(_mm512_sub_epi32(_mm512_set1_epi32(3), more), 3)));
        const __m512i pairs = _mm512_maddubs_epi16(_mm512_set1_epi16((int16_t)0x8001), groups); /* 1 and 1 << 7 */
        const __m512i keys = _mm512_madd_epi16(pairs, _mm512_set1_epi32(0x40000001));           /* 1 and 1 << 14 */
        if (_mm512_mask_cmpge_epu32_mask(used, keys, limit)) break;
        falling |= _mm512_mask_cmple_epi32_mask(used, keys, _mm512_alignr_epi32(keys, before, 15));
        _mm512_mask_storeu_epi32(out, used, keys);
        before = _mm512_permutexvar_epi32(_mm512_set1_epi32(count - 1), keys);
        out += count;
        p += _tzcnt_u64(_pdep_u64((uint64_t)1 << (count - 1), stops)) + 1;
    }
    *n = out - start;
    if (*n) *previous = out[-1];
    *unordered |= falling != 0;
    return p;
}

/* Copy n floats, given as bytes, to `out`; gives whether all are finite. */
FM_AVX512 static int avx512_floats(const uint8_t *p, int64_t n, uint32_t *out) {
    const __m512i exponent = _mm512_set1_epi32(0x7F800000);
    __mmask16 bad = 0;
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 there = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1u) : (__mmask16)0xFFFF;
        const __m512i bits = _mm512_maskz_loadu_epi32(there, p + 4 * i);
        bad |= _mm512_cmpeq_epi32_mask(_mm512_and_si512(bits, exponent), exponent);
        _mm512_mask_storeu_epi32(out + i, there, bits);
    }
    return bad == 0;
}

#else
static int has_vbmi2(void) { return 0; }
static const uint8_t *avx512_keys(const uint8_t *p, const uint8_t *end, uint64_t feature_dim, int32_t *out, int64_t *n,
                                int64_t *previous, int *unordered) {
    (void)end, (void)feature_dim, (void)out, (void)previous, (void)unordered;
    *n = 0;
    return p;
}
static int avx512_floats(const uint8_t *p, int64_t n, uint32_t *out) {
    (void)p, (void)n, (void)out;
    return 1;
}
#endif

#endif
