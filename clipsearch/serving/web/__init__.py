"""The web door of a warm searcher: a page, its HTTP API, and the photos."""
