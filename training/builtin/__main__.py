"""`python -m clipsearch.training.builtin` makes the built-in model again."""

from clipsearch.training.builtin.recipe import main

if __name__ == "__main__":
    main()
