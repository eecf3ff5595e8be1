"""The text tower beside a library: one of an older version gains the logit scale, and only that."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipsearch.index.records import ModelRow
from clipsearch.models import devices
from clipsearch.models.encoder import LEAST_COSINE, Encoder, load_encoder
from clipsearch.models.image.encoder import ImageEncoder
from clipsearch.models.loaded import LoadedModels
from clipsearch.models.names import resolve_model

CLIPS_START = pytest.approx(1 / 0.07, rel=1e-6)  # with which the tiny model's weights are made


@pytest.fixture(scope="module")
def encoder(tiny_model_folder: Path) -> Encoder:
    return load_encoder(resolve_model(str(tiny_model_folder)), device="cpu")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "library" / "models").mkdir(parents=True)
    return tmp_path / "library" / "models"


@pytest.fixture
def older(models: Path, encoder: Encoder) -> Path:
    """The folder of a text tower in format 1, which said no scale."""
    LoadedModels(models, "cpu").keep_text_encoder(encoder)
    folder = models / encoder.identity.fingerprint
    said = settings(folder)
    del said["logit_scale"], said["logit_bias"]
    (folder / "text_encoder.json").write_text(json.dumps({**said, "format": 1}))
    return folder


def settings(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "text_encoder.json").read_text())


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_ino) for path in folder.iterdir()}


def test_an_older_tower_serves_as_it_did_and_says_no_scale(older, models, encoder):
    before = contents(older)
    tower = LoadedModels(models, "cpu").text_encoder_of(ModelRow(1, encoder.identity, 1, True))
    assert not isinstance(tower, Encoder)
    assert (tower.logit_scale, tower.logit_bias) == (None, None)
    cosines = (tower.encode_text(["a dog"]) * encoder.encode_text(["a dog"])).sum()
    assert cosines > 0.9999
    assert contents(older) == before


def test_an_older_tower_gains_the_scale_where_the_model_is_loaded(older, models, encoder):
    before = contents(older)
    row = ModelRow(1, encoder.identity, 1, True)
    loaded = LoadedModels(models, "cpu")
    vectors = loaded.text_encoder_of(row).encode_text(["a dog"])
    loaded.keep_text_encoder(encoder)
    assert settings(older)["format"] == 2
    for tower in (loaded.text_encoder_of(row), LoadedModels(models, "cpu").text_encoder_of(row)):
        assert tower.logit_scale == encoder.logit_scale == CLIPS_START
        assert tower.logit_bias is None
        np.testing.assert_array_equal(tower.encode_text(["a dog"]), vectors)
    after = contents(older)
    assert {name for name in before if after.pop(name) != before[name]} == {"text_encoder.json"}
    assert {name for name in after if name not in before} == set()
    made = settings(older), (older / "text_encoder.json").stat().st_mtime_ns
    LoadedModels(models, "cpu").keep_text_encoder(encoder)
    assert (settings(older), (older / "text_encoder.json").stat().st_mtime_ns) == made


def test_where_it_cannot_be_written_the_tower_stays_and_a_later_run_tries_again(
    older, models, encoder
):
    before = contents(older)
    aside = older / f".text_encoder.json.{os.getpid()}"
    aside.mkdir()
    LoadedModels(models, "cpu").keep_text_encoder(encoder)
    aside.rmdir()
    assert contents(older) == before
    (older / ".text_encoder.json.1").write_text("of a process that was killed")
    LoadedModels(models, "cpu").keep_text_encoder(encoder)
    assert settings(older)["logit_scale"] == CLIPS_START
    assert contents(older).keys() == before.keys()


def test_a_tower_that_is_damaged_is_exported_anew_with_its_scale(older, models, encoder):
    (older / "text.onnx").write_bytes(b"")
    LoadedModels(models, "cpu").keep_text_encoder(encoder)
    assert settings(older)["logit_scale"] == CLIPS_START
    assert (older / "text.onnx").stat().st_size > 0


def test_a_tower_of_the_cache_has_the_name_that_was_asked_for(tiny_model_folder, tmp_path):
    there = [tmp_path / name for name in ("here", "moved")]
    for folder in there:
        shutil.copytree(tiny_model_folder, folder)
        for _ in ("exported", "from the cache"):
            loaded = LoadedModels(tmp_path / "none", "cpu").load(resolve_model(str(folder)))
            assert loaded.identity.name == f"local-dir:{folder}"


# Which way photos go


@pytest.mark.parametrize(
    ("photos", "device", "precision", "cpu", "expected"),
    [
        (1, "auto", "auto", "amx_bf16", False),
        (199, "auto", "auto", "amx_bf16", False),
        (200, "auto", "auto", "amx_bf16", True),
        (200, "cpu", "auto", "avx512_vnni", True),
        (200, "cpu", "auto", "avx2", False),
        (10**6, "cpu", "float32", "amx_bf16", False),
        (1, "cpu", "bf16", "avx2", True),
        (1, "cuda", "auto", "avx2", True),
    ],
)
def test_torch_is_taken_where_it_is_quicker(monkeypatch, photos, device, precision, cpu, expected):
    monkeypatch.setenv("CLIPSEARCH_PRECISION", precision)
    monkeypatch.setattr(devices, "_may_have_gpu", lambda: False)
    monkeypatch.setattr(devices, "_processor_flags", lambda: cpu)
    assert devices.torch_pays(photos, 200, device) is expected


def test_a_gpu_is_used_for_many_photos(monkeypatch):
    monkeypatch.delenv("CLIPSEARCH_PRECISION", raising=False)
    monkeypatch.setattr(devices, "_may_have_gpu", lambda: True)
    monkeypatch.setattr(devices, "_processor_flags", lambda: "")
    assert [devices.torch_pays(n, 200, "auto") for n in (199, 200)] == [False, True]
    assert not devices.torch_pays(10**6, 200, "cpu")


def test_many_photos_go_through_torch_and_few_do_not(tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.setattr(devices, "_processor_flags", lambda: "avx512_bf16")
    monkeypatch.setenv("CLIPSEARCH_PRECISION", "auto")
    identity = LoadedModels(tmp_path, "cpu").load(resolve_model(str(tiny_model_folder))).identity
    models = LoadedModels(tmp_path, "cpu")
    few = models.encoder_for(identity, 199)
    assert isinstance(few, ImageEncoder)
    many = models.encoder_for(identity, 200)
    assert isinstance(many, Encoder)
    assert models.encoder_for(identity, 1) is few  # whatever else is loaded
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    exact = load_encoder(resolve_model(str(tiny_model_folder)), device="cpu", exact=True)
    for encoder, least in ((few, 0.9999), (many, LEAST_COSINE)):
        cosines = (encoder.encode_pixels(pixels) * exact.encode_pixels(pixels)).sum(axis=1)
        assert cosines.min() >= least
