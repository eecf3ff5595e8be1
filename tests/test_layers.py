"""The data flows one way, in no circles, and nothing heavy is imported before it is needed."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from places import ROOT

HEAVY = ("torch", "torchvision", "open_clip", "timm", "faiss")

# From the ground up: a folder, or a file of clipsearch/, imports only its own and what is below it.
FLOORS = (
    "errors",
    "harmless",
    "near_names",
    "consent",
    "arguments",
    "settings",
    "privacy",
    "machine",
    "light",
    "unit_length",
    "words",
    "index",
    "photos",
    "asking",
    "options",
    "progress",
    "showing",
    "results",
    "copies",
    "models",
    "searching",
    "remote",
    "tagging",
    "indexing",
    "upkeep",
    "library_looks",
    "library_tags",
    "open_library",
    "library",
    "serving",
    "watching",
    "training",
    "cli",
)
# The package itself gives out its version and, lazily, the public names of all floors.
PUBLIC_NAMES = "clipsearch"
# Entry points, which start the program.
ENTRY_POINTS = {"clipsearch.__main__", "clipsearch.training.__main__"}


@cache
def modules() -> dict[str, Path]:
    """Return all modules by their dotted names."""
    found = {}
    for top in ("clipsearch", "index", "training"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if top == "clipsearch" and parts[1] in ("index", "training"):
                continue  # links to the folders that stand beside it
            parts = parts if top == "clipsearch" else ("clipsearch", *parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(name: str) -> frozenset[str]:
    """Return the modules of clipsearch that a module imports anywhere in it, for types too."""
    found = set()
    for node in ast.walk(ast.parse(modules()[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {full if full in modules() else node.module for full in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(found & modules().keys() - {name})


def floor(name: str) -> int:
    return FLOORS.index(name.split(".")[1])


def test_every_module_stands_on_a_floor() -> None:
    for name in modules().keys() - ENTRY_POINTS - {PUBLIC_NAMES}:
        assert name.split(".")[1] in FLOORS, name
    assert len(modules()) > 150


def test_a_module_imports_only_what_lies_below_it() -> None:
    upward = [
        f"{name} imports {other}"
        for name in sorted(modules().keys() - ENTRY_POINTS - {PUBLIC_NAMES})
        for other in sorted(imports(name) - {PUBLIC_NAMES})
        if floor(other) > floor(name)
    ]
    assert upward == []


def test_all_that_is_above_a_store_knows_its_contract_only() -> None:
    """What works on files of a library that may be damaged lies in index/ itself, below Store."""
    own = ("clipsearch.index.store", "clipsearch.index.catalog", "clipsearch.index.database")
    above = {name for name in modules() if not name.startswith("clipsearch.index")}
    assert [(name, other) for name in sorted(above) for other in imports(name) & {*own}] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    inner = modules().keys() - {PUBLIC_NAMES}
    try:
        TopologicalSorter({name: imports(name) & inner for name in inner}).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {error.args[1]}")


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
