"""The encoders in use by one library, each loaded once, whichever threads ask for it."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import ModelError
from clipsearch.index.durable import disk_errors
from clipsearch.index.identities import keep_identity
from clipsearch.index.records import ModelRow
from clipsearch.models.names import ModelSource, resolve_model

if TYPE_CHECKING:
    from clipsearch.models.encoder import Encoder
    from clipsearch.models.text.encoder import TextEncoder


class LoadedModels:
    """Encoders by fingerprint; text towers lie exported beside the library, so need no torch."""

    def __init__(self, folder: Path, device: str) -> None:
        self._folder = folder
        self.device = device  # auto, cpu, cuda or mps
        # Held while one is loaded: who asks for a text never waits for a model of pictures.
        self._loading = threading.RLock()
        self._loading_text = threading.Lock()
        self._encoders: dict[str, Encoder] = {}
        self._text_encoders: dict[str, TextEncoder] = {}
        self._ahead: dict[ModelSource, Encoder] = {}  # loaded before they were asked for
        self._kept: set[str] = set()  # fingerprints of the models whose text tower is known good

    def clear(self) -> None:
        """Let go of all models."""
        self._encoders.clear()
        self._text_encoders.clear()
        self._ahead.clear()

    def load(self, source: ModelSource) -> Encoder:
        """Load a model, whatever its weights are now."""
        from clipsearch.models.encoder import load_encoder

        with self._loading:
            if source in self._ahead:
                return self._ahead.pop(source)
            encoder = load_encoder(source, device=self.device)
            return self._encoders.setdefault(encoder.identity.fingerprint, encoder)

    def load_ahead(self, source: ModelSource) -> None:
        """Load a model that is asked for next, to know that it can be."""
        self._ahead[source] = self.load(source)

    def encoder_of(self, row: ModelRow) -> Encoder:
        """Return the encoder that this model's embeddings were made with."""
        fingerprint = row.identity.fingerprint
        if (encoder := self._encoders.get(fingerprint)) is not None:
            return encoder
        with self._loading:
            encoder = self._encoders.get(fingerprint)  # loaded meanwhile
            if encoder is None:
                encoder = self.load(resolve_model(row.identity.name))
                if encoder.identity.fingerprint != fingerprint:
                    raise other_weights(row.identity.name)
        return encoder

    def text_encoder_of(self, row: ModelRow) -> TextEncoder | Encoder:
        """Return what encodes text for this model: its exported tower, else the whole model."""
        from clipsearch.models.text.encoder import TextEncoder

        fingerprint = row.identity.fingerprint
        with self._loading_text:
            tower = self._text_encoders.get(fingerprint)
            if tower is not None:
                return tower
            try:
                tower = TextEncoder.open(self._folder / fingerprint)
            except ModelError:  # missing or damaged; the next index run makes it anew
                pass
            else:
                self._text_encoders[fingerprint] = tower
                return tower
        return self.encoder_of(row)

    def keep_text_encoder(self, encoder: Encoder) -> None:
        """Export the text tower beside the library, unless a good one lies there.

        A good one of an older version gets what it lacks.
        """
        from clipsearch.models.text.encoder import FORMAT, TextEncoder

        folder = self._folder / encoder.identity.fingerprint
        if encoder.identity.fingerprint in self._kept and folder.is_dir():
            return
        with disk_errors(self._folder.parent):
            try:
                tower = TextEncoder.open(folder)
            except ModelError:
                encoder.export_text_encoder(folder)
            else:
                if tower.settings.format < FORMAT:
                    self._complete(tower, encoder, folder)
            keep_identity(folder, encoder.identity)
        self._kept.add(encoder.identity.fingerprint)

    def _complete(self, tower: TextEncoder, encoder: Encoder, folder: Path) -> None:
        """Add the logit scale to an export; where it can't be written, a later run will."""
        from clipsearch.models.text.export import add_logit_scale

        scale, bias = encoder.logit_scale, encoder.logit_bias
        with suppress(OSError):
            add_logit_scale(folder, tower.settings, logit_scale=scale, logit_bias=bias)
        with self._loading_text:  # one that was opened for queries says the old
            self._text_encoders.pop(tower.fingerprint, None)


def other_weights(name: str) -> ModelError:
    """Return the error for a name that now stands for other weights than it did."""
    return ModelError(
        f"the weights of {name!r} are not those that this library was indexed with; "
        f"`clipsearch index --model {name}` embeds every photo anew with the present ones"
    )
