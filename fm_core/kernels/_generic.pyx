"""The kernels, compiled for any CPU of the architecture."""

include "_loops.pxi"
