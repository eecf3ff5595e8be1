"""What the library answers with."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from clipsearch.errors import MissingPackages
from clipsearch.index.paths import escape, to_path, to_text, unescape

if TYPE_CHECKING:
    from datetime import datetime

    import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from PIL import Image

    from clipsearch.index.records import (
        Exclusion,
        Failure,
        Folder,
        IndexInfo,
        ModelRow,
        PhotoRecord,
    )
    from clipsearch.photos.scanning import ScanProblem
    from clipsearch.showing.contact_sheet import Card

_MOST_SHOWN = 20  # hits in a notebook
_NOTEBOOK_SIDE = 160  # pixels of a picture there
STRONG, LIKELY = 0.75, 0.5  # relevance from which a hit is called so


@dataclass(frozen=True, repr=False)
class Hit:
    """One photo found."""

    rank: int  # from 1
    score: float  # cosine of query and photo, -1 to 1
    source: str  # where the photo lies: of a file, its path as the catalog writes it
    id: int
    width: int  # pixels, upright
    height: int
    format: str
    size: int  # bytes
    taken_text: str | None  # ISO 8601 as the photo says it, perhaps with an offset; or a day alone
    camera: str | None
    lens: str | None
    latitude: float | None  # degrees
    longitude: float | None
    content_hash: str  # SHA-256 of the file
    place: str | None = None  # the name of where it was taken
    tags: tuple[str, ...] = ()
    # 0 to 1, the same for every model; None where it is not known. No part of what is compared, for
    # the answers to many questions at once go without it.
    relevance: float | None = field(default=None, compare=False)
    why: tuple[str, ...] = ("visual",)  # by what it was found: "visual", "words", or both
    matched: str | None = None  # the text that holds words of the question
    behind: int | None = None  # the photo before it in these hits that it is a copy or burst of
    alike: tuple[int, ...] = ()  # photos like it that were folded behind it, by their ids
    moment: str | None = None  # when it was taken: local time, no offset; or a day alone
    moment_from: str | None = None  # what says so: "photo", or "name" of the file

    @classmethod
    def from_record(cls, rank: int, score: float, photo: PhotoRecord, **more: Any) -> Hit:
        """Return the hit for a row of the catalog, with more fields that it does not tell."""
        # Of what a photo says about itself, all that a hit has a field for.
        said = {name: said for name, said in vars(photo.metadata).items() if name in _FIELDS}
        said["taken_text"] = photo.metadata.taken_at
        said["place"] = photo.metadata.place or None  # where there is no name, the catalog has ""
        return cls(
            rank=rank,
            score=score,
            source=to_text(photo.file.path),
            id=photo.id,
            size=photo.file.size,
            content_hash=photo.content_hash,
            moment=photo.moment,
            moment_from=photo.moment_from,
            **said,
            **more,
        )

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Hit:
        """Return the hit with these fields, as JSON has them."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return cls(**values)

    @property
    def path(self) -> Path:
        """The photo's file."""
        return to_path(self.source)

    @property
    def taken_at(self) -> datetime | None:
        """When it was taken: what the clock showed there, without an offset.

        A day alone is its midnight. The offset from UTC, which few photos know, is left out, so
        that all can be compared with each other; `taken_text` has it. Where the photo doesn't say
        when, its file's name may: `moment_from` is "name" then.
        """
        from datetime import datetime

        said = self.moment or self.taken_text
        return datetime.fromisoformat(said).replace(tzinfo=None) if said else None

    @property
    def when(self) -> str:
        """The moment for a person, to the minute; marked where only the name says so."""
        text = (self.moment or self.taken_text or "")[:16].replace("T", " ")
        return f"{text} (name)" if self.moment_from == "name" else text

    @property
    def found_by(self) -> str:
        """The words that it was found by, for a person; "" if it was by what is seen alone."""
        return "its name" if self.matched == self.path.name else self.matched or ""

    @property
    def strength(self) -> str | None:
        """The relevance in a word: strong, likely or weak; None where it is not known."""
        if self.relevance is None:
            return None
        return "strong" if self.relevance >= STRONG else "likely" if self.is_relevant else "weak"

    @property
    def is_relevant(self) -> bool:
        """Whether it is more than weak; what was found by words always is."""
        return "words" in self.why or self.relevance is None or self.relevance >= LIKELY

    def image(self) -> Image.Image:
        """Return the photo as it is to be seen: an upright RGB picture of Pillow's, at full size.

        Raises UnreadableImage where the file is gone or can't be decoded.
        """
        from clipsearch.photos.opening import open_image

        return open_image(self.path).image

    def open(self) -> None:
        """Show the photo in this machine's viewer; ClipsearchError where there is none."""
        from clipsearch.showing.viewer import open_file

        open_file(self.path)

    def __repr__(self) -> str:
        said = self.moment or self.taken_text
        taken = f", taken_at={said}" if said else ""
        return f"Hit({self.rank}, score={self.score:.3f}, {self.source!r}, id={self.id}{taken})"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, with `path_bytes` (base64) if the name is not UTF-8.

        `taken_at` is text there: what the photo says, `taken_text`.
        """
        fields: dict[str, Any] = {"rank": self.rank, "score": round(self.score, 6)}
        fields["path"] = self.source
        for name, value in vars(self).items():
            if name not in _FIRST:
                fields[_IN_JSON.get(name, name)] = list(value) if type(value) is tuple else value
        fields["strength"] = self.strength
        name = unescape(self.source)
        if self.source != name:
            fields["path_bytes"] = base64.b64encode(os.fsencode(name)).decode()
        return fields


_FIELDS = frozenset(Hit.__dataclass_fields__)
_FIRST = frozenset(("rank", "score", "source"))
_IN_JSON = {"source": "path", "taken_text": "taken_at"}
_COLUMNS = [*(_IN_JSON.get(name, name) for name in Hit.__dataclass_fields__), "strength"]


@dataclass(frozen=True)
class AwayFolder:
    """A folder, single file or mount point that is not there now; its photos are kept."""

    path: Path
    reason: str
    photos: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**vars(self), "path": to_text(self.path)}


class Hits(Sequence[Hit]):
    """The photos found, in order, and what was left out of the search.

    A sequence of `Hit`, equal to any other with the same hits; a slice is one, too.
    """

    __slots__ = ("_hits", "left_out", "notes", "weak")

    def __init__(
        self,
        hits: Iterable[Hit] = (),
        left_out: Iterable[AwayFolder] = (),
        *,
        weak: int = 0,
        notes: Iterable[str] = (),
    ) -> None:
        self._hits = tuple(hits)
        self.left_out = tuple(left_out)  # whose photos were no hits, and why
        self.weak = weak  # photos that were looked at and left out, for they match too little
        self.notes = tuple(notes)  # what the user should know of the answer, a line each

    @overload
    def __getitem__(self, place: int) -> Hit: ...

    @overload
    def __getitem__(self, place: slice) -> Hits: ...

    def __getitem__(self, place: int | slice) -> Hit | Hits:
        """Return the hit at a place, from 0; of a slice, all of its hits."""
        if isinstance(place, slice):
            return self.but_with(self._hits[place])
        return self._hits[place]

    def but_with(self, hits: Iterable[Hit]) -> Hits:
        """Return the same answer with other hits."""
        return Hits(hits, self.left_out, weak=self.weak, notes=self.notes)

    def noting(self, notes: Sequence[str]) -> Hits:
        """Return the same answer with more notes."""
        return Hits(self._hits, self.left_out, weak=self.weak, notes=(*self.notes, *notes))

    def __len__(self) -> int:
        return len(self._hits)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (Hits, list, tuple)):
            return self._hits == tuple(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._hits)

    def __repr__(self) -> str:
        lines = [f"{hit.rank:>4}  {hit.score:.3f}  {hit.source}" for hit in self[:_MOST_SHOWN]]
        if len(self) > _MOST_SHOWN:
            lines.append(f"      and {len(self) - _MOST_SHOWN} more")
        lines += [f"left out: {one.path} {one.reason} ({one.photos})" for one in self.left_out]
        found = "1 photo" if len(self) == 1 else f"{len(self) or 'no'} photos"
        return "\n".join([f"<Hits: {found}>", *lines])

    def _repr_html_(self) -> str:
        """Return what a notebook shows: small pictures of the first photos."""
        from clipsearch.showing.contact_sheet import fragment

        found = repr(self).partition("\n")[0].strip("<>")
        below = [] if len(self) <= _MOST_SHOWN else [f"and {len(self) - _MOST_SHOWN} more"]
        below += [f"left out: {one.path} {one.reason} ({one.photos})" for one in self.left_out]
        return fragment(cards_of(self[:_MOST_SHOWN], _NOTEBOOK_SIDE), [found, *below])

    def to_pandas(self) -> pandas.DataFrame:
        """Return a pandas DataFrame: a row a hit, with what `Hit.to_dict` has as columns.

        `taken_at` is a moment there, without an offset. Raises MissingPackages without pandas,
        which is no part of an install.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackages("to_pandas needs pandas: `pip install pandas`") from error
        rows = [{**hit.to_dict(), "taken_at": hit.taken_at} for hit in self]
        table = pandas.DataFrame(rows, columns=_COLUMNS)
        return table.astype({"taken_at": "datetime64[s]"})

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values from which `from_json` makes the same hits."""
        return {
            "hits": [vars(hit) for hit in self],
            "left_out": [one.to_dict() for one in self.left_out],
            "weak": self.weak,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Hits:
        """Return the hits that `to_json` wrote; KeyError, TypeError or ValueError for others."""
        away = [AwayFolder(**{**one, "path": to_path(one["path"])}) for one in fields["left_out"]]
        return cls(
            map(Hit.from_fields, fields["hits"]), away, weak=fields["weak"], notes=fields["notes"]
        )


def shown_relevance(hit: Hit) -> float | None:
    """Return how far a bar beside `Hit.strength` reaches, 0 to 1, so that it says the same.

    What was found by its words is likely, though it may show the model little of the question.
    """
    if hit.relevance is None or not hit.is_relevant:
        return hit.relevance
    return max(hit.relevance, LIKELY)


def cards_of(hits: Sequence[Hit], side: int) -> Iterator[Card]:
    """Yield what a page shows of hits, with pictures whose longer side has `side` pixels."""
    from clipsearch.showing.contact_sheet import Card
    from clipsearch.showing.thumbnails import data_uri, thumbnails

    pictures = thumbnails((hit.path for hit in hits), side)
    for hit, picture in zip(hits, pictures, strict=True):
        said = (
            str(hit.path.parent),
            " · ".join(part for part in (hit.place, hit.when, hit.camera) if part),
            f"found by {hit.found_by}" if hit.found_by else "",
            ", ".join(hit.tags),
            f"+{len(hit.alike)} like it" if hit.alike else "",
        )
        yield Card(
            rank=hit.rank,
            name=hit.path.name,
            address=hit.path.absolute().as_uri(),
            lines=tuple(line for line in said if line),
            relevance=shown_relevance(hit),
            strength=hit.strength,
            picture=None if picture is None else data_uri(picture),
        )


@dataclass(frozen=True)
class FailedFile:
    """A file that could not be indexed in this run."""

    path: Path
    reason: str


@dataclass(frozen=True, repr=False)
class IndexReport:
    """What an index run did; counts are of files."""

    model: str
    added: int = 0  # new photos, copies included
    changed: int = 0  # edited, or embedded anew for another model
    moved: int = 0
    copied: int = 0  # of those added, the ones that took over an embedding
    removed: int = 0  # forgotten, for their files are gone
    left_out: int = 0  # forgotten, for something leaves them out now
    unchanged: int = 0
    embedded: int = 0  # photos that went through the encoder
    failures: tuple[FailedFile, ...] = ()
    known_failures: int = 0  # failed before, not changed since, not tried again
    problems: tuple[ScanProblem, ...] = ()
    notes: tuple[str, ...] = ()  # one line each, for the user
    seconds: float = 0.0
    interrupted: bool = False
    completed: int = 0  # of an earlier version, of which more is known now; not embedded again
    sidecars: int = 0  # photos of which sidecars were new, changed or gone, and read
    thumbnails: int = 0  # small pictures that were made ahead

    def __repr__(self) -> str:
        counts = {
            name: getattr(self, name)
            for name in ("added", "changed", "moved", "removed", "unchanged", "failed")
        }
        parts = [f"{count:,} {name}" for name, count in counts.items() if count]
        parts += ["interrupted"] * self.interrupted + [f"{self.seconds:.1f} s"]
        return f"IndexReport({', '.join(parts)}, {short_name(self.model)})"

    @property
    def failed(self) -> int:
        """Return the number of files that failed in this run."""
        return len(self.failures)

    @property
    def unread(self) -> int:
        """Return the number of files and folders that could not be read, now or before."""
        return self.failed + self.known_failures + len(self.problems)

    @property
    def photos_per_second(self) -> float:
        """Return photos encoded a second, scanning and saving included."""
        return self.embedded / self.seconds if self.seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; of the failures, how many there are."""
        names = ("added", "changed", "moved", "copied", "removed", "left_out", "unchanged")
        return {
            **{name: getattr(self, name) for name in names},
            "failed": self.failed,
            "known_failures": self.known_failures,
            "completed": self.completed,
            "sidecars": self.sidecars,
            "thumbnails": self.thumbnails,
            "seconds": round(self.seconds, 3),
            "photos_per_second": round(self.photos_per_second, 2),
            "model": self.model,
            "interrupted": self.interrupted,
        }


@dataclass(frozen=True, repr=False)
class LibraryInfo:
    """The state of a library."""

    folder: Path
    folders: tuple[Folder, ...]
    away: tuple[AwayFolder, ...]
    photos: int
    failures: tuple[Failure, ...]
    model: ModelRow | None  # the one that queries use
    models: tuple[ModelRow, ...]
    index: IndexInfo | None
    disk_bytes: dict[str, int] = field(default_factory=dict)  # part -> bytes

    def __repr__(self) -> str:
        parts = [repr(str(self.folder)), photos_and_model(self.photos, self.model)]
        parts += [f"{len(self.away):,} away"] * bool(self.away)
        parts += [f"{len(self.failures):,} failed"] * bool(self.failures)
        return f"LibraryInfo({', '.join(parts)})"

    exclusions: tuple[Exclusion, ...] = ()  # what runs leave out
    incomplete: int = 0  # photos of which an earlier version read less: the next run completes them

    def excluded(self, kind: str) -> list[str]:
        """Return the exclusions of a kind: "path", "pattern" or "ignore file"."""
        return [one.what for one in self.exclusions if one.kind == kind]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; of the failures, how many there are."""
        index = self.index and {
            **asdict(self.index),
            "exact": self.index.recall is None,
            "path": to_text(self.index.path) if self.index.path else None,
        }
        return {
            "library": to_text(self.folder),
            "photos": self.photos,
            "incomplete": self.incomplete,
            "folders": [{**asdict(one), "path": to_text(one.path)} for one in self.folders],
            "away": [one.to_dict() for one in self.away],
            "failures": len(self.failures),
            "model": asdict(self.model) if self.model else None,
            "models": [asdict(model) for model in self.models],
            "index": index,
            "disk_bytes": self.disk_bytes,
            "left_out": {
                "paths": [escape(what) for what in self.excluded("path")],
                "patterns": [escape(what) for what in self.excluded("pattern")],
                "ignore_files": [escape(what) for what in self.excluded("ignore file")],
            },
        }


def photos_and_model(photos: int, model: ModelRow | None) -> str:
    """Return how many photos a library holds, and by which model, in a few words."""
    said = "1 photo" if photos == 1 else f"{photos:,} photos"
    return f"{said}, {short_name(model.identity.name)}" if model else said


def short_name(model: str) -> str:
    """Return a model's name; of a folder the last part."""
    kind, _, place = model.partition(":")
    return Path(place).name if kind == "local-dir" else model
