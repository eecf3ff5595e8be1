"""What a model's configuration may say: a stranger may have written it, and we build from it.

Only names that lead nowhere else are allowed, so that opening a folder neither fetches nor runs
anything; and only sizes that a model can have, so that it takes no more memory than its weights.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, NoReturn

from clipsearch.errors import ModelError, shortened

# Several times what any open_clip model has.
_MOST_LAYERS = 512
_LARGEST_SIDE = 2048  # pixels of the pictures that a model takes
_MOST_PATCHES = 16_384  # of a picture
_LARGEST_WIDTH = 65_536
LONGEST_CONTEXT = 4096  # ids of a text


def check_config(
    config: dict[str, Any], preprocessing: dict[str, Any], where: Path, *, remote: bool
) -> None:
    """Raise ModelError unless a network can safely be built from a configuration file.

    `remote` allows a text tower of another hub repository (hf_model_name).
    """
    check = _Check(where)
    check.whole(config, "embed_dim", _LARGEST_WIDTH)
    text, vision = check.part(config, "text_cfg"), check.part(config, "vision_cfg")
    for part in (text, vision, config.get("multimodal_cfg")):
        if isinstance(part, dict):
            _check_tower(check, part)
    if text.get("hf_model_name") and not remote:
        check.fail("hf_model_name names another model; clipsearch fetches none for a local folder")
    _check_vision(check, vision)
    _check_preprocessing(check, preprocessing)


class _Check:
    """Raises ModelError about one configuration file."""

    def __init__(self, where: Path) -> None:
        self._where = where

    def fail(self, what: str) -> NoReturn:
        raise ModelError(f"{self._where}: {what}")

    def part(self, holder: dict[str, Any], key: str) -> dict[str, Any]:
        part = holder.get(key)
        if not isinstance(part, dict):
            self.fail(f"it has no {key}")
        return part

    def whole(self, holder: dict[str, Any], key: str, most: int) -> None:
        if not _is_whole(holder.get(key), most):
            self.fail(f"{key} must be a whole number up to {most}, not {_short(holder.get(key))}")

    def size(self, holder: dict[str, Any], key: str, most: int) -> None:
        """Check a side, or a height and a width; what is missing has a default."""
        value = holder.get(key)
        sides = value if isinstance(value, list) and len(value) == 2 else [value]
        if value is not None and not all(_is_whole(side, most) for side in sides):
            self.fail(f"{key} must be pixels up to {most}, not {_short(value)}")

    def one_of(self, holder: dict[str, Any], key: str, choices: tuple[str, ...]) -> None:
        if key in holder and holder[key] not in choices:
            self.fail(f"{key} must be {' or '.join(choices)}, not {_short(holder[key])}")

    def colour(self, holder: dict[str, Any], key: str, *, positive: bool) -> None:
        values = holder.get(key)
        if (
            not isinstance(values, list)
            or len(values) != 3
            or not all(_is_number(value) and abs(value) < 1e6 for value in values)
            or (positive and min(values) <= 0)
        ):
            self.fail(f"{key} must be three numbers, not {_short(values)}")


def _check_tower(check: _Check, tower: dict[str, Any]) -> None:
    if tower.get("context_length"):
        check.whole(tower, "context_length", LONGEST_CONTEXT)
    layers = tower.get("layers", 1)
    if not all(
        _is_whole(n, _MOST_LAYERS) for n in (layers if isinstance(layers, list) else [layers])
    ):
        check.fail(f"layers must be whole numbers up to {_MOST_LAYERS}, not {_short(layers)}")
    for key in ("act_kwargs", "norm_kwargs"):
        options = tower.get(key) or {}
        if not isinstance(options, dict) or not options.keys() <= {"approximate", "eps"}:
            check.fail(f"{key} is not supported: {_short(options)}")


def _check_vision(check: _Check, vision: dict[str, Any]) -> None:
    name = vision.get("timm_model_name")
    if name is not None and not (isinstance(name, str) and re.fullmatch(r"[\w.]+", name)):
        # timm would take hf-hub: and local-dir: for an order to look elsewhere
        check.fail(f"timm_model_name must be an architecture of timm, not {_short(name)}")
    check.size(vision, "image_size", _LARGEST_SIDE)
    patch, sides = vision.get("patch_size"), vision.get("image_size", 224)
    if name is None and _is_whole(patch, _LARGEST_SIDE) and sides is not None:
        assert isinstance(patch, int)
        sides = sides if isinstance(sides, list) else [sides, sides]
        if math.prod(-(-side // patch) for side in sides) > _MOST_PATCHES:
            check.fail(f"patch_size {patch} cuts a picture into over {_MOST_PATCHES} patches")


def _check_preprocessing(check: _Check, preprocessing: dict[str, Any]) -> None:
    check.colour(preprocessing, "mean", positive=False)
    check.colour(preprocessing, "std", positive=True)
    check.size(preprocessing, "size", _LARGEST_SIDE)
    check.one_of(preprocessing, "mode", ("RGB",))
    check.one_of(preprocessing, "interpolation", ("bicubic", "bilinear", "random"))
    check.one_of(preprocessing, "resize_mode", ("shortest", "longest", "squash"))
    fill = preprocessing.get("fill_color", 0)
    levels = fill if isinstance(fill, list) and len(fill) == 3 else [fill]
    if not all(_is_number(level) and 0 <= level <= 255 for level in levels):
        check.fail(f"fill_color must be 0 to 255, not {_short(fill)}")


def _is_whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _is_number(value: object) -> bool:
    whole = isinstance(value, (int, float)) and not isinstance(value, bool)
    return whole and math.isfinite(value)  # type: ignore[arg-type]


def _short(value: object) -> str:
    return shortened(repr(value), 60)
