"""The generators: vectors (and drafts) to text."""
