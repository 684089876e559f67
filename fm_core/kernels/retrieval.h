/* The items that may be among the best for a context, by one pass over eight-bit copies of their vectors.
 *
 * An item's vector v is kept as integers q of 8 bits and a scale s: v = s q + r. So is the context's, c = t p + d.
 * Then <c, v> lies within |d| |v| + |t p| |r| of s t <p, q>, by Cauchy and Schwarz, and <p, q> is a sum of integers:
 * exact, and the same for any order. An item is kept if the upper end of its score's interval reaches the top-th best
 * lower end. Whoever scores the kept ones in full has the best of all (the first phase of "Accelerating Large-Scale
 * Inference with Anisotropic Vector Quantization", R. Guo et al., ICML 2020, with bounds in place of a guess).
 *
 * Layout: 16 items are a block, [k / 4][16 items][4 factors] bytes, so that one instruction multiplies four factors of
 * 16 items (x86's VNNI) and no sum crosses lanes. A byte is q + 128, from 1 to 255. Beside the bytes: scale and bias of
 * each item, and of each block the numbers of `retrieval_bounds`. A block whose bias and norms cannot reach the
 * threshold is not read.
 *
 * The numbers in `retrieval_bounds` and `retrieval_query` already hold what rounding may add: see _retrieval.pyx.
 *
 * retrieval_scan.h is the code, read here once for each instruction set. The intervals may differ in their last bits
 * between those, and so may what is kept; the best items cannot.
 */
#ifndef FM_CORE_RETRIEVAL_H
#define FM_CORE_RETRIEVAL_H

#include <float.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

enum { RETRIEVAL_BLOCK = 16, RETRIEVAL_TOGETHER = 4 };

/* Of a block: the largest norm, the largest error that the context's norm multiplies, the largest bias, and the
   largest error besides. */
typedef struct {
    float norm, error, bias, rest;
} retrieval_bounds;

typedef struct {
    const uint8_t *codes;
    const float *scale, *bias;
    const retrieval_bounds *bounds;
    ptrdiff_t n_blocks, quads; /* quads: four factors each */
} retrieval_items;

typedef struct {
    const int8_t *codes;
    int32_t code_sum; /* 128 times the sum of the codes */
    float scale;
    float norm;     /* of c, or of t p where that is longer */
    float residual; /* |d| */
    const uint16_t *allowed; /* a bit for each item of a block; NULL: all */
} retrieval_query;

/* What one thread has found for one context: the `top` best lower ends as a heap with the least in front, and the
   items whose upper ends reached it at their time. */
typedef struct {
    float threshold;
    ptrdiff_t top, n_best, n, capacity;
    float *best;
    uint32_t *items;
    float *upper;
    int failed; /* there was no memory */
} retrieval_found;

static int retrieval_begin(retrieval_found *f, ptrdiff_t top) {
    memset(f, 0, sizeof *f);
    f->threshold = -FLT_MAX;
    f->top = top;
    f->capacity = 256;
    f->best = malloc((size_t)top * sizeof *f->best);
    f->items = malloc((size_t)f->capacity * sizeof *f->items);
    f->upper = malloc((size_t)f->capacity * sizeof *f->upper);
    f->failed = f->best == NULL || f->items == NULL || f->upper == NULL;
    return !f->failed;
}

static void retrieval_end(retrieval_found *f) {
    free(f->best);
    free(f->items);
    free(f->upper);
}

/* Take a lower end into the heap, and the heap's least as the threshold once there are enough. */
static void retrieval_heap(retrieval_found *f, float lower) {
    float *heap = f->best;
    ptrdiff_t at;
    if (f->n_best < f->top) {
        for (at = f->n_best++; at > 0 && heap[(at - 1) / 2] > lower; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    } else {
        if (lower <= heap[0]) return;
        for (at = 0;;) {
            ptrdiff_t child = 2 * at + 1;
            if (child + 1 < f->n_best && heap[child + 1] < heap[child]) child++;
            if (child >= f->n_best || heap[child] >= lower) break;
            heap[at] = heap[child];
            at = child;
        }
    }
    heap[at] = lower;
    if (f->n_best == f->top) f->threshold = heap[0];
}

/* Forget the items that the threshold has left behind. */
static void retrieval_compact(retrieval_found *f) {
    ptrdiff_t kept = 0;
    for (ptrdiff_t i = 0; i < f->n; i++)
        if (f->upper[i] >= f->threshold) {
            f->items[kept] = f->items[i];
            f->upper[kept++] = f->upper[i];
        }
    f->n = kept;
}

static int retrieval_grow(retrieval_found *f) {
    retrieval_compact(f);
    if (f->n <= f->capacity / 2) return 1;
    ptrdiff_t capacity = 2 * f->capacity;
    uint32_t *items = realloc(f->items, (size_t)capacity * sizeof *items);
    if (items != NULL) f->items = items;
    float *upper = realloc(f->upper, (size_t)capacity * sizeof *upper);
    if (upper != NULL) f->upper = upper;
    if (items == NULL || upper == NULL) return 0;
    f->capacity = capacity;
    return 1;
}

/* Take those of a block's items whose bit is set. */
static void retrieval_keep(retrieval_found *f, ptrdiff_t block, uint32_t mask, const float *approximate, float error) {
    for (; mask && !f->failed; mask &= mask - 1) {
        const int lane = __builtin_ctz(mask);
        const float upper = approximate[lane] + error;
        if (upper < f->threshold) continue; /* raised by a neighbour */
        if (f->n == f->capacity && !retrieval_grow(f)) {
            f->failed = 1;
            return;
        }
        f->items[f->n] = (uint32_t)(block * RETRIEVAL_BLOCK + lane);
        f->upper[f->n++] = upper;
        retrieval_heap(f, approximate[lane] - error);
    }
}

/* Put what one thread found to what another did. */
static int retrieval_join(retrieval_found *f, const retrieval_found *other) {
    for (ptrdiff_t i = 0; i < other->n_best; i++) retrieval_heap(f, other->best[i]);
    for (ptrdiff_t i = 0; i < other->n; i++) {
        if (other->upper[i] < f->threshold) continue;
        if (f->n == f->capacity && !retrieval_grow(f)) return 0;
        f->items[f->n] = other->items[i];
        f->upper[f->n++] = other->upper[i];
    }
    return 1;
}

/* Look at blocks [begin, end) for some contexts. */
typedef void retrieval_scan(const retrieval_items *items, ptrdiff_t begin, ptrdiff_t end,
                            const retrieval_query *queries, retrieval_found *found, ptrdiff_t n_queries);

typedef float retrieval_floats __attribute__((vector_size(4 * RETRIEVAL_BLOCK)));
typedef int32_t retrieval_ints __attribute__((vector_size(4 * RETRIEVAL_BLOCK)));

#define SCAN_GENERIC 0
#define SCAN_AVX2 1
#define SCAN_AVX512 2

#define SCAN_BUILD SCAN_GENERIC
#define SCAN_TARGET
#define SCAN_NAME(name) generic_##name
#include "retrieval_scan.h"

#if defined(__x86_64__)
#define SCAN_BUILD SCAN_AVX2
#define SCAN_TARGET __attribute__((target("avx2,fma")))
#define SCAN_NAME(name) avx2_##name
#include "retrieval_scan.h"

#define SCAN_BUILD SCAN_AVX512
#define SCAN_TARGET __attribute__((target("avx512f,avx512bw,avx512vnni,fma")))
#define SCAN_NAME(name) avx512_##name
#include "retrieval_scan.h"
#endif

/* The builds 0 to 2, fastest first; NULL where this processor has it not. */
static retrieval_scan *retrieval_build(int i) {
#if defined(__x86_64__)
    if (i == 0) return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") ? avx512_scan : NULL;
    if (i == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2_scan : NULL;
#endif
    return i == 2 ? generic_scan : NULL;
}

#endif
