"""What suggests new hypotheses to a search."""
