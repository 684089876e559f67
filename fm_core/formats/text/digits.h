/* Decimal digits eight at a time, in one register: no table, no loop, no reading beyond what the caller allows.

   A digit's byte is 0x30 to 0x39; exclusive or with 0x30 makes it 0 to 9, and any other byte more than 9. Bytes come
   in the order of memory, the first digit lowest, as little-endian machines load them. */

#ifndef FM_DIGITS_H
#define FM_DIGITS_H

#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FM_HAS_DIGITS 1
#else
#define FM_HAS_DIGITS 0
#endif

/* Bytes behind a pair's first one that `read_pair` may look at. */
#define FM_PAIR_BYTES 64

static const uint64_t FM_TENS[9] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

static const double FM_PARTS[17] = {1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8,
                                    1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15, 1e-16};

/* The number that the digits from `at` on make, at most eight; how many they are. Eight bytes are read. */
static inline int fm_digits(const char *at, uint64_t *number)
{
    uint64_t word, other;
    int n;
    memcpy(&word, at, 8);
    word ^= 0x3030303030303030u;
    /* The lowest marked byte is right; a carry can only spoil those above it. */
    other = ((word + 0x7676767676767676u) | word) & 0x8080808080808080u;
    n = other ? __builtin_ctzll(other) >> 3 : 8;
    if (n == 0) {
        *number = 0;
        return 0;
    }
    word <<= 64 - 8 * n; /* zeros in front */
    word = word * 10 + (word >> 8); /* pairs of digits, in every second byte */
    *number = (((word & 0x000000ff000000ffu) * 0x000f424000000064u) +
               (((word >> 16) & 0x000000ff000000ffu) * 0x0000271000000001u)) >> 32;
    return n;
}

/* How many of some bytes are `wanted`. */
static inline int64_t fm_count(const char *at, int64_t size, char wanted)
{
    const uint64_t ones = 0x0101010101010101u, low = 0x7f7f7f7f7f7f7f7fu;
    int64_t total = 0, i = 0;
    while (i + 8 <= size) {
        /* Each byte of `counts` adds up one of eight; after 255 steps one could overflow. */
        uint64_t counts = 0;
        int64_t stop = size - i < 8 * 255 ? i + (size - i) / 8 * 8 : i + 8 * 255;
        for (; i < stop; i += 8) {
            uint64_t word;
            memcpy(&word, at + i, 8);
            word ^= ones * (unsigned char)wanted;
            counts += ~(((word & low) + low) | word) >> 7 & ones;
        }
        counts = (counts & 0x00ff00ff00ff00ffu) + (counts >> 8 & 0x00ff00ff00ff00ffu);
        total += (int64_t)((counts * 0x0001000100010001u) >> 48);
    }
    for (; i < size; i++)
        total += at[i] == wanted;
    return total;
}

/* A key, a colon and a plain decimal number such as 17:-0.25, followed by `stop`, a blank or a newline. Gives the byte
   behind it; NULL where it is anything else, or its number would need more than one division of doubles. */
static inline const char *fm_read_pair(
    const char *at, int64_t *key, float *value, const double *powers, uint64_t exact)
{
    uint64_t whole, part, more = 0, mantissa;
    int n, n_whole, n_part = 0, n_more = 0, negative;
    double number;
    float below, above;
    n = fm_digits(at, &whole);
    if (n == 8) {
        n_more = fm_digits(at + 8, &more);
        if (n_more == 8)
            return 0;
        whole = whole * FM_TENS[n_more] + more;
        n += n_more;
    }
    at += n;
    if (n == 0 || *at != ':')
        return 0;
    *key = (int64_t)whole;
    at++;
    negative = *at == '-';
    at += negative;
    n_whole = fm_digits(at, &mantissa);
    at += n_whole;
    if (*at == '.') {
        at++;
        n_part = fm_digits(at, &part);
        at += n_part;
        mantissa = mantissa * FM_TENS[n_part] + part;
        if (n_part == 8) {
            n_more = fm_digits(at, &more);
            at += n_more;
            if (n_whole + n_part + n_more > 19)
                return 0;
            mantissa = mantissa * FM_TENS[n_more] + more;
            n_part += n_more;
        }
    }
    if (n_whole + n_part == 0 || (*at != ' ' && *at != '\n') || mantissa > exact)
        return 0;
    /* A product is sooner there than a quotient. It is off by less than the factors say, and mostly that decides
       nothing; else both are exact as double, so one division rounds correctly (Clinger, PLDI 1990). */
    number = (double)mantissa;
    number = negative ? -number : number;
    below = (float)(number * FM_PARTS[n_part] * (1 - 0x1p-50));
    above = (float)(number * FM_PARTS[n_part] * (1 + 0x1p-50));
    *value = below == above ? below : (float)(number / powers[n_part]);
    return at;
}

#endif
