"""Following the files as they change."""
