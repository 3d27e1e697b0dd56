"""Errors, files and other basics that every package uses."""
