"""Learning from each row once, as it comes, compiled for x86-64 with AVX-512."""

include "_online.pxi"
