"""From folders to photos in the library."""
