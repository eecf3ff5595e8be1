"""Which hits are copies of one before them: the same bytes again, say, in another folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clipsearch.results import Hit


def marked(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits, each `behind` the first before it that it is a copy of."""
    first: dict[str, int] = {}
    fronts = [first.setdefault(hit.content_hash, hit.id) for hit in hits]
    return [
        replace(hit, behind=front) if front != hit.id else hit
        for hit, front in zip(hits, fronts, strict=True)
    ]


def folded(hits: Sequence[Hit]) -> list[Hit]:
    """Return marked hits without those behind another, which names them as `alike`."""
    alike: dict[int, list[int]] = {}
    for hit in hits:
        if hit.behind is not None:
            alike.setdefault(hit.behind, []).append(hit.id)
    return [replace(hit, alike=tuple(alike.get(hit.id, ()))) for hit in hits if hit.behind is None]
