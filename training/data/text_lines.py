"""Files of texts, one a line."""

import gzip
from pathlib import Path

from clipsearch.photos.plain_texts import decoded


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not blank, unpacking `.gz`."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    # Of bytes, not of a string: that has rarer line separators, which end no caption.
    lines = (decoded(line).strip() for line in content.splitlines())
    return [line for line in lines if line]
