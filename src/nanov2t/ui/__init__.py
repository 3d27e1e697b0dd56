"""A page in the browser: type a text, watch its vector give it back."""
