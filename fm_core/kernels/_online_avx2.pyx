"""Learning from each row once, as it comes, compiled for x86-64 with AVX2."""

include "_online.pxi"
