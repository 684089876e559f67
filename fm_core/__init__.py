"""A factorization machine solver: batches and hyperparameters in, a model and its predictions out."""
