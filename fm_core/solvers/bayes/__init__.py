"""Bayesian factorization machines: Gibbs sampling and its variational relative, to an ordinary model.

``rows`` keeps the data by feature, ``schedule`` says which features are drawn side by side, ``priors`` draws what
groups of features have in common, ``sampler`` makes sweeps, ``compression`` keeps the mean of all samples in a model
of bounded rank, ``kept_samples`` what a score's standard deviation needs, and ``solver`` is the whole, as training sees
it.
"""
