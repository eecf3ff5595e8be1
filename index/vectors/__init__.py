"""Vectors that are searched: index files in FAISS, lists, and what is newer."""
