"""Captioned photos, from wherever they lie to batches."""
