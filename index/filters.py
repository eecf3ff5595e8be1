"""Which photos a search may find, by what the catalog knows of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from clipsearch.errors import InvalidInput


@dataclass(frozen=True)
class Filters:
    """What the photos found must be like; all of it holds at once. None is defined yet."""

    def to_json(self) -> dict[str, Any]:
        """Return what is asked for, ready for JSON; `from_json` makes the same of it again."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Filters:
        """Return the filters that `to_json` wrote; InvalidInput for anything else."""
        if not isinstance(value, Mapping):
            raise InvalidInput(f"filters must be an object of names, not {type(value).__name__}")
        unknown = [str(name) for name in value if name not in {field.name for field in fields(cls)}]
        if unknown:
            raise InvalidInput(f"there is no filter {min(unknown)!r}")
        return cls(**value)
