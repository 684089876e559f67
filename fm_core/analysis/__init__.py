"""Analysis of models: rankings, explanations, embeddings, statistics of parameters."""
