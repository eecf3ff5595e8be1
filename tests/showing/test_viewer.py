"""The viewer of this machine is started with a file as its argument, by no shell."""

import sys
import time
from pathlib import Path

import pytest
from made_hits import made_hit

from clipsearch import ClipsearchError
from clipsearch.showing.viewer import open_file

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have other viewers")


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program in the place of the viewer; return where it notes its arguments."""
    program = tmp_path / "bin" / "xdg-open"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\0" "$@" > {tmp_path}/aside; mv {tmp_path}/aside "$0.noted"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("DISPLAY", ":7")
    return program.with_name("xdg-open.noted")


def noted(file: Path) -> list[str]:
    until = time.monotonic() + 20
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return file.read_text().split("\0")[:-1]


def test_a_photo_is_one_argument_whatever_it_is_called(tmp_path: Path, opened: Path) -> None:
    photo = tmp_path / "a b; touch hurt $(touch hurt) `x`.jpg"
    photo.write_bytes(b"")
    made_hit(photo).open()
    assert noted(opened) == [str(photo)]
    assert not list(tmp_path.glob("**/hurt"))


def test_what_can_not_be_shown_is_one_line(
    tmp_path: Path, opened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ClipsearchError, match="not there any more"):
        open_file(tmp_path / "gone.jpg")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ClipsearchError, match="no display"):
        open_file(tmp_path)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClipsearchError, match="xdg-open"):
        open_file(tmp_path)
    assert not opened.exists()
