"""What facets are, photo by photo in plain Python: all engines agree with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from clipsearch.index.facets import FacetCount, Facets
from clipsearch.index.paths import to_text
from clipsearch.index.records import PhotoRecord


def facets_of(
    photos: Sequence[PhotoRecord],
    roots: Iterable[Path] = (),
    tags: Mapping[int, Sequence[str]] | None = None,
) -> Facets:
    """Return the facets of photos in a library of these folders, with tags by the photos' ids."""
    known = [photo.metadata for photo in photos]
    paths = [PurePosixPath(to_text(photo.file.path)) for photo in photos]
    shown = {PurePosixPath(to_text(root)) for root in roots} | {path.parent for path in paths}
    counts: dict[str, Counter[str | None]] = {
        "cameras": Counter(one.camera for one in known),
        "lenses": Counter(one.lens for one in known),
        "places": Counter(one.place or None for one in known),
        "types": Counter("jpeg" if one.format == "MPO" else one.format.lower() for one in known),
        "tags": Counter(tag for photo in photos for tag in (tags or {}).get(photo.id, ())),
        "folders": Counter(str(at) for path in paths for at in path.parents if at in shown),
        "orientations": Counter(
            "square" if one.width == one.height else shape
            for one in known
            for shape in ["landscape" if one.width > one.height else "portrait"]
        ),
    }
    others = {}
    kinds: dict[str, tuple[FacetCount, ...]] = {}
    for kind, counted in counts.items():
        said = [FacetCount(value, count) for value, count in counted.items() if value is not None]
        said.sort(key=lambda one: one.value)
        said.sort(key=lambda one: one.photos, reverse=True)
        kinds[kind] = tuple(said[:100])
        if said[100:]:
            others[kind] = len(said[100:])
    months = Counter(photo.moment[:7] for photo in photos if photo.moment)
    dates = tuple(FacetCount(*one) for one in sorted(months.items()))
    undated = sum(photo.moment is None for photo in photos)
    return Facets(total=len(photos), dates=dates, undated=undated, others=others, **kinds)
