"""What the HTTP API offers: one table, of which routes, description and documentation are made."""

from __future__ import annotations

from typing import Any, NamedTuple

from clipsearch.serving.web.parameters import (
    BATCH,
    COUNTED,
    DETAILED,
    DOWNLOAD,
    FORMAT,
    IDS,
    SEARCH,
    SIMILAR,
    SIZE,
    VECTORS,
    VERSION,
    Parameter,
)

_PIXEL = (  # a picture of a few pixels, for examples
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAADElEQVR42mNgoA4AAABIAAEQRe/SAAAAAElFTkSuQmCC"
)


class Operation(NamedTuple):
    """A request that is answered."""

    method: str
    path: str  # as the description writes it; a name in braces is a photo's id
    handler: str  # its name in `Api` or `Programs`
    summary: str
    answer: str  # a schema
    parameters: tuple[Parameter, ...] = ()  # in the address; of a body in JSON, within it
    body: str = ""  # the schema of a JSON body; "": it takes none
    bodies: tuple[dict[str, Any], ...] = ()  # examples of it
    takes_file: bool = False  # a picture's file may be the body; the parameters are in the address
    is_open: bool = False  # no token is asked for

    @property
    def route(self) -> str:
        """The path as the router writes it."""
        return self.path.replace("}", ":int}")

    @property
    def in_address(self) -> tuple[Parameter, ...]:
        """The parameters that an address may have."""
        only_address = self.takes_file or not self.body
        return tuple(one for one in self.parameters if not one.only_json) if only_address else ()


class FileOperation(NamedTuple):
    """A request by GET that is answered with something else than JSON."""

    path: str
    name: str
    summary: str
    kinds: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()


FILES = (
    FileOperation(
        "/thumbs/{photo_id}",
        "thumbnail",
        "A small picture of a photo, upright and in sRGB.",
        ("image/webp",),
        (SIZE, VERSION),
    ),
    FileOperation(
        "/photos/{photo_id}",
        "original",
        "The photo's file, in ranges if wished; what browsers can't show (HEIC, TIFF, raw files) "
        "as a JPEG.",
        ("image/*",),
        (DOWNLOAD, VERSION),
    ),
    FileOperation("/metrics", "metrics", "Measures, in Prometheus' text format.", ("text/plain",)),
)
_TERMS = (
    {"terms": [{"text": "a beach"}, {"text": "people", "weight": -1}], "k": 5},
    {"terms": [{"photo": 1}, {"photo": 2, "weight": -0.5}], "fold": False, "relevant": False},
    {"terms": [{"picture": _PIXEL}], "k": 3, "type": ["jpeg"], "sort": "date"},
    {"q": "a dog in:animals", "facets": True},
)

OPERATIONS = (
    Operation(
        "GET",
        "/api/search",
        "search",
        "Find photos by words; without any, those that pass the filters.",
        "Answer",
        SEARCH,
    ),
    Operation(
        "POST",
        "/api/search",
        "search_posted",
        "Find photos by several words, pictures, photos of the library and embeddings, each with "
        "its weight; or by the file of a picture.",
        "Answer",
        SEARCH,
        "Search",
        _TERMS,
        takes_file=True,
    ),
    Operation(
        "GET",
        "/api/similar/{photo_id}",
        "similar",
        "Find the photos most like one of the library, without it and its copies.",
        "Answer",
        SIMILAR,
    ),
    Operation(
        "POST",
        "/api/similar",
        "similar_posted",
        "The same of what is posted: no picture or photo of it is among the answers.",
        "Answer",
        SIMILAR,
        "Search",
        (_TERMS[1], _TERMS[2]),
        takes_file=True,
    ),
    Operation(
        "GET",
        "/api/facets",
        "facets",
        "Count the photos that pass the filters, by what they say; words in `q` change nothing.",
        "Facets",
        COUNTED,
    ),
    Operation(
        "GET", "/api/photos/{photo_id}", "photo", "Say all that is known of a photo.", "Photo"
    ),
    Operation(
        "GET",
        "/api/photos",
        "photos",
        "Say what the catalog says of photos, in the order of their ids.",
        "Records",
        (IDS,),
    ),
    Operation(
        "POST",
        "/api/photos",
        "photos_posted",
        "The same of up to 10,000 photos.",
        "Records",
        (),
        "Ids",
        ({"ids": [1, 2]},),
    ),
    Operation(
        "POST",
        "/api/embed",
        "embed",
        "Return the embeddings of texts or pictures by the library's model, of unit length.",
        "Embeddings",
        (FORMAT,),
        "Embed",
        ({"texts": ["a dog", "a cat"]}, {"pictures": [_PIXEL]}),
        takes_file=True,
    ),
    Operation(
        "POST",
        "/api/batch",
        "batch",
        "Answer up to 256 questions, each a list of terms, by what is seen alone.",
        "Answers",
        BATCH,
        "Batch",
        ({"queries": [[{"text": "a dog"}], [{"photo": 1}]], "k": 3},),
    ),
    Operation(
        "POST",
        "/api/vectors/search",
        "search_vectors",
        "Return cosines and ids of the photos nearest to up to 4,096 embeddings.",
        "Found",
        VECTORS,
        "Vectors",
    ),
    Operation(
        "POST",
        "/api/vectors",
        "vectors",
        "Return the embeddings of up to 10,000 photos, in the order of their ids.",
        "VectorsOf",
        (),
        "Ids",
        ({"ids": [2, 1]},),
    ),
    Operation(
        "GET", "/api/library", "library", "Say what the library holds.", "Library", (DETAILED,)
    ),
    Operation(
        "GET",
        "/api/state",
        "state",
        "Say how many photos there are, whether anything changed, and how far an index run is.",
        "State",
    ),
    Operation(
        "GET", "/api/health", "health", "Say that the server answers.", "Health", is_open=True
    ),
)
