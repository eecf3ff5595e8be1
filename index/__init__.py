"""The catalog of photos (SQLite) and their vectors (FAISS)."""
