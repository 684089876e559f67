"""The kernels, compiled for x86-64 with AVX2 and FMA."""

include "_sparse.pxi"
