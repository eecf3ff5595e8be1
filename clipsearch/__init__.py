"""Find photos by what is in them."""
