"""Learning from a stream, with nothing to tune: each row once, as it comes, by assumed-density filtering.

``units`` looks at the first rows, ``filtering`` is one learner, ``race`` several with other priors side by side until
one is left, ``calibration`` the number that makes probabilities honest, and ``algorithm`` the whole, as training sees
it.
"""
