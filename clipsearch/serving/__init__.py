"""A process that answers at once, and those who ask it."""
