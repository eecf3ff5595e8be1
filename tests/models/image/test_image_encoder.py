"""Image towers without torch: they give open_clip's own vectors, or are not used."""

from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import open_clip
import pytest
import torch
from example_photos import small_photos
from PIL import Image
from tiny_models import (
    CLIP,
    PREPROCESSING,
    SIGLIP,
    TIMM_TOWER,
    save_tiny_model,
    save_tiny_tokenizer,
)

from clipsearch.errors import ModelError
from clipsearch.models import shipped
from clipsearch.models.image.encoder import ImageEncoder
from clipsearch.models.image.export import export_image_tower
from clipsearch.models.loading import LoadedModel, load_model
from clipsearch.models.names import BUILTIN_FOLDER, resolve_model
from clipsearch.models.text.encoder import TextEncoder
from clipsearch.training.builtin.graphs import write_graphs

RESNET = {**CLIP, "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}}


def photos(count: int) -> list[Image.Image]:
    return [Image.open(BytesIO(data)).convert("RGB") for data in small_photos()[:count]]


def pixels_of(encoder: ImageEncoder, count: int = 12) -> list[np.ndarray]:
    return [np.asarray(encoder.preprocessing.pixels(photo)) for photo in photos(count)]


def open_clips_own(folder: Path, count: int = 12) -> np.ndarray:
    """Return the unit vectors that open_clip makes by itself, its own preprocessing included."""
    network, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    with torch.inference_mode():
        batch = torch.stack([preprocess(photo) for photo in photos(count)])
        return network.eval().encode_image(batch, normalize=True).numpy()


def lowest_cosine(some: np.ndarray, others: np.ndarray) -> float:
    return float((some * others).sum(axis=1).min())


def exported(folder: Path, to: Path) -> ImageEncoder:
    export_image_tower(loaded(folder), to)
    return ImageEncoder.open(to)


def loaded(folder: Path) -> LoadedModel:
    return load_model(resolve_model(str(folder)))


@pytest.mark.parametrize(
    ("config", "size"),
    [(CLIP, 32), (SIGLIP, 32), (RESNET, 64), (TIMM_TOWER, 64), (TIMM_TOWER, 97)],
    ids=["vit", "siglip", "resnet", "timm", "timm of odd size"],
)
def test_an_exported_tower_gives_open_clips_vectors(tmp_path, config, size):
    config = {**config, "vision_cfg": {**config["vision_cfg"], "image_size": size}}
    folder = save_tiny_model(tmp_path / "model", config)
    if config["text_cfg"] is SIGLIP["text_cfg"]:
        save_tiny_tokenizer(folder, ["a dog on a beach"] * 20)
    encoder = exported(folder, tmp_path / "image")
    ours = encoder.encode_pixels(pixels_of(encoder))
    assert ours.dtype == np.float32 and ours.shape == (12, config["embed_dim"])
    assert lowest_cosine(ours, open_clips_own(folder)) >= 0.9999


def test_pictures_that_are_not_square_keep_their_shape(tmp_path):
    vision = {**CLIP["vision_cfg"], "image_size": [32, 48]}
    folder = save_tiny_model(
        tmp_path / "model",
        {**CLIP, "vision_cfg": vision},
        preprocessing={**PREPROCESSING, "size": [32, 48], "resize_mode": "longest"},
    )
    encoder = exported(folder, tmp_path / "image")
    assert pixels_of(encoder)[0].shape == (32, 48, 3)
    assert lowest_cosine(encoder.encode_pixels(pixels_of(encoder)), open_clips_own(folder)) > 0.9999


def test_a_vector_does_not_depend_on_the_others(tmp_path, tiny_model_folder):
    encoder = exported(tiny_model_folder, tmp_path / "image")
    pixels = pixels_of(encoder, 11)
    together = encoder.encode_pixels(pixels)
    alone = np.concatenate([encoder.encode_pixels(one) for one in pixels])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert encoder.encode_pixels([]).shape == (0, encoder.identity.width)


def test_an_export_that_gives_other_vectors_is_refused(tmp_path, tiny_model_folder, monkeypatch):
    from clipsearch.models.image import export

    write = export.lay_weights_beside

    def write_wrongly(path: Path, tower: torch.nn.Module, name: str) -> None:
        write(path, tower, name)
        data = path.with_name(name)
        values = np.fromfile(data, np.float32)
        np.where(np.arange(len(values)) % 3 == 0, -values, values).tofile(data)

    monkeypatch.setattr(export, "lay_weights_beside", write_wrongly)
    with pytest.raises(ModelError, match="differs from the model"):
        exported(tiny_model_folder, tmp_path / "image")


@pytest.mark.parametrize(
    ("key", "value"), [("format", 2), ("batch", 0), ("batch", "8"), ("identity", {}), ("width", 1)]
)
def test_settings_that_can_not_be_are_refused(tmp_path, tiny_model_folder, key, value):
    exported(tiny_model_folder, tmp_path / "image")
    path = tmp_path / "image" / "image_encoder.json"
    said = json.loads(path.read_text())
    (said["identity"] if key == "width" else said)[key] = value
    path.write_text(json.dumps(said))
    with pytest.raises(ModelError):
        ImageEncoder.open(tmp_path / "image")


@pytest.mark.parametrize("name", ["image.onnx", "image.onnx.data", "image_encoder.json"])
def test_a_tower_without_a_part_of_it_is_refused(tmp_path, tiny_model_folder, name):
    exported(tiny_model_folder, tmp_path / "image")
    (tmp_path / "image" / name).unlink()
    with pytest.raises(ModelError):
        ImageEncoder.open(tmp_path / "image")


# The built-in model's, which ships


def test_the_shipped_towers_are_those_of_the_weights_that_ship():
    model = load_model(resolve_model("builtin"))
    encoder = ImageEncoder.open(BUILTIN_FOLDER)
    assert encoder.identity == model.identity
    assert TextEncoder.open(BUILTIN_FOLDER).fingerprint == model.identity.fingerprint
    assert shipped.is_shipped(model.identity.fingerprint)
    ours = encoder.encode_pixels(pixels_of(encoder, 58))
    assert lowest_cosine(ours, open_clips_own(BUILTIN_FOLDER, 58)) >= 0.9999


def test_the_shipped_graphs_hold_no_weights_but_name_where_they_lie():
    weights = BUILTIN_FOLDER / "open_clip_model.safetensors"
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
    places = {
        (start + said["data_offsets"][0], tuple(said["shape"]))
        for name, said in header.items()
        if name != "__metadata__"
    }
    for graph in ("image.onnx", "text.onnx"):
        content = (BUILTIN_FOLDER / graph).read_bytes()
        assert b"/home/" not in content and b".py" not in content
        stored = onnx.load_model_from_string(content).graph.initializer
        apart = [one for one in stored if one.data_location == onnx.TensorProto.EXTERNAL]
        assert len(apart) > 30
        for one in apart:
            place = {entry.key: entry.value for entry in one.external_data}
            assert place["location"] == weights.name
            assert (int(place["offset"]), tuple(one.dims)) in places, one.name


def test_the_shipped_text_tower_is_written_as_an_export_would_be(tmp_path):
    model = load_model(resolve_model("builtin"))
    texts = ["a dog on a beach", "red", "", "musicians on a stage at night in the rain"]
    assert shipped.write_shipped_text_tower(model.identity.fingerprint, tmp_path / "text")
    assert {path.name for path in tmp_path.iterdir()} == {"text"}
    with torch.inference_mode():
        ids = torch.from_numpy(model.tokenizer(texts))
        expected = model.network.encode_text(ids, normalize=True).numpy()
    for folder in (tmp_path / "text", BUILTIN_FOLDER):
        assert lowest_cosine(TextEncoder.open(folder).encode_text(texts), expected) >= 0.99999
    assert not shipped.write_shipped_text_tower("0123456789abcdef", tmp_path / "other")


def test_graphs_for_other_weights_are_written_beside_them(tmp_path):
    """As the recipe of the built-in model does at its end."""
    folder = save_tiny_model(tmp_path / "model", TIMM_TOWER)
    write_graphs(folder)
    encoder = ImageEncoder.open(folder)
    assert encoder.identity == loaded(folder).identity
    assert lowest_cosine(encoder.encode_pixels(pixels_of(encoder)), open_clips_own(folder)) > 0.9999
    assert TextEncoder.open(folder).encode_text(["a dog"]).shape == (1, 24)


def test_it_opens_where_every_file_is_a_link_to_another_folder(tmp_path):
    """As some installers lay a package."""
    (tmp_path / "linked").mkdir()
    for file in BUILTIN_FOLDER.iterdir():
        (tmp_path / "linked" / file.name).symlink_to(file)
    encoder = ImageEncoder.open(tmp_path / "linked")
    pixels = pixels_of(encoder, 2)
    expected = ImageEncoder.open(BUILTIN_FOLDER).encode_pixels(pixels)
    np.testing.assert_array_equal(encoder.encode_pixels(pixels), expected)


def test_other_weights_in_place_of_the_shipped_ones_need_torch(tmp_path, monkeypatch):
    folder = shutil.copytree(BUILTIN_FOLDER, tmp_path / "builtin_model")
    weights = folder / "open_clip_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    fingerprint = ImageEncoder.open(BUILTIN_FOLDER).identity.fingerprint
    monkeypatch.setattr(shipped, "local_weights", lambda source: weights)
    shipped._identity.cache_clear()
    try:
        assert not shipped.is_shipped(fingerprint)
    finally:
        monkeypatch.undo()
        shipped._identity.cache_clear()
    assert shipped.is_shipped(fingerprint)
