"""How hypotheses are found, judged and improved."""
