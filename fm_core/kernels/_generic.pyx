"""The kernels, compiled for any CPU of the architecture."""

include "_sparse.pxi"
