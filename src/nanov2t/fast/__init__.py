"""Decoding and linear layers as fast as a CPU allows."""
