"""Hits made up for tests of what is shown of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipsearch.index.paths import to_text
from clipsearch.results import Hit

# What a file may be called, and what no page, table or terminal may obey.
HOSTILE = "<script>alert('1')</script>\x1b[31m\x9b\u202e\"&\n=1+1.jpg"


def made_hit(path: Path, rank: int = 1, **fields: Any) -> Hit:
    """Return a hit of a photo that says nothing but what the test has it say."""
    said: dict[str, Any] = {
        **{"score": 0.5, "id": rank, "width": 800, "height": 600, "format": "JPEG", "size": 9},
        **{"taken_text": None, "camera": None, "lens": None, "latitude": None, "longitude": None},
        "content_hash": "",
    }
    return Hit(rank=rank, source=to_text(path), **{**said, **fields})
