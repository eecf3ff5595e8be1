"""The schema of catalog.sqlite, step by step.

A step is never edited once released: a change of schema is a new function at the end, which also
sets `PRAGMA user_version` to its number. All pending steps and their records are one transaction.
"""

from __future__ import annotations

from sqlite3 import Connection, DatabaseError

from sqlite_utils import Database, Migrations

from clipsearch.index.moments_in_names import moment_of
from clipsearch.index.records import SCHEMA_VERSION
from clipsearch.index.schema import APPLICATION_ID, BLOCK_BITS, TABLES

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "TABLES", "migrate"]

_steps = Migrations("clipsearch")

_FIRST_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = 1;

CREATE TABLE photos (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE,
    content_hash TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    format TEXT NOT NULL,
    orientation INTEGER NOT NULL,
    taken_at TEXT,
    camera TEXT,
    lens TEXT,
    latitude REAL,
    longitude REAL,
    indexed_at TEXT NOT NULL
) STRICT;
CREATE INDEX photos_content_hash ON photos (content_hash);

CREATE TABLE failures (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    reason TEXT NOT NULL,
    failed_at TEXT NOT NULL
) STRICT;

CREATE TABLE folders (
    path TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('folder', 'file')),
    added_at TEXT NOT NULL,
    scanned_at TEXT
) STRICT;

CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    architecture TEXT NOT NULL,
    weights_sha256 TEXT NOT NULL,
    preprocessing TEXT NOT NULL,
    width INTEGER NOT NULL,
    fingerprint TEXT NOT NULL UNIQUE,
    added_at TEXT NOT NULL
) STRICT;

-- One row: what holds for the library as a whole.
CREATE TABLE library (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    created_at TEXT NOT NULL,
    current_model INTEGER REFERENCES models (id)
) STRICT;
INSERT INTO library (id, created_at)
    VALUES (1, strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now'));

-- Ids are never used again, so "newer than id N" says what an index file does not cover.
CREATE TABLE embeddings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    photo_id INTEGER NOT NULL REFERENCES photos (id) ON DELETE CASCADE,
    model_id INTEGER NOT NULL REFERENCES models (id),
    vector BLOB NOT NULL,  -- float16, little endian
    UNIQUE (photo_id, model_id)
) STRICT;
CREATE INDEX embeddings_model_id ON embeddings (model_id);

-- What index files hold but results must not: see vector_indexes.
CREATE TABLE removed_embeddings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    model_id INTEGER NOT NULL,
    embedding_id INTEGER NOT NULL
) STRICT;
CREATE INDEX removed_embeddings_model_id ON removed_embeddings (model_id);

-- The file in vectors/ that holds the embeddings of a model up to id `watermark`.
CREATE TABLE vector_indexes (
    model_id INTEGER PRIMARY KEY REFERENCES models (id),
    file TEXT NOT NULL,
    watermark INTEGER NOT NULL,
    vectors INTEGER NOT NULL,
    kind TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    checksum TEXT NOT NULL,
    built_at TEXT NOT NULL
) STRICT;

-- Triggers, so that rows edited by hand are searched as they stand, too.
CREATE TRIGGER photo_removed BEFORE DELETE ON photos BEGIN
    DELETE FROM embeddings WHERE photo_id = OLD.id;
END;
CREATE TRIGGER embedding_removed AFTER DELETE ON embeddings BEGIN
    INSERT INTO removed_embeddings (model_id, embedding_id)
        VALUES (OLD.model_id, OLD.id);
END;
CREATE TRIGGER embedding_kept_as_it_is BEFORE UPDATE ON embeddings BEGIN
    SELECT RAISE (ABORT, 'an embedding is never changed: delete it and insert another');
END;

CREATE VIEW embedded_photos AS
    SELECT photos.id, photos.path, models.name AS model, photos.taken_at, photos.camera,
           photos.width, photos.height, photos.format, photos.indexed_at
    FROM photos
    JOIN embeddings ON embeddings.photo_id = photos.id
    JOIN models ON models.id = embeddings.model_id;
"""

# The files in vectors/: each holds the embeddings of a model with ids up to `watermark`, and above
# that of the file before it.
_VECTOR_INDEXES = """
CREATE TABLE vector_indexes (
    model_id INTEGER NOT NULL REFERENCES models (id),
    watermark INTEGER NOT NULL,
    file TEXT NOT NULL,
    vectors INTEGER NOT NULL,
    kind TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    checksum TEXT NOT NULL,
    lists INTEGER NOT NULL DEFAULT 0,   -- 0: searched exactly
    probes INTEGER NOT NULL DEFAULT 0,  -- of the lists, those that a search looks into
    recall REAL,                        -- found so, of the ten nearest; NULL: not tried
    built_at TEXT NOT NULL,
    PRIMARY KEY (model_id, watermark)
) STRICT
"""

# What runs leave out; of patterns, the last that matches decides.
_EXCLUSIONS = """
CREATE TABLE exclusions (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('path', 'pattern', 'ignore file')),
    what TEXT NOT NULL,
    added_at TEXT NOT NULL,
    UNIQUE (kind, what)
) STRICT
"""

_FACTS = """
ALTER TABLE photos ADD COLUMN perceptual_hash TEXT;
ALTER TABLE photos ADD COLUMN place TEXT;
ALTER TABLE photos ADD COLUMN facts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE photos ADD COLUMN moment TEXT;
ALTER TABLE photos ADD COLUMN moment_from TEXT CHECK (moment_from IN ('photo', 'name'));
CREATE INDEX photos_facts ON photos (facts);  -- finds those to complete without reading the rest
CREATE INDEX photos_unnamed ON photos (latitude, longitude)  -- and those whose place has no name
    WHERE place IS NULL AND latitude IS NOT NULL;

CREATE TABLE words (
    id INTEGER PRIMARY KEY,
    photo_id INTEGER NOT NULL REFERENCES photos (id) ON DELETE CASCADE,
    source TEXT NOT NULL CHECK (source IN ('photo', 'sidecar')),
    field TEXT NOT NULL CHECK (field IN ('title', 'description', 'keyword', 'person')),
    text TEXT NOT NULL
) STRICT;
CREATE INDEX words_photo_id ON words (photo_id);

-- The files beside photos whose words are in the table above, as they were when they were read.
CREATE TABLE sidecars (
    photo_id INTEGER NOT NULL REFERENCES photos (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    PRIMARY KEY (photo_id, path)
) STRICT;

CREATE TRIGGER words_removed BEFORE DELETE ON photos BEGIN
    DELETE FROM words WHERE photo_id = OLD.id;
    DELETE FROM sidecars WHERE photo_id = OLD.id;
END;
"""

# How often the photos of each block have changed: what is held of them in memory is read again by
# the block. See filter_columns.
_BLOCKS = f"""
CREATE TABLE photo_blocks (
    block INTEGER PRIMARY KEY,
    changes INTEGER NOT NULL
) STRICT;
INSERT INTO photo_blocks (block, changes) SELECT DISTINCT id >> {BLOCK_BITS}, 0 FROM photos;
""" + "".join(
    f"""
CREATE TRIGGER photo_counted_on_{change.lower()} AFTER {change} ON photos BEGIN
    INSERT INTO photo_blocks (block, changes) VALUES ({row}.id >> {BLOCK_BITS}, 1)
        ON CONFLICT (block) DO UPDATE SET changes = changes + 1;
END;
"""
    for change, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
)

# Which photos the index of words does not stand for (word_search/word_index.py): derived from the
# rest, it is made by whoever writes next, not here.
_STALE_WORDS = """
-- Photos for which the index of words does not stand yet, or not any more.
CREATE TABLE stale_words (
    photo_id INTEGER PRIMARY KEY
) STRICT;
INSERT INTO stale_words (photo_id) SELECT id FROM photos;

CREATE TRIGGER stale_words_photo_added AFTER INSERT ON photos BEGIN
    INSERT INTO stale_words (photo_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER stale_words_photo_moved AFTER UPDATE OF path, place ON photos
WHEN OLD.path IS NOT NEW.path OR OLD.place IS NOT NEW.place BEGIN
    INSERT INTO stale_words (photo_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER stale_words_photo_removed AFTER DELETE ON photos BEGIN
    INSERT INTO stale_words (photo_id) VALUES (OLD.id) ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER stale_words_text_added AFTER INSERT ON words BEGIN
    INSERT INTO stale_words (photo_id) VALUES (NEW.photo_id) ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER stale_words_text_changed AFTER UPDATE ON words BEGIN
    INSERT INTO stale_words (photo_id) VALUES (NEW.photo_id) ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER stale_words_text_removed AFTER DELETE ON words BEGIN
    INSERT INTO stale_words (photo_id) VALUES (OLD.photo_id) ON CONFLICT DO NOTHING;
END;
"""

# Tags: words of a list, and what a person taught by examples. `photo_tags` holds what is shown,
# and can be made again from all the rest: `tagging` says which embeddings it speaks of so far.
_TAGS = """
CREATE TABLE tags (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('word', 'taught')),
    broader TEXT  -- the name of the word that holds wherever this one does
) STRICT;

CREATE TABLE photo_tags (
    tag_id INTEGER NOT NULL REFERENCES tags (id),
    photo_id INTEGER NOT NULL REFERENCES photos (id),
    score REAL NOT NULL,  -- 0 to 1
    said_by TEXT NOT NULL CHECK (said_by IN ('model', 'person')),
    PRIMARY KEY (tag_id, photo_id)
) STRICT;
CREATE INDEX photo_tags_photo_id ON photo_tags (photo_id);

-- What a person said of photos, by their content: they may move, and need not be in the library.
CREATE TABLE tag_examples (
    id INTEGER PRIMARY KEY,
    tag_id INTEGER NOT NULL REFERENCES tags (id),
    content_hash TEXT NOT NULL,
    is_one INTEGER NOT NULL CHECK (is_one IN (0, 1)),
    model_id INTEGER REFERENCES models (id),  -- whose the vector is
    vector BLOB,  -- float16, little endian
    added_at TEXT NOT NULL,
    UNIQUE (tag_id, content_hash)
) STRICT;

-- What a photo's embedding is multiplied by: a word's own embedding, or learned from examples.
CREATE TABLE tag_vectors (
    tag_id INTEGER NOT NULL REFERENCES tags (id),
    model_id INTEGER NOT NULL REFERENCES models (id),
    vector BLOB NOT NULL,  -- float32, little endian
    added REAL NOT NULL,  -- to the product
    photos INTEGER NOT NULL,  -- in the library when it was made
    PRIMARY KEY (tag_id, model_id)
) STRICT;

-- One row: the embeddings of this model up to this id are tagged.
CREATE TABLE tagging (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    model_id INTEGER REFERENCES models (id),
    watermark INTEGER NOT NULL
) STRICT;
INSERT INTO tagging (id, watermark) VALUES (1, 0);

CREATE TRIGGER tag_removed BEFORE DELETE ON tags BEGIN
    DELETE FROM photo_tags WHERE tag_id = OLD.id;
    DELETE FROM tag_examples WHERE tag_id = OLD.id;
    DELETE FROM tag_vectors WHERE tag_id = OLD.id;
END;
CREATE TRIGGER photo_tags_removed BEFORE DELETE ON photos BEGIN
    DELETE FROM photo_tags WHERE photo_id = OLD.id;
END;
-- A photo that is embedded anew, since its file has other content, is tagged anew.
CREATE TRIGGER photo_tags_outdated AFTER DELETE ON embeddings
    WHEN OLD.model_id = (SELECT model_id FROM tagging) BEGIN
    DELETE FROM photo_tags WHERE photo_id = OLD.photo_id;
END;
"""


def migrate(db: Database) -> None:
    """Bring the schema up to SCHEMA_VERSION, or leave it as it was; safe to run at any time.

    The outcome is checked before it is committed; raises sqlite3.DatabaseError if it is damaged.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        _steps.apply(db)
        _check(db)
    except BaseException:
        db.rollback()
        raise
    db.commit()


def _check(db: Database) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if version != SCHEMA_VERSION:
        found = f"calls itself schema {version} after the step to {SCHEMA_VERSION}"
    if found != "ok":
        raise DatabaseError(f"malformed: {found}")


@_steps()
def m001_photos_models_and_embeddings(db: Database) -> None:
    """Make the first schema."""
    db.executescript(_FIRST_SCHEMA)


@_steps()
def m002_mounts_and_segments(db: Database) -> None:
    """Remember mount points: an unmounted one is away, not empty. Let a model have many files."""
    db.execute("CREATE TABLE mounts (path TEXT PRIMARY KEY) STRICT")
    db.execute("ALTER TABLE vector_indexes RENAME TO one_file_each")
    db.execute(_VECTOR_INDEXES)
    columns = "model_id, file, watermark, vectors, kind, bytes, checksum, built_at"
    db.execute(f"INSERT INTO vector_indexes ({columns}) SELECT {columns} FROM one_file_each")
    db.execute("DROP TABLE one_file_each")
    db.execute("PRAGMA user_version = 2")


@_steps()
def m003_exclusions(db: Database) -> None:
    """Remember what runs leave out."""
    db.execute(_EXCLUSIONS)
    db.execute("PRAGMA user_version = 3")


@_steps()
def m004_raw_photos(db: Database) -> None:
    """Let the next run open raw camera files: they were refused, or taken for their thumbnails.

    A thumbnail was taken for a TIFF; the file has more bytes than any has for so few pixels.
    """
    db.execute("DELETE FROM failures WHERE reason LIKE 'unsupported format: raw camera file (%'")
    db.execute(
        "DELETE FROM embeddings WHERE photo_id IN (SELECT id FROM photos WHERE format = 'TIFF' "
        "AND size > 8 * width * height AND path NOT LIKE '%.tif' AND path NOT LIKE '%.tiff')"
    )
    db.execute("PRAGMA user_version = 4")


@_steps()
def m005_words_and_moments(db: Database) -> None:
    """Make room for what is read out of photos and sidecars beside the pictures themselves."""
    db.executescript(_FACTS)
    db.executescript(_STALE_WORDS)
    fill_moments(db.conn)
    db.executescript(_BLOCKS)
    db.executescript(_TAGS)
    db.execute("PRAGMA user_version = 5")


def fill_moments(connection: Connection) -> None:
    """Set the moment of every photo that has none, as far as the photo or its name says one."""
    sql = "SELECT id, CAST(path AS BLOB), CAST(taken_at AS BLOB) FROM photos WHERE moment IS NULL"
    found = []
    for id_, path, taken_at in connection.execute(sql).fetchall():
        name, said = (  # which may be damaged, and is then not for this step to refuse
            None if value is None else bytes(value).decode(errors="replace")
            for value in (path, taken_at)
        )
        moment, source = moment_of(said, name or "")
        if moment:
            found.append((moment, source, id_))
    connection.executemany("UPDATE photos SET moment = ?, moment_from = ? WHERE id = ?", found)
