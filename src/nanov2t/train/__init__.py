"""Training an inverter."""
