"""One photo with its captions, as every source gives it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clipsearch.arguments import as_list
from clipsearch.errors import InvalidInput

# CLIP's prompt (Radford et al. 2021, 3.1.4) and two near it, for names that no sentence goes with.
_PROMPTS = ("a photo of {}", "a picture of {}", "{}")


@dataclass(frozen=True)
class Sample:
    """One photo with its captions, at least one; `label` is the name of its class, if it has one.

    Two photos with one label are never each other's negatives.
    """

    key: str  # unique in its source
    image: bytes  # the file's bytes, in any format that clipsearch opens
    captions: tuple[str, ...]
    label: str | None = None

    def __post_init__(self) -> None:
        """Take one caption for a list of it, not of its letters."""
        object.__setattr__(self, "captions", tuple(as_list(self.captions)))


class BadSample(InvalidInput, ValueError):
    """A photo that can't be learned from; training goes on with another in its place."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason  # the same words for the same trouble, so that it can be counted

    def __reduce__(self) -> tuple[type[BadSample], tuple[str, str]]:
        """Be picklable: a worker process hands it over."""
        return BadSample, (self.key, self.reason)


NO_CAPTION = "no caption"


def make_sample(key: str, image: bytes, captions: str | Iterable[str], label: str | None) -> Sample:
    """Return the sample; a photo without captions takes them from its label, if that is a name.

    Raises BadSample where there is neither.
    """
    captions = as_list(captions)
    if not captions and label and not label.isdecimal():
        captions = captions_about([label])
    if not captions:
        raise BadSample(key, NO_CAPTION)
    if not image:
        raise BadSample(key, "the picture is empty")
    return Sample(key, image, tuple(captions), label or None)


def captions_about(names: str | Iterable[str]) -> tuple[str, ...]:
    """Make captions of what a photo shows: CLIP's prompts for each name, and for all together."""
    names = as_list(names)
    things = list(names)
    if len(things) > 1:
        things.append(f"{', '.join(names[:-1])} and {names[-1]}")
    return tuple(prompt.format(thing) for thing in things for prompt in _PROMPTS)
