"""Photos of a source as vectors, by the same opening, scaling and encoding as in the search."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import as_list
from clipsearch.errors import InvalidInput, UnreadableImage
from clipsearch.models.names import resolve_model
from clipsearch.photos.decoder_pool import DecoderPool, PreparedPhoto
from clipsearch.photos.opening import DEFAULT_MAX_MEGAPIXELS
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.training.data.samples import BadSample, Sample
from clipsearch.training.evaluation.shifts import SHIFTS

if TYPE_CHECKING:
    from clipsearch.models.encoder import Encoder

PLAIN = ""  # among the shifts: the photo as it is
BATCH, GPU_BATCH = 32, 256
_AHEAD = 64  # photos read and in the decoders

Report = Callable[[str, int, int], None]  # photos or texts, how many are done, of how many


class Photos(Protocol):
    """What is measured on: a source of `clipsearch.training.data.sources`, or a list of samples."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int, /) -> Sample: ...


@dataclass(frozen=True)
class PhotoFacts:
    """One photo that could be read, without its pixels."""

    number: int  # in the source
    key: str
    digest: str  # of its bytes, captions and label: the same question has the same digest
    captions: tuple[str, ...]
    label: str | None


@dataclass(frozen=True)
class ReadPhoto:
    """One photo at the model's size."""

    facts: PhotoFacts
    pixels: NDArray[np.uint8]  # (height, width, 3)


@dataclass(frozen=True, eq=False)
class EmbeddedPhotos:
    """The photos of a source that could be read, in its order, with their unit vectors."""

    facts: list[PhotoFacts]
    vectors: dict[str, NDArray[np.float32]]  # for PLAIN and each shift, (photos, width)
    skipped: list[str] = field(default_factory=list)  # a line for each photo that was not

    def __len__(self) -> int:
        return len(self.facts)

    def only(self, rows: Sequence[int] | NDArray[np.integer]) -> EmbeddedPhotos:
        """Return the photos of these rows, integers (n,), in this order."""
        facts = [self.facts[row] for row in rows]
        index = np.asarray(rows, np.int64)
        return EmbeddedPhotos(
            facts, {name: some[index] for name, some in self.vectors.items()}, self.skipped
        )


def open_encoder(model: str | Encoder, device: str = "auto") -> Encoder:
    """Return the encoder of a model name as `--model` takes it; an encoder as it is."""
    if not isinstance(model, str):
        return model
    from clipsearch.models.encoder import load_encoder

    return load_encoder(resolve_model(model), device=device, exact=True)


def embed_photos(
    encoder: Encoder,
    photos: Photos,
    *,
    shifts: str | Iterable[str] = (),
    report: Report | None = None,
) -> EmbeddedPhotos:
    """Encode every photo once, and once more for each shift of `SHIFTS` that is named.

    Photos that can't be read are left out, with the reason. Raises InvalidInput if none can.
    """
    names = [PLAIN, *as_list(shifts)]
    facts: list[PhotoFacts] = []
    skipped: list[str] = []
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    size = BATCH if encoder.device.type == "cpu" else GPU_BATCH
    for batch in batches(read_photos(encoder.preprocessing, photos, skipped), size):
        for name in names:
            shifted = [_shifted(photo, name) for photo in batch]
            parts[name].append(encoder.encode_pixels(shifted))
        facts += [photo.facts for photo in batch]
        if report is not None:
            report("photos", len(facts) + len(skipped), len(photos))
    if not facts:
        raise InvalidInput(f"none of {len(photos)} photos can be read: {(skipped or ['-'])[0]}")
    return EmbeddedPhotos(facts, {n: np.concatenate(p) for n, p in parts.items()}, skipped)


def read_photos(
    preprocessing: Preprocessing, photos: Photos, skipped: list[str]
) -> Iterator[ReadPhoto]:
    """Yield the photos at the model's size, in order; add a line to `skipped` for each that fails.

    They are opened in processes of their own, as `clipsearch index` does it.
    """
    waiting: deque[tuple[PhotoFacts, Future[PreparedPhoto]]] = deque()

    def finished() -> Iterator[ReadPhoto]:
        facts, future = waiting.popleft()
        try:
            yield ReadPhoto(facts, future.result().pixels)
        except UnreadableImage as error:
            skipped.append(f"{facts.key}: {error}")

    few = len(photos) <= _AHEAD  # not worth the start of many processes
    with DecoderPool(
        preprocessing, max_megapixels=DEFAULT_MAX_MEGAPIXELS, workers=1 if few else None
    ) as decoders:
        for number in range(len(photos)):
            try:
                sample = photos[number]
            except BadSample as error:
                skipped.append(str(error))
                continue
            waiting.append((_facts(number, sample), decoders.submit(sample.image)))
            if len(waiting) > _AHEAD:
                yield from finished()
        while waiting:
            yield from finished()


def _facts(number: int, sample: Sample) -> PhotoFacts:
    words = "\0".join((*sample.captions, sample.label or ""))
    digest = hashlib.sha256(
        sample.image + b"\0" + words.encode(errors="surrogatepass")
    ).hexdigest()[:16]
    return PhotoFacts(number, sample.key, digest, sample.captions, sample.label)


def _shifted(photo: ReadPhoto, name: str) -> NDArray[np.uint8]:
    if name == PLAIN:
        return photo.pixels
    return SHIFTS[name](photo.pixels, int(photo.facts.digest, 16))


def batches(photos: Iterator[ReadPhoto], size: int) -> Iterator[list[ReadPhoto]]:
    """Yield the photos in lists of this size; the last may be shorter."""
    batch: list[ReadPhoto] = []
    for photo in photos:
        batch.append(photo)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
