"""From a model's name to unit vectors of pictures and texts."""
