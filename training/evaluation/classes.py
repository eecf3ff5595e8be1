"""What the classes of labelled photos are called, and which is which."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import InvalidInput, UnreadableImage
from clipsearch.models.prompts import imagenet_names
from clipsearch.photos.file_reading import read_whole
from clipsearch.settings import given_path

IMAGENET = "imagenet"
_LONGEST_LIST = 1 << 28  # bytes
_WORDNET_FOLDER = re.compile(r"n\d{8}")  # as ImageNet names its folders


@dataclass(frozen=True)
class Classes:
    """Names as they go into prompts, each once, and the class that each label stands for."""

    names: tuple[str, ...]
    number_of: Mapping[str, int]  # by label, case and outer space aside

    def numbers(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """Return the class of each label, int64 (labels,), -1 for one that is not on the list."""
        return np.array([self.number_of.get(_plain(label), -1) for label in labels], np.int64)


def classes_of(labels: Sequence[str]) -> Classes:
    """Return the classes that photos have, in the order of their labels.

    Raises InvalidInput where there are fewer than two.
    """
    found = sorted(set(labels))
    classes = _numbered([(label, _words(label)) for label in found])
    if len(classes.names) < 2:
        raise InvalidInput(
            f"all photos have one label, {found[0]!r}: to tell classes apart takes two or more"
        )
    return classes


def open_classes(spec: str) -> Classes:
    """Return the classes that `--classes` names: `imagenet`, or a file with a name a line.

    In a file, a label and a tab may stand before the name where the labels of photos are others.
    Raises InvalidInput for a file that can't be read, or with fewer than two names.
    """
    if spec == IMAGENET:
        return imagenet_classes()
    try:
        text, _ = read_whole(given_path(spec), _LONGEST_LIST, pipes=True)
        lines = text.decode("utf-8-sig").splitlines()
    except UnreadableImage as error:
        raise InvalidInput(f"can't read the classes {spec}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise InvalidInput(f"can't read the classes {spec}: {reason}") from error
    pairs = []
    for line in filter(str.strip, lines):
        label, _, name = line.partition("\t")
        pairs.append((label, name.strip() or _words(label)))
    classes = _numbered(pairs)
    if len(classes.names) < 2:
        raise InvalidInput(f"{spec} names fewer than two classes")
    return classes


def imagenet_classes() -> Classes:
    """Return the 1,000 classes of ImageNet by the names that CLIP's authors gave them.

    A label may be such a name, or the class's number from 0. Two pairs of classes have one name
    ("missile", "sunglasses"); no text can tell them apart, so each pair is one class here.
    """
    names = imagenet_names()
    named = [(name, name) for name in names]
    numbered = [(str(number), name) for number, name in enumerate(names)]
    return _numbered([*named, *numbered])


def by_wordnet_folders(classes: Classes, labels: Sequence[str]) -> Classes:
    """Return ImageNet's classes for labels that are its folders, n01440764 and so on.

    They stand for the classes in their order, so all 1,000 must be there; else nothing changes.
    """
    folders = sorted(set(labels))
    if len(folders) != 1000 or not all(map(_WORDNET_FOLDER.fullmatch, folders)):
        return classes
    more = {folder: classes.number_of[str(n)] for n, folder in enumerate(folders)}
    return Classes(classes.names, {**classes.number_of, **more})


def check_known(labels: Sequence[str], numbers: NDArray[np.int64]) -> None:
    """Raise InvalidInput for labels that are not on the list of classes.

    `numbers`, int64 (labels,), are those that `Classes.numbers` gives for them.
    """
    unknown = Counter(
        label for label, number in zip(labels, numbers.tolist(), strict=True) if number < 0
    )
    if unknown:
        some = ", ".join(repr(label) for label, _ in unknown.most_common(5))
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise InvalidInput(
            f"not on the list of classes: {some}{more} ({unknown.total()} photos); add them, "
            "or leave these photos out with --skip-unknown"
        )


def _numbered(pairs: Sequence[tuple[str, str]]) -> Classes:
    """Number the names of (label, name) in their order; equal names are one class."""
    names = list(dict.fromkeys(name for _, name in pairs))
    number_of_name = {name: number for number, name in enumerate(names)}
    number_of: dict[str, int] = {}
    for label, name in pairs:
        number_of.setdefault(_plain(label), number_of_name[name])
    return Classes(tuple(names), number_of)


def _plain(label: str) -> str:
    return label.strip().casefold()


def _words(label: str) -> str:
    """Return a folder's name as words: `Golden_retriever` becomes `Golden retriever`."""
    return " ".join(label.replace("_", " ").split())
