"""One sweep of a Bayesian factorization machine, compiled for x86-64 with AVX2 and FMA."""

include "_bayes.pxi"
