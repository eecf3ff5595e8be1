"""A library that a server answers for, over HTTP."""
