"""How much of texts their embeddings give away, what a defence saves, and what it costs."""
