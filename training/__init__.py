"""Training and evaluating dual encoders."""
