"""The kernels, compiled for x86-64 with AVX-512 F, BW, DQ and VL."""

include "_optimizers.pxi"
include "_sparse.pxi"
include "_hosts.pxi"
include "_ranked.pxi"
include "_dense.pxi"
