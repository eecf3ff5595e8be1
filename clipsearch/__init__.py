"""Find photos by what is in them: offline image-text semantic search.

>>> from clipsearch import Library
>>> with Library("~/photo-library") as library:     # doctest: +SKIP
...     library.index(["~/photos"])
...     library.query("a dog on a beach")[0].path
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from clipsearch.errors import (
    ClipsearchError,
    InvalidInput,
    LibraryClosed,
    LibraryDamaged,
    LibraryError,
    LibraryIncompatible,
    LibraryLocked,
    LibraryNotFound,
    LibraryReadOnly,
    MissingPackages,
    ModelError,
    ServerBusy,
    UnfitMachine,
    UnknownModel,
    UnreadableImage,
    WeightsUnavailable,
)
from clipsearch.privacy import switch_off

if TYPE_CHECKING:
    from clipsearch.asking.grammar import Asked, parse
    from clipsearch.copies import AlikeGroup, CopiedPhoto, Duplicates
    from clipsearch.index import filters
    from clipsearch.index.facets import FacetCount, Facets
    from clipsearch.index.records import PhotoMetadata, PhotoRecord
    from clipsearch.index.tags import Tag
    from clipsearch.index.upkeep.backup import BackupReport, RestoreReport
    from clipsearch.library import Library
    from clipsearch.options import IndexOptions, IndexProgress, SearchOptions
    from clipsearch.results import FailedFile, Hit, Hits, IndexReport, LibraryInfo
    from clipsearch.searching.combining import QuerySum, term
    from clipsearch.searching.looking_up import PhotoDetails
    from clipsearch.tagging.classifying import Classified
    from clipsearch.upkeep import CheckReport, backup_library, check_library, restore_library

__version__ = "0.1.0"

switch_off()  # before anything that it concerns can be imported by us

__all__ = [
    "AlikeGroup",
    "Asked",
    "BackupReport",
    "CheckReport",
    "Classified",
    "ClipsearchError",
    "CopiedPhoto",
    "Duplicates",
    "FacetCount",
    "Facets",
    "FailedFile",
    "Hit",
    "Hits",
    "IndexOptions",
    "IndexProgress",
    "IndexReport",
    "InvalidInput",
    "Library",
    "LibraryClosed",
    "LibraryDamaged",
    "LibraryError",
    "LibraryIncompatible",
    "LibraryInfo",
    "LibraryLocked",
    "LibraryNotFound",
    "LibraryReadOnly",
    "MissingPackages",
    "ModelError",
    "PhotoDetails",
    "PhotoMetadata",
    "PhotoRecord",
    "QuerySum",
    "RestoreReport",
    "SearchOptions",
    "ServerBusy",
    "Tag",
    "UnfitMachine",
    "UnknownModel",
    "UnreadableImage",
    "WeightsUnavailable",
    "__version__",
    "backup_library",
    "check_library",
    "filters",
    "parse",
    "restore_library",
    "term",
]

_HOMES = {
    "Asked": "clipsearch.asking.grammar",
    "parse": "clipsearch.asking.grammar",
    "AlikeGroup": "clipsearch.copies",
    "CopiedPhoto": "clipsearch.copies",
    "Duplicates": "clipsearch.copies",
    "FacetCount": "clipsearch.index.facets",
    "Facets": "clipsearch.index.facets",
    "BackupReport": "clipsearch.index.upkeep.backup",
    "CheckReport": "clipsearch.upkeep",
    "Classified": "clipsearch.tagging.classifying",
    "PhotoDetails": "clipsearch.searching.looking_up",
    "PhotoMetadata": "clipsearch.index.records",
    "PhotoRecord": "clipsearch.index.records",
    "Tag": "clipsearch.index.tags",
    "RestoreReport": "clipsearch.index.upkeep.backup",
    "backup_library": "clipsearch.upkeep",
    "check_library": "clipsearch.upkeep",
    "restore_library": "clipsearch.upkeep",
    "Library": "clipsearch.library",
    "FailedFile": "clipsearch.results",
    "Hit": "clipsearch.results",
    "Hits": "clipsearch.results",
    "SearchOptions": "clipsearch.options",
    "IndexOptions": "clipsearch.options",
    "IndexProgress": "clipsearch.options",
    "IndexReport": "clipsearch.results",
    "LibraryInfo": "clipsearch.results",
    "QuerySum": "clipsearch.searching.combining",
    "term": "clipsearch.searching.combining",
}


def __getattr__(name: str) -> object:
    """Import the API on first use: `clipsearch --help` needs none of it."""
    if name == "filters":
        return importlib.import_module("clipsearch.index.filters")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'clipsearch' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return what is public: what the page of the API has, whether it is loaded yet or not."""
    return sorted(__all__)
