"""What one sees of the photos found: small pictures in the terminal, pages, folders, the viewer."""
