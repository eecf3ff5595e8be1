"""Which model an index run takes, and when it is loaded: all of it is decided here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.index.changes import Change, UseModel
from clipsearch.index.interface import WritableStore
from clipsearch.index.records import ModelIdentity
from clipsearch.models.loaded import LoadedModels
from clipsearch.models.names import (
    LOCAL_PREFIX,
    ModelSource,
    default_model,
    resolve_model,
    weights_here,
)
from clipsearch.options import IndexProgress
from clipsearch.photos.preprocessing import Preprocessing

if TYPE_CHECKING:
    from clipsearch.models.encoder import Encoder
    from clipsearch.models.image.encoder import ImageEncoder


class ModelChoice:
    """The model of one run: the one asked for, else the library's own, else the default.

    It is loaded when the first photo needs it; one asked for by name at once, since only its
    weights say whether it is the library's own.
    """

    def __init__(
        self,
        store: WritableStore,
        models: LoadedModels,
        asked: str | Path | None,
        note: Callable[[str], None],
    ) -> None:
        """Choose; the writer lock must be held. `note` takes lines for the user.

        Raises UnknownModel, WeightsUnavailable or ModelError.
        """
        self._store = store
        self._models = models
        known = store.models(count_to=0)
        self.former = next((row for row in known if row.is_current), None)
        self.id = self.former.id if self.former else None  # in the catalog; None: not yet there
        self.photos = 1  # so many are to be embedded: the encoder is chosen for them
        self.loaded: Encoder | ImageEncoder | None = None
        self._settled = False  # whether `loaded` was chosen for that number
        # How the model wants its pictures; None until the first model of a library is loaded.
        self.preprocessing = _preprocessing(self.former.identity) if self.former else None
        self._source = self._chosen(asked, note)  # None: the library's own
        if asked is not None and self._source is not None:
            self._take(models.load(self._source))

    def _chosen(self, asked: str | Path | None, note: Callable[[str], None]) -> ModelSource | None:
        if asked is not None:
            return resolve_model(asked)
        return None if self.former else default_model(note)

    @property
    def name(self) -> str:
        """Return the name of the model, as the user asked for it."""
        if self._source is not None:
            return self._source.name
        assert self.former is not None
        return self.former.identity.name

    @property
    def is_another(self) -> bool:
        """Whether the library had another model, so that every photo is to be embedded."""
        return self.former is not None and self.id != self.former.id

    def encoder(self) -> Encoder | ImageEncoder:
        """Return the encoder, loaded if it is not; the model is then in the catalog."""
        if self.loaded is None:
            if self._source is not None:
                self._take(self._models.load(self._source))
            elif self.former is not None:  # what was loaded for an earlier run serves again
                self._models.refuse_other_weights(self.former)
                self._take(self._models.encoder_of(self.former, self.photos))
            assert self.loaded is not None
        if not self._settled:  # one that was asked for by name was loaded before they were counted
            self._settled = True
            self.loaded = self._models.encoder_for(self.loaded.identity, self.photos)
        return self.loaded

    def _take(self, encoder: Encoder | ImageEncoder) -> None:
        """Record a model that was loaded, with its text tower beside the library."""
        self._models.keep_text_encoder(encoder)
        self.id = self._store.add_model(encoder.identity)
        self.loaded = encoder
        self.preprocessing = encoder.preprocessing
        if self.former is None:  # so that what a killed first run leaves is found
            self._store.apply([UseModel(self.id)])

    def settled(self, *, complete: bool) -> list[Change]:
        """Return what lets queries use the model, if its run is complete or it is the first."""
        if self.id is None or not (complete or self.former is None):
            return []
        return [UseModel(self.id)]


def loading(name: str, done: int = 0, total: int = 0) -> IndexProgress:
    """Return how far a run is that loads a model now, or fetches it first."""
    here = name.startswith(LOCAL_PREFIX) or weights_here(name) is not None
    return IndexProgress("loading model" if here else "fetching model", done, total)


def _preprocessing(identity: ModelIdentity) -> Preprocessing:
    return Preprocessing.from_json(identity.preprocessing)
