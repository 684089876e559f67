"""One sweep of a Bayesian factorization machine, compiled for x86-64 with AVX-512."""

include "_bayes.pxi"
