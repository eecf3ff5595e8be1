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
from clipsearch.light import need_torch
from clipsearch.models.files import file_sha256
from clipsearch.models.names import ModelSource, resolve_model, weights_here

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.index.records import ModelIdentity
    from clipsearch.models.encoder import Encoder
    from clipsearch.models.image.encoder import ImageEncoder, ImageEncoderSettings
    from clipsearch.models.text.encoder import TextEncoder

FEW = 1  # photos, where nobody says how many


class LoadedModels:
    """Encoders by fingerprint: with torch, or towers exported to ONNX, which start in no time.

    Text towers lie beside the library. The image tower of the built-in model ships with it, those
    of others are in the user's cache once their model was loaded. Few photos go through them, many
    through torch where that is quicker (`torch_pays`).
    """

    def __init__(self, folder: Path, device: str) -> None:
        self._folder = folder
        self.device = device  # auto, cpu, cuda or mps
        # Held while one is loaded: who asks for a text never waits for a model of pictures.
        self._loading = threading.RLock()
        self._loading_text = threading.Lock()
        self._encoders: dict[str, Encoder] = {}
        self._image_encoders: dict[str, ImageEncoder] = {}
        self._text_encoders: dict[str, TextEncoder] = {}
        self._competing: dict[str, NDArray[np.float32] | None] = {}
        self._ahead: dict[ModelSource, Encoder | ImageEncoder] = {}  # before they were asked for
        self._kept: set[str] = set()  # fingerprints of the models whose text tower is known good

    def clear(self) -> None:
        """Let go of all models."""
        self._encoders.clear()
        self._image_encoders.clear()
        self._text_encoders.clear()
        self._competing.clear()
        self._ahead.clear()

    def load(self, source: ModelSource) -> Encoder | ImageEncoder:
        """Load a model, whatever its weights are now; its exported tower if there is one."""
        with self._loading:
            if source in self._ahead:
                return self._ahead.pop(source)
            identity = _known_identity(source)
            tower = identity and self._images_go_without_torch(identity)
            return tower or self._load_whole(source)

    def load_ahead(self, source: ModelSource) -> None:
        """Load a model that is asked for next, to know that it can be."""
        self._ahead[source] = self.load(source)

    def encoder_of(self, row: ModelRow, photos: int = FEW) -> Encoder | ImageEncoder:
        """Return the encoder that this model's embeddings were made with, for so many photos."""
        return self.encoder_for(row.identity, photos)

    def encoder_for(self, identity: ModelIdentity, photos: int) -> Encoder | ImageEncoder:
        """Return the encoder of a model that is quickest for so many photos.

        Their number alone decides, not what is loaded: a photo's vector is the same each time.
        """
        from clipsearch.models.devices import torch_pays

        with self._loading:
            if self._exported(identity) is None:
                self.whole_encoder_of(identity)  # which exports it, if that can be
            tower = self._exported(identity)
            if tower is None:
                return self.whole_encoder_of(identity)
            if not torch_pays(photos, tower.settings.torch_pays_from, self.device):
                return tower
            try:
                return self.whole_encoder_of(identity)
            except ModelError:  # its files are gone: slower, but as good
                return tower

    def goes_without_torch(self, row: ModelRow) -> bool:
        """Say whether few photos need no torch; the tower that they need is loaded then."""
        return self._images_go_without_torch(row.identity) is not None

    def _images_go_without_torch(self, identity: ModelIdentity) -> ImageEncoder | None:
        from clipsearch.models.devices import torch_pays

        with self._loading:
            tower = self._exported(identity)
            return None if torch_pays(FEW, FEW + 1, self.device) else tower

    def whole_encoder_of(self, identity: ModelIdentity) -> Encoder:
        """Return the encoder that this model's embeddings were made with, in torch."""
        fingerprint = identity.fingerprint
        with self._loading:
            if fingerprint not in self._encoders:  # and was not loaded meanwhile
                encoder = self._load_whole(resolve_model(identity.name))
                if encoder.identity.fingerprint != fingerprint:
                    raise other_weights(identity.name)
            return self._encoders[fingerprint]

    def refuse_other_weights(self, row: ModelRow) -> None:
        """Raise ModelError if a model's name stands for other weights now, where those are here."""
        weights = weights_here(row.identity.name)
        if weights is not None and file_sha256(weights) != row.identity.weights_sha256:
            raise other_weights(row.identity.name)

    def _exported(self, identity: ModelIdentity) -> ImageEncoder | None:
        """Return a model's exported image tower, if there is one."""
        from clipsearch.models import shipped, tower_cache

        fingerprint = identity.fingerprint
        tower = self._image_encoders.get(fingerprint)
        if tower is None:
            tower = shipped.open_shipped_image_tower(fingerprint)
            tower = tower or tower_cache.open_image_tower(fingerprint)
        if tower is not None:
            tower.identity = identity  # with the name asked for: it was exported under any
            self._image_encoders[fingerprint] = tower
        return tower

    def _load_whole(self, source: ModelSource) -> Encoder:
        """Load a model with torch, and see to it that few photos need it no more."""
        need_torch(f"loading the model {source.name}")
        from clipsearch.models.devices import choose_device, fast_precisions
        from clipsearch.models.encoder import Encoder
        from clipsearch.models.image.export import keep_image_tower
        from clipsearch.models.loading import load_model

        place = choose_device(self.device)
        precisions = fast_precisions(place)
        loaded = load_model(source)
        keep_image_tower(loaded, source)
        encoder = Encoder(loaded, place, precisions)
        return self._encoders.setdefault(encoder.identity.fingerprint, encoder)

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
                from clipsearch.models import shipped, tower_cache

                tower = shipped.open_shipped_text_tower(fingerprint)
                tower = tower or tower_cache.open_text_tower(fingerprint)
            if tower is not None:
                self._text_encoders[fingerprint] = tower
                return tower
        return self.whole_encoder_of(row.identity)

    def keep_text_encoder(self, encoder: Encoder | ImageEncoder) -> None:
        """Write the text tower beside the library, unless a good one lies there.

        A good one of an older version gets what it lacks.
        """
        from clipsearch.models.text.encoder import FORMAT, TextEncoder

        fingerprint = encoder.identity.fingerprint
        folder = self._folder / fingerprint
        if fingerprint in self._kept and folder.is_dir():
            return
        with disk_errors(self._folder.parent):
            try:
                tower = TextEncoder.open(folder)
            except ModelError:
                self._write_text_tower(encoder.identity, folder)
            else:
                if tower.settings.format < FORMAT:
                    self._complete(tower, encoder, folder)
            keep_identity(folder, encoder.identity)
        self._kept.add(fingerprint)

    def reads_only_english(self, row: ModelRow) -> bool:
        """Tell by a model's tokenizer whether it was trained on English alone, as CLIP was."""
        return self.text_encoder_of(row).tokenizer.kind == "clip"

    def competing_words(self, row: ModelRow) -> NDArray[np.float32] | None:
        """Return the unit vectors (words, width) that a question competes with.

        None until a run has made them; they are read once.
        """
        from clipsearch.models.text.competing import read_competing

        fingerprint = row.identity.fingerprint
        if self._competing.get(fingerprint) is None:
            self._competing[fingerprint] = read_competing(self._folder / fingerprint, fingerprint)
        return self._competing[fingerprint]

    def keep_competing_words(self, row: ModelRow) -> None:
        """Embed the competing words of a model, where its text tower lies here and they do not."""
        from clipsearch.models.text.competing import write_competing
        from clipsearch.models.text.encoder import TextEncoder

        if self.competing_words(row) is not None:
            return
        folder = self._folder / row.identity.fingerprint
        with suppress(ModelError), disk_errors(self._folder.parent):
            write_competing(folder, TextEncoder.open(folder))

    def _write_text_tower(self, identity: ModelIdentity, folder: Path) -> None:
        """Take a model's text tower from where one is ready, else export it, once for all."""
        from clipsearch.models import shipped, tower_cache

        if not shipped.write_shipped_text_tower(
            identity.fingerprint, folder
        ) and not tower_cache.copy_text_tower(identity.fingerprint, folder):
            self.whole_encoder_of(identity).export_text_encoder(folder)
            tower_cache.keep_text_tower(identity.fingerprint, folder)

    def _complete(self, tower: TextEncoder, encoder: Encoder | ImageEncoder, folder: Path) -> None:
        """Add the logit scale to an export; where it can't be written, a later run will."""
        from clipsearch.models.text.export import add_logit_scale

        scale, bias = encoder.logit_scale, encoder.logit_bias
        with suppress(OSError):
            add_logit_scale(folder, tower.settings, logit_scale=scale, logit_bias=bias)
        with self._loading_text:  # one that was opened for queries says the old
            self._text_encoders.pop(tower.fingerprint, None)


def exported_settings(fingerprint: str) -> ImageEncoderSettings | None:
    """Return what is said of a model's exported image tower; None where there is none."""
    from clipsearch.models import shipped, tower_cache
    from clipsearch.models.image.encoder import read_settings

    folder = shipped.image_tower_folder(fingerprint) or tower_cache.image_tower_folder(fingerprint)
    return None if folder is None else read_settings(folder)


def _known_identity(source: ModelSource) -> ModelIdentity | None:
    """Return the model that a name stands for, where torch is not needed to tell."""
    from clipsearch.models import shipped, tower_cache

    return shipped.shipped_identity(source) or tower_cache.find(source)


def other_weights(name: str) -> ModelError:
    """Return the error for a name that now stands for other weights than it did."""
    return ModelError(
        f"the weights of {name!r} are not those that this library was indexed with; "
        f"`clipsearch index --model {name}` embeds every photo anew with the present ones"
    )
