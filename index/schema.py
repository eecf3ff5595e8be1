"""What says that a file is a catalog, and of which schema; the schema itself is in migrations."""

APPLICATION_ID = 0x636C7073  # "clps", in the header of every catalog
SCHEMA_VERSION = 2
TABLES = {
    *("photos", "failures", "folders", "mounts", "models", "library"),
    *("embeddings", "removed_embeddings", "vector_indexes", "_sqlite_migrations"),
}
