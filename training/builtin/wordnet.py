"""Read WordNet's noun file: the names of things that can be photographed."""

from collections.abc import Iterator
from pathlib import Path

# WordNet's lexicographer files of things one can see: acts, animals, artifacts, body parts,
# events, food, natural objects, people, phenomena, plants, substances.
_VISIBLE = {"04", "05", "06", "08", "11", "13", "17", "18", "19", "20", "27"}


def read_visible_nouns(folder: Path) -> list[str]:
    """Return the names of visible things in `data.noun`, without proper and Latin names.

    Raises FileNotFoundError where the folder holds no WordNet.
    """
    path = folder / "data.noun"
    if not path.is_file():
        raise FileNotFoundError(f"no WordNet in {folder}; Debian has it as package wordnet-base")
    names: dict[str, None] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            # Lines that start with a space are the licence.
            if not line.startswith(" ") and line.split()[1] in _VISIBLE:
                names.update(dict.fromkeys(filter(str.islower, _names(line.split()))))
    return list(names)


def _names(fields: list[str]) -> Iterator[str]:
    """Yield the names of one meaning: a hexadecimal count, then a name and a number each."""
    count = int(fields[3], 16)
    for name in fields[4 : 4 + 2 * count : 2]:
        yield name.replace("_", " ")
