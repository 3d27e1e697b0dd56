"""Vectors from files and databases."""
