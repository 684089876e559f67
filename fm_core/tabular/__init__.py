"""From a table to a model, and back to answers: what `fm train`, `evaluate` and `predict` do, and the estimators.

``holdout`` says which rows are held out, ``rows`` keeps encoded rows, ``figures`` are what a person asks of a model,
``job`` goes from files to a model, and ``saved`` writes a model with what lies beside it, and finds that again.
"""
