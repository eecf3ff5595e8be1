"""Files of texts, one a line."""

import gzip
from pathlib import Path


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file that are not blank, unpacking `.gz`."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    # Not splitlines: a caption may hold a rarer line separator, which is no end of the line.
    return [line.strip() for line in content.decode("utf-8").split("\n") if line.strip()]
