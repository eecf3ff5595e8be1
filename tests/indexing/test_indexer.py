"""Indexing over a store, without a library around it."""

import shutil
from pathlib import Path

import pytest

from clipsearch import IndexOptions, IndexReport, InvalidInput
from clipsearch.index.store import Store
from clipsearch.indexing.indexer import Indexer
from clipsearch.indexing.model_choice import ModelChoice
from clipsearch.models.loaded import LoadedModels


def index(indexer: Indexer, paths: list[Path] | None, model: Path | None = None) -> IndexReport:
    def progress(_: object) -> None:
        pass

    return indexer.index(paths, model, IndexOptions(), progress, lambda: False, wait=False)


def test_an_indexer_needs_no_library(
    tmp_path: Path, sample_photos: list[Path], tiny_model_folder: Path
) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "library"
    photos.mkdir()
    for photo in sample_photos[:3]:
        shutil.copy(photo, photos)
    with Store.open(folder, create=True) as store:
        indexer = Indexer(folder, store, LoadedModels(folder / "models", "cpu"))
        assert index(indexer, [photos], tiny_model_folder).added == 3
        assert index(indexer, None).unchanged == 3
        assert indexer.remove([photos / sample_photos[0].name]) == 1
        with pytest.raises(InvalidInput, match="lies inside the library"):
            index(indexer, [folder / "models"])
        assert store.catalog.counts(1).embedded == 2


def test_one_object_says_which_model_a_run_takes(
    small_library: Path, tiny_model_folder: Path, other_model_folder: Path
) -> None:
    folder = small_library / "library"
    models = LoadedModels(folder / "models", "cpu")

    def choice(asked: Path | None) -> ModelChoice:
        return ModelChoice(store, models, asked, pytest.fail)

    with Store.open(folder) as store, store.writing():
        own = choice(None)
        assert (own.id, own.loaded, own.is_another) == (1, None, False)
        assert own.preprocessing is not None  # photos can be opened before the model is loaded
        assert own.encoder().identity == own.former.identity
        same = choice(tiny_model_folder)
        assert (same.id, same.is_another) == (1, False)
        assert same.loaded is not None
        other = choice(other_model_folder)
        assert (other.id, other.is_another) == (2, True)
        assert store.catalog.current_model().id == 1
        other.settle(complete=False)  # an interrupted run
        assert store.catalog.current_model().id == 1
        other.settle(complete=True)
        assert store.catalog.current_model().id == 2
