"""The networks that read vectors and the embedder's states."""
