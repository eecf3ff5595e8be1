"""The recipe of the built-in model."""
