"""The kernels, compiled for x86-64 with AVX2 and FMA."""

include "_optimizers.pxi"
include "_sparse.pxi"
include "_hosts.pxi"
include "_ranked.pxi"
include "_dense.pxi"
