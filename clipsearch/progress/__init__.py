"""How far an index run is, shown to people."""
