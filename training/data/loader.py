"""Batches of photos and captions for one training run.

What a batch holds depends on the seed, the epoch and its number alone: not on how many workers
made it, nor on whether the run began there. The photos of a step are shared out among the ranks
of a distributed run, so that any number of processes sees what one would.
"""

from __future__ import annotations

import hashlib
import math
import queue
import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from clipsearch.errors import ClipsearchError, InvalidInput, UnreadableImage
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.training.data.augmentation import Augmentation, normalized, plain_pixels
from clipsearch.training.data.samples import BadSample, Sample
from clipsearch.training.data.sources import Source
from clipsearch.training.run_config import AugmentationConfig

Tokenize = Callable[[list[str]], Any]  # texts -> int64 (n, context), an array or a tensor

_CHUNK = 32  # photos that a worker makes at a time, so that one batch keeps all of them busy
_WINDOW = 2**20  # samples; up to so many are shuffled all together
_TRIES = 50  # photos in place of a bad one, before the data is given up

# What chance is drawn for, beside the seed and the epoch.
_ORDER, _SAMPLE, _REPLACEMENT = range(3)


@dataclass(frozen=True)
class Batch:
    """n photos with one caption each."""

    pixels: Tensor  # float32 (n, 3, height, width), normalised
    tokens: Tensor  # int64 (n, context)
    photos: Tensor  # int64 (n,), equal numbers: the same photo
    texts: Tensor  # int64 (n,), equal numbers: the same caption, case and outer space aside
    labels: Tensor  # int64 (n,), equal numbers: the same label; -1 where there is none


class Loader:
    """The batches of one epoch after the other.

    `skipped` counts the photos that could not be learned from, by reason, each once. In their
    place others are taken, the same ones in every run with this seed, so that batches are full.
    """

    def __init__(  # noqa: PLR0913 - as many as there are things to choose
        self,
        source: Source,
        *,
        preprocessing: Preprocessing,
        augmentation: AugmentationConfig | None,
        tokenize: Tokenize,
        batch_size: int,
        seed: int,
        workers: int,
        rank: int = 0,
        world_size: int = 1,
        window: int = _WINDOW,
    ) -> None:
        """Take the settings of the run.

        Args:
            source: where samples come from.
            preprocessing: the model's; its size, shape and colours are those of the pixels.
            augmentation: None shows each photo as search does.
            tokenize: makes int64 (n, context) of a list of texts.
            batch_size: photos a step over all ranks; a batch holds this rank's equal share.
            seed: with the epoch, all that chance depends on.
            workers: 0 makes batches when they are asked for; 1 in a thread beside the model, which
                needs no guard in the user's script; more in so many processes.
            rank: of this process, from 0.
            world_size: how many processes train together.
            window: of larger sources the neighbourhoods are shuffled, and then the samples of
                this many at a time.

        Raises:
            InvalidInput: the source is smaller than a batch, or the batch can't be shared out.
        """
        self.batches_an_epoch = _checked_batches(len(source), batch_size, world_size)
        self.skipped: Counter[str] = Counter()
        self._skipped_numbers: set[int] = set()
        self._source = source
        self._preprocessing = preprocessing
        self._maker = _ChunkMaker(source, preprocessing, augmentation, tokenize, seed)
        self._batch_size = batch_size
        self._share = batch_size // world_size
        self._chunks_a_batch = math.ceil(self._share / _CHUNK)
        self._rank = rank
        self._seed = seed
        self._workers = workers
        self._window = window

    def epoch(self, epoch: int, *, first_batch: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch, from 0, that begin with number `first_batch`.

        Each sample comes once, but for those that fill no last batch. Closing the generator ends
        the workers.
        """
        batches = self._assembled(self._requests(epoch, first_batch))
        with closing(batches if self._workers == 0 else _ahead(batches)) as made:
            for batch, bad in made:
                self._note(bad)
                yield batch

    def _requests(self, epoch: int, first_batch: int) -> list[_Request]:
        """Return what to make for this rank, in order, a few photos at a time."""
        order = shuffled(
            self._source.neighbourhoods(), _generator(self._seed, epoch, _ORDER), self._window
        )
        requests = []
        for number in range(first_batch, self.batches_an_epoch):
            start = number * self._batch_size + self._rank * self._share
            for place in range(start, start + self._share, _CHUNK):
                photos = order[place : min(place + _CHUNK, start + self._share)]
                requests.append(_Request(epoch, place, photos))
        return requests

    def _assembled(
        self, requests: list[_Request]
    ) -> Generator[tuple[Batch, list[tuple[int, str]]], None, None]:
        chunks = self._chunks(requests)
        try:
            while made := list(islice(chunks, self._chunks_a_batch)):
                parts = _all_good(made)
                yield self._batch(parts), [bad for part in parts for bad in part.bad]
        finally:
            # An error's traceback keeps this frame, in a cycle. Worker processes that are left to
            # the garbage collector end after ten seconds; those of an iterator let go end at once.
            del chunks

    def _chunks(self, requests: list[_Request]) -> Iterator[_Chunk | ClipsearchError]:
        if self._workers < 2:
            return map(self._maker.__getitem__, requests)
        processes: DataLoader[_Chunk | ClipsearchError] = DataLoader(
            self._maker,
            batch_size=None,
            sampler=requests,
            num_workers=self._workers,
            collate_fn=_as_it_is,
            worker_init_fn=_leave_interrupts_to_the_parent,
            prefetch_factor=4,
            generator=torch.Generator(),  # else it draws from the one that the model draws from
        )
        return iter(processes)

    def _batch(self, parts: Sequence[_Chunk]) -> Batch:
        pixels = np.empty((self._share, *parts[0].pixels.shape[1:]), np.float32)
        for part, place in zip(parts, range(0, self._share, _CHUNK), strict=True):
            normalized(part.pixels.numpy(), self._preprocessing, pixels[place : place + _CHUNK])
        return Batch(
            pixels=torch.from_numpy(pixels),
            tokens=torch.cat([part.tokens for part in parts]),
            photos=torch.cat([part.photos for part in parts]),
            texts=torch.cat([part.texts for part in parts]),
            labels=torch.cat([part.labels for part in parts]),
        )

    def _note(self, bad: Iterable[tuple[int, str]]) -> None:
        for number, reason in bad:
            if number not in self._skipped_numbers:
                self._skipped_numbers.add(number)
                self.skipped[reason] += 1


@dataclass(frozen=True)
class _Request:
    """Some photos of a batch."""

    epoch: int
    place: int  # of the first one in the epoch's order
    photos: NDArray[np.int64]


@dataclass(frozen=True)
class _Chunk:
    """A part of a batch, and the numbers of the photos that were skipped, with the reasons."""

    pixels: Tensor  # uint8
    tokens: Tensor
    photos: Tensor
    texts: Tensor
    labels: Tensor
    bad: list[tuple[int, str]]


@dataclass(frozen=True)
class _ChunkMaker(Dataset["_Chunk | ClipsearchError"]):
    """Makes parts of batches, in whatever process or thread it is called."""

    source: Source
    preprocessing: Preprocessing
    augmentation: AugmentationConfig | None
    tokenize: Tokenize
    seed: int

    def __getitem__(self, request: _Request) -> _Chunk | ClipsearchError:
        """Return the chunk, or why there is none: an exception would arrive as a traceback."""
        try:
            return self._chunk(request)
        except ClipsearchError as error:
            return error

    def _chunk(self, request: _Request) -> _Chunk:
        bad: list[tuple[int, str]] = []
        looks = [
            self._look_or_other(request.epoch, place, int(photo), bad)
            for place, photo in enumerate(request.photos, request.place)
        ]
        return _Chunk(
            pixels=torch.from_numpy(np.stack([look.pixels for look in looks])),
            tokens=_tokens(self.tokenize, [look.caption for look in looks]),
            photos=torch.tensor([look.photo for look in looks]),
            texts=torch.tensor([_number(look.caption.strip().casefold()) for look in looks]),
            labels=torch.tensor([_number(look.label) if look.label else -1 for look in looks]),
            bad=bad,
        )

    def _look_or_other(
        self, epoch: int, place: int, photo: int, bad: list[tuple[int, str]]
    ) -> _Look:
        """Return a look at the photo, or at another that chance puts in its place."""
        replacement = _generator(self.seed, epoch, _REPLACEMENT, place)
        for _ in range(_TRIES):
            try:
                return self._look(epoch, photo)
            except (BadSample, UnreadableImage) as error:
                reason = error.reason if isinstance(error, BadSample) else str(error)
                bad.append((photo, reason))
            photo = int(replacement.integers(len(self.source)))
        raise InvalidInput(
            f"{_TRIES} of {_TRIES} photos taken from the data can't be learned from; "
            f"the last, {self.source.key(photo)}: {bad[-1][1]}"
        )

    def _look(self, epoch: int, photo: int) -> _Look:
        sample: Sample = self.source[photo]
        generator = _generator(self.seed, epoch, _SAMPLE, photo)
        caption = sample.captions[int(generator.integers(len(sample.captions)))]
        if self.augmentation is None:
            pixels = plain_pixels(sample.image, self.preprocessing)
        else:
            pixels = Augmentation(self.augmentation, self.preprocessing)(sample.image, generator)
        return _Look(photo, pixels, caption, sample.label)


@dataclass(frozen=True)
class _Look:
    """One photo as it is seen this time."""

    photo: int
    pixels: NDArray[np.uint8]  # (3, height, width)
    caption: str
    label: str | None


def shuffled(
    neighbourhoods: Sequence[range], generator: np.random.Generator, window: int
) -> NDArray[np.int64]:
    """Return all numbers, int64 (n,), in a random order that keeps reading from disk local.

    The neighbourhoods are shuffled as wholes, and then the numbers inside windows of the result:
    where all fit into one window, every order is equally likely.
    """
    blocks = [neighbourhoods[int(i)] for i in generator.permutation(len(neighbourhoods))]
    order = np.concatenate([np.arange(b.start, b.stop) for b in blocks]).astype(np.int64)
    for start in range(0, len(order), window):
        generator.shuffle(order[start : start + window])
    return order


def _checked_batches(samples: int, batch_size: int, world_size: int) -> int:
    if batch_size < 2:
        raise InvalidInput(
            f"a batch of {batch_size} photos has nothing to tell a photo from: take 2 or more"
        )
    if batch_size % world_size:
        raise InvalidInput(
            f"a batch of {batch_size} photos can't be shared out among {world_size} processes"
        )
    if samples < batch_size:
        raise InvalidInput(
            f"the data holds {samples} photos, fewer than one batch of {batch_size}: "
            "make the batch smaller, or add photos"
        )
    return samples // batch_size


def _ahead(
    items: Generator[tuple[Batch, list[tuple[int, str]]], None, None],
) -> Generator[tuple[Batch, list[tuple[int, str]]], None, None]:
    """Yield what a generator yields, with the next made in a thread meanwhile."""
    places: queue.Queue[Any] = queue.Queue(maxsize=1)
    closed = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not closed.is_set():
            try:
                places.put((kind, value), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            with closing(items):
                for item in items:
                    if not put("item", item):
                        return
            put("end", None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the items are taken
            put("error", error)

    thread = threading.Thread(target=work, name="clipsearch-loader", daemon=True)
    thread.start()
    try:
        while (taken := places.get())[0] == "item":
            yield taken[1]
        if taken[0] == "error":
            raise taken[1]
    finally:
        closed.set()
        thread.join()


def _generator(*entropy: int) -> np.random.Generator:
    return np.random.default_rng([value & (2**64 - 1) for value in entropy])


def _tokens(tokenize: Tokenize, texts: list[str]) -> Tensor:
    return torch.as_tensor(tokenize(texts)).to(torch.int64)


def _number(text: str) -> int:
    """Return a number for a text that is the same in every process, from 0 to 2^63 - 1."""
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _all_good(made: list[_Chunk | ClipsearchError]) -> list[_Chunk]:
    for chunk in made:
        if isinstance(chunk, ClipsearchError):
            raise chunk
    return [chunk for chunk in made if isinstance(chunk, _Chunk)]


def _as_it_is(chunk: Any) -> Any:
    return chunk


def _leave_interrupts_to_the_parent(worker: int) -> None:
    """Ignore Ctrl-C, which reaches all processes of a terminal: the parent saves and ends us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
