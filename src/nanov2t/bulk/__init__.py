"""Inverting whole stores into a folder of Parquet files."""
