/* What memory alone allows of a Bayesian sweep: each feature's rows in turn, their records loaded and stored once.
 *
 * No arithmetic but one addition, so that the store stays; records ahead are asked for, as in the kernels.
 */
#include <stddef.h>
#include <stdint.h>

typedef float lanes __attribute__((vector_size(64)));

enum { LANES = 16, AHEAD = 24 };

void touch_rows(const int32_t *rows, ptrdiff_t n_entries, float *records, ptrdiff_t stride, float zero) {
    for (ptrdiff_t t = 0; t < n_entries; t++) {
        if (t + AHEAD < n_entries)
            for (ptrdiff_t i = 0; i < stride; i += LANES)
                __builtin_prefetch(records + rows[t + AHEAD] * stride + i, 1);
        lanes *record = (lanes *)(records + rows[t] * stride);
        for (ptrdiff_t i = 0; i < stride / LANES; i++) record[i] += zero;
    }
}
