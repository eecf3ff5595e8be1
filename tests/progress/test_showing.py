"""An index run from Python shows how far it is where somebody looks, or when it is asked to."""

import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipsearch import IndexProgress, IndexReport, Library
from clipsearch.progress import lines


class ZMQInteractiveShell:
    """Stands in for the shell of a notebook, by whose name rich knows it."""

    kernel = object()


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    ipython = types.ModuleType("IPython")
    shell = ZMQInteractiveShell()
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setattr("rich.console.get_ipython", ipython.get_ipython, raising=False)  # type: ignore[attr-defined]


@pytest.fixture
def widgets(notebook: None, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Stand in for ipywidgets; return what is displayed."""
    displayed: list[object] = []

    class Output:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...
        def clear_output(self, wait: bool) -> None: ...
        def close(self) -> None:
            displayed.append("closed")

    display = types.ModuleType("IPython.display")
    display.display = displayed.append  # type: ignore[attr-defined]
    module = types.ModuleType("ipywidgets")
    module.Output = Output  # type: ignore[attr-defined]
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setitem(sys.modules, "ipywidgets", module)
    return displayed


@pytest.fixture
def library(
    small_library: Path, sample_photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Library]:
    """Return a library with one photo that is new whenever it is indexed."""
    monkeypatch.setattr(lines, "SECONDS_BETWEEN_LINES", 0.0)
    new = iter(sample_photos[5:])
    with Library(small_library / "library", device="cpu") as opened:
        index = opened.index

        def index_a_new_photo(**how: Any) -> IndexReport:
            photo = next(new)
            shutil.copyfile(photo, small_library / "photos" / photo.name)
            return index(**how)

        monkeypatch.setattr(opened, "index", index_a_new_photo)
        yield opened


def test_a_script_shows_nothing_unless_it_asks(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    for progress in (None, False):
        library.index(progress=progress)
        assert capsys.readouterr() == ("", "")
    library.index(progress=True)
    out, err = capsys.readouterr()
    assert (out, "of 1 files" in err) == ("", True)


def test_a_notebook_shows_lines_without_widgets(
    library: Library, notebook: None, capsys: pytest.CaptureFixture[str]
) -> None:
    library.index()
    out, err = capsys.readouterr()
    assert ("of 1 files" in out, err) == (True, "")
    library.index(progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_notebook_shows_a_bar_with_widgets_and_takes_it_away(
    library: Library, widgets: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    library.index()
    shown = [str(getattr(one, "text", one)) for one in widgets]
    assert any(one.startswith("encoding") for one in shown)
    assert next(filter(None, reversed(shown))) == "closed"
    assert capsys.readouterr() == ("", "")


def test_a_function_is_told_wherever_it_is(library: Library, widgets: list[object]) -> None:
    told: list[IndexProgress] = []
    library.index(progress=told.append)
    assert told[-1].done == told[-1].total == 1
    assert not widgets
