"""Learning from a stream, with nothing to tune: each row once, in order of arrival, by assumed-density filtering.

``units`` scales the data by its first rows, ``filtering`` is one learner, ``race`` runs several with different priors
until one remains, ``calibration`` corrects the probabilities, and ``algorithm`` combines them for training.
"""
