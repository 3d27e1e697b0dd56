"""Whole stores of vectors, inverted into a folder."""
