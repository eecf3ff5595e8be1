"""`python -m clipsearch` is `clipsearch`."""

from clipsearch.cli import main

main()
