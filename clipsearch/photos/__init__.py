"""From a path to upright pixels and what a photo says about itself; knows no model."""
