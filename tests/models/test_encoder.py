"""Encoding through real open_clip models of random weights, compared with open_clip itself."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import open_clip
import PIL.Image
import pytest
import torch
from tiny_models import (
    CLIP,
    PREPROCESSING,
    SIGLIP,
    TIMM_TOWER,
    save_tiny_model,
    save_tiny_tokenizer,
)

from clipsearch.errors import InvalidInput, ModelError, UnknownModel, WeightsUnavailable
from clipsearch.models.encoder import LEAST_COSINE, Encoder, load_encoder
from clipsearch.models.names import resolve_model

pytestmark = pytest.mark.usefixtures("each_precision")

CAPTIONS = ["a dog runs on a beach", "two people ride bicycles", "an old church at night"]


def load(folder: Path, *, exact: bool = False) -> Encoder:
    return load_encoder(resolve_model(str(folder)), device="cpu", exact=exact)


@pytest.fixture(scope="module")
def images(sample_photos: list[Path]) -> list[PIL.Image.Image]:
    images = [PIL.Image.open(path).convert("RGB") for path in sample_photos[:4]]
    return [images[0].resize((300, 120)), *images[1:]]


@pytest.fixture(scope="module")
def encoder(each_precision, tiny_model_folder: Path) -> Encoder:
    return load(tiny_model_folder)


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_tiny_model(tmp_path_factory.mktemp("siglip") / "model", SIGLIP)
    save_tiny_tokenizer(folder, CAPTIONS * 20)
    return folder


def open_clips_own(folder: Path, images: list[PIL.Image.Image]) -> np.ndarray:
    """Return the unit vectors that open_clip makes by itself."""
    network, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    with torch.inference_mode():
        batch = torch.stack([preprocess(image) for image in images])
        return network.eval().encode_image(batch, normalize=True).numpy()


def lowest_cosine(some: np.ndarray, others: np.ndarray) -> float:
    return float((some * others).sum(axis=1).min())


# embeddings


@pytest.mark.parametrize("config", [CLIP, TIMM_TOWER], ids=["vit", "timm"])
@pytest.mark.parametrize("resize_mode", ["squash", "shortest", "longest"])
def test_image_embeddings_are_those_of_open_clip(tmp_path, images, config, resize_mode):
    preprocessing = {**PREPROCESSING, "resize_mode": resize_mode, "interpolation": "bilinear"}
    folder = save_tiny_model(tmp_path / "model", config, preprocessing=preprocessing)
    ours = load(folder).encode_images(images)
    assert ours.dtype == np.float32 and ours.shape == (len(images), 24)
    assert lowest_cosine(ours, open_clips_own(folder, images)) >= 0.999


def test_a_model_for_pictures_that_are_not_square_is_honoured(tmp_path, images):
    vision = {**CLIP["vision_cfg"], "image_size": [32, 48]}
    folder = save_tiny_model(tmp_path / "model", {**CLIP, "vision_cfg": vision})
    encoder = load(folder)
    assert encoder.preprocessing.pixels(images[0]).size == (48, 32)
    assert encoder.image_size == 48
    assert lowest_cosine(encoder.encode_images(images), open_clips_own(folder, images)) >= 0.999


def test_mean_and_deviation_come_from_the_model(tmp_path, images):
    preprocessing = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.05]}
    folder = save_tiny_model(tmp_path / "model", preprocessing=preprocessing)
    ours = load(folder).encode_images(images)
    assert lowest_cosine(ours, open_clips_own(folder, images)) >= 0.9999


def test_pixels_give_what_their_pictures_give(encoder, images):
    pixels = [np.asarray(encoder.preprocessing.pixels(image)) for image in images]
    assert {(p.shape, p.dtype) for p in pixels} == {((32, 32, 3), np.dtype(np.uint8))}
    np.testing.assert_array_equal(encoder.encode_pixels(pixels), encoder.encode_images(images))


def test_text_embeddings_are_those_of_open_clip(encoder, tiny_model_folder):
    network = open_clip.create_model(f"local-dir:{tiny_model_folder}").eval()
    ids = open_clip.get_tokenizer(f"local-dir:{tiny_model_folder}")(CAPTIONS)
    with torch.inference_mode():
        expected = network.encode_text(ids, normalize=True).numpy()
    assert lowest_cosine(encoder.encode_text(CAPTIONS), expected) >= 0.99999


def test_a_causal_text_tower_is_not_given_padding(tiny_model_folder, monkeypatch):
    from clipsearch.models.text.towers import ShortTower

    lengths = []
    forward = ShortTower.forward
    monkeypatch.setattr(
        ShortTower, "forward", lambda self, ids: lengths.append(ids.shape[1]) or forward(self, ids)
    )
    encoder = load(tiny_model_folder)
    found = encoder.encode_text(["a cat", "a dog on a beach"])
    assert lengths and set(lengths) == {7}  # with the tokens for start and end
    # what only looks like such a tower is found out
    monkeypatch.setattr(ShortTower, "forward", lambda self, ids: forward(self, ids).flip(-1))
    whole = load(tiny_model_folder).encode_text(["a cat", "a dog on a beach"])
    assert lowest_cosine(whole, found) >= 0.99999


def test_embeddings_have_unit_length_and_nothing_gives_nothing(encoder, images):
    for vectors in (encoder.encode_images(images), encoder.encode_text(CAPTIONS)):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert encoder.encode_images([]).shape == (0, 24)
    assert encoder.encode_text([]).shape == (0, 24)


def test_a_batch_gives_the_same_as_one_by_one(encoder, images):
    alone = np.concatenate([encoder.encode_images([image]) for image in images])
    np.testing.assert_allclose(encoder.encode_images(images), alone, atol=1e-5)


@pytest.fixture(scope="module")
def example_photos(repository) -> list[PIL.Image.Image]:
    paths = sorted((repository / "examples" / "photos").rglob("*.jpg"))[::4]
    return [PIL.Image.open(path).convert("RGB") for path in paths]


@pytest.mark.parametrize("config", [CLIP, TIMM_TOWER, None], ids=["vit", "timm", "builtin"])
def test_photos_lie_where_float32_puts_them(tmp_path, example_photos, each_precision, config):
    folder = "builtin" if config is None else save_tiny_model(tmp_path / "model", config)
    encoder = load(folder)
    assert encoder.precision in (each_precision, "float32")
    expected = load(folder, exact=True).encode_images(example_photos)
    assert lowest_cosine(encoder.encode_images(example_photos), expected) >= LEAST_COSINE


def test_a_model_that_gives_no_number_is_an_error_and_not_a_vector(tmp_path, images):
    from safetensors.torch import load_file, save_file

    folder = save_tiny_model(tmp_path / "model")
    weights = folder / "open_clip_model.safetensors"
    state = load_file(weights)
    state["visual.proj"][0, 0] = float("nan")
    save_file(state, weights)
    with pytest.raises(ModelError, match="NaN"):
        load(folder).encode_images(images)


# identity


def test_a_model_loaded_twice_has_the_same_fingerprint(encoder, tiny_model_folder, tmp_path):
    elsewhere = shutil.copytree(tiny_model_folder, tmp_path / "elsewhere")
    assert load(tiny_model_folder).identity == encoder.identity
    assert load(elsewhere).identity.fingerprint == encoder.identity.fingerprint


def test_other_weights_have_another_fingerprint(encoder, other_model_folder):
    other = load(other_model_folder).identity
    assert other.weights_sha256 != encoder.identity.weights_sha256
    assert other.fingerprint != encoder.identity.fingerprint


def test_weights_changed_in_place_are_noticed(tmp_path, encoder):
    folder = save_tiny_model(tmp_path / "model")
    assert load(folder).identity.fingerprint == encoder.identity.fingerprint
    save_tiny_model(folder, seed=5)
    assert load(folder).identity.fingerprint != encoder.identity.fingerprint


def test_other_preprocessing_has_another_fingerprint(tmp_path, encoder):
    preprocessing = {**PREPROCESSING, "std": [0.27, 0.26, 0.27]}
    folder = save_tiny_model(tmp_path / "model", preprocessing=preprocessing)
    identity = load(folder).identity
    assert identity.weights_sha256 == encoder.identity.weights_sha256
    assert identity.fingerprint != encoder.identity.fingerprint
    assert json.loads(identity.preprocessing)["std"] == [0.27, 0.26, 0.27]


def test_another_activation_has_another_fingerprint(tmp_path, encoder):
    folder = save_tiny_model(tmp_path / "model", {**CLIP, "quick_gelu": True})
    assert load(folder).identity.fingerprint != encoder.identity.fingerprint


# what can't be loaded


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 500
    return text


def test_a_configuration_without_weights_says_what_is_missing(tmp_path):
    folder = save_tiny_model(tmp_path / "model")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(WeightsUnavailable) as error:
        load(folder)
    assert "open_clip_model.safetensors" in one_line(error)


@pytest.mark.parametrize("kept", [0, 100, 50_000])
def test_truncated_safetensors_are_a_clear_error(tmp_path, kept):
    folder = save_tiny_model(tmp_path / "model")
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ModelError) as error:
        load(folder)
    assert str(weights) in one_line(error)


def test_weights_of_another_architecture_are_a_clear_error(tmp_path):
    folder = save_tiny_model(tmp_path / "model")
    config = {**CLIP, "vision_cfg": {**CLIP["vision_cfg"], "layers": 3}}
    content = {"model_cfg": config, "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError) as error:
        load(folder)
    assert "fit" in one_line(error) and "visual.transformer.resblocks.2" in one_line(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "can't read"),
        ("[]", "no JSON object"),
        ("{}", "model_cfg"),
        (json.dumps({"model_cfg": CLIP}), "preprocess_cfg"),
        (json.dumps({"model_cfg": CLIP, "preprocess_cfg": {"size": 32}}), "preprocess_cfg"),
        (
            json.dumps({"model_cfg": {**CLIP, "flux": 1}, "preprocess_cfg": PREPROCESSING}),
            "flux",
        ),
    ],
)
def test_a_bad_configuration_is_a_clear_error(tmp_path, content, said):
    folder = save_tiny_model(tmp_path / "model")
    (folder / "open_clip_config.json").write_text(content)
    with pytest.raises(ModelError) as error:
        load(folder)
    assert said in one_line(error)


class Trap:
    """An object whose unpickling makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("new_format", [True, False])
def test_weights_that_would_run_code_are_refused_and_do_not_run(tmp_path, new_format):
    folder = save_tiny_model(tmp_path / "model")
    (folder / "open_clip_model.safetensors").unlink()
    weights, sprung = folder / "open_clip_pytorch_model.bin", tmp_path / "sprung"
    bait = {"state_dict": Trap(sprung), "as large as weights": torch.zeros(2_000_000)}
    torch.save(bait, weights, _use_new_zipfile_serialization=new_format)
    with pytest.raises(ModelError) as error:
        load(folder)
    assert "refused" in one_line(error)
    assert not sprung.exists()


def test_a_bare_malicious_pickle_does_not_run_either(tmp_path):
    folder = save_tiny_model(tmp_path / "model")
    (folder / "open_clip_model.safetensors").unlink()
    sprung = tmp_path / "sprung"
    (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ModelError):
        load(folder)
    assert not sprung.exists()


def test_plain_torch_weights_are_loaded(tmp_path, encoder, images):
    from safetensors.torch import load_file

    folder = save_tiny_model(tmp_path / "model")
    safe = folder / "open_clip_model.safetensors"
    torch.save(load_file(safe), folder / "open_clip_pytorch_model.bin")
    safe.unlink()
    np.testing.assert_allclose(load(folder).encode_images(images), encoder.encode_images(images))


def test_an_unknown_tag_lists_the_tags_of_the_architecture():
    with pytest.raises(UnknownModel) as error:
        load_encoder(resolve_model("ViT-B-32-256/datacomp_s34b"), device="cpu")
    assert "datacomp_s34b_b86k" in one_line(error)


def test_an_unknown_architecture_names_close_ones():
    with pytest.raises(UnknownModel) as error:
        load_encoder(resolve_model("ViT-B-16-SigLIP3/webli"), device="cpu")
    assert "ViT-B-16-SigLIP2" in one_line(error)


def test_a_device_that_is_not_there_is_a_clear_error(tiny_model_folder):
    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    for name, said in ((absent, "--device cpu"), ("tpu", "choose")):
        with pytest.raises(InvalidInput) as error:
            load_encoder(resolve_model(str(tiny_model_folder)), device=name)
        assert said in one_line(error)


def test_a_model_in_the_hub_cache_is_loaded_without_a_network(
    hub_cache, tiny_model_folder, encoder, images
):
    snapshot = hub_cache("someone/tiny")
    shutil.copytree(tiny_model_folder, snapshot, dirs_exist_ok=True)
    found = load_encoder(resolve_model("hf-hub:someone/tiny"), device="cpu")
    assert found.identity.fingerprint == encoder.identity.fingerprint
    np.testing.assert_array_equal(found.encode_images(images), encoder.encode_images(images))


def test_a_model_that_wants_a_sentence_piece_tokenizer_is_loaded(siglip_folder, images):
    encoder = load(siglip_folder)
    assert (
        lowest_cosine(encoder.encode_images(images), open_clips_own(siglip_folder, images)) >= 0.999
    )
    assert encoder.encode_text(CAPTIONS).shape == (3, 32)


def test_a_missing_tokenizer_is_a_clear_error(siglip_folder, tmp_path):
    folder = shutil.copytree(siglip_folder, tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError) as error:
        load(folder)
    assert "tokenizer" in one_line(error)
