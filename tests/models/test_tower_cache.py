"""The user's cache of exported towers: it spares torch, it is private, and nothing hangs on it."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clipsearch import Library
from clipsearch.errors import ModelError
from clipsearch.models import loaded, tower_cache
from clipsearch.models.encoder import Encoder
from clipsearch.models.image.encoder import ImageEncoder
from clipsearch.models.loaded import LoadedModels
from clipsearch.models.names import resolve_model
from clipsearch.settings import cache_folder

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def model(tiny_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


@pytest.fixture
def load(model: Path, tmp_path: Path) -> Callable[[str], Encoder | ImageEncoder]:
    """Load the model for a new library of some name, and keep its text tower there."""

    def load(library: str) -> Encoder | ImageEncoder:
        folder = tmp_path / library / "models"
        folder.mkdir(parents=True, exist_ok=True)
        models = LoadedModels(folder, "cpu")
        encoder = models.load(resolve_model(str(model)))
        models.keep_text_encoder(encoder)
        return encoder

    return load


def entry(encoder: Encoder | ImageEncoder) -> Path:
    folder = cache_folder()
    assert folder is not None
    return folder / "towers" / encoder.identity.fingerprint


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        def refuse(what: str) -> None:
            raise AssertionError(f"{what} is loaded with torch")

        monkeypatch.setattr(loaded, "need_torch", refuse)

    return forbid


def test_a_second_library_exports_nothing_and_needs_no_torch(load, without_torch, tmp_path):
    first = load("first")
    assert isinstance(first, Encoder)
    without_torch()
    second = load("second")
    assert isinstance(second, ImageEncoder)
    assert second.identity == first.identity
    cosines = (first.encode_pixels(PIXELS) * second.encode_pixels(PIXELS)).sum(axis=1)
    assert cosines.min() >= 0.9999
    ours, theirs = (
        tmp_path / name / "models" / first.identity.fingerprint for name in ("first", "second")
    )
    assert {path.name for path in theirs.iterdir()} >= {"text.onnx", "text_encoder.json"}
    for path in ours.iterdir():
        assert (theirs / path.name).read_bytes() == path.read_bytes()


def test_only_this_user_can_look_into_it(load):
    encoder = load("first")
    folder = entry(encoder).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)  # somebody opened it: nothing in it is believed any more
    assert isinstance(load("second"), Encoder)
    assert tower_cache.cached_towers() == []


@pytest.mark.parametrize("name", ["image/image.onnx", "image/image.onnx.data", "image/sha256.json"])
@pytest.mark.parametrize("damage", ["turned", "cut", "gone"])
def test_a_damaged_tower_is_not_used_and_is_made_again(load, without_torch, name, damage):
    encoder = load("first")
    path = entry(encoder) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "turned" else content[:-1])
    assert isinstance(load("second"), Encoder)
    without_torch()
    assert isinstance(load("third"), ImageEncoder)


def test_a_large_tower_is_not_hashed_again_until_it_was_written_to(load, monkeypatch):
    encoder = load("first")
    fingerprint = encoder.identity.fingerprint
    assert tower_cache.open_image_tower(fingerprint) is not None
    hashed = []
    sha256 = tower_cache._sha256
    monkeypatch.setattr(tower_cache, "_sha256", lambda path: hashed.append(path) or sha256(path))
    for _ in range(2):
        assert tower_cache.open_image_tower(fingerprint) is not None
    assert hashed == []
    path = entry(encoder) / "image" / "image.onnx.data"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nothing had happened
    assert tower_cache.open_image_tower(fingerprint) is None
    assert hashed == [path]


def test_a_file_that_does_not_belong_there_is_noticed(load):
    encoder = load("first")
    (entry(encoder) / "image" / "more.data").write_bytes(b"")
    assert tower_cache.open_image_tower(encoder.identity.fingerprint) is None


def test_where_it_can_not_be_written_all_goes_on_without_it(load, tmp_path, monkeypatch):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    for library in ("first", "second"):
        encoder = load(library)
        assert isinstance(encoder, Encoder)
        kept = tmp_path / library / "models" / encoder.identity.fingerprint
        assert (kept / "text.onnx").is_file()


def test_a_disk_that_is_full_leaves_nothing_behind(load, monkeypatch):
    def full(folder: Path) -> str:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(tower_cache, "_sha256", full)
    encoder = load("first")
    assert list(entry(encoder).parent.iterdir()) == []


def test_other_weights_under_the_same_name_are_another_model(load, model, without_torch):
    first = load("first")
    change_weights(model)
    second = load("second")
    assert isinstance(second, Encoder)
    assert second.identity.fingerprint != first.identity.fingerprint
    without_torch()
    assert load("third").identity == second.identity


@pytest.mark.parametrize("changed", ["weights", "configuration", "another file of weights"])
def test_a_model_is_known_again_by_its_files_alone(load, model, changed):
    load("first")
    assert tower_cache.find(resolve_model(str(model))) is not None
    if changed == "weights":
        change_weights(model)
    elif changed == "configuration":
        path = model / "open_clip_config.json"
        path.write_text(path.read_text() + " ")
    else:  # which open_clip would prefer
        weights = next(model.glob("*.safetensors"))
        weights.rename(model / "zzz.safetensors")
        assert tower_cache.find(resolve_model(str(model))) is None
        shutil.copy(model / "zzz.safetensors", weights)
        return
    assert tower_cache.find(resolve_model(str(model))) is None


def test_a_library_keeps_its_model_where_its_folder_is_gone(
    load, model, without_torch, sample_photos, tmp_path
):
    """A model trained yesterday and thrown away: the library that was made with it still grows."""
    with Library(tmp_path / "library", device="cpu") as library:
        library.index(sample_photos[:2], model=model)
    shutil.rmtree(model)
    without_torch()
    with Library(tmp_path / "library", device="cpu") as library:
        assert library.index(sample_photos[2:4]).added == 2
        assert len(library.similar(sample_photos[5])) == 4
        assert len(library.query("a dog")) == 4


def test_photos_are_refused_where_the_model_has_other_weights_now(model, sample_photos, tmp_path):
    with Library(tmp_path / "library", device="cpu") as library:
        library.index(sample_photos[:2], model=model)
        change_weights(model)
    with (
        Library(tmp_path / "library", device="cpu") as library,
        pytest.raises(ModelError, match="not those that this library was indexed with"),
    ):
        library.index(sample_photos[2:4])


def test_it_says_what_it_holds_and_can_be_emptied(load, model):
    encoder = load("first")
    (held,) = tower_cache.cached_towers()
    assert (held.model, held.fingerprint) == (f"local-dir:{model}", encoder.identity.fingerprint)
    files = [path for path in entry(encoder).rglob("*") if path.is_file()]
    assert held.bytes == sum(path.stat().st_size for path in files) > 100_000
    assert tower_cache.empty() == held.bytes
    assert tower_cache.cached_towers() == []
    assert isinstance(load("second"), Encoder)


def test_what_was_not_used_for_longest_makes_room(load, model, monkeypatch):
    first = load("first")
    change_weights(model)
    second = load("second")
    os.utime(entry(first), (1, 1))
    tower_cache.open_image_tower(first.identity.fingerprint)  # used again
    os.utime(entry(second), (2, 2))
    (one, _) = tower_cache.cached_towers()
    monkeypatch.setattr(tower_cache, "MOST_BYTES", 5 * one.bytes // 2)
    change_weights(model)
    third = load("third")
    kept = {towers.fingerprint for towers in tower_cache.cached_towers()}
    assert kept == {first.identity.fingerprint, third.identity.fingerprint}


def change_weights(model: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = next(model.glob("*.safetensors"))
    weights = load_file(path)
    weights["visual.proj"] = weights["visual.proj"] + 0.01
    save_file(weights, path)


def test_a_note_of_another_version_is_not_believed(load, model):
    encoder = load("first")
    path = entry(encoder) / "source.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "open_clip": "0.1"}))
    assert tower_cache.find(resolve_model(str(model))) is None
    for content in ("{", "[]", json.dumps({**said, "files": 3})):
        path.write_text(content)
        assert tower_cache.find(resolve_model(str(model))) is None
