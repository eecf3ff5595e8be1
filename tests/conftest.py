"""What all tests share: where things are, real photos, a tiny model, and nothing of the user's."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from example_photos import example_files, small_photos
from small_library import copy_small_library, make_small_library
from tiny_models import save_tiny_model

# Before anything imports huggingface_hub, which reads its environment once: no test may use the
# user's cache or the network.
NO_MODELS = tempfile.mkdtemp(prefix="clipsearch-no-models-")
os.environ["HF_HOME"] = NO_MODELS
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["XDG_CACHE_HOME"] = NO_MODELS  # exported towers, of fixtures that outlive a test
os.environ.pop("HF_HUB_CACHE", None)
os.environ.pop("HUGGINGFACE_HUB_CACHE", None)

# Where each worker of xdist has a core, more threads of torch or FAISS only wait for each other.
# Before either is imported, and for the programs that tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent
PHOTO_COUNT = 24


def pytest_unconfigure() -> None:
    """Remove the folder that stood in for the user's cache."""
    shutil.rmtree(NO_MODELS, ignore_errors=True)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of the developers' thousands of photos, by which quality is measured.

    The test is skipped where it is not there, so nothing else may ask for it.
    """
    named = os.environ.get("CLIPSEARCH_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not (folder / "val" / "val.tar").is_file():
        pytest.skip(f"no shared data at {folder} (set CLIPSEARCH_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def sample_photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return some small real photos (JPEG), each unlike the others; don't change them."""
    place = tmp_path_factory.mktemp("photos")
    for path, photo in zip(example_files()[::2], small_photos()[::2], strict=True):
        (place / path.name).write_bytes(photo)
    return sorted(place.iterdir())[:PHOTO_COUNT]


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny CLIP model of random weights; don't change it."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model like the tiny one, with other weights."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "other", seed=1)


@pytest.fixture(scope="session")
def _small_library(
    tmp_path_factory: pytest.TempPathFactory, sample_photos: list[Path], tiny_model_folder: Path
) -> Path:
    return make_small_library(tmp_path_factory.mktemp("small"), sample_photos, tiny_model_folder)


@pytest.fixture
def small_library(_small_library: Path, tmp_path: Path) -> Path:
    """Return a folder with `photos` (two of five in `trip`) and their `library`, to be changed."""
    return copy_small_library(_small_library, tmp_path)


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the library and the user's data and cache folders at temporary ones."""
    place = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(place / "library"))
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(place / name.lower()))


@pytest.fixture
def tiny_model_used(
    _small_library: Path, own_folders: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the user have used the tiny model before: its towers are exported, torch is not needed.

    Where loading a model is not what is tested, that saves the seconds that torch takes.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", NO_MODELS)


@pytest.fixture(scope="module", params=["float32", "bf16", "int8"])
def each_precision(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a module's tests in each precision of embedding, emulated where it is not in hardware.

    A model that does not bear one, or has no layers for it, works in float32.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_PRECISION", request.param)
        yield request.param


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Give this test an empty hub cache; return what makes a repository's snapshot folder in it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def snapshot(repository: str) -> Path:
        home = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text("0123456789abcdef")
        (home / "snapshots" / "0123456789abcdef").mkdir(parents=True)
        return home / "snapshots" / "0123456789abcdef"

    return snapshot
