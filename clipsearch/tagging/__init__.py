"""Tags of photos: of words, and of a person's own examples."""
