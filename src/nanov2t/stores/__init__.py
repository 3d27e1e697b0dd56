"""Vectors from wherever they are kept."""
