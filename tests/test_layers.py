"""The data flows one way, and nothing heavy is imported before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "torchvision", "open_clip", "timm", "faiss")

# module (or package) -> what it may import of clipsearch
ALLOWED = {
    "errors": set(),
    "arguments": {"errors"},
    "search_options": {"arguments"},
    "settings": {"arguments", "errors"},
    "file_reading": {"errors"},
    "privacy": {"settings"},
    "unit_length": set(),
    "index": {"errors", "index", "unit_length"},
    "image_files": {"errors", "index", "image_opening", "settings"},
    "image_opening": {"errors", "index", "exif", "file_reading", "picture_mending", "raw_files"},
    "raw_files": set(),
    "picture_mending": set(),
    "exif": {"errors", "index", "dates_beside_exif", "moments"},
    "dates_beside_exif": {"moments"},
    "moments": set(),
    "preprocessing": {"errors"},
    "decoder_process": {"errors", "image_opening", "preprocessing"},
    "decoders": {"decoder_process", "errors", "index", "preprocessing"},
    "away": {"index"},
}
SEARCH_MODULES = ("clipsearch", "index")


def clipsearch_imports(path: Path) -> set[str]:
    """Return the first names below `clipsearch` that a module imports, at any depth of it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        names |= {m.split(".")[1] for m in modules if m.startswith("clipsearch.")}
    return names


def module_files(name: str) -> list[Path]:
    folder = ROOT / name
    return sorted(folder.glob("*.py")) if folder.is_dir() else [ROOT / "clipsearch" / f"{name}.py"]


@pytest.mark.parametrize("name", ALLOWED)
def test_a_layer_imports_only_what_lies_below_it(name: str) -> None:
    for path in module_files(name):
        if path.exists():
            assert clipsearch_imports(path) <= ALLOWED[name], path


def test_search_never_imports_training() -> None:
    folders = [ROOT / name for name in SEARCH_MODULES]
    for path in [p for folder in folders for p in folder.glob("*.py")]:
        assert "training" not in clipsearch_imports(path), path


def test_only_the_program_imports_the_program() -> None:
    for path in [*(ROOT / "clipsearch").glob("*.py"), *(ROOT / "index").glob("*.py")]:
        if path.name != "__main__.py":
            assert "cli" not in clipsearch_imports(path), path


@pytest.mark.parametrize(
    "statement",
    [
        "import clipsearch",
        "from clipsearch import Library, Hit",
        "import sys; sys.argv = ['clipsearch', '--help']; import runpy\n"
        "try: runpy.run_module('clipsearch', run_name='__main__')\nexcept SystemExit: pass",
    ],
    ids=["import clipsearch", "import the API", "--help"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(statement: str) -> None:
    check = f"{statement}\nimport sys; print('LOADED', [m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_every_public_name_can_be_imported() -> None:
    import clipsearch

    for name in clipsearch.__all__:
        assert getattr(clipsearch, name) is not None
    with pytest.raises(AttributeError):
        clipsearch.nothing_of_the_kind  # noqa: B018
