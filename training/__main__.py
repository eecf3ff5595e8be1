"""`python -m clipsearch.training` is `clipsearch train`: for torchrun, which starts modules."""

import sys

from clipsearch.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
