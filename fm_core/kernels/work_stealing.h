/* Tasks shared out among threads so that each walks in one direction, and none waits while there is work.
 *
 * Each thread is dealt a range, which it takes from the front: what it asks for ahead is then what it will use
 * itself. (Dealt one after the other, a step of two threads takes 1.1 to 1.2 times as long: the first rows of
 * each task come unasked, and those asked for at its end go to the wrong core.) A thread that has no more takes
 * tasks from the back of the others' ranges.
 */
#ifndef FM_CORE_WORK_STEALING_H
#define FM_CORE_WORK_STEALING_H

#include <stddef.h>
#include <stdint.h>

/* A range, its begin in the upper half: a cache line each, as every thread writes its own all the time. */
typedef struct {
    uint64_t range;
    char padding[56];
} tasks;

static inline void tasks_deal(tasks *all, int n_threads, ptrdiff_t n) {
    for (int i = 0; i < n_threads; i++) {
        uint64_t begin = (uint64_t)n * (uint64_t)i / (uint64_t)n_threads;
        uint64_t end = (uint64_t)n * (uint64_t)(i + 1) / (uint64_t)n_threads;
        all[i].range = begin << 32 | end;
    }
}

/* The next task of thread `me`; -1 if there is none any more. */
static inline ptrdiff_t tasks_next(tasks *all, int n_threads, int me) {
    uint64_t range = __atomic_load_n(&all[me].range, __ATOMIC_RELAXED), begin = (uint64_t)1 << 32;
    while (range >> 32 < (uint32_t)range)
        if (__atomic_compare_exchange_n(&all[me].range, &range, range + begin, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return (ptrdiff_t)(range >> 32);
    for (int i = 1; i < n_threads; i++) {
        uint64_t *other = &all[(me + i) % n_threads].range;
        range = __atomic_load_n(other, __ATOMIC_RELAXED);
        while (range >> 32 < (uint32_t)range)
            if (__atomic_compare_exchange_n(other, &range, range - 1, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
                return (ptrdiff_t)((uint32_t)range - 1);
    }
    return -1;
}

/* What any of several threads may say, and is read after all have met. */
static inline void flag_set(int *flag) { __atomic_store_n(flag, 1, __ATOMIC_RELAXED); }

#endif
