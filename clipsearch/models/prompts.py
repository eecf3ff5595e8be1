"""Classes as unit vectors, from their names in prompts (Radford et al. 2021, 3.1.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import texts_given
from clipsearch.errors import InvalidInput, ModelError
from clipsearch.unit_length import unit_length

Template = Callable[[str], str]  # puts a class's name into a prompt

PROMPT = "a photo of a {}."
_TEXTS_AT_ONCE = 2560
_LISTS = "zero_shot_metadata.py"  # in open_clip


class EncodesTexts(Protocol):
    """A model, or its exported text tower."""

    def encode_text(self, texts: str | Iterable[str], /) -> NDArray[np.float32]:
        """Return one unit vector a text, float32 (n, width)."""


def single_vectors(encoder: EncodesTexts, names: str | Iterable[str]) -> NDArray[np.float32]:
    """Return the unit vectors of "a photo of a NAME.", float32 (classes, width).

    Raises as `class_vectors`.
    """
    return class_vectors(encoder, names, [PROMPT.format])


def ensemble_vectors(
    encoder: EncodesTexts,
    names: str | Iterable[str],
    report: Callable[[str, int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the class vectors, float32 (classes, width), of `imagenet_templates`.

    That is 80 texts a name. Raises as `class_vectors`.
    """
    return class_vectors(encoder, names, imagenet_templates(), report)


def class_vectors(
    encoder: EncodesTexts,
    names: str | Iterable[str],
    templates: Sequence[Template],
    report: Callable[[str, int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return for each name the mean of its prompts' unit vectors, made unit again.

    Args:
        encoder: what turns texts into vectors; `TextEncoder` does it without torch.
        names: of the classes, in words, as they are to stand in a prompt.
        templates: what makes prompts of a name.
        report: is called with "texts", how many are encoded, and of how many.

    Returns:
        float32 (classes, width), in the order of the names.

    Raises:
        InvalidInput: no name or no template is given, or a name is no str.
        ModelError: the model fails.
    """
    names = texts_given(names)
    if not names or not templates:
        raise InvalidInput("class vectors are made of at least one name and one template")
    at_once = max(1, _TEXTS_AT_ONCE // len(templates))
    means = []
    for start in range(0, len(names), at_once):
        some = names[start : start + at_once]
        texts = [template(name) for name in some for template in templates]
        vectors = encoder.encode_text(texts).reshape(len(some), len(templates), -1)
        means.append(vectors.mean(axis=1))
        if report is not None:
            report("texts", (start + len(some)) * len(templates), len(names) * len(templates))
    return unit_length(np.concatenate(means))


def imagenet_templates() -> tuple[Template, ...]:
    """Return the 80 templates that CLIP's authors chose for ImageNet; they fit most things."""
    return tuple(_open_clips_lists().OPENAI_IMAGENET_TEMPLATES)


def imagenet_names() -> tuple[str, ...]:
    """Return the names that CLIP's authors gave the 1,000 classes of ImageNet, by their numbers.

    Two pairs of classes have one name.
    """
    return tuple(_open_clips_lists().IMAGENET_CLASSNAMES)


@cache
def _open_clips_lists() -> ModuleType:
    """Return open_clip's module of templates and names, alone: open_clip itself loads torch."""
    from importlib import import_module
    from importlib.util import find_spec, module_from_spec, spec_from_file_location

    whole = find_spec("open_clip")
    if whole is None or whole.origin is None:
        raise ModelError("open_clip is not installed")
    spec = spec_from_file_location("open_clips_lists", Path(whole.origin).with_name(_LISTS))
    assert spec is not None and spec.loader is not None  # of a .py there always is
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError):  # a version that has it elsewhere, or not for itself
        return import_module("open_clip.zero_shot_metadata")
    return module
