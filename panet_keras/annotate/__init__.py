"""A page in the browser: mark one picture, get proposals for the rest, correct them."""
