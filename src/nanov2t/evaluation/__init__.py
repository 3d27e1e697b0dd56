"""Figures of an inverter."""
