"""Class vectors: those that open_clip makes, by a model or by its exported text tower alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip import zero_shot_metadata

from clipsearch.errors import InvalidInput
from clipsearch.models import prompts
from clipsearch.models.encoder import Encoder, load_encoder
from clipsearch.models.names import resolve_model
from clipsearch.models.prompts import (
    PROMPT,
    class_vectors,
    ensemble_vectors,
    imagenet_names,
    imagenet_templates,
    single_vectors,
)
from clipsearch.models.text.encoder import TextEncoder

NAMES = ["golden retriever", "tomato", "night sky"]


@pytest.fixture(scope="module")
def encoder(tiny_model_folder: Path) -> Encoder:
    return load_encoder(resolve_model(str(tiny_model_folder)), device="cpu")


@pytest.fixture(scope="module")
def tower(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("towers") / "tiny"
    encoder.export_text_encoder(folder)
    return folder


@pytest.mark.parametrize(
    "templates", [[PROMPT], list(zero_shot_metadata.OPENAI_IMAGENET_TEMPLATES)]
)
def test_class_vectors_are_those_of_open_clip(encoder, tower, tiny_model_folder, templates):
    name = f"local-dir:{tiny_model_folder}"
    network = open_clip.create_model(name).eval()
    with torch.inference_mode():
        expected = open_clip.build_zero_shot_classifier(
            network, open_clip.get_tokenizer(name), NAMES, templates
        )
    make = single_vectors if templates == [PROMPT] else ensemble_vectors
    for texts in (encoder, TextEncoder.open(tower)):
        found = make(texts, NAMES)
        assert found.dtype == np.float32 and found.shape == (3, 24)
        np.testing.assert_allclose(found, expected.T.numpy(), atol=1e-5)


def test_names_come_in_their_order_however_many_go_together(encoder, monkeypatch):
    whole = ensemble_vectors(encoder, NAMES)
    assert len(np.unique(whole.round(4), axis=0)) == 3
    reported = []
    monkeypatch.setattr(prompts, "_TEXTS_AT_ONCE", 160)
    again = ensemble_vectors(encoder, NAMES, lambda *said: reported.append(said))
    np.testing.assert_allclose(again, whole, atol=1e-6)
    assert reported == [("texts", 160, 240), ("texts", 240, 240)]
    np.testing.assert_allclose(
        single_vectors(encoder, "tomato")[0], single_vectors(encoder, NAMES)[1], atol=1e-6
    )


def test_a_class_needs_a_name_and_a_template(encoder):
    for names, templates in (([], [str]), (NAMES, [])):
        with pytest.raises(InvalidInput, match="at least one name and one template"):
            class_vectors(encoder, names, templates)
    with pytest.raises(InvalidInput, match="a text is a str"):
        single_vectors(encoder, [3])


@pytest.fixture
def fresh_lists():
    prompts._open_clips_lists.cache_clear()
    yield
    prompts._open_clips_lists.cache_clear()


@pytest.mark.parametrize("file", ["zero_shot_metadata.py", "not_there.py", "model.py"])
def test_the_lists_are_those_of_open_clip_wherever_it_keeps_them(monkeypatch, fresh_lists, file):
    """Read alone; imported with the whole of open_clip where that can't be."""
    monkeypatch.setattr(prompts, "_LISTS", file)
    assert imagenet_names() == tuple(zero_shot_metadata.IMAGENET_CLASSNAMES)
    expected = [make("x") for make in zero_shot_metadata.OPENAI_IMAGENET_TEMPLATES]
    assert [make("x") for make in imagenet_templates()] == expected
    assert (len(imagenet_names()), len(expected)) == (1000, 80)


def test_class_vectors_of_an_exported_tower_need_no_torch(tower):
    program = (
        "import sys; from pathlib import Path; "
        "from clipsearch.models.prompts import ensemble_vectors; "
        "from clipsearch.models.text.encoder import TextEncoder; "
        f"tower = TextEncoder.open(Path({str(tower)!r})); "
        "print(*ensemble_vectors(tower, ['a dog', 'cats']).shape); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    shape, loaded = run.stdout.splitlines()
    assert shape == "2 24"
    assert not set(loaded.split()) & {"torch", "torchvision", "open_clip", "timm", "faiss", "PIL"}
