"""From a table to a model, and back to answers: what `fm train`, `evaluate` and `predict` do, and the estimators.

``holdout`` chooses the held-out rows, ``rows`` keeps encoded rows, ``figures`` computes the metrics that `fm` prints,
``job`` goes from files to a model, and ``saved`` writes a model with the files next to it, and finds them again.
"""
