"""One sweep of a Bayesian factorization machine, compiled for any processor."""

include "_bayes.pxi"
