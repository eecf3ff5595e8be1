"""Tags in and out of the catalog: their names, who has them, and what they are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import LibraryDamaged
from clipsearch.index.database import HOW_TO_MEND, Database
from clipsearch.index.embeddings import embeddings_between, to_blob
from clipsearch.index.paths import escape, unescape
from clipsearch.index.records import utc_now

Kind = Literal["word", "taught"]
SINCE = 5  # the schema that brought tags


@dataclass(frozen=True)
class Tag:
    """A tag, with how many photos have it, and what a person said of it."""

    id: int
    name: str
    kind: Kind  # "word", or "taught" by a person
    photos: int  # that have it
    said: int  # of these, by a person
    yes: int  # examples of it
    no: int  # what it is not


class TagRow(NamedTuple):
    """A tag, without what is counted of it."""

    id: int
    name: str
    kind: Kind


@dataclass(frozen=True)
class TagVector:
    """What tells whether a photo has a tag, by one model's embeddings."""

    tag_id: int
    vector: NDArray[np.float32]  # (width,)
    added: float  # to the product with an embedding
    photos: int  # in the library when it was made


@dataclass(frozen=True)
class Example:
    """What a person said of a photo: that it has a tag, or that it hasn't."""

    content_hash: str
    is_one: bool
    vector: NDArray[np.float32] | None  # of the model asked for; None where that has none


@dataclass(frozen=True)
class Tagged:
    """A photo has a tag."""

    tag_id: int
    photo_id: int
    score: float  # 0 to 1


class TagTables:
    """The tables of tags in one catalog. Whoever changes them must be the one writer."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # Reading

    def all(self) -> list[Tag]:
        """Return the tags, most photos first."""
        if self._db.schema < SINCE:
            return []
        rows = self._db.rows(
            "SELECT id, name, kind, count(photo_id), coalesce(sum(said_by = 'person'), 0), "
            "(SELECT count(*) FROM tag_examples WHERE tag_id = tags.id AND is_one), "
            "(SELECT count(*) FROM tag_examples WHERE tag_id = tags.id AND NOT is_one) "
            "FROM tags LEFT JOIN photo_tags ON tag_id = id GROUP BY id ORDER BY 4 DESC, name"
        )
        return [Tag(row[0], unescape(row[1]), *row[2:]) for row in rows]

    def rows(self) -> list[TagRow]:
        """Return the tags, by id."""
        if self._db.schema < SINCE:
            return []
        rows = self._db.rows("SELECT id, name, kind FROM tags ORDER BY id")
        return [TagRow(id_, unescape(name), kind) for id_, name, kind in rows]

    def broader(self) -> dict[int, int]:
        """Return the tag that holds wherever another one does, for each that has such a one."""
        sql = "SELECT tags.id, other.id FROM tags JOIN tags AS other ON other.name = tags.broader"
        return dict(self._db.rows(sql))

    def vectors(self, model_id: int) -> dict[int, TagVector]:
        """Return what tells tags by a model's embeddings, by tag."""
        sql = "SELECT tag_id, vector, added, photos FROM tag_vectors WHERE model_id = ?"
        width = self._width(model_id)
        return {
            row[0]: TagVector(row[0], self._vector(row[1], "<f4", width), *row[2:])
            for row in self._db.rows(sql, (model_id,))
        }

    def examples(self, tag_id: int, model_id: int) -> list[Example]:
        """Return what a person said of a tag, in that order.

        Vectors are those of photos in the library, else what was kept with the example.
        """
        width = self._width(model_id)
        sql = (
            "SELECT content_hash, is_one, coalesce((SELECT embeddings.vector FROM photos JOIN "
            "embeddings ON photo_id = photos.id AND embeddings.model_id = ? "
            "WHERE photos.content_hash = tag_examples.content_hash LIMIT 1), "
            "CASE WHEN model_id = ? THEN vector END) FROM tag_examples WHERE tag_id = ? ORDER BY id"
        )
        return [
            Example(
                row[0], bool(row[1]), None if row[2] is None else self._vector(row[2], "<f2", width)
            )
            for row in self._db.rows(sql, (model_id, model_id, tag_id))
        ]

    def likely(self, tag_id: int) -> list[tuple[int, float]]:
        """Return the photos that a model gave a tag, by id, with their scores; surest first."""
        sql = (
            "SELECT photo_id, score FROM photo_tags WHERE tag_id = ? AND said_by = 'model' "
            "ORDER BY score DESC, photo_id"
        )
        return [(int(photo_id), float(score)) for photo_id, score in self._db.rows(sql, (tag_id,))]

    def model_tagged(self) -> int | None:
        """Return the model by whose embeddings photos are tagged."""
        found = self._db.value("SELECT model_id FROM tagging")
        return None if found is None else int(found)

    def tagged_up_to(self, model_id: int) -> int:
        """Return the id of the last embedding of a model that is tagged; 0 if none is."""
        sql = "SELECT watermark FROM tagging WHERE model_id = ?"
        return int(self._db.value(sql, (model_id,)) or 0)

    def embeddings_after(
        self, model_id: int, after: int
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Yield embeddings with ids above `after`: vectors (n, width), and ids (n, 2).

        The ids are those of embedding and photo.
        """
        for vectors, ids in embeddings_between(self._db, model_id, self._width(model_id), after):
            yield vectors.astype(np.float32), ids

    def some_embeddings(self, model_id: int, most: int) -> NDArray[np.float32]:
        """Return embeddings spread over all of a model's, about `most` if it has more."""
        count = self._db.value("SELECT count(*) FROM embeddings WHERE model_id = ?", (model_id,))
        sql = "SELECT vector FROM embeddings WHERE model_id = ? AND id % ? = 0 ORDER BY id"
        width = self._width(model_id)
        rows = self._db.rows(sql, (model_id, max(1, -(-count // most))))
        return self._vector(b"".join(row[0] for row in rows), "<f2", width * len(rows)).reshape(
            len(rows), width
        )

    # Changing

    def set_words(self, words: Sequence[str], broader: Mapping[str, str]) -> None:
        """Let these be the words that photos are tagged with; what was taught stays as it is."""
        with self._db.writing():
            names = [escape(word) for word in words]
            kept = "name IN (SELECT value FROM json_each(?))"
            self._db.write(
                f"DELETE FROM tags WHERE kind = 'word' AND NOT {kept}", (_as_json(names),)
            )
            for word in words:
                wider = broader.get(word)
                sql = (
                    "INSERT INTO tags (name, kind, broader) VALUES (?, 'word', ?) ON CONFLICT "
                    "(name) DO UPDATE SET broader = excluded.broader WHERE kind = 'word'"
                )
                self._db.write(sql, (escape(word), None if wider is None else escape(wider)))
            self.start_anew(None)

    def start_anew(self, model_id: int | None) -> None:
        """Forget which photos have tags, but for what a person said; all are to be tagged."""
        self._db.write("DELETE FROM photo_tags WHERE said_by = 'model'")
        self._db.write("UPDATE tagging SET model_id = ?, watermark = 0", (model_id,))

    def taught(self, name: str) -> int:
        """Return the id of a tag that is taught, made if missing; a word of its name becomes it."""
        sql = (
            "INSERT INTO tags (name, kind) VALUES (?, 'taught') ON CONFLICT (name) DO UPDATE SET "
            "kind = 'taught', broader = NULL RETURNING id"
        )
        return int(self._db.value(sql, (escape(name),)))

    def say(self, tag_id: int, example: Example, model_id: int) -> None:
        """Record what a person says of a photo, in place of what was said of it before."""
        blob = None if example.vector is None else to_blob(example.vector)
        self._db.write(
            "INSERT INTO tag_examples (tag_id, content_hash, is_one, model_id, vector, added_at) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (tag_id, content_hash) DO UPDATE SET "
            "is_one = excluded.is_one, model_id = excluded.model_id, vector = excluded.vector",
            (tag_id, example.content_hash, int(example.is_one), model_id, blob, utc_now()),
        )

    def forget(self, tag_id: int) -> None:
        """Forget a tag, with all that was said of it."""
        self._db.write("DELETE FROM tags WHERE id = ?", (tag_id,))

    def keep_vectors(self, model_id: int, vectors: Iterable[TagVector]) -> None:
        """Keep what tells tags by a model's embeddings."""
        with self._db.writing():
            for one in vectors:
                sql = (
                    "INSERT OR REPLACE INTO tag_vectors (tag_id, model_id, vector, added, photos) "
                    "VALUES (?, ?, ?, ?, ?)"
                )
                blob = one.vector.astype("<f4").tobytes()
                self._db.write(sql, (one.tag_id, model_id, blob, one.added, one.photos))

    def drop_vector(self, tag_id: int) -> None:
        """Forget what tells a tag: it is to be made anew."""
        self._db.write("DELETE FROM tag_vectors WHERE tag_id = ?", (tag_id,))

    def put(self, tagged: Sequence[Tagged]) -> None:
        """Let photos have tags, unless a person refused one; what a person said stays."""
        rows = [(one.tag_id, one.photo_id, one.score) for one in tagged]
        self._db.write(
            "WITH found AS (SELECT json_extract(value, '$[0]') AS tag_id, "
            "json_extract(value, '$[1]') AS photo_id, json_extract(value, '$[2]') AS score "
            "FROM json_each(?)) "
            "INSERT INTO photo_tags (tag_id, photo_id, score, said_by) "
            "SELECT found.tag_id, photo_id, score, 'model' FROM found "
            "JOIN photos ON photos.id = photo_id WHERE NOT EXISTS (SELECT 1 FROM tag_examples "
            "WHERE tag_examples.tag_id = found.tag_id "
            "AND tag_examples.content_hash = photos.content_hash) "
            "ON CONFLICT (tag_id, photo_id) DO UPDATE SET score = excluded.score "
            "WHERE said_by = 'model'",
            (json.dumps(rows),),
        )

    def put_said(self, tag_id: int | None = None) -> None:
        """Let photos have the tags that a person said they have, and no other one says of them."""
        of_tag = "" if tag_id is None else f"AND tag_id = {int(tag_id)}"
        self._db.write(
            "DELETE FROM photo_tags WHERE EXISTS (SELECT 1 FROM tag_examples JOIN photos USING "
            "(content_hash) WHERE tag_examples.tag_id = photo_tags.tag_id AND photos.id = "
            f"photo_tags.photo_id) {of_tag}"
        )
        self._db.write(
            "INSERT OR REPLACE INTO photo_tags (tag_id, photo_id, score, said_by) "
            "SELECT tag_id, photos.id, 1, 'person' FROM tag_examples JOIN photos USING "
            f"(content_hash) WHERE is_one {of_tag}"
        )

    def take_from_all(self, tag_id: int) -> None:
        """Take a tag from all photos that have it."""
        self._db.write("DELETE FROM photo_tags WHERE tag_id = ?", (tag_id,))

    def tagged_to(self, model_id: int, embedding_id: int) -> None:
        """Record that a model's embeddings are tagged up to this one."""
        self._db.write("UPDATE tagging SET model_id = ?, watermark = ?", (model_id, embedding_id))

    def together(self) -> AbstractContextManager[None]:
        """Make the block one transaction: all of its changes are committed, or none."""
        return self._db.writing()

    def _width(self, model_id: int) -> int:
        return int(self._db.value("SELECT width FROM models WHERE id = ?", (model_id,)) or 0)

    def _vector(self, blob: object, dtype: str, length: int) -> NDArray[np.float32]:
        if isinstance(blob, bytes) and len(blob) == length * np.dtype(dtype).itemsize:
            vector = np.frombuffer(blob, dtype).astype(np.float32)
            if np.isfinite(vector).all():
                return vector
        folder = self._db.path.parent
        raise LibraryDamaged(f"{folder}: a vector in the catalog is none; {HOW_TO_MEND}")


def _as_json(values: Iterable[object]) -> str:
    return json.dumps([int(one) if isinstance(one, np.integer) else one for one in values])
