"""Text queries without torch: an exported text tower in ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import texts_given
from clipsearch.errors import ModelError, one_line
from clipsearch.models.files import read_json
from clipsearch.models.onnx_session import open_session, runtime_errors
from clipsearch.models.text.settings import TextTokenizer, TokenizerSettings, checked_cleaning
from clipsearch.models.text.tokenizer import open_tokenizer
from clipsearch.unit_length import unit_length

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # noqa: TID251

FORMAT = 2
READABLE = (1, FORMAT)  # 1 had no logit scale
TOWER_NAME = "text.onnx"
WEIGHTS_NAME = "text.onnx.data"
SETTINGS_NAME = "text_encoder.json"
TOKENS_INPUT = "ids"
BATCH = 64  # texts per run: bounds memory
TEXTS_AT_ONCE = 4096  # that are sorted by length, so that a run is as long as its texts


@dataclass(frozen=True)
class TextEncoderSettings:
    """What text_encoder.json says of an exported text tower.

    How likely a text and a picture go together, the model learned to tell from
    `logit_scale * cosine + logit_bias`, by a softmax over texts or, with a bias, by a sigmoid. The
    scale is that factor itself, without a unit: 100 for OpenAI's models, whose weights hold its
    logarithm. It is None in exports of format 1, and where the weights hold no number.
    """

    format: int
    fingerprint: str  # of the model it was exported from
    width: int  # length of an embedding
    shortens: bool  # takes ids cut behind the longest text's end token
    tokenizer: TokenizerSettings
    int8: bool = False  # multiplies in int8, with one scale for all that runs together
    logit_scale: float | None = None  # above 0
    logit_bias: float | None = None  # of SigLIP's loss; None for the models that have none


class TextEncoder:
    """Turns texts into unit vectors that match the model's image embeddings."""

    def __init__(
        self,
        session: InferenceSession,
        tokenizer: TextTokenizer,
        settings: TextEncoderSettings,
    ) -> None:
        """Take the parts; `TextEncoder.open` reads them from a folder."""
        self.settings = settings
        self._session = session
        self._tokenizer = tokenizer

    @classmethod
    def open(cls, folder: Path) -> TextEncoder:
        """Open what `Encoder.export_text_encoder` wrote; raises ModelError if it can't be used."""
        settings = _read_settings(folder)
        # The graph was optimized when it was exported. Weights are packed at every start: that
        # takes half as long as it saves a server, and without it a vector's last bits differ.
        session = open_session(folder / TOWER_NAME, "text tower", optimize=False, pack=True)
        _check_session(session, settings, folder)
        return cls(session, open_tokenizer(folder, settings.tokenizer), settings)

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the model that this tower belongs to."""
        return self.settings.fingerprint

    @property
    def logit_scale(self) -> float | None:
        """Return what cosines are multiplied by, as `TextEncoderSettings` says."""
        return self.settings.logit_scale

    @property
    def logit_bias(self) -> float | None:
        """Return what is added to them then, as `TextEncoderSettings` says."""
        return self.settings.logit_bias

    @property
    def tokenizer(self) -> TokenizerSettings:
        """Return how texts are cut."""
        return self.settings.tokenizer

    def encode_text(self, texts: str | Iterable[str]) -> NDArray[np.float32]:
        """Return one unit vector a text, float32 (n, width), of several texts or of one."""
        texts = texts_given(texts)
        vectors = np.empty((len(texts), self.settings.width), dtype=np.float32)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            some = texts[start : start + TEXTS_AT_ONCE]
            try:
                vectors[start : start + len(some)] = unit_length(self._features(some))
            except ValueError as error:
                raise ModelError(f"the text tower gives no vector: {one_line(error)}") from error
        return vectors

    def _features(self, texts: list[str]) -> NDArray[np.float32]:
        """Return what the tower makes of some texts (n, width); texts of like length go together.

        A text's vector must not depend on the others; in int8, only one alone keeps to that.
        """
        ids = self._tokenizer(texts)
        order = np.argsort(_ends(ids), kind="stable") if self.settings.shortens else slice(None)
        ids = ids[order]
        step = 1 if self.settings.int8 else BATCH
        features = np.empty((len(ids), self.settings.width), dtype=np.float32)
        features[order] = np.concatenate(
            [self._run(ids[start : start + step]) for start in range(0, len(ids), step)]
        )
        return features

    def _run(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.settings.shortens:
            ids = ids[:, : int(_ends(ids).max()) + 1]
        features: NDArray[np.float32]
        try:
            (features,) = self._session.run(None, {TOKENS_INPUT: ids})
        except runtime_errors() as error:
            raise ModelError(f"the text tower fails: {one_line(error)}") from error
        if features.shape != (len(ids), self.settings.width):
            raise ModelError(f"the text tower gives {features.shape}, not one vector a text")
        return features


def _ends(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each text (n, length) ends: its end token has the highest id."""
    ends: NDArray[np.int64] = ids.argmax(axis=1)
    return ends


def _read_settings(folder: Path) -> TextEncoderSettings:
    content = read_json(folder / SETTINGS_NAME)
    if content.get("format") not in READABLE:
        raise ModelError(
            f"{folder} has format {content.get('format')!r:.60}, not {FORMAT}: export it again"
        )
    try:
        tokenizer = dict(content.pop("tokenizer"))
        tokenizer["cleaning"] = checked_cleaning(tokenizer["cleaning"])
        settings = TextEncoderSettings(tokenizer=TokenizerSettings(**tokenizer), **content)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / SETTINGS_NAME} is incomplete: {one_line(error)}") from error
    said = (settings.fingerprint, settings.width, settings.shortens, settings.int8)
    scale, bias = settings.logit_scale, settings.logit_bias
    if (
        [type(value) for value in said] != [str, int, bool, bool]
        or not all(_is_number_or_none(value) for value in (scale, bias))
        or (scale is not None and scale <= 0)
    ):
        raise ModelError(f"{folder / SETTINGS_NAME} holds values of the wrong kind")
    return settings


def _is_number_or_none(value: object) -> bool:
    return value is None or (type(value) is float and math.isfinite(value))


def _check_session(session: InferenceSession, settings: TextEncoderSettings, folder: Path) -> None:
    """Raise ModelError unless the graph takes ids and gives vectors of the model's width."""
    inputs = [(i.name, i.type, len(i.shape)) for i in session.get_inputs()]
    outputs = [(o.type, len(o.shape)) for o in session.get_outputs()]
    if inputs != [(TOKENS_INPUT, "tensor(int64)", 2)] or outputs != [("tensor(float)", 2)]:
        raise ModelError(f"the text tower in {folder} is no text tower: export it again")
    width = session.get_outputs()[0].shape[1]
    if width not in (settings.width, None) and not isinstance(width, str):
        raise ModelError(f"the text tower in {folder} gives vectors of another width")
