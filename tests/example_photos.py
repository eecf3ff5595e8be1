"""The example photos made small, and parts of them with captions, to index and to learn from."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from captioned_files import facts
from PIL import Image
from places import EXAMPLES

from clipsearch.training.data.sources import Sample

SIDE = 192  # pixels of the shorter side: quick to decode

# Parts of a photo, in shares of its width and height: left, upper, right, lower.
_PARTS = {
    "all of it": (0, 0, 1, 1),
    "the left of it": (0, 0, 0.6, 1),
    "the right of it": (0.4, 0, 1, 1),
    "the top of it": (0, 0, 1, 0.6),
    "the bottom of it": (0, 0.4, 1, 1),
    "the middle of it": (0.2, 0.2, 0.8, 0.8),
}


def example_files() -> list[Path]:
    """Return the files of all example photos, in the order of their paths."""
    return sorted(EXAMPLES.rglob("*.jpg"))


def caption_of(path: Path) -> str:
    """Return what is on an example photo, as its name says."""
    return path.stem.replace("-", " ")


@cache
def small_photos() -> tuple[bytes, ...]:
    """Return the example photos as small JPEG, in the order of `example_files`."""
    return tuple(_as_jpeg(picture) for picture in _small_pictures())


@cache
def _small_pictures() -> list[Image.Image]:
    pictures = []
    for path in example_files():
        with Image.open(path) as picture:
            size = [round(side * SIDE / min(picture.size)) for side in picture.size]
            picture.draft("RGB", (2 * SIDE, 2 * SIDE))
            pictures.append(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC))
    return pictures


def _as_jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()


def captioned_photos(count: int) -> list[Sample]:
    """Return parts of the example photos, each with three to five captions.

    Every third photo's parts have a label, and captions that say no more than that, as classes in
    training data do.
    """
    samples = _captioned_photos()
    assert count <= len(samples)
    return samples[:count]


@cache
def _captioned_photos() -> list[Sample]:
    return list(_parts_with_captions())


def _parts_with_captions() -> Iterator[Sample]:
    for part, box in _PARTS.items():
        for number, (path, picture) in enumerate(
            zip(example_files(), _small_pictures(), strict=True)
        ):
            width, height = picture.size
            left, upper, right, lower = box
            place = (left * width, upper * height, right * width, lower * height)
            image = _as_jpeg(picture.crop(tuple(map(round, place))))
            what = caption_of(path)
            key = f"{number:03}-{part.replace(' ', '-')}"
            if number % 3 == 0:
                said = (f"a photo of {what}", f"a picture of {what}", what)
                yield Sample(key, image, said, what)
                continue
            said = (f"{what}, {part}", f"a photo of {what}: {part}", f"{part} shows {what}")
            said += (f"{what} as {part}", f"on {part}, {what}")[: number % 3]
            yield Sample(key, image, said)


def shard_members(samples: list[Sample]) -> dict[str, bytes]:
    """Return the members of a shard that holds these samples."""
    members: dict[str, bytes] = {}
    for sample in samples:
        label = {} if sample.label is None else {"label": sample.label}
        members[f"{sample.key}.jpg"] = sample.image
        members[f"{sample.key}.json"] = facts(*sample.captions, **label)
    return members
