"""What a model says: rankings, explanations, embeddings, figures of its parameters."""
