"""The kernels, compiled for any CPU of the architecture."""

include "_optimizers.pxi"
include "_sparse.pxi"
include "_hosts.pxi"
include "_ranked.pxi"
include "_dense.pxi"
