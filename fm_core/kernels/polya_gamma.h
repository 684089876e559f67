/* Rows of a logistic regression between two sweeps: their Polya-Gamma weights drawn, their scores averaged.
 *
 * PG(1, c) is the distribution that makes a logistic likelihood a normal one (N. Polson, J. Scott, J. Windle,
 * "Bayesian Inference for Logistic Models Using Polya-Gamma Latent Variables", JASA 108, 2013). Drawn exactly, by
 * their method (section 4 and its supplement, after L. Devroye): PG(1, c) = J*(1, c / 2) / 4, and J*(1, z) is proposed
 * from an exponential tail above t = .64 and an inverse Gaussian below, and accepted by an alternating series.
 *
 * - Below t, with z < 1 / t: 1 / N^2 of a normal number N beyond 1 / sqrt(t) = 1.25 (G. Marsaglia's tail, 1964), thinned
 *   by exp(-z^2 x / 2); with larger z an inverse Gaussian (J. Michael, W. Schucany, R. Haas, 1976), refused above t.
 * - Tail and inverse Gaussian are chosen by their masses before anything is refused: pi / (2 rate) exp(-t rate) with
 *   rate = pi^2 / 8 + z^2 / 2, and 4 phi(1.25) / 1.25 or 2 exp(-z). So a number refused is tried anew from the start.
 * - The series is 1 - 3 e^-.. + 5 e^-.. - ..: its second term is below .006, its fourth below 1e-15; so a uniform number
 *   below .994 is accepted unseen, and others by three terms.
 *
 * Many rows at a time: each is tried once, and those refused, about a fifth, are tried again, packed. The numbers of a
 * row are a function of the key, the sweep, the row and the try: no order and no threads matter. What draw.h says of
 * rounding holds here too: every processor draws the same bits.
 *
 * polya_gamma_rows.h is the code, read here once for each width of registers.
 */
#ifndef FM_CORE_POLYA_GAMMA_H
#define FM_CORE_POLYA_GAMMA_H

#include "draw.h"

#define PG_ROWS 1024           /* rows tried together */
#define PG_TRIES 1000          /* of a row whose score is not a number any more */

typedef struct {
    float *records;            /* [.., z, om, kappa, sum of z, sum of sigmoid(z)] from place k + 1 on */
    ptrdiff_t stride, k;
    float w0;
    const uint32_t *key;       /* four words and their parity */
    uint32_t sweep;
    int counts;                /* samples in the sums of z and p after this one; 1: they begin anew */
} pg_rows;

/* Rows [begin, end) of at most PG_ROWS; adds their new om, and kappa - om z, to two sums. */
typedef void pg_rows_function(const pg_rows *a, ptrdiff_t begin, ptrdiff_t end, double *sums);
/* om of n scores, as rows `first` and on. */
typedef void pg_draw_function(const pg_rows *a, const float *z, ptrdiff_t first, ptrdiff_t n, float *om);

#define DRAW_LANES 4
#define DRAW_TARGET
#define DRAW_NAME(name) generic_##name
#include "polya_gamma_rows.h"

#if defined(__x86_64__)
#define DRAW_LANES 8
#define DRAW_TARGET __attribute__((target("avx2")))
#define DRAW_NAME(name) avx2_##name
#include "polya_gamma_rows.h"

#define DRAW_LANES 16
#define DRAW_TARGET __attribute__((target("avx512f")))
#define DRAW_NAME(name) avx512_##name
#include "polya_gamma_rows.h"
#endif

/* The builds of cpu.h, by number; NULL where this processor cannot run it. */
static pg_rows_function *pg_build(int i, pg_draw_function **draw) {
    if (!cpu_runs(i)) return NULL;
#if defined(__x86_64__)
    if (i == 0) return *draw = avx512_pg_draw, avx512_pg_rows;
    if (i == 1) return *draw = avx2_pg_draw, avx2_pg_rows;
#endif
    return *draw = generic_pg_draw, generic_pg_rows;
}

#endif
