"""A photo's perceptual hash: what is left of it in 20 x 20 levels of grey, as text.

Another format, another size or more light hardly change them, and a picture that is turned or
mirrored has them turned or mirrored. `searching/same_photo.py` compares them. Pillow alone makes
them: the processes that decode photos load no numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SIDE = 20  # pixels of what is left; proportions are not kept
# A letter for each level, from the darkest of the pixels to the lightest: those of base64.
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_FLAT = 4  # of 255: with less between dark and light, there is nothing to be compared


def perceptual_hash(image: Image.Image) -> str:
    """Return the hash of an upright RGB picture of any size: 400 letters, row by row.

    A picture of one colour has the empty text: it is like every other of one colour.
    """
    from PIL.Image import Resampling

    small = image.resize((SIDE, SIDE), Resampling.BICUBIC, reducing_gap=2.0)
    grey = small.convert("L").tobytes()
    darkest, span = min(grey), max(grey) - min(grey)
    if span < _FLAT:
        return ""
    most = len(LETTERS) - 1
    letters = {level: LETTERS[round((level - darkest) * most / span)] for level in set(grey)}
    return "".join(map(letters.__getitem__, grey))
