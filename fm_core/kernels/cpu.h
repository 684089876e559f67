/* Which builds of the kernels this processor can run. setup.py has the flags that each is compiled with. */
#ifndef FM_CORE_CPU_H
#define FM_CORE_CPU_H

/* By number, the fastest first: avx512, avx2, generic. */
static int cpu_runs(int build) {
#if defined(__x86_64__)
    int has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (build == 0)
        return has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (build == 1) return has_avx2;
#endif
    return build == 2;
}

#endif
