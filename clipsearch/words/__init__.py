"""Lists of words that ship, and how such a list is read."""
