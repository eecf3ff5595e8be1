"""What a person is told of a photo found: short texts, none that could act on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from clipsearch.cli.printable import printable, short_path
from clipsearch.cli.seeing.paint import bar
from clipsearch.results import shown_relevance

if TYPE_CHECKING:
    from clipsearch.results import Hit

STYLES = {"strong": "green", "likely": "yellow", "weak": "dim"}  # of the bar


class Facts(NamedTuple):
    """A photo found; "" for what there is nothing to say about."""

    rank: str
    match: str  # a bar and a word; else the score; nothing without a question
    style: str  # of the match
    photo: str  # its path, as short as it can be said
    place: str
    taken: str
    alike: str  # how many are folded behind it
    matched: str  # the words that it was found by
    camera: str
    tags: str

    @classmethod
    def of(cls, hit: Hit) -> Facts:
        """Return what there is to tell of a hit."""
        match, style = f"{hit.score:.3f}" if hit.why else "", "cyan"
        if hit.strength is not None:
            share = shown_relevance(hit)
            assert share is not None
            match, style = f"{bar(share)} {hit.strength}", STYLES[hit.strength]
        return cls(
            rank=str(hit.rank),
            match=match,
            style=style,
            photo=printable(short_path(hit.path)),
            place=printable(hit.place or ""),
            taken=printable(hit.when),
            alike=f"+{len(hit.alike)} like it" if hit.alike else "",
            matched=printable(hit.found_by),
            camera=printable(hit.camera or ""),
            tags=printable(", ".join(hit.tags)),
        )
