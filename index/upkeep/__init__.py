"""Looking for damage, mending it, copies of a library."""
