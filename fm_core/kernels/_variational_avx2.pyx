"""One sweep of mean-field variational inference, compiled for x86-64 with AVX2."""

include "_variational.pxi"
