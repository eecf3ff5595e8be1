"""The encoders that learn, and the folder a model is kept in."""
