/* Initial values: rows of random numbers, each number a function of the seed and of its own place alone.
 *
 * Number j of row i is number j mod 4 of the block that Threefry makes of the counter (i, j div 4, stream, 0): so no
 * row waits for another, threads and hosts draw what is theirs, and a model of more features, or factors, begins with
 * those of a smaller one. Numbers 0 to k - 1 are the factors, number k is the linear weight.
 *
 * - Threefry-4x32 of 20 rounds: J. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011, section 4.2
 *   (key schedule, rotations and parity as in the authors' Random123; held to its known answers by the tests).
 * - Normal numbers in pairs: G. Box, M. Muller, "A Note on the Generation of Random Normal Deviates", 1958. The
 *   logarithm's argument has 31 bits, so none lies further than 6.67 from 0.
 * - Logarithm, sine and cosine: the polynomials of S. Moshier's Cephes library, single precision (errors of about
 *   1e-7), with nothing but additions, multiplications and a square root. Those are rounded alike everywhere, and
 *   setup.py forbids to fuse them: every processor draws the same bits.
 *
 * draw_rows.h is the code, read here once for each width of registers; the widest one that the processor has is used.
 */
#ifndef FM_CORE_DRAW_H
#define FM_CORE_DRAW_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "cpu.h"

/* How a number is drawn; `scale` is the constant, half the width of the range, or the standard deviation. */
enum { DRAW_CONSTANT = 0, DRAW_UNIFORM = 1, DRAW_NORMAL = 2 };

typedef struct {
    int method;
    float scale;
} draw_kind;

/* Rows [begin, end) of `params`, of `k` factors and a linear weight each. Row r has the numbers of row
   first + every * r of `stream`. */
typedef void draw_rows_function(float *params, ptrdiff_t k, ptrdiff_t begin, ptrdiff_t end, uint32_t first,
                                uint32_t every, const uint32_t *key, uint32_t stream, draw_kind factors,
                                draw_kind linear);

#define DRAW_LANES 4
#define DRAW_TARGET
#define DRAW_NAME(name) generic_##name
#include "draw_rows.h"

#if defined(__x86_64__)
#define DRAW_LANES 8
#define DRAW_TARGET __attribute__((target("avx2")))
#define DRAW_NAME(name) avx2_##name
#include "draw_rows.h"

#define DRAW_LANES 16
#define DRAW_TARGET __attribute__((target("avx512f")))
#define DRAW_NAME(name) avx512_##name
#include "draw_rows.h"
#endif

/* The builds of cpu.h, by number; NULL where this processor cannot run it. (polya_gamma.h has its own.) */
static inline draw_rows_function *draw_build(int i) {
    if (!cpu_runs(i)) return NULL;
#if defined(__x86_64__)
    if (i == 0) return avx512_rows;
    if (i == 1) return avx2_rows;
#endif
    return generic_rows;
}

#endif
