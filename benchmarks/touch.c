/* What memory alone allows: the same rows as one step of training, and no arithmetic.
 *
 * Each occurrence's row of `params` is loaded; each distinct feature's rows of `params` and
 * `state` are loaded and stored once a batch. Rows ahead are prefetched, as in the kernels.
 */
#include <stddef.h>
#include <stdint.h>

typedef float lanes __attribute__((vector_size(64)));
typedef float lanes_unaligned __attribute__((vector_size(64), aligned(4), may_alias));

enum { LANES = 16, AHEAD = 16, AHEAD_FEATURES = 6 };

static inline void prefetch(const float *p, ptrdiff_t n) {
    for (const char *at = (const char *)p; at < (const char *)(p + n); at += 64) __builtin_prefetch(at, 0, 3);
    __builtin_prefetch((const char *)(p + n) - 1, 0, 3);
}

static inline void load_and_store(float *p, ptrdiff_t n, float one) {
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) *(lanes_unaligned *)(p + i) = *(lanes_unaligned *)(p + i) * one;
    for (; i < n; i++) p[i] *= one;
}

/* Returns a sum that nobody needs, so that the loads stay; `one` is 1, which the compiler cannot know. */
float touch(const int32_t *indices, ptrdiff_t n_entries, const int32_t *features, ptrdiff_t n_features,
            float *params, float *state, ptrdiff_t width, ptrdiff_t n_states, float one) {
    lanes sum = {0};
    float rest = 0;
    for (ptrdiff_t j = 0; j < n_entries; j++) {
        if (j + AHEAD < n_entries) prefetch(params + indices[j + AHEAD] * width, width);
        const float *p = params + indices[j] * width;
        ptrdiff_t i = 0;
        for (; i + LANES <= width; i += LANES) sum += *(const lanes_unaligned *)(p + i);
        for (; i < width; i++) rest += p[i];
    }
    for (ptrdiff_t j = 0; j < n_features; j++) {
        if (j + AHEAD_FEATURES < n_features) {
            prefetch(params + features[j + AHEAD_FEATURES] * width, width);
            prefetch(state + features[j + AHEAD_FEATURES] * n_states * width, n_states * width);
        }
        load_and_store(params + features[j] * width, width, one);
        load_and_store(state + features[j] * n_states * width, n_states * width, one);
    }
    for (int i = 0; i < LANES; i++) rest += sum[i];
    return rest;
}
